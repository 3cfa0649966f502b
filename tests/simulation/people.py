"""People: their random actions, with each answer checked against the store."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, get_args

from events.commands import ReportCategory
from events.ids import ConnectionId, RoomId, connection_id_of
from tests.simulation.answers import Answers
from tests.simulation.hosts import Answer, Host, pause_between
from tests.simulation.kept_host import KeptHost
from tests.simulation.listening_host import ListeningHost
from tests.simulation.loop import sleep_ms

if TYPE_CHECKING:
    from tests.simulation.surroundings import Surroundings

WORDS = ("music", "chess", "trains", "tea")
TEXTS_KEPT = 6
TRIES_MAX = 400


class Message:
    """A message to be sent, and sent again until there is an answer."""

    def __init__(self, room_id: str, text: str, message_id: str | None) -> None:
        self.room_id = room_id
        self.text = text
        self.message_id = message_id
        self.tries = 0
        self.timestamp: str | None = None


class Person:
    """One participant, with one handle at a time."""

    def __init__(self, around: Surroundings, host: Host, name: str) -> None:
        self.around = around
        self.host = host
        self.name = name
        self.random = random.Random(f"{around.seed} {name}")
        self.answers = Answers(around, self)
        # People with a session call `enter_queue`, so that its stream hears them.
        self.is_window = not isinstance(host, KeptHost) and random.Random(f"{around.seed} {name} window").random() < 0.3
        self.handle: str | None = None
        self.who: ConnectionId | None = None
        self.cursor: int | None = None
        self.room_id: str | None = None
        self.last_room_id = ""
        self.waits = False
        self.old_cursors: list[int] = []
        self.said: list[Message] = []
        self.texts = 0
        self.at_rest = False
        self.vanished = False

    async def run(self) -> None:
        """Act at random during the faults, then come to rest."""
        await pause_between(self.host, 1_500)
        while self.around.faulty and not self.vanished:
            await self._act()
            await pause_between(self.host, 600)
            if self.random.random() < 0.03:
                await sleep_ms(12_000 * self.random.random())
        self.at_rest = True

    @property
    def is_somewhere(self) -> bool:
        """Return whether they wait or chat, as far as they know."""
        return self.waits or self.room_id is not None

    # What they do

    async def _act(self) -> None:
        draw = self.random.random()
        if self.who is None:
            await self.enter()
        elif draw < 0.06:
            await self.status()
        elif draw < 0.10:
            await self.look_back()
        elif draw < 0.12:
            await self.read_inbox()
        elif draw < 0.15 and isinstance(self.host, KeptHost):
            await self._shake(self.host)
        elif self.last_room_id and draw < 0.17:
            await self.complain()
        elif self.room_id is not None:
            await self._chat(draw)
        elif self.waits:
            await (self.wait() if draw < 0.75 else self.enter() if draw < 0.9 else self.leave_queue())
        elif self.said and draw < 0.3:
            await self.next_partner(self.said[-1].room_id)
        else:
            await self.enter(anew=draw > 0.9)

    async def _chat(self, draw: float) -> None:
        assert self.room_id is not None
        if draw < 0.5:
            await self.say(self.message(named=self.random.random() < 0.7), listen=draw < 0.3)
        elif draw < 0.6 and self.said:
            await self.say(self.random.choice(self.said[-TEXTS_KEPT:]), listen=False)
        elif draw < 0.85:
            await self.wait()
        elif draw < 0.93:
            await self.next_partner(self.room_id)
        else:
            await self.leave_chat()

    async def _shake(self, host: KeptHost) -> None:
        draw = self.random.random()
        if draw < 0.4:
            host.hang_up()
        elif draw < 0.6:
            await host.end_session()
        elif self.handle is not None:
            method = "resources/subscribe" if draw < 0.9 else "resources/unsubscribe"
            await host.ask(method, {"uri": f"chat://inbox/{self.handle}"})

    def message(self, *, named: bool) -> Message:
        """Return a new message; with `named`, repeats are recognised."""
        assert self.room_id is not None
        self.texts += 1
        message_id = f"m{self.texts}" if named else None
        self.said.append(Message(self.room_id, f"{self.name} {self.texts}", message_id))
        return self.said[-1]

    def _named(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return `arguments` with the handle, which may be left out if the session knows it."""
        host = self.host
        knows = isinstance(host, KeptHost) and host.default == self.who and len(host.people) == 1
        if self.handle is None or (knows and self.random.random() < 0.3):
            return arguments
        return {**arguments, "handle": self.handle}

    async def enter(self, *, anew: bool = False) -> Answer | None:
        """Join the queue, or ask for the place in it."""
        arguments: dict[str, Any] = {"display_name": self.name}
        if self.random.random() < 0.6:
            arguments["interests"] = sorted(self.random.sample(WORDS, self.random.randrange(3)))
        minting = self.handle is None or anew
        if not minting:
            arguments["handle"] = self.handle
        host = self.host
        if isinstance(host, KeptHost) and len(host.people) > 1 and minting:
            # In the session, its default would replace a missing handle.
            answer = await host.elsewhere.call("enter_queue", arguments)
        else:
            if isinstance(host, KeptHost):
                host.default = None
            answer = await host.call("chat_enter" if self.is_window else "enter_queue", arguments)
            if answer is not None and isinstance(host, KeptHost) and not answer.is_error:
                who = connection_id_of(answer.payload["handle"])
                host.default = who
                host.shown(who, minted=minting and who not in self.around.owners, at=answer.heard_at)
        if answer is not None and not self._refused(answer):
            self._entered(answer)
        return answer

    def _entered(self, answer: Answer) -> None:
        payload = answer.payload
        self.answers.check_queued(answer)
        idle_grace_ms = self.around.record.person(connection_id_of(payload["handle"])).idle_grace_ms
        if idle_grace_ms != (self.around.plan.attended_grace_ms if self.is_window else None):
            self.around.world.fail(f"{self.name} is stored with an idle grace of {idle_grace_ms}")
        who = connection_id_of(payload["handle"])
        if who != payload["connection_id"]:
            self.around.world.fail(f"{self.name} got a handle and another's connection_id")
        if who != self.who:
            self.around.owners[who] = self.host
            if isinstance(self.host, ListeningHost):
                self.host.hang_up()
            if isinstance(self.host, KeptHost) and self.who is not None:
                self.host.forgotten(self.who)
            self.handle, self.who, self.old_cursors, self.said = payload["handle"], who, [], []
            self.last_room_id = ""
        self.cursor = payload["cursor"]
        self.old_cursors.append(payload["cursor"])
        self.waits, self.room_id = payload["status"] == "waiting", payload.get("room_id")
        self.last_room_id = self.room_id or self.last_room_id

    async def say(self, message: Message, *, listen: bool) -> Answer | None:
        """Send a message, and perhaps wait for events after it."""
        arguments = self._named({"room_id": message.room_id, "message": message.text})
        if message.message_id is not None:
            arguments["message_id"] = message.message_id
        elif message.tries:
            return None  # a repeat without an id would be stored twice
        if listen and self.cursor is not None:
            arguments |= {"cursor": self.cursor, "wait_seconds": round(2 * self.random.random(), 2)}
        message.tries += 1
        who = self.who
        answer = await self.host.call("send_message", arguments, leave_after_ms=self._leave_after_ms())
        if answer is None or self._refused(answer, arguments.get("cursor")) or self.who != who:
            return answer
        self.answers.check_sent(answer, message, arguments.get("cursor"))
        if "cursor" in arguments:
            self._took(answer, arguments["cursor"])
        return answer

    async def wait(self, wait_seconds: float | None = None) -> Answer | None:
        """Wait for the next events."""
        if self.cursor is None:
            return await self.status()
        if wait_seconds is None:
            wait_seconds = self.random.choice((0, 0.5, 3, 12, 25))
        arguments = self._named({"cursor": self.cursor, "wait_seconds": wait_seconds})
        progress, who = self.random.random() < 0.3, self.who
        answer = await self.host.call(
            "wait_for_events", arguments, leave_after_ms=self._leave_after_ms(), progress=progress
        )
        if answer is not None and not self._refused(answer) and self.who == who:  # the stream may have told otherwise
            self.answers.check_wait(answer, arguments)
            self._took(answer, arguments["cursor"])
        return answer

    def _leave_after_ms(self) -> float | None:
        if self.around.faulty and self.random.random() < 0.08:
            self.around.sometimes.reached("a wait was cancelled")
            return 800 * self.random.random()
        return None

    async def look_back(self) -> None:
        """Read again from an old cursor: the events must be the same."""
        cursor = self.random.choice(self.old_cursors) if self.old_cursors else 0
        arguments, who = self._named({"cursor": cursor, "wait_seconds": 0}), self.who
        answer = await self.host.call("wait_for_events", arguments)
        if answer is not None and not self._refused(answer) and self.who == who:
            self.around.sometimes.reached("an old cursor was read again")
            self.answers.check_wait(answer, arguments)

    async def read_inbox(self) -> None:
        """Read the inbox by its resource."""
        if self.handle is None or self.who is None:
            return
        cursor = self.random.choice((None, *self.old_cursors[-3:]))
        uri = f"chat://inbox/{self.handle}" + (f"?cursor={cursor}" if cursor is not None else "")
        asked_at, who = self.around.disk.tip.position, self.who
        result = await self.host.ask("resources/read", {"uri": uri})
        if result is not None and "contents" in result and self.who == who:
            self.answers.check_inbox(result["contents"][0]["text"], cursor, asked_at)

    async def status(self) -> Answer | None:
        """Ask for the place."""
        answer = await self.host.call("get_status", self._named({}))
        if answer is not None and not self._refused(answer):
            self.answers.check_status(answer)
            payload = answer.payload
            if payload.get("connection_id") == self.who:
                self.waits, self.room_id = payload["status"] == "waiting", payload.get("room_id")
                self.last_room_id = self.room_id or self.last_room_id
                if self.cursor is None or payload["cursor"] > self.cursor:
                    self.cursor = payload["cursor"]
        return answer

    async def show_yourself(self) -> bool:
        """Present the handle in the session; return whether it surely arrived."""
        if self.handle is None or self.who is None:
            return True
        answer = await self.host.call("get_status", {"handle": self.handle})
        if answer is not None and self._refused(answer):
            return False
        if answer is not None and isinstance(self.host, KeptHost):
            self.host.shown(self.who, minted=False, at=answer.heard_at)
        return answer is not None

    async def next_partner(self, room_id: str) -> Answer | None:
        """Ask for another partner."""
        answer = await self.host.call("next_partner", self._named({"room_id": room_id}))
        if answer is not None and not self._refused(answer):
            self._entered(answer)
        return answer

    async def leave_chat(self) -> Answer | None:
        """End the conversation."""
        room_id = self.room_id or self.last_room_id
        answer = await self.host.call("leave_chat", self._named({"room_id": room_id}))
        if answer is not None and not self._refused(answer):
            if room_id not in self.around.record.closed:
                self.around.world.fail(f"{self.name} left {room_id}, which is open still")
            self.room_id = None
        return answer

    async def complain(self) -> Answer | None:
        """Block or report the last partner, perhaps after the end of the room."""
        room_id = RoomId(self.random.choice((self.room_id, self.last_room_id)) or self.last_room_id)
        tool, arguments = "block_partner", self._named({"room_id": room_id})
        if self.random.random() < 0.5:
            tool, arguments = "report_partner", {**arguments, "category": self.random.choice(get_args(ReportCategory))}
            if self.random.random() < 0.5:
                arguments["note"] = f"{self.name} was annoyed"
        who = self.who
        answer = await self.host.call(tool, arguments)
        if answer is not None and not self._refused(answer) and self.who == who:
            self.answers.check_conduct(answer, tool, room_id)
            if room_id == self.room_id:
                self.room_id = None
        return answer

    async def leave_queue(self) -> Answer | None:
        """Leave the queue."""
        answer = await self.host.call("leave_queue", self._named({}))
        if answer is not None and not self._refused(answer):
            self.waits = False
        return answer

    # What they are told

    def _took(self, answer: Answer, asked: int) -> None:
        """Take the events after the cursor `asked`."""
        for event in answer.payload["events"]:
            self.hears(event["method"], event["params"])
        if asked == self.cursor or self.cursor is None:
            self.cursor = answer.payload["cursor"]
            self.old_cursors.append(answer.payload["cursor"])
        if answer.payload.get("status") == "idle":
            self.waits, self.room_id = False, None

    def hears(self, method: str, params: dict[str, Any]) -> None:
        """Take a notification from a page or a stream."""
        if method == "chatroom.found" and params["room_id"] not in self.around.record.closed:
            self.room_id = self.last_room_id = params["room_id"]
            self.waits = False
        elif method == "partner.disconnected" and params["room_id"] == self.room_id:
            self.room_id = None

    def _refused(self, answer: Answer, cursor: int | None = None) -> bool:
        if not answer.is_error:
            return False
        code = answer.payload["code"]
        self.answers.check_refusal(answer, cursor if self.who is not None else None)
        if code == "unknown_handle":
            if isinstance(self.host, KeptHost):
                self.host.default = None
            if answer.named:
                self.forget()
        elif code in ("chat_ended", "room_not_found", "already_chatting"):
            self.room_id = answer.payload.get("room_id")
            self.last_room_id = self.room_id or self.last_room_id
        return True

    def forget(self) -> None:
        """Forget the handle and all that belongs to it."""
        if isinstance(self.host, KeptHost) and self.who is not None:
            self.host.forgotten(self.who)
        self.handle = self.who = self.cursor = self.room_id = None
        self.waits, self.said, self.old_cursors, self.last_room_id = False, [], [], ""
