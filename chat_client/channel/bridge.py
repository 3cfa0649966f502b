"""The bridge between one model and its conversations: carries out the tools, and notes events."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
from pydantic import ValidationError

from chat_client.channel.backlog import Backlog, Turns, used_up
from chat_client.channel.notices import FORGOTTEN, FOUND, Notice, escaped, notice_of, quoted
from chat_client.channel.tools import ARGUMENTS, Arguments, FindStranger, Reply, Report
from chat_client.errors import ChatEndedError, ChatError, NotChattingError, UnknownHandleError
from chat_client.events import ConnectionLost, ConnectionRestored, Event, PartnerLeft, StrangerFound, TimedOut
from chat_client.stranger import Stranger, new_message_id
from chat_client.terminal.lines import one_line

CALL_SECONDS = 30.0
"""How long a tool waits for a broker out of reach; Claude Code gives up some time later."""

LISTEN_SECONDS = 2.0
"""How often to look for an entry after its call has ended, by its time limit or by Claude Code."""

FOUND_SECONDS = 2.0
"""How long `find_stranger` waits for the news of a stranger, if one is there already."""


class NotDoneError(ChatError):
    """The bridge itself refused something; the text says why."""


class Bridge:
    """Holds conversations for a model by its tools.

    Attributes:
        backlog: the notices for the model.
        call_seconds: how long a tool may take.
    """

    def __init__(self, chat: Stranger, turns_max: int) -> None:
        """Take an open client.

        Args:
            chat: the client, which has not entered.
            turns_max: how many turns a model has without its user.
        """
        self._chat = chat
        self.call_seconds = CALL_SECONDS
        self._turns = Turns(turns_max)
        self.backlog = Backlog(self._turns)
        self._is_reached = True
        self._status = "idle"
        self._room_id = ""
        self._partner = ""
        self._strangers = 0
        self._news = anyio.Event()
        self._again = anyio.Event()
        self._unsent: tuple[str, str] | None = None  # a text and its message_id, which may have been said
        self._tools: dict[str, Callable[[Any], Awaitable[str]]] = {
            "find_stranger": self._find_stranger,
            "reply": self._reply,
            "next_stranger": self._next_stranger,
            "leave": self._leave,
            "check": self._check,
            "block": self._block,
            "report": self._report,
        }

    async def listen(self) -> None:
        """Note the events of all conversations, until cancelled."""
        while True:
            again = self._again
            try:
                async for event in self._chat.events():
                    self._note(event)
                    await self.backlog.until_there_is_room()
            except NotChattingError:
                pass  # not entered yet
            except ChatError as error:
                self._status = "idle"
                is_forgotten = isinstance(error, UnknownHandleError)
                self.backlog.add(FORGOTTEN if is_forgotten else Notice("ended", escaped(one_line(str(error)))))
            with anyio.move_on_after(LISTEN_SECONDS):  # an entry whose call has ended may succeed later
                await again.wait()

    async def call(self, name: str, arguments: dict[str, Any]) -> tuple[str, bool]:
        """Carry out a tool; return its text, and whether it failed. `name` is one of `ARGUMENTS`."""
        said, is_error = "", True
        try:
            given = ARGUMENTS[name].model_validate(arguments)
            with anyio.fail_after(self.call_seconds):
                said, is_error = await self._tools[name](given), False
        except ValidationError as error:
            said = _wrong(error)
        except TimeoutError:
            said = "The broker does not answer now, and nothing is lost: call again later."
        except ChatError as error:
            said = self._refused(error)
        # The notices are removed last: a call that is cancelled has told none of them.
        untold = self.backlog.take()
        news = ["Not in a result before:", *untold] if untold else []
        return "\n".join(filter(None, [said, *news, self._where()])), is_error

    async def _find_stranger(self, given: FindStranger) -> str:
        self._turns.renew()
        if self._status == "chatting":
            return "You are in a conversation already, and go on with it."
        if self._status == "idle":
            self._chat.name = given.display_name or self._chat.name
            self._chat.interests = given.interests or self._chat.interests
        return await self._queue(self._chat.enter)

    async def _next_stranger(self, _: Arguments) -> str:
        self._check_turns()
        return await self._queue(self._chat.next)

    async def _queue(self, move: Callable[[], Awaitable[int | None]]) -> str:
        before = self._strangers
        position = await move()
        if before == self._strangers:
            self._status = "waiting"
        self._again.set()
        self._again = anyio.Event()
        if position is not None:
            return f"You are at place {position} of the queue. A <channel> message tells when a stranger is found."
        with anyio.move_on_after(FOUND_SECONDS):
            while before == self._strangers:
                await self._news.wait()
        return "A stranger was waiting."

    async def _reply(self, given: Reply) -> str:
        self._check_turns()
        if self.backlog.has(FOUND, is_pushed=False):
            raise NotDoneError("Not said: a stranger was found, whom you do not know of yet. Read on, then call reply.")
        message_id = self._unsent[1] if self._unsent and self._unsent[0] == given.text else new_message_id()
        self._unsent = (given.text, message_id)
        await self._chat.say(given.text, message_id=message_id)
        self._unsent = None
        self._turns.replied()
        return f"Said. {used_up(self._turns.turns_max)}" if self._turns.are_used_up else "Said."

    async def _leave(self, _: Arguments) -> str:
        await self._chat.leave()
        self._status = "idle"
        return "You have left."

    async def _check(self, _: Arguments) -> str:
        return "" if self._is_reached else "The broker can't be reached now; it is tried again in the background."

    async def _block(self, _: Arguments) -> str:
        self._check_stranger()
        await self._chat.block()
        self._end()
        return "Blocked: you never meet again."

    async def _report(self, given: Report) -> str:
        self._check_stranger()
        await self._chat.report(given.category, given.note)
        self._end()
        return "Reported, and blocked."

    def _check_turns(self) -> None:
        if not self._turns.may_reply:
            raise NotDoneError(f"Not done. {used_up(self._turns.turns_max)}")

    def _check_stranger(self) -> None:
        """Refuse to block or report a newer stranger, unknown to the model, in the place of the one before."""
        if self._strangers > 1 and self.backlog.has(FOUND, is_pushed=True):
            raise NotDoneError("Not done: there is another stranger by now. Call it again if you mean this one.")

    def _end(self) -> None:
        if self._status == "chatting":
            self._status = "idle"

    def _note(self, event: Event) -> None:
        if isinstance(event, StrangerFound):
            self._status, self._room_id, self._partner = "chatting", event.room_id, event.partner
            self._strangers += 1
            self._unsent = None
        elif isinstance(event, PartnerLeft) and self._status == "chatting":  # else the model has gone on already
            self._status = "waiting" if event.requeued else "idle"
        elif isinstance(event, TimedOut):
            self._status = "idle"
        elif isinstance(event, ConnectionLost | ConnectionRestored):
            self._is_reached = isinstance(event, ConnectionRestored)
        if (notice := notice_of(event, self._room_id, self._partner)) is not None:
            self.backlog.add(notice)
        self._news.set()
        self._news = anyio.Event()

    def _where(self) -> str:
        if self._status == "chatting":
            return f"Now: talking with {quoted(one_line(self._partner))}."
        if self._status == "waiting":
            return "Now: waiting for a stranger."
        return "Now: in no conversation."

    def _refused(self, error: ChatError) -> str:
        match error:
            case NotChattingError() | ChatEndedError() if self._status == "waiting":
                return "No stranger has been found yet."
            case NotChattingError():
                return "There is no stranger: find_stranger finds one, when your user asks for it."
            case ChatEndedError():
                return "The conversation is over: next_stranger finds another."
            case UnknownHandleError():
                self._status = "idle"
                return FORGOTTEN.text
            case _:
                return escaped(one_line(str(error)))


def _wrong(error: ValidationError) -> str:
    """Return what is wrong with arguments, without their values."""
    problems = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
    return f"Wrong arguments: {'; '.join(problems)}."
