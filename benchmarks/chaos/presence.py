"""Signs of life of one identity, as its client saw them, and what the brokers could know of them."""

import itertools
import math
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Final, NamedTuple

from benchmarks.chaos.deployment import Kill
from benchmarks.chaos.host import OpenStream
from benchmarks.soak.rooms import ROUNDING_S, Identity

TOLD_S: Final = 1.2
"""A sign of life in so short a time before its worker was killed may be known to nobody."""

JUDGED_S: Final = 3.0
"""One who came back may still be taken out so long after, and one who is absent has to be gone by then."""

LOST_S: Final = 6.0
"""The people of a worker that was killed go up to so much later: it may have heard them since it last said so."""


class Sign(NamedTuple):
    """Unix times between which a broker has heard them."""

    from_s: float
    to_s: float


class ObservedIdentity(Identity):
    """An identity whose signs of life are kept, each with the worker that had it."""

    def __init__(self, name: str, kills: list[Kill]) -> None:
        super().__init__(name)
        self.connection_id = ""
        self.gone_s: float | None = None
        """When it vanished for good, or its client gave it up; Unix time."""
        self._kills = kills
        self._calls: list[tuple[float, float, str]] = []
        self._listened: list[tuple[float, OpenStream]] = []

    def answered(self, sent_s: float, lasted_s: float, worker: str) -> None:
        """Note an answered call; it was in flight for `lasted_s` at least."""
        self._calls.append((sent_s, sent_s + lasted_s, worker))

    def listens(self, stream: OpenStream, since_s: float) -> None:
        """Note that a stream carries its notifications."""
        self._listened.append((since_s, stream))

    @property
    def workers(self) -> set[str]:
        """The workers with a sign of it."""
        return {worker for _, _, worker in self._calls} | {stream.worker for _, stream in self._listened}

    def was_absent(self, timestamp: str, grace_s: float) -> bool:
        """Tell if the client may have been taken out at that moment: see `may_be_taken_out`."""
        return self.may_be_taken_out(datetime.fromisoformat(timestamp).timestamp(), grace_s)

    def may_be_taken_out(self, at_s: float, grace_s: float) -> bool:
        """Tell if a whole grace without a sign of life ended before `at_s`, and no longer than `JUDGED_S` ago.

        A sign of life right before its worker was killed is none.
        """
        signs = sorted(sign for sign in self._known_signs() if sign.from_s <= at_s)
        if not signs:
            return True
        heard_to = itertools.accumulate((sign.to_s for sign in signs), max)
        begins = (*(sign.from_s for sign in signs[1:]), math.inf)
        return any(
            start_s + grace_s - ROUNDING_S <= at_s <= end_s + JUDGED_S
            for start_s, end_s in zip(heard_to, begins, strict=True)
        )

    def _known_signs(self) -> Iterator[Sign]:
        for sent_s, over_s, worker in self._calls:
            if not self._is_killed(worker, sent_s, over_s + TOLD_S):
                yield Sign(sent_s, over_s)
        for since_s, stream in self._listened:
            to_s = min(stream.closed_s or math.inf, self._killed_after(stream.worker, stream.opened_s) - TOLD_S)
            if to_s >= since_s:
                yield Sign(since_s, to_s)

    def _is_killed(self, worker: str, from_s: float, to_s: float) -> bool:
        return from_s <= self._killed_after(worker, from_s) <= to_s

    def _killed_after(self, worker: str, at_s: float) -> float:
        return min((kill.at_s for kill in self._kills if kill.worker == worker and kill.at_s >= at_s), default=math.inf)


def killed_between(kills: Iterable[Kill], workers: set[str] | None, from_s: float, to_s: float) -> bool:
    """Tell if one of `workers` (`None`: any) was killed in that time."""
    return any(from_s <= kill.at_s <= to_s and (workers is None or kill.worker in workers) for kill in kills)
