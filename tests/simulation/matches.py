"""Missed matches, by a second implementation of the rule of confirmation; and the silence of partners."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from broker.broker import Broker
from events.commands import CancelMatch
from events.commit import Commit
from events.events import RoomOpened
from events.ids import ConnectionId, Position, RoomId

if TYPE_CHECKING:
    from tests.simulation.process import Process
    from tests.simulation.surroundings import Surroundings

SLACK_MS = 0.01
CANCELLED_WITHIN_MS = 2_500.0
TOLD_WITHIN_MS = 1_500.0
SILENCE_STEP_S = 5


class Matches:
    """The matches known to one process, and the signs of life since then."""

    def __init__(self, around: Surroundings, process: Process) -> None:
        self._around = around
        self._process = process
        self._up_since_ms = 0.0
        self._opened: dict[RoomId, float] = {}  # the time when the process learned of it
        self._signs: dict[ConnectionId, int] = {}  # the step of the last beginning of a stream or a call
        self._signs_ms: dict[ConnectionId, float] = {}
        self._opened_steps: dict[RoomId, int] = {}
        self._told: dict[ConnectionId, Position] = {}
        self._silences: list[tuple[float, ConnectionId, int]] = []

    def watch(self, broker: Broker) -> None:
        """Watch confirmations of a match, and the silences given to clients."""
        confirmation, presence = broker.presence.confirmation, broker.presence
        confirm, silence = confirmation.told, presence.silent_ms

        def told(who: ConnectionId, position: Position) -> None:
            self._told[who] = max(position, self._told.get(who, 0))
            self._signs_ms.setdefault(who, self._around.world.now_ms)
            confirm(who, position)

        def silent_ms(who: ConnectionId) -> float | None:
            silent_ms = silence(who)
            self._check_silence(who, silent_ms)
            return silent_ms

        confirmation.told, presence.silent_ms = told, silent_ms

    def begins(self, now_ms: float) -> None:
        """Note a start of the process: graces begin anew."""
        self._up_since_ms = now_ms
        self._opened, self._opened_steps, self._signs, self._told = {}, {}, {}, {}
        self._signs_ms = {}

    def announced(self, commit: Commit) -> None:
        """Note that the process knows of `commit`."""
        around = self._around
        for event in commit.events:
            if isinstance(event, RoomOpened):
                self._opened[event.room_id] = around.world.now_ms
                self._opened_steps[event.room_id] = around.world.steps
                is_sure = len(around.processes) == 1 and around.world.now_ms > around.strict_since_ms
                if is_sure and event.first_entry is not None:
                    grace_ms = around.plan.policy.confirm_grace_ms
                    around.world.after(grace_ms + CANCELLED_WITHIN_MS, self._check_cancelled, event, commit.position)

    def shows(self, who: ConnectionId) -> None:
        """Note that a stream of `who` opens, or a call begins."""
        self._signs[who] = self._around.world.steps
        self._signs_ms[who] = self._around.world.now_ms

    def _is_confirmed(self, who: ConnectionId, room_id: RoomId) -> bool:
        """Return whether the process had a sign of life since it learned of the room."""
        told = self._told.get(who, 0) >= self._around.record.opened[room_id]
        return told or self._signs.get(who, -1) > self._opened_steps.get(room_id, -1)

    def check_cancel(self, command: CancelMatch) -> None:
        """Check a cancellation by the process: no confirmed member missed the match, and all had their grace."""
        around, record = self._around, self._around.record
        now_ms, opened_at = around.world.now_ms, record.opened[command.room_id]
        opened_ms = self._opened.get(command.room_id, self._up_since_ms)
        if now_ms - opened_ms < around.plan.policy.confirm_grace_ms - SLACK_MS:
            around.world.fail(f"{self._process.name} cancels {command} after {now_ms - opened_ms:.0f} ms")
        for who in command.missed_by:
            heard = record.person(who).heard_to >= opened_at and command.room_id in self._opened
            if self._is_confirmed(who, command.room_id) or (heard and len(around.processes) == 1):
                around.world.fail(f"{who} is said to have missed {command.room_id}, and was confirmed")
            known = around.disk.state.connections.by_id.get(who)
            has_acted = known is None or known.last_position > opened_at
            for process in () if has_acted or command.room_id in record.closed else around.processes:
                if process is not self._process and process.matches.has_told(who, command.room_id, self._up_since_ms):
                    around.world.fail(f"{who} is said to have missed {command.room_id}, and {process.name} knows it")
        present = [who for who in self._members(command.room_id) if who not in command.missed_by]
        if len(around.processes) == 1:
            is_other_present = any(self._process.attendance.is_present(who) for who in present)
            if is_other_present != command.is_other_present:
                around.world.fail(f"{present} is present: {is_other_present}, and {command}")

    def has_told(self, who: ConnectionId, room_id: RoomId, since_ms: float) -> bool:
        """Return whether the process has confirmed `who` after `since_ms`, and could tell the other brokers."""
        if not self._around.plan.graces_outlast_leases or room_id not in self._opened:
            return False
        if not self._is_confirmed(who, room_id):
            return False
        sign_ms = self._signs_ms.get(who, float("inf"))
        told_to_ms = min(self._around.joint_attendance.told_to_ms(self._process), self._around.world.now_ms)
        return since_ms < sign_ms < told_to_ms - TOLD_WITHIN_MS

    def _members(self, room_id: RoomId) -> tuple[ConnectionId, ConnectionId]:
        room = self._around.record.rooms[room_id]
        return room.first, room.second

    def _check_cancelled(self, event: RoomOpened, opened_at: Position) -> None:
        """Check at the end of the grace that the room is closed, unless both have given a sign of life."""
        around = self._around
        if event.room_id in around.record.closed or event.room_id not in self._opened:
            return
        for who in (event.first, event.second):
            has_acted = self._process.broker.state.connections.by_id[who].last_position > opened_at
            if not has_acted and not self._is_confirmed(who, event.room_id):
                around.world.fail(f"{who} never came to {event.room_id}, which is open still")

    def _check_silence(self, who: ConnectionId, silent_ms: float | None) -> None:
        """Check the silence of `who` as given by the process."""
        own_ms = self._process.attendance.silent_ms(who)
        if len(self._around.processes) > 1 and not self._process.attendance.is_there(who):
            own_ms = silent_ms  # others may have heard it
        if silent_ms != own_ms and (silent_ms is not None or self._process.attendance.is_there(who)):
            self._around.world.fail(f"{who} is silent for {own_ms}, and {self._process.name} says {silent_ms}")
        if silent_ms is not None:
            told_s = SILENCE_STEP_S * ceil(silent_ms / (1_000 * SILENCE_STEP_S))
            self._silences.append((self._around.world.now_ms, who, told_s))

    def silences_since(self, asked_ms: float) -> list[tuple[ConnectionId, int]]:
        """Return the silences given to clients since `asked_ms`, in seconds, each with the silent connection."""
        return [(who, told_s) for now_ms, who, told_s in self._silences if now_ms >= asked_ms]
