"""Faults: their kinds, their chances, and how often each happened."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping

FAULTS: Mapping[str, float] = {
    "append slow": 0.25,
    "append failed": 0.2,
    "append landed unanswered": 0.2,
    "append hung": 0.03,
    "append hung and landed": 0.04,
    "read slow": 0.15,
    "read failed": 0.15,
    "snapshot lost": 0.3,
    "snapshot spoilt": 0.5,
    "compact failed": 0.3,
    "redact failed": 0.3,
    "request lost": 0.08,
    "answer lost": 0.12,
    "stream broken": 0.12,
    "leaving unnoticed": 0.3,
    "reader slow": 0.1,
    "reader stalled": 0.03,
    "crash": 0.1,
    "shutdown": 0.04,
    "pause": 0.08,
    "clock forward": 0.05,
    "clock back": 0.05,
    "trim": 0.12,
}
"""Every kind, and how likely it is at most: an append or a read or a request, a chunk, or a second of a process."""

SHARED_FAULTS: Mapping[str, float] = {
    "channel broken": 0.01,
    "note late": 0.2,
    "note not sent": 0.03,
    "cut": 0.06,
}
"""Of several brokers: a note that is published or delivered, or a second of a process."""


class Faults:
    """The mix of one seed. Each kind has a chance of its own, and half of them none at all."""

    def __init__(self, seed: str) -> None:
        self.random = random.Random(f"{seed} faults")
        self.happened: Counter[str] = Counter()
        self.on = True
        self._chances = {
            kind: most * self.random.random() if self.random.random() < 0.5 else 0.0 for kind, most in FAULTS.items()
        }
        draw = random.Random(f"{seed} shared faults")  # a separate generator keeps the other draws unchanged
        self._chances |= {
            kind: most * draw.random() if draw.random() < 0.5 else 0.0 for kind, most in SHARED_FAULTS.items()
        }

    def spare(self, *kinds: str) -> None:
        """Rule out each of `kinds`."""
        for kind in kinds:
            assert kind in self._chances
            self._chances[kind] = 0.0

    def strikes(self, kind: str) -> bool:
        """Return whether `kind` happens now; the caller then calls `happens` if the fault was possible."""
        chance = self._chances[kind]
        return self.on and chance > 0 and self.random.random() < chance

    def happens(self, kind: str) -> None:
        """Count a fault of `kind`."""
        assert kind in self._chances
        self.happened[kind] += 1

    def strike(self, kind: str) -> bool:
        """Return whether `kind` happens now, and count it."""
        struck = self.strikes(kind)
        if struck:
            self.happened[kind] += 1
        return struck

    def some(self, most: float) -> float:
        """Return a number or a time up to `most`, mostly small."""
        return most * self.random.random() ** 3
