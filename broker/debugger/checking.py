"""Going through a log and holding every commit of it against what was promised.

A commit is sound if it follows the one before it, if deciding its command again with its facts gives its events, and
if no promise is broken by the step from the state before it to the one after. Nearly all are, so one pass asks just
that; only for the first that is not is it worked out what is wrong with it.
"""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import NamedTuple

import msgspec

from broker.debugger.parallel import cores, in_order
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

SEGMENT_COMMITS = 10_000

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


def check_log(source: Source, on_progress: OnProgress = lambda commits: None, *, workers: int | None = None) -> Verdict:
    """Check `source` from its base to its tip, or to the first position that breaks a promise.

    What is checked is every commit, the states at both ends, and the snapshots that are stored between them. A long
    log is checked in segments by as many `workers` (by default one a core), each in a process of its own. It holds a
    state and the lines of a segment for each in memory, however long the log is. `on_progress` hears of each segment.

    Raises:
        LogUnavailableError: the log did not answer.
        UsageError: somebody trimmed it meanwhile.
    """
    if workers is None:
        is_long = source.tip().position - source.base.tip.position >= 2 * SEGMENT_COMMITS
        workers = cores() if is_long else 1
    with _without_collections():
        walk = _Walk(source)
        end = _End(walk.state, _fault_in(walk.state))
        if end.fault is None:
            end = walk.to_the_end(workers, on_progress)
        fault = end.fault or _fault_in(end.state)
    return Verdict(end.state.position - source.base.tip.position, end.state.tip, digest(end.state), fault)


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


class _End(NamedTuple):
    """How far it goes, and what is wrong there."""

    state: State
    fault: Fault | None


class _Segment(NamedTuple):
    """Some commits in a row, and the state before them: that of folding whatever stands there, sound or not.

    It is the right one once all the segments before have been found sound.
    """

    start: State
    lines: Sequence[bytes]
    fault_behind: Fault | None  # what is wrong with what comes next, if it is neither a commit nor the end

    def check(self) -> int | None:
        """How many commits of it are sound, if not all of them are."""
        end = _go_on(self.start, self.lines)
        return None if end.fault is None else end.state.position - self.start.position


class _Walk:
    """A log on the way to its end. `state` is what is folded of it."""

    def __init__(self, source: Source) -> None:
        self.state: State = source.base.state
        self._source = source
        self._snapshots = [at for at in source.snapshots() if at > self.state.position]

    def to_the_end(self, workers: int, on_progress: OnProgress) -> _End:
        """Fold all of it, and have each segment checked meanwhile, in their order, up to the first fault."""
        drawn: deque[_Segment] = deque()

        def jobs() -> Iterator[Callable[[], int | None]]:
            for segment in self._segments():
                drawn.append(segment)
                yield segment.check

        for sound in in_order(jobs(), workers):
            segment = drawn.popleft()
            if sound is not None:
                end = _go_on(segment.start, segment.lines[: sound + 1])
                self._make_sure_that_it_was_not_trimmed(end.state, segment.lines[sound])
                return end
            if segment.fault_behind is not None:
                return _End(_go_on(segment.start, segment.lines).state, segment.fault_behind)
            on_progress(len(segment.lines))
        return _End(self.state, None)

    def _make_sure_that_it_was_not_trimmed(self, last: State, line: bytes) -> None:
        """Whether a snapshot stands in by now for what is missing between the two."""
        try:
            position = decode_commit(line).position
        except (BrokenChainError, UnreadableCommitError):
            return
        if last.position + 1 < position and position - 1 in self._source.snapshots():
            raise UsageError(f"{self._source.name} was trimmed while it was checked; check it again")

    def _segments(self) -> Iterator[_Segment]:
        """The log in pieces, cut where snapshots stand; it ends where something can't be folded."""
        lines = self._source.lines(self.state.position)
        for snapshot in [*self._snapshots, POSITION_MAX]:
            while (start := self.state).position < snapshot:
                some, fault = _taken(lines, min(SEGMENT_COMMITS, snapshot - start.position), start.position)
                is_folded = self._fold(some)
                if fault is None and not some:
                    fault = self._rolled_back()
                if fault is None and is_folded and self.state.position == snapshot:
                    fault = self._unlike_folded(snapshot)
                yield _Segment(start, some, fault)
                if fault is not None or not some or not is_folded:
                    return

    def _fold(self, lines: Sequence[bytes]) -> bool:
        """Let the commits in `lines` have happened, unchecked; whether that was possible."""
        folding = self.state.mutate()
        try:
            for line in lines:
                folding.fold(decode_commit(line))
        except Exception:  # noqa: BLE001 - whoever checks these lines says what it was
            return False
        self.state = folding.finish()
        return True

    def _unlike_folded(self, snapshot: Position) -> Fault | None:
        stored = self._source.snapshot(snapshot)
        if stored.tip.position != snapshot:
            is_the_same = snapshot not in self._source.snapshots()  # a broker that runs may have dropped it meanwhile
        else:
            is_the_same = stored.tip == self.state.tip and digest(stored.state) == digest(self.state)
        what = "the snapshot that is stored here is not what the log says, or can't be read"
        return None if is_the_same else Fault(Breach(6, snapshot, what))

    def _rolled_back(self) -> Fault | None:
        """What is wrong with the end of the log, where it is."""
        newest = max(self._snapshots, default=0)
        if newest <= self.state.position:
            return None
        what = f"the log ends here, and a snapshot of it at position {newest} says that it went on"
        return Fault(Breach(5, self.state.position, what))


def _taken(lines: Iterator[bytes], count: int, position: Position) -> tuple[Sequence[bytes], Fault | None]:
    """Up to `count` of `lines`, which stand behind `position`, and what is wrong with the one that can't be had."""
    taken: list[bytes] = []
    try:
        taken.extend(islice(lines, count))
    except (UnreadableCommitError, UnusableLogError) as error:
        return taken, Fault(Breach(5, position + len(taken) + 1, safe(str(error))))
    return taken, None


def _go_on(state: State, lines: Iterable[bytes]) -> _End:
    """Check the commits in `lines`, which follow `state`. This loop is what checking a log costs."""
    commit = None
    try:
        for line in lines:
            commit = None
            commit = decode_commit(line)
            check_link(state.tip, commit)
            after = evolve(state, commit)
            decision = decide(state, commit.command, commit.facts)
            # An empty decision is none to be stored.
            repeats = decision and type(decision) is list and tuple(decision) == commit.events
            if not repeats or check_step(state, commit, after):
                return _End(state, _fault_of(state, commit))
            state = after
    except (BrokenChainError, UnreadableCommitError) as error:
        return _End(state, Fault(Breach(5, state.position + 1, safe(str(error)))))
    except Exception:
        # What can't have happened is what is looked for: folding it may fail in any way.
        if commit is None:
            raise
        return _End(state, _fault_of(state, commit))
    return _End(state, None)


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
    if not commit.events:
        yield Breach(6, commit.position, "a command that led to nothing is stored")
    yield Breach(6, commit.position, "the commit can't be folded")


def _pairs(events: Sequence[Event | Rejection]) -> list[tuple[str, str]]:
    return [(event.first, event.second) for event in events if isinstance(event, RoomOpened)]


def _named(pairs: Sequence[tuple[str, str]]) -> str:
    return " and ".join(f"{first} with {second}" for first, second in pairs) or "nobody"
