"""Notices of no result yet, and the pushes that announce them.

A push counts for nothing: Claude Code may drop it without a word. So a notice stays until a result has carried it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio

from chat_client.calls import Sleep
from chat_client.channel.notices import Notice

JOIN_SECONDS = 0.5
"""How long a push waits for more events."""

PAUSE_SECONDS = 5.0
"""The pause after a push: each wakes a model, and costs its user money."""

NOTICES_MAX = 200
"""How many notices may wait to be read; then the client keeps the rest."""

TEXT_CHARACTERS_MAX = 20_000
"""The size of the notices in one result or push, if there is more than one."""

MORE = "There is more: call check."

Push = Callable[[str, dict[str, str]], Awaitable[None]]
"""Sends a content and its attributes to Claude Code."""


class Turns:
    """The turns of a model without its user: each push is one, with the reply to it, and so is each further reply."""

    def __init__(self, turns_max: int) -> None:
        self.turns_max = turns_max
        self._used = 0
        self._is_answering = False

    @property
    def are_used_up(self) -> bool:
        """No further turn is left; a reply to the last push may be."""
        return self._used >= self.turns_max

    @property
    def may_reply(self) -> bool:
        """A reply is allowed."""
        return self._is_answering or not self.are_used_up

    def woke(self) -> None:
        """Count a push."""
        self._used += 1
        self._is_answering = True

    def replied(self) -> None:
        """Count a reply."""
        if not self._is_answering:
            self._used += 1
        self._is_answering = False

    def renew(self) -> None:
        """Begin to count anew."""
        self._used, self._is_answering = 0, False


class Backlog:
    """The notices that no result has carried yet, in order."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._notices: list[Notice] = []
        self._pushed = 0
        self._changed = anyio.Event()

    def add(self, notice: Notice) -> None:
        """Add the newest notice."""
        self._notices.append(notice)
        self._wake()

    def take(self) -> list[str]:
        """Remove the oldest notices, and return their lines: as many as a result can hold."""
        taken, lines = _page(self._notices)
        del self._notices[:taken]
        self._pushed = max(0, self._pushed - taken)
        self._wake()
        return lines

    def has(self, event: str, *, is_pushed: bool) -> bool:
        """Return whether an event of that kind was in no result, and also in no push unless `is_pushed`."""
        return any(notice.event == event for notice in self._notices[0 if is_pushed else self._pushed :])

    async def until_there_is_room(self) -> None:
        """Wait while there are too many."""
        while len(self._notices) >= NOTICES_MAX:
            await self._changed.wait()

    async def until_push(self) -> None:
        """Wait for something to wake a model for."""
        while not self._wants_push():
            await self._changed.wait()

    def next_push(self) -> tuple[str, dict[str, str]] | None:
        """Return the content and the attributes of a push, and count a turn; `None` if a result was quicker."""
        if not self._wants_push():
            return None
        notices = self._notices[self._pushed :]
        taken, lines = _page(notices)
        self._pushed += taken
        self._turns.woke()
        if self._turns.are_used_up:
            lines.append(used_up(self._turns.turns_max))
        return "\n".join(lines), notices[taken - 1].meta

    def _wants_push(self) -> bool:
        return not self._turns.are_used_up and any(notice.wakes for notice in self._notices[self._pushed :])

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


async def push_from(backlog: Backlog, push: Push, sleep: Sleep = anyio.sleep) -> None:
    """Push notices to wake a model, joined and with pauses, until cancelled.

    Args:
        backlog: the notices.
        push: sends a push.
        sleep: for tests with a time of their own.
    """
    while True:
        await backlog.until_push()
        await sleep(JOIN_SECONDS)
        if (joined := backlog.next_push()) is not None:
            await push(*joined)
            await sleep(PAUSE_SECONDS)


def used_up(turns_max: int) -> str:
    """Return the text about the end of the turns."""
    return (
        f"That was the last of {turns_max} turns without your user: nothing wakes you from here on. Tell your user how "
        "the conversation went, and ask whether to go on; if they say so, call find_stranger, which keeps the "
        "conversation. Else call leave."
    )


def _page(notices: list[Notice]) -> tuple[int, list[str]]:
    """Return how many of `notices` fit into one text, and their lines."""
    size = 0
    lines: list[str] = []
    for notice in notices:
        size += len(notice.text)
        if lines and size > TEXT_CHARACTERS_MAX:
            return len(lines), [*lines, MORE]
        lines.append(notice.text)
    return len(lines), lines
