"""Any state of a long log, soon: to go back is to fold forwards from a little before.

States are kept at checkpoints, every `BLOCK_COMMITS` commits of what was passed. They share almost all they hold, so
one costs little; between two of them, at most `BLOCK_COMMITS` commits are folded.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import islice

from events.codec import UnreadableCommitError, decode_commit
from events.commit import BrokenChainError
from events.ids import Position
from events.log import UnusableLogError
from log_debugger.reading.iterate import FOLD_ERRORS, Conversations, conversations_after, conversations_in, step_of
from log_debugger.reading.short_names import ShortNames, names_of
from log_debugger.reading.sources import Source, Step
from projections.state import State, fold

BLOCK_COMMITS = 500
BLOCKS_KEPT = 8
READ_ERRORS = (UnreadableCommitError, BrokenChainError, UnusableLogError)
"""What it means that a log can't be read on."""

_Checkpoint = tuple[State, Conversations]


class HistoryCache:
    """A log that can be wound to any position. It reads no further than `last`, until `reload`."""

    def __init__(self, source: Source) -> None:
        self._source = source
        base: State = source.base.state
        self.first: Position = base.position
        self.last: Position = source.tip().position
        self.names: ShortNames = names_of(source)
        self.broken: str | None = None  # what is wrong behind `last`, where the log can't be read on
        self._checkpoints: dict[Position, _Checkpoint] = {self.first: (base, conversations_in(base))}
        self._blocks: OrderedDict[Position, list[tuple[Step, Conversations]]] = OrderedDict()

    def seek(self, position: Position) -> Iterator[Position]:
        """Pass what lies before `position`, a block at a time, each time naming how far it has come."""
        start = self._start_of(min(position, self.last))
        if not self.is_near(position):
            self._checkpoint_near(start)
        known = self._nearest(start)
        while known < start and known < self.last:
            self._pass(known)
            known = min(known + BLOCK_COMMITS, self.last)
            yield known

    def is_near(self, position: Position) -> bool:
        """Whether `position` can be had without passing other blocks."""
        return self._start_of(min(position, self.last)) in self._checkpoints

    def clamp(self, position: Position) -> Position:
        """`position`, or the nearest that there is; the log is wound there."""
        position = max(self.first, min(position, self.last))
        for _ in self.seek(position):
            pass
        if position > self.first:
            self._block(self._start_of(position))
        return min(position, self.last)  # the log may have turned out to be broken before it

    def state(self, position: Position) -> State:
        """The state after the commit at `position`, which has been settled on."""
        return self._checkpoints[position][0] if position == self.first else self.step(position)[0].after

    def step(self, position: Position) -> tuple[Step, Conversations]:
        """The commit at `position`, above `first` and settled on, and the conversations that went on before it."""
        start = self._start_of(position)
        return self._block(start)[position - start - 1]

    def has(self, position: Position) -> bool:
        """Whether there is a commit at `position`, as far as is known."""
        return self.first < position <= self.last

    def position_at(self, at_ms: int) -> Position:
        """The last position of that time (Unix, ms) or before."""
        return self._source.position_at(at_ms)

    def block_of(self, position: Position) -> tuple[Position, Sequence[Step]]:
        """The commits among which the one at `position` is, which has been settled on, and the position before them."""
        start = self._start_of(position)
        return start, [step for step, _ in self._block(start)]

    def reload(self) -> Position:
        """Take in what was appended since, and answer how many commits that is."""
        tip, before = self._source.tip().position, self.last
        if tip <= before:
            return 0
        self.names.learn(self._source, before)
        self._blocks.pop(self._start_of(max(before, self.first + 1)), None)  # it may have been cut off by the end
        self.last, self.broken = tip, None
        return tip - before

    def _start_of(self, position: Position) -> Position:
        """The checkpoint before the commit at `position`; marks stand at whole blocks from the beginning."""
        passed = max(0, position - self.first - 1)
        return self.first + passed // BLOCK_COMMITS * BLOCK_COMMITS

    def _nearest(self, start: Position) -> Position:
        """The last mark at or before `start`."""
        known = start
        while known not in self._checkpoints:
            known -= BLOCK_COMMITS
        return known

    def _checkpoint_near(self, start: Position) -> None:
        """Have a mark from the newest snapshot before `start`, if that saves folding all that lies before it."""
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
            return  # whoever comes from before will find it
        if state.position == marked:
            self._checkpoints[marked] = state, conversations

    def _pass(self, start: Position) -> None:
        """Have a mark behind the block at `start`, without the states in between."""
        if start + BLOCK_COMMITS in self._checkpoints:
            return
        state, conversations = self._checkpoints[start]
        try:
            commits = [decode_commit(line) for line in islice(self._source.lines(start), BLOCK_COMMITS)]
            state = fold(commits, state)
        except (*READ_ERRORS, *FOLD_ERRORS):
            commits = []
        if len(commits) < BLOCK_COMMITS:
            self._block(start)  # it finds where the log ends, or what is wrong with it
            return
        for commit in commits:
            conversations = conversations_after(conversations, commit)
        self._checkpoints[state.position] = state, conversations

    def _block(self, start: Position) -> list[tuple[Step, Conversations]]:
        """The commits behind the checkpoint at `start`; fewer than a block where the log ends or breaks."""
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
