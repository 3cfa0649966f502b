"""Checks of each answer of a tool against the store: every field, and every cursor to the position."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from events.ids import ConnectionId, Position, RoomId

if TYPE_CHECKING:
    from tests.simulation.hosts import Answer
    from tests.simulation.people import Message, Person
    from tests.simulation.surroundings import Surroundings


class Answers:
    """The checks of one person's answers against the record."""

    def __init__(self, around: Surroundings, person: Person) -> None:
        self._around = around
        self._record = around.record
        self._person = person

    def _fail(self, what: str) -> None:
        self._around.world.fail(f"{self._person.name}: {what}")

    def check_queued(self, answer: Answer) -> None:
        """Check `enter_queue` and `next_partner`: the entry or the room exists, and the person was in it."""
        payload, who = answer.payload, ConnectionId(answer.payload["connection_id"])
        cursor = payload["cursor"]
        if not isinstance(cursor, int) or not 0 < cursor <= answer.heard_at:
            self._fail(f"was answered the cursor {cursor}, and the log ended at {answer.heard_at}")
            return
        kind, where = self._record.person(who).place_at(cursor)
        self._check_fresh(answer, who)
        if payload["status"] == "waiting":
            if (kind, where) != ("waiting", cursor) or payload["position"] < 1:
                self._fail(f"was answered {payload}, and was {kind} at {where}")
        else:
            self._record.person(who).hears(cursor)
            room = self._record.rooms.get(payload["room_id"])
            if room is None or (kind, where) != ("chatting", room.room_id):
                self._fail(f"was answered {payload}, and was {kind} at {where}")
            elif payload["partner"] != (room.second_name if room.first == who else room.first_name):
                self._fail(f"was answered {payload}, and the room is {room}")

    def check_sent(self, answer: Answer, message: Message, cursor: int | None) -> None:
        """Check that a successful message is in the log, once for an id, at this time; a repeat has the same answer."""
        stamp = answer.payload.get("timestamp")
        stored = [said for said in self._record.by_text.get(message.text, ()) if said.timestamp == stamp]
        if answer.payload.get("success") is not True or not stored:
            self._fail(f"was answered {answer.payload} for {message.text!r}, of which the log knows nothing")
        elif stored[0].sender != self._person.who or stored[0].room_id != message.room_id:
            self._fail(f"was answered {answer.payload} for {message.text!r}, and the log has {stored[0]}")
        if message.timestamp is not None:
            self._around.sometimes.reached("a message was repeated and said once")
            if message.timestamp != stamp:
                self._fail(f"said {message.text!r} at {message.timestamp}, and the second answer says {stamp}")
        message.timestamp = stamp
        if cursor is not None:
            self._check_page_after(answer.payload, cursor, answer.heard_at)

    def check_wait(self, answer: Answer, arguments: dict[str, Any]) -> None:
        """Check the page and the place in a result of `wait_for_events`."""
        payload = answer.payload
        self._check_page_after(payload, arguments["cursor"], answer.heard_at)
        full = len(payload["events"]) >= self._around.plan.policy.events_per_page_max
        who = self._person.who
        if who is not None and not full:
            kinds = self._record.person(who).kinds(payload["cursor"], answer.heard_at)
            if payload["status"] not in kinds:
                self._fail(f"was told to be {payload['status']} after {payload['cursor']}, and was {kinds}")
            self._check_place(answer, who, payload["cursor"])
        if payload["timed_out"] and payload["events"]:
            self._fail(f"timed out with {payload}")
        if payload["events"]:
            first = payload["events"][0]["params"]["cursor"]
            self._around.check_prompt(first, f"{self._person.name} in a wait", answer.asked_ms)

    def check_inbox(self, text: str, cursor: int | None, asked_at: int) -> None:
        """Check the inbox resource: like a wait of no time, or the newest page."""
        payload = msgspec.json.decode(text)
        if cursor is not None:
            self._check_page_after(payload, cursor, self._around.disk.tip.position)
            return
        self._check_events(payload["events"])
        who, events = self._person.who, payload["events"]
        if who is not None and events:
            through = max(payload["cursor"], asked_at if self._around.plan.brokers > 1 else 0)
            owed = self._record.person(who).between(events[0]["params"]["cursor"] - 1, through)
            if owed != [event["params"]["cursor"] for event in events if event["params"]["cursor"] <= through]:
                self._fail(f"the inbox holds {events}; up to {through}, owed is {owed}")

    def check_status(self, answer: Answer) -> None:
        """Check that the place was the person's, and that the cursor is before the last room, or before the entry."""
        payload, who = answer.payload, self._person.who
        if "connection_id" not in payload or payload["connection_id"] != who:
            return
        assert who is not None
        person, cursor = self._record.person(who), payload["cursor"]
        self._check_fresh(answer, who)
        self._check_place(answer, who, answer.asked_at)
        if payload["status"] == "chatting":
            if person.place_at(cursor + 1) != ("chatting", payload["room_id"]):
                self._fail(f"was told {payload}, and was {person.place_at(cursor + 1)}")
        elif person.place_at(cursor + 1)[0] != "chatting":
            told = person.between(person.known_since, answer.heard_at)
            # Just before the last notification if the room is not kept any more; or before the first room.
            if cursor + 1 not in told and told[:1] <= [cursor] and told:
                self._fail(f"was told {payload}, was {person.place_at(cursor + 1)}, and heard {told}")

    def check_conduct(self, answer: Answer, tool: str, room_id: RoomId) -> None:
        """Check `block_partner` and `report_partner`: the room is closed, the block is kept, and so is the report."""
        record, who, policy = self._record, self._person.who, self._around.plan.policy
        assert who is not None
        room = record.rooms[room_id]
        partner = room.second if room.first == who else room.first
        if answer.payload != {"success": True} or room_id not in record.closed:
            self._fail(f"was answered {answer.payload} by {tool}, and {room_id} ended at {record.closed.get(room_id)}")
        may_be_dropped = policy.blocks_per_connection_max < 100
        if not may_be_dropped and not record.meetings.has_blocked(who, partner):
            self._fail(f"has blocked {partner} by {tool}, of which the log knows nothing")
        if tool == "report_partner" and (room_id, who) not in record.reports:
            self._fail(f"has reported {room_id}, of which the log knows nothing")

    def _check_place(self, answer: Answer, who: ConnectionId, since: Position) -> None:
        """Check the reason for being idle and the silence of the partner."""
        payload = answer.payload
        reason, silent_s = payload.get("idle_reason"), payload.get("partner_idle_seconds")
        reasons = self._record.person(who).idle_reasons(since, answer.heard_at)
        if payload["status"] != "idle" and reason is not None:
            self._fail(f"is {payload['status']}, and was told {reason}")
        if reason is not None and reason not in reasons:
            self._fail(f"was told {reason} after {since}, and the log says {reasons}")
        if silent_s is not None:
            self._around.sometimes.reached("a silent partner was told")
            partners = self._record.person(who).partners
            silences = [process.matches.silences_since(answer.asked_ms) for process in self._around.processes]
            possible = {told_s for some in silences for partner, told_s in some if partner in partners}
            if payload["status"] != "chatting" or silent_s not in possible:
                self._fail(f"was told a silence of {silent_s} s: {payload}; possible were {possible}")

    def _check_fresh(self, answer: Answer, who: ConnectionId) -> None:
        """Check that the place was true at a moment between question and answer, at any broker.

        A single broker is not checked: it may answer before it knows that an append has landed.
        """
        if self._around.plan.brokers == 1:
            return
        payload, person = answer.payload, self._record.person(who)
        said = {
            "matched": ("chatting", payload.get("room_id")),
            "chatting": ("chatting", payload.get("room_id")),
            "waiting": ("waiting", None),
            "idle": ("idle", None),
        }[payload["status"]]
        moves = [place for position, place in person.places if answer.asked_at < position <= answer.heard_at]
        places = [person.place_at(answer.asked_at), *moves]
        if said not in [(kind, where if kind == "chatting" else None) for kind, where in places]:
            self._fail(f"was told {payload}; from {answer.asked_at} to {answer.heard_at} the log has {places}")

    def check_refusal(self, answer: Answer, cursor: int | None = None) -> None:
        """Check the reason of a refusal, and the last words after `cursor`; count rare refusals."""
        code, around = answer.payload["code"], self._around
        if code == "chat_ended" and cursor is not None:
            around.sometimes.reached("a message came after the end, and brought the last words")
            self._check_page_after(answer.payload, cursor, answer.heard_at)
        if "room_id" in answer.payload and answer.payload["room_id"] not in self._record.rooms:
            self._fail(f"was refused with a room that there is not: {answer.payload}")
        if code == "unavailable":
            around.sometimes.reached("a command was unavailable")
        elif code == "rate_limited":
            around.sometimes.reached("a command was rate limited")
        elif code == "unknown_handle":
            around.sometimes.reached("a handle was unknown")
            if answer.named and around.plan.handles_are_kept:
                self._fail("their handle was given, and is not known any more")
        elif code == "invalid_arguments" or (code == "room_not_found" and around.plan.policy.closed_rooms_kept > 1_000):
            self._fail(f"was refused: {answer.payload}")

    def _check_page_after(self, payload: dict[str, Any], cursor: int, heard_at: int) -> None:
        """Check that a page holds exactly the person's notifications between the two cursors."""
        who, events = self._person.who, payload["events"]
        assert who is not None
        self._check_events(events)
        person = self._record.person(who)
        heard = [position for event in events if (position := event["params"]["cursor"]) > person.known_since]
        owed = person.between(max(cursor, person.known_since), payload["cursor"])
        if not cursor <= payload["cursor"] <= heard_at:
            self._fail(f"asked after {cursor} and was answered the cursor {payload['cursor']}")
        if payload.get("missed"):
            self._around.sometimes.reached("a page said that something was missed")
            base = self._around.disk.base.position
            owed = [position for position in owed if position in heard or position > base]
            if cursor >= self._around.disk.base.position:
                self._fail(f"was told that something after {cursor} is gone, and the log is there")
        if heard != owed or len(events) > self._around.plan.policy.events_per_page_max:
            self._fail(f"asked after {cursor}, was given {heard} up to {payload['cursor']}, owed is {owed}")

    def _check_events(self, events: list[dict[str, Any]]) -> None:
        who = self._person.who
        assert who is not None
        for event in events:
            self._record.check_heard(who, event["method"], event["params"], "a result")
