"""The findings of a run, and their verdict."""

from dataclasses import dataclass, field
from typing import Final

from benchmarks.soak.leftovers import Held
from benchmarks.soak.options import SoakOptions
from benchmarks.soak.readings import WARM_UP_SHARE, Growth, Reading, growth
from benchmarks.soak.run import SoakRun
from benchmarks.soak.teardown import TeardownResult

KINDS: Final = (
    "absences beyond the grace",
    "drops",
    "gaps read by cursor",
    "messages sent again after a broken call",
    "messages sent again after an answer",
    "resumptions by LastClient-Event-ID",
    "resumptions in a new session",
    "rooms closed: disconnected",
    "rooms closed: left",
    "rooms closed: next",
    "rooms closed: timeout",
    "sessions deleted",
    "sessions that the server had ended",
    "slow readers cut",
    "streams displaced",
    "streams held against the log",
    "waits",
    "waits broken off",
)
"""Kinds of events that must occur in a run long enough to prove anything."""
COMPLETE_MINUTES: Final = 5.0


@dataclass
class Verdict:
    """All data for a summary."""

    options: SoakOptions
    run: SoakRun
    readings: list[Reading] = field(default_factory=list)
    streams: list[float] = field(default_factory=list)
    """Open streams at each reading after the warm-up."""
    busy_own: float = 0.0
    """The generator's share of a core."""
    before: Held = field(default_factory=dict)
    """The server's resources before the first client."""
    after: Held = field(default_factory=dict)
    """Its resources after the last client."""
    ending: TeardownResult | None = None
    verified: str = ""
    """Output of `chat-broker verify` for a log in a file."""

    @property
    def warm_up_s(self) -> float:
        """Time before the first judged reading of memory."""
        return self.options.minutes * 60 * WARM_UP_SHARE

    @property
    def growth(self) -> Growth | None:
        """Growth of resident memory after the warm-up, with a log in memory full."""
        return growth(self.readings, self.warm_up_s, self.options.commits_kept)

    @property
    def missing(self) -> list[str]:
        """Kinds of missing events."""
        return [kind for kind in KINDS if not self.run.counts[kind]]

    @property
    def problems(self) -> list[str]:
        """All problems; none if all is well."""
        found = list(self.run.ledger.problems)
        memory = self.growth
        if memory is not None and memory.is_judged and not memory.is_flat:
            found.append(f"memory grows by {memory.kb:,.0f} KiB, {memory.kb_a_minute:,.0f} a minute")
        for name, before in self.before.items():
            after = self.after.get(name, before)
            if after > before:
                found.append(f"{name}: {before:g} before anyone came, {after:g} when everyone had gone")
        if self.options.minutes >= COMPLETE_MINUTES:
            if memory is None or not memory.is_judged:
                found.append("memory could not be judged: the warm-up took too long")
            found += [f"never happened: {kind}" for kind in self.missing]
        return found + (self.ending.problems if self.ending is not None else ["the run did not come to its end"])
