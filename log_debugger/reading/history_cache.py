"""Fast access to any state of a long log: stepping back is folding forward from a checkpoint.

A checkpoint is kept after every `BLOCK_COMMITS` commits that were passed. Checkpoints share most of their memory. A
position in between costs at most `BLOCK_COMMITS` folded commits.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import islice

from events.codec import UnreadableCommitError, decode_commit
from events.commit import BrokenChainError
from events.ids import Position
from events.log import UnusableLogError
from log_debugger.reading.deliveries import Deliveries
from log_debugger.reading.filters import MATCH_ALL
from log_debugger.reading.iterate import FOLD_ERRORS, Conversations, conversations_after, conversations_in, step_of
from log_debugger.reading.operations import GrowingNotes, Note
from log_debugger.reading.short_names import ShortNames, names_of
from log_debugger.reading.sources import Source, Step
from log_debugger.reading.times import LogSpan, span_of
from projections.state import State, fold

BLOCK_COMMITS = 500
BLOCKS_KEPT = 8
READ_ERRORS = (UnreadableCommitError, BrokenChainError, UnusableLogError)
"""Errors at a position beyond which a log can't be read."""

_Checkpoint = tuple[State, Conversations]


class HistoryCache:
    """A log with random access by position. It reads no further than `last`, until `reload`."""

    def __init__(self, source: Source) -> None:
        self._source = source
        base: State = source.base.state
        self.first: Position = base.position
        self.last: Position = source.tip().position
        self.names: ShortNames = names_of(source)
        self.broken: str | None = None  # the fault after `last`, if the log can't be read further
        self._deliveries: Deliveries | None = None
        self._growing: GrowingNotes | None = None
        self._notes: dict[Position, list[Note]] = {}
        self._checkpoints: dict[Position, _Checkpoint] = {self.first: (base, conversations_in(base))}
        self._blocks: OrderedDict[Position, list[tuple[Step, Conversations]]] = OrderedDict()

    @property
    def span(self) -> LogSpan:
        """The times of the first and the last commit that the log has now."""
        return span_of(self._source)

    @property
    def deliveries(self) -> Deliveries:
        """The delivery records of the commits up to `last`."""
        if self._deliveries is None:
            self._deliveries = Deliveries(self._source, self.last)
        return self._deliveries

    def notes_after(self, position: Position) -> Sequence[Note]:
        """Return the notes between the commit at `position` and the next one, oldest first."""
        if self._growing is None:
            self._growing = GrowingNotes(self._source, MATCH_ALL, self.first)
            self._take_notes(self._growing)
        return self._notes.get(position, ())

    def look_for_notes(self) -> bool:
        """Read the new notes; return true if there are any. They come later than their commits."""
        if self._growing is None:
            return False
        self._growing.look()
        return self._take_notes(self._growing)

    def _take_notes(self, growing: GrowingNotes) -> bool:
        new = list(growing.before(self.last + 1))
        for note in new:
            self._notes.setdefault(note.record.after, []).append(note)
        for position in {note.record.after for note in new}:
            self._notes[position].sort(key=lambda note: note.record.at_ms)
        return bool(new)

    def seek(self, position: Position) -> Iterator[Position]:
        """Fold the blocks before `position`; yield the position reached after each."""
        start = self._start_of(min(position, self.last))
        if not self.is_near(position):
            self._checkpoint_near(start)
        known = self._nearest(start)
        while known < start and known < self.last:
            self._skip_block(known)
            known = min(known + BLOCK_COMMITS, self.last)
            yield known

    def is_near(self, position: Position) -> bool:
        """Return `True` if `position` needs no other block to be folded first."""
        return self._start_of(min(position, self.last)) in self._checkpoints

    def clamp(self, position: Position) -> Position:
        """Load and return `position`, or the nearest existing one."""
        position = max(self.first, min(position, self.last))
        for _ in self.seek(position):
            pass
        if position > self.first:
            self._load_block(self._start_of(position))
        return min(position, self.last)  # a fault may have been found before it

    def state(self, position: Position) -> State:
        """Return the state after the commit at `position`, a result of `clamp`."""
        return self._checkpoints[position][0] if position == self.first else self.step(position)[0].after

    def step(self, position: Position) -> tuple[Step, Conversations]:
        """Return the step to `position`, and the conversations before it.

        `position` must be a result of `clamp`, and greater than `first`.
        """
        start = self._start_of(position)
        return self._load_block(start)[position - start - 1]

    def has(self, position: Position) -> bool:
        """Return `True` if there is a commit at `position`, as far as the log was read."""
        return self.first < position <= self.last

    def position_at(self, at_ms: int) -> Position:
        """Return the last position at or before `at_ms` (Unix time)."""
        return self._source.position_at(at_ms)

    def block_of(self, position: Position) -> tuple[Position, Sequence[Step]]:
        """Return the position before the block of `position`, a result of `clamp`, and the block's steps."""
        start = self._start_of(position)
        return start, [step for step, _ in self._load_block(start)]

    def reload(self) -> Position:
        """Take in the commits appended since; return their number."""
        self._deliveries = None  # they come later than their commits
        tip, before = self._source.tip().position, self.last
        if tip <= before:
            return 0
        self.names.learn(self._source, before)
        self._blocks.pop(self._start_of(max(before, self.first + 1)), None)  # the end may have cut it short
        self.last, self.broken = tip, None
        return tip - before

    def _start_of(self, position: Position) -> Position:
        """Return the checkpoint's position before the commit at `position`, a multiple of whole blocks."""
        passed = max(0, position - self.first - 1)
        return self.first + passed // BLOCK_COMMITS * BLOCK_COMMITS

    def _nearest(self, start: Position) -> Position:
        """Return the position of the last checkpoint at or before `start`."""
        known = start
        while known not in self._checkpoints:
            known -= BLOCK_COMMITS
        return known

    def _checkpoint_near(self, start: Position) -> None:
        """Add a checkpoint from the newest snapshot before `start`, if that saves folding blocks."""
        snapshot = self._source.snapshot(start)
        state: State = snapshot.state
        behind = (self.first - state.position) % BLOCK_COMMITS
        marked = state.position + behind
        if not self._nearest(start) + BLOCK_COMMITS < marked <= start:
            return
        conversations = conversations_in(state)
        try:
            for line in islice(self._source.lines(state.position), behind):
                step = step_of(state, line)
                state, conversations = step.after, conversations_after(conversations, step.commit)
        except READ_ERRORS:
            return  # found again on folding up to it
        if state.position == marked:
            self._checkpoints[marked] = state, conversations

    def _skip_block(self, start: Position) -> None:
        """Add a checkpoint after the block at `start`, without keeping the states in between."""
        if start + BLOCK_COMMITS in self._checkpoints:
            return
        state, conversations = self._checkpoints[start]
        try:
            commits = [decode_commit(line) for line in islice(self._source.lines(start), BLOCK_COMMITS)]
            state = fold(commits, state)
        except (*READ_ERRORS, *FOLD_ERRORS):
            commits = []
        if len(commits) < BLOCK_COMMITS:
            self._load_block(start)  # finds the end of the log, or the fault
            return
        for commit in commits:
            conversations = conversations_after(conversations, commit)
        self._checkpoints[state.position] = state, conversations

    def _load_block(self, start: Position) -> list[tuple[Step, Conversations]]:
        """Return the steps after the checkpoint at `start`; fewer than a block where the log ends or breaks."""
        if start in self._blocks:
            self._blocks.move_to_end(start)
            return self._blocks[start]
        state, conversations = self._checkpoints[start]
        found: list[tuple[Step, Conversations]] = []
        try:
            for line in islice(self._source.lines(start), min(BLOCK_COMMITS, self.last - start)):
                step = step_of(state, line)
                found.append((step, conversations))
                state, conversations = step.after, conversations_after(conversations, step.commit)
        except READ_ERRORS as error:
            self.last, self.broken = state.position, str(error)
        if len(found) == BLOCK_COMMITS:
            self._checkpoints[state.position] = state, conversations
        self._blocks[start] = found
        while len(self._blocks) > BLOCKS_KEPT:
            self._blocks.popitem(last=False)
        return found
