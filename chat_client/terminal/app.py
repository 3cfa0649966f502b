"""`chat-broker chat` on a whole screen: the conversation, and the actions of the user's keys."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, ClassVar

import anyio
from textual.binding import Binding, BindingType
from textual.timer import Timer
from textual.widgets import Input

from chat_client.calls import Sleep
from chat_client.errors import ChatEndedError, ChatError, MessageRefusedError, NotChattingError, UnknownHandleError
from chat_client.events import (
    ConnectionLost,
    ConnectionRestored,
    Event,
    MessageReceived,
    PartnerLeft,
    StrangerFound,
    TimedOut,
)
from chat_client.stranger import Stranger, new_message_id
from chat_client.terminal import lines
from chat_client.terminal.command import EXIT_OK, EXIT_UNREACHABLE
from chat_client.terminal.display import Display, Twice
from chat_client.terminal.screens import HelpScreen, Report, ReportScreen
from chat_client.terminal.transcript import Line, OwnLine, spoken, told

SURE_SECONDS = 4.0
"""How long a key that asks twice waits for the second time."""

LOBBY_SECONDS = 10.0
"""How often the number of people in the queue is looked at."""


class ChatApp(Display):
    """Conversations, one after the other, until the user leaves.

    Attributes:
        reason: why it has ended, if not by the user.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "twice('leave')", "leave"),
        Binding("ctrl+n", "twice('next')", "next"),
        Binding("ctrl+b", "twice('block')", "block"),
        Binding("ctrl+r", "report", "report"),
        Binding("ctrl+t", "try_again", "try again"),
        Binding("f1", "help", "help"),
        Binding("pageup", "scroll(-1)", "scroll up", show=False),
        Binding("pagedown", "scroll(1)", "scroll down", show=False),
        Binding("ctrl+c,ctrl+q", "quit", "quit", priority=True, show=False),
    ]

    def __init__(
        self,
        url: str,
        name: str,
        interests: Sequence[str],
        *,
        sleep: Sleep = anyio.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(now)
        self.reason = ""
        self._chat = Stranger(url, name=name, interests=interests, sleep=sleep)
        self._partner = ""
        self._outage: Line | None = None
        self._sure: Timer | None = None
        self._again = anyio.Event()
        self._over = anyio.Event()

    def on_mount(self) -> None:
        """Begin to look for a stranger (called by Textual)."""
        self._go_to("arriving", "looking for a stranger")
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
            with suppress(NotImplementedError, ValueError, RuntimeError):  # Windows, or not the main thread
                loop.add_signal_handler(number, self._over.set)
        self.set_interval(LOBBY_SECONDS, self._look_at_lobby)
        self.run_worker(self._talk(), group="talk")

    # The conversation.

    async def _talk(self) -> None:
        async with self._chat:
            async with anyio.create_task_group() as listening:
                listening.start_soon(self._listen)
                await self._over.wait()
                listening.cancel_scope.cancel()
            self._go_to("arriving", "leaving")
        self._set_title("", keep=False)
        self.exit(EXIT_UNREACHABLE if self.reason else EXIT_OK)

    async def _listen(self) -> None:
        """Enter, and take the events of this stay, and of those after it."""
        try:
            for line in lines.introduction(await self._chat.lobby(), self._chat.interests):
                self._tell(line)
            await self._await_stranger(self._chat.enter())
        except ChatError as error:
            self.reason = lines.one_line(str(error))
            self._over.set()
            return
        while True:
            try:
                async for event in self._chat.events():
                    self._hear(event)
            except UnknownHandleError:
                self._tell(f"{lines.FORGOTTEN} ^n begins again.")
                self._go_to("ended", "the broker was restarted")
            self._again = anyio.Event()  # only now: a `next` before the end of the events has begun nothing after it
            await self._again.wait()

    def _hear(self, event: Event) -> None:
        match event:
            case MessageReceived():
                self._add(Line(spoken(self._partner, event.text, "$primary")))
                self._alert(counts=True)
            case StrangerFound():
                self._partner = lines.shown_name(event.partner)
                self._room += 1
                self._tell(lines.note(event, self._partner))
                self._go_to("chatting", f"chatting with {self._partner}")
                self._alert(counts=False)
            case ConnectionLost():
                self._outage = self._tell(lines.note(event, self._partner))
            case ConnectionRestored():
                if self._outage is not None:
                    self._outage.put(told(lines.note(event, self._partner)))
            case PartnerLeft() | TimedOut():
                self._tell(lines.note(event, self._partner))
                if isinstance(event, PartnerLeft) and event.requeued:
                    self._go_to("waiting", "waiting for a stranger")
                else:
                    self._go_to("ended", "the conversation is over")
                self._alert(counts=False)
            case _:
                self._tell(lines.note(event, self._partner))

    # The user's actions.

    def on_input_submitted(self, written: Input.Submitted) -> None:
        """Say the written text (called by Textual); without a stranger, it stays in the field."""
        if not written.value.strip():
            return
        if self._place != "chatting":
            self._hint("nobody is here; ^n finds a stranger" if self._place == "ended" else "nobody is here yet")
            return
        line = OwnLine(written.value, new_message_id(), self._room)
        written.input.clear()
        self._add(line)
        self._transcript.anchor()
        self._do(self._say(line))

    def on_input_changed(self) -> None:
        """Take back the question of a key (called by Textual)."""
        self._ask(None)

    async def _say(self, line: OwnLine) -> None:
        try:
            await self._chat.say(line.text, message_id=line.message_id)
        except (ChatEndedError, MessageRefusedError, NotChattingError, UnknownHandleError) as error:
            line.failed(lines.refused(error), may_retry=False)
        except ChatError as error:
            line.failed(lines.refused(error), may_retry=True)
            self._show_keys()
        else:
            line.sent()

    def action_try_again(self) -> None:
        """Send the failed messages of this conversation again."""
        for line in self._failed():
            line.sending()
            self._do(self._say(line))
        self._show_keys()

    def action_twice(self, what: Twice) -> None:
        """Do `what` at the second request, or at once if no conversation ends by it."""
        can_do = {"leave": True, "next": self._place in ("chatting", "ended"), "block": self._room > 0}[what]
        if not can_do:
            return
        is_harmless = what == "next" and self._place == "ended"
        if self._asked != what and not is_harmless:
            self._ask(what)
            if self._sure is not None:
                self._sure.stop()
            self._sure = self.set_timer(SURE_SECONDS, lambda: self._ask(None))
            return
        self._ask(None)
        self._do({"leave": self._leave, "next": self._next, "block": self._block}[what]())

    async def _leave(self) -> None:
        if self._place != "chatting":
            self._over.set()
            return
        self._go_to("ended", "you have left")
        self._tell("You have left.")
        await self._chat.leave()

    async def _next(self) -> None:
        place, since = self._place, self._since
        self._go_to("arriving", "looking for a stranger")
        try:
            await self._await_stranger(self._chat.next())
        except ChatError:
            self._go_to(place, f"chatting with {self._partner}" if place == "chatting" else "the conversation is over")
            self._since = since
            raise
        self._again.set()

    async def _block(self) -> None:
        await self._chat.block()
        self._part("Blocked: you never meet again.")

    def action_report(self) -> None:
        """Ask for a report of the stranger of this conversation, or of the last one."""
        if not self._room:
            return
        room = self._room
        self._ask(None)
        self.push_screen(ReportScreen(), lambda report: self._do(self._report(report, room)) if report else None)

    async def _report(self, report: Report, room: int) -> None:
        if room != self._room:
            self._tell("Not reported: you are chatting with somebody else by now.")
            return
        await self._chat.report(report.category, report.note)
        self._part("Reported to the operator, and blocked.")

    def action_help(self) -> None:
        """Show the help."""
        self._ask(None)
        self.push_screen(HelpScreen())

    def action_scroll(self, pages: int) -> None:
        """Scroll the transcript by so many pages."""
        transcript = self._transcript
        transcript.scroll_relative(y=pages * max(1, transcript.size.height - 1), animate=False)

    async def action_quit(self) -> None:
        """Leave, and end the program."""
        self._over.set()

    def _do(self, command: Coroutine[Any, Any, None]) -> None:
        """Carry out a command in the background; a refusal is a line."""

        async def carry_out() -> None:
            try:
                await command
            except ChatError as error:
                self._tell(lines.refused(error))

        self.run_worker(carry_out(), group="commands")

    async def _await_stranger(self, entering: Awaitable[int | None]) -> None:
        if await entering is None:
            return
        people = (await self._chat.lobby()).waiting
        if self._place == "arriving":  # else a stranger was found meanwhile
            self._tell(lines.waiting(people))
            self._go_to("waiting", "waiting for a stranger")

    def _part(self, text: str) -> None:
        self._tell(text)
        if self._place == "chatting":
            self._go_to("ended", "the conversation is over")

    def _look_at_lobby(self) -> None:
        if self._place == "waiting":
            self.run_worker(self._show_lobby(), group="lobby", exclusive=True)

    async def _show_lobby(self) -> None:
        with suppress(ChatError):
            people = (await self._chat.lobby()).waiting
            if self._place == "waiting":
                self._show_headline(f"waiting for a stranger · {people} in the queue")
