"""Going through a log and holding every commit of it against what was promised.

A commit is sound if it follows the one before it, if deciding its command again with its facts gives its events, and
if no promise is broken by the step from the state before it to the one after. Nearly all are, so one pass asks just
that; only for the first that is not is it worked out what is wrong with it.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import NamedTuple

import msgspec

from broker.debugger.showing import diff, safe, shown
from broker.debugger.sources import Source
from broker.decide import Rejection, decide
from broker.usage import UsageError
from events.codec import UnreadableCommitError, decode_commit
from events.commit import BrokenChainError, Commit, Tip, check_link
from events.events import Event, RoomOpened
from events.ids import POSITION_MAX, Position
from events.log import UnusableLogError
from projections.invariants import Breach, check_state, check_step
from projections.state import State, digest, evolve

PROMISES: Mapping[int, str] = {
    1: "A connection is in at most one place: the queue, or one open room.",
    2: "An open room has exactly two different members, each of whom is in it.",
    3: "Whoever entered first is `first` in the room, and the pair is the one that the log's matching names.",
    4: "A message is accepted only from a member of an open room, and is stored once per `message_id`.",
    5: "Rooms never reopen, ids never repeat, positions have no gap, and the chain of commits is whole.",
    6: "Folding the log gives the state, and deciding a stored command again gives the stored events.",
    7: "Every opening of a room tells both members, every closing the one who did not close it, and nobody else.",
}
"""Those that can be seen in a log, by their numbers."""

PAGE_COMMITS = 1_000

OnProgress = Callable[[int], None]


class Fault(NamedTuple):
    """The first promise that does not hold, and lines that show it; all of it is safe for a terminal."""

    breach: Breach
    evidence: Sequence[str] = ()


class Verdict(NamedTuple):
    """How far a log is sound: up to `tip`, so many commits from its base on. `digest` is of the state there."""

    commits: int
    tip: Tip
    digest: str
    fault: Fault | None


def check_log(source: Source, on_progress: OnProgress = lambda commits: None) -> Verdict:
    """Check `source` from its base to its tip, or to the first position that breaks a promise.

    What is checked is every commit, the states at both ends, and the snapshots that are stored between them. It
    holds the state and a page of commits in memory, however long the log is. `on_progress` hears of each page.

    Raises:
        LogUnavailableError: the log did not answer.
        UsageError: somebody trimmed it meanwhile.
    """
    with _without_collections():
        walk = _Walk(source)
        fault = _fault_in(walk.state) or walk.to_the_end(on_progress) or _fault_in(walk.state)
    commits = walk.state.position - source.base.tip.position
    return Verdict(commits, walk.state.tip, digest(walk.state), fault)


@contextmanager
def _without_collections() -> Iterator[None]:
    """States hold no cycles, and to look for some through all of one again and again costs a fifth of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class _Walk:
    """A log as far as it was found sound; `state` is what it means up to there."""

    def __init__(self, source: Source) -> None:
        self.state: State = source.base.state
        self._source = source
        self._snapshots = [at for at in source.snapshots() if at > self.state.position]

    def to_the_end(self, on_progress: OnProgress) -> Fault | None:
        """Go on to the tip; what stopped it on the way, if anything did."""
        lines = self._source.lines(self.state.position)
        for snapshot in [*self._snapshots, POSITION_MAX]:
            while self.state.position < snapshot:
                start = self.state.position
                fault = self._go_on(islice(lines, min(PAGE_COMMITS, snapshot - start)))
                if fault is not None:
                    return fault
                if self.state.position == start:
                    return self._rolled_back()
                on_progress(self.state.position - start)
            if not self._is_as_folded(snapshot):
                what = "the snapshot that is stored here is not what the log says, or can't be read"
                return Fault(Breach(6, snapshot, what))
        return None

    def _go_on(self, lines: Iterator[bytes]) -> Fault | None:
        """Check the commits in `lines`. This loop is what checking a log costs."""
        state, commit = self.state, None
        try:
            for line in lines:
                commit = decode_commit(line)
                check_link(state.tip, commit)
                after = evolve(state, commit)
                decision = decide(state, commit.command, commit.facts)
                if type(decision) is not list or tuple(decision) != commit.events or check_step(state, commit, after):
                    return _fault_of(state, commit)
                state, commit = after, None
        except (BrokenChainError, UnreadableCommitError, UnusableLogError) as error:
            if commit is not None and self._was_trimmed(state.position, commit.position):
                raise UsageError(f"{self._source.name} was trimmed while it was checked; check it again") from None
            return Fault(Breach(5, state.position + 1, safe(str(error))))
        except Exception:
            # What can't have happened is what is looked for: folding it may fail in any way.
            if commit is None:
                raise
            return _fault_of(state, commit)
        finally:
            self.state = state
        return None

    def _was_trimmed(self, last: Position, found: Position) -> bool:
        """Whether a snapshot stands in by now for what is missing between the two."""
        return last + 1 < found and found - 1 in self._source.snapshots()

    def _is_as_folded(self, snapshot: Position) -> bool:
        stored = self._source.snapshot(snapshot)
        if stored.tip.position != snapshot:
            return snapshot not in self._source.snapshots()  # a broker that runs may have dropped it meanwhile
        return stored.tip == self.state.tip and digest(stored.state) == digest(self.state)

    def _rolled_back(self) -> Fault | None:
        """What is wrong with the end of the log, where it is."""
        newest = max(self._snapshots, default=0)
        if newest <= self.state.position:
            return None
        what = f"the log ends here, and a snapshot of it at position {newest} says that it went on"
        return Fault(Breach(5, self.state.position, what))


