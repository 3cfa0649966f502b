"""Going through a log and holding every commit of it against what was promised.

A commit is sound if it follows the one before it, if deciding its command again with its facts gives its events, and
if no promise is broken by the step from the state before it to the one after. Nearly all are, so one pass asks just
that, on a working copy; only for the first that is not is it worked out what is wrong with it.
"""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import NamedTuple

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
from projections.invariants import Breach, CheckedFold, check_events, check_state, check_step
from projections.state import State, StateMutation, digest, evolve

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

    def check(self) -> int:
        """How many commits of it are sound, up to the first that is not."""
        return _checked(self.start.mutate(), self.lines)


_Pass = Callable[[StateMutation, Sequence[bytes]], int]
"""Folds commits, up to the first with which it finds something wrong, and says how many there are before that."""


class _Walk:
    """A log on the way to its end. `state` is what is folded of it."""

    def __init__(self, source: Source) -> None:
        self.state: State = source.base.state
        self._source = source
        self._snapshots = [at for at in source.snapshots() if at > self.state.position]

    def to_the_end(self, workers: int, on_progress: OnProgress) -> _End:
        """Fold all of it, and check each segment, in their order, up to the first fault."""
        segments = self._segments(_checked) if workers == 1 else self._checked_by(workers)
        for segment, sound in segments:
            if sound < len(segment.lines):
                end = _end_in(segment, sound)
                self._make_sure_that_it_was_not_trimmed(end.state, segment.lines[sound])
                return end
            if segment.fault_behind is not None:
                return _End(self.state, segment.fault_behind)
            on_progress(len(segment.lines))
        return _End(self.state, None)

    def _checked_by(self, workers: int) -> Iterator[tuple[_Segment, int]]:
        """Each segment, and how many of its commits are sound; while some are checked, the next are folded here."""
        drawn: deque[_Segment] = deque()

        def jobs() -> Iterator[Callable[[], int]]:
            for segment, _ in self._segments(_folded):
                drawn.append(segment)
                yield segment.check

        for sound in in_order(jobs(), workers):
            yield drawn.popleft(), sound

    def _make_sure_that_it_was_not_trimmed(self, last: State, line: bytes) -> None:
        """Whether a snapshot stands in by now for what is missing between the two."""
        try:
            position = decode_commit(line).position
        except (BrokenChainError, UnreadableCommitError):
            return
        if last.position + 1 < position and position - 1 in self._source.snapshots():
            raise UsageError(f"{self._source.name} was trimmed while it was checked; check it again")

    def _segments(self, go_through: _Pass) -> Iterator[tuple[_Segment, int]]:
        """The log in pieces, cut where snapshots stand, and how many commits of each `go_through` let pass.

        It ends where one did not.
        """
        lines = self._source.lines(self.state.position)
        for snapshot in [*self._snapshots, POSITION_MAX]:
            while (start := self.state).position < snapshot:
                some, fault = _taken(lines, min(SEGMENT_COMMITS, snapshot - start.position), start.position)
                folding = start.mutate()
                passed = go_through(folding, some)
                if passed == len(some):
                    self.state = folding.finish()
                    fault = fault or self._fault_here(snapshot, is_at_the_end=not some)
                yield _Segment(start, some, fault), passed
                if fault is not None or not some or passed < len(some):
                    return

    def _fault_here(self, snapshot: Position, *, is_at_the_end: bool) -> Fault | None:
        """What is wrong with a log that was folded up to here, and maybe has no more."""
        if self.state.position == snapshot:
            return self._unlike_folded(snapshot)
        return self._rolled_back() if is_at_the_end else None

    def _unlike_folded(self, snapshot: Position) -> Fault | None:
        stored = self._source.snapshot(snapshot)
        if stored.tip.position != snapshot:
            is_the_same = snapshot not in self._source.snapshots()  # a broker that runs may have dropped it meanwhile
        else:
            is_the_same = stored.tip == self.state.tip and stored.state == self.state
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


def _folded(folding: StateMutation, lines: Sequence[bytes]) -> int:
    """Let the commits in `lines` have happened, unchecked."""
    for done, line in enumerate(lines):
        try:
            folding.fold(decode_commit(line))
        except Exception:  # noqa: BLE001 - whoever checks these lines says what it was
            return done
    return len(lines)


def _checked(folding: StateMutation, lines: Sequence[bytes]) -> int:
    """Let the commits in `lines` have happened, up to the first that is not sound."""
    checked = CheckedFold(folding)
    for done, line in enumerate(lines):
        try:
            if not _is_sound(checked, line):
                return done
        except Exception:  # noqa: BLE001 - what can't have happened may fail in any way; `_end_in` says what it was
            return done
    return len(lines)


def _is_sound(checked: CheckedFold, line: bytes) -> bool:
    """Whether what stands in `line` is a sound commit; it has happened then. This is what checking a log costs."""
    commit, before = decode_commit(line), checked.folding
    check_link(before.tip, commit)
    decision = decide(before, commit.command, commit.facts)
    if not decision or type(decision) is not list or tuple(decision) != commit.events:
        return False  # also where it is empty: that is none to be stored
    return not checked.step(commit)


def _end_in(segment: _Segment, sound: int) -> _End:
    """The state after so many commits of `segment`, and what is wrong with the next."""
    folding = segment.start.mutate()
    _folded(folding, segment.lines[:sound])
    state = folding.finish()
    try:
        commit = decode_commit(segment.lines[sound])
        check_link(state.tip, commit)
    except (BrokenChainError, UnreadableCommitError) as error:
        return _End(state, Fault(Breach(5, state.position + 1, safe(str(error)))))
    return _End(state, _fault_of(state, commit))


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
    except Exception:  # noqa: BLE001 - see `_checked`
        return check_events(before, commit)


def _decided(before: State, commit: Commit) -> Sequence[Event | Rejection]:
    try:
        decision = decide(before, commit.command, commit.facts)
    except Exception:  # noqa: BLE001 - see `_checked`
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
