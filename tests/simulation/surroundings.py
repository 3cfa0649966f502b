"""One seed's world: store, processes, network, and the watches on them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from events.commands import Disconnect, EnterQueue, MatchDue, NextPartner
from events.commit import Commit
from events.events import RoomOpened
from events.ids import POSITION_MAX, ConnectionId, Position
from events.log import LogUnavailableError
from projections.state import State
from tests.simulation.channel import SimChannel
from tests.simulation.disk import Disk
from tests.simulation.faults import Faults
from tests.simulation.joint_attendance import JointAttendance
from tests.simulation.loop import SimLoop, World
from tests.simulation.network import Network
from tests.simulation.plan import Plan
from tests.simulation.record import Record
from tests.simulation.sometimes import Sometimes
from tests.support.turns import TurnLine

if TYPE_CHECKING:
    from tests.simulation.hosts import Host
    from tests.simulation.people import Person
    from tests.simulation.process import Process

PROMPT_MS = 400.0
LATE_MS = 20_000.0  # the longest effect after the last fault


class Surroundings:
    """The parts that everything in one run can see."""

    def __init__(self, seed: str, plan: Plan) -> None:
        self.seed = seed
        self.plan = plan
        self.world = World(seed)
        self.faults = Faults(seed)
        if plan.in_memory:  # a log in memory outlives no process, and no other program can trim it
            self.faults.spare("crash", "shutdown", "trim")
        self.sometimes = Sometimes()
        self.record = Record(self.world, self.sometimes)
        self.record.forgotten = plan.redact_after_ms is not None
        self.disk = Disk(f"e{seed}", TurnLine(self.world.after))
        self.disk.on_commit = self._on_commit
        self.disk.on_redact = self.record.check_redacted
        self.channel = SimChannel(self.world, self.faults) if plan.brokers > 1 else None
        self.joint_attendance = JointAttendance(self)
        self.clients = SimLoop(self.world, "clients")
        self.network = Network(self.world, self.clients, self.faults, self.sometimes)
        self.processes: list[Process] = []
        self.hosts: list[Host] = []
        self.people: list[Person] = []
        self.faulty = True
        self.over = False
        self.calm_since_ms = self.strict_since_ms = float("inf")
        self.calls = 0
        self.owners: dict[ConnectionId, Host] = {}
        """By connection: the host that was given its handle."""
        self._drafts: dict[str, Commit] = {}  # by commit id: decided, and not seen stored
        self._room_of_command: dict[str, bool] = {}  # by a fresh room id: whether the first decision opened it

    def _on_commit(self, before: State, commit: Commit, after: State) -> None:
        self._drafts.pop(commit.commit_id, None)
        self.record.on_commit(before, commit, after)

    def decided(self, process: Process, commits: Sequence[Commit]) -> None:
        """Check the commits that `process` is about to append."""
        process.decided_ids.update(commit.commit_id for commit in commits)
        fresh = [commit for commit in commits if commit.commit_id not in self._drafts]
        for commit in fresh:
            self._drafts[commit.commit_id] = commit
            self._note_other_outcome(commit)
        if fresh:
            self._note_rare(fresh)
        if fresh and commits[-1].commit_id not in self.record.ids[-50:]:
            if len(self.processes) == 1:
                process.attendance.check(list(commits))
            elif self.plan.graces_outlast_leases:
                self.joint_attendance.check(process, list(commits))

    def _note_rare(self, commits: Sequence[Commit]) -> None:
        for commit, following in pairwise([*commits, commits[-1]]):
            command = commit.command
            if isinstance(command, MatchDue):
                self.sometimes.reached("patience ended in a match")
            elif isinstance(command, Disconnect) and command.since == POSITION_MAX:
                self.sometimes.reached("a ghost was abandoned")
            elif isinstance(command, Disconnect) and isinstance(following.command, EnterQueue | NextPartner):
                self.sometimes.reached("someone absent was taken out before a match")

    def _note_other_outcome(self, commit: Commit) -> None:
        room_id = commit.facts.room_id
        if room_id is None:
            return
        opens = any(isinstance(event, RoomOpened) for event in commit.events)
        if self._room_of_command.setdefault(room_id, opens) != opens:
            self.sometimes.reached("a conflict was decided again to another outcome")

    def announced(self, process: Process, commit: Commit) -> None:
        """Check that an announced `commit` is stored, and in order."""
        position = commit.position
        if position >= len(self.record.ids) or self.record.ids[position] != commit.commit_id:
            self.world.fail(f"{process.name} announced position {position} before it was stored")
        if process.announced_to not in (None, position - 1):
            self.world.fail(f"{process.name} announced position {position} right after {process.announced_to}")
        process.announced_to = position
        process.attendance.announced(commit)
        process.matches.announced(commit)
        if len(self.processes) > 1 and commit.commit_id not in process.decided_ids:
            self.sometimes.reached("a broker followed what another wrote")

    def avoids_peer(self, who: ConnectionId, other: ConnectionId, at_ms: int) -> bool:
        """Return whether `who` may have met the address of `other` lately; true if a host is unknown."""
        met = self.record.meetings.met_since(who, at_ms - self.plan.policy.rematch_after_ms)
        owners, own = [self.owners.get(partner) for partner in met], self.owners.get(other)
        return any(one is None or own is None or one.address == own.address for one in owners)

    def check_prompt(self, position: Position, what: str, since_ms: float) -> None:
        """Check that `what` hears of `position` soon after its commit and `since_ms`, if nothing is wrong."""
        begun_ms = max(self.record.landed_ms[position], since_ms)
        if begun_ms >= self.strict_since_ms and self.world.now_ms - begun_ms > PROMPT_MS + self.plan.lag_ms:
            self.world.fail(f"{what} heard of position {position} only {self.world.now_ms - begun_ms:.0f} ms later")

    def is_due(self, position: Position) -> bool:
        """Return whether every listener must have heard of `position` by now."""
        return self.world.now_ms - self.record.landed_ms[position] > PROMPT_MS + self.plan.lag_ms

    def lost_with(self, process: Process) -> None:
        """Note a crash of `process`."""
        if process.is_appending and process.broker.state.position < self.disk.tip.position:
            self.sometimes.reached("a crash between append and announce")

    def check_start_failure(self, failure: Exception) -> None:
        """Check that a start failed only because the store did not answer."""
        is_calm = self.world.now_ms > self.calm_since_ms + LATE_MS
        if not isinstance(failure, LogUnavailableError) or is_calm:
            self.world.fail(f"a broker could not start: {type(failure).__name__}: {failure}")

    def some_process(self) -> Process:
        """Return a random process."""
        return self.processes[self.faults.random.randrange(len(self.processes))]