def _fault_in(state: State) -> Fault | None:
    return next((_as_fault(breach) for breach in check_state(state)), None)


def _fault_of(before: State, commit: Commit) -> Fault:
    """Why `commit`, which follows `before`, is not sound."""
    decided = _decided(before, commit)
    breaches = [*_breaches(before, commit), *_differences(commit, decided)]
    evidence = diff(commit.events, decided) if [*commit.events] != [*decided] else []
    return _as_fault(breaches[0], [f"the command is {shown(commit.command)}", *evidence])


def _as_fault(breach: Breach, evidence: Sequence[str] = ()) -> Fault:
    return Fault(Breach(breach.promise, breach.position, safe(breach.what)), evidence)


def _breaches(before: State, commit: Commit) -> list[Breach]:
    """What can be seen in the step itself, also where it is one that can't be folded."""
    try:
        return check_step(before, commit, evolve(before, commit))
    except Exception:  # noqa: BLE001 - see `_Walk._go_on`
        return check_step(before, commit, msgspec.structs.replace(before, tip=commit.tip, at_ms=commit.at_ms))


def _decided(before: State, commit: Commit) -> Sequence[Event | Rejection]:
    try:
        decision = decide(before, commit.command, commit.facts)
    except Exception:  # noqa: BLE001 - see `_Walk._go_on`
        return []
    return [decision] if isinstance(decision, Rejection) else decision


def _differences(commit: Commit, decided: Sequence[Event | Rejection]) -> Iterator[Breach]:
    stored_pairs, pairs = _pairs(commit.events), _pairs(decided)
    if stored_pairs != pairs:
        yield Breach(3, commit.position, f"paired were {_named(stored_pairs)}, to be paired {_named(pairs)}")
    if [*commit.events] != [*decided]:
        yield Breach(6, commit.position, "deciding the command again does not give the events that are stored")
    yield Breach(6, commit.position, "the commit can't be folded")


def _pairs(events: Sequence[Event | Rejection]) -> list[tuple[str, str]]:
    return [(event.first, event.second) for event in events if isinstance(event, RoomOpened)]


def _named(pairs: Sequence[tuple[str, str]]) -> str:
    return " and ".join(f"{first} with {second}" for first, second in pairs) or "nobody"
