"""The transcript: lines of a conversation. The view follows the newest one until the user scrolls up."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from chat_client.terminal.lines import YOU, visible

LINES_MAX = 2_000
"""How many lines are kept; older ones go."""


class Line(Static):
    """One line. Its text is never markup, for it may be a stranger's."""

    def __init__(self, content: Content, classes: str = "") -> None:
        super().__init__(content, markup=False, classes=classes)

    def put(self, content: Content) -> None:
        """Replace the line."""
        self.update(content)


class OwnLine(Line):
    """A message of the user's, from before it is sent until it is, or has failed.

    Attributes:
        text: the message.
        message_id: its name, the same at every attempt.
        room: the number of its conversation.
        has_failed: it was not sent, and may be tried again.
    """

    def __init__(self, text: str, message_id: str, room: int) -> None:
        super().__init__(spoken(YOU, text, "$success", " …"))
        self.text = text
        self.message_id = message_id
        self.room = room
        self.has_failed = False

    def sending(self) -> None:
        """Show it as on its way."""
        self.has_failed = False
        self.put(spoken(YOU, self.text, "$success", " …"))

    def sent(self) -> None:
        """Show it as sent."""
        self.put(spoken(YOU, self.text, "$success"))

    def failed(self, why: str, *, may_retry: bool) -> None:
        """Show it as not sent, with the key for another attempt if one could help."""
        self.has_failed = may_retry
        hint = "; ^t tries again" if may_retry else ""
        self.put(spoken(YOU, self.text, "$success").append(Content.styled(f" · not sent: {why}{hint}", "$error")))


class Transcript(VerticalScroll, can_focus=False):
    """The lines so far."""

    class Scrolled(Message):
        """The view has moved."""

    def compose(self) -> ComposeResult:
        """Begin empty (called by Textual)."""
        yield from ()

    def on_mount(self) -> None:
        """Follow the newest line (called by Textual)."""
        self.anchor()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Post `Scrolled` (called by Textual)."""
        super().watch_scroll_y(old_value, new_value)
        self.post_message(self.Scrolled())

    @property
    def is_following(self) -> bool:
        """The newest line is in view, or will be once it is drawn."""
        return not self._anchor_released

    def add(self, line: Line) -> None:
        """Add a line below the others."""
        self.mount(line)
        if len(self.children) > LINES_MAX:
            self.children[0].remove()


def spoken(who: str, text: str, color: str, mark: str = "") -> Content:
    """Return a spoken line; neither name nor text is markup."""
    return Content.assemble((visible(who).replace("\n", " "), f"bold {color}"), "  ", visible(text), (mark, "dim"))


def told(text: str) -> Content:
    """Return a line of the program's own."""
    return Content.styled(visible(text), "dim italic")
