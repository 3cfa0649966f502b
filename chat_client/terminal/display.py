"""The screen of `chat-broker chat`: the view of a conversation, and the terminal's bell and title."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

from textual.app import App, ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.events import AppBlur, AppFocus
from textual.widgets import Input, Static

from chat_client.terminal.footer import Footer, Place
from chat_client.terminal.transcript import Line, OwnLine, Transcript, told

TITLE = "chat"

Twice = Literal["leave", "next", "block"]
"""What is done only when it is asked for twice."""


class Display(App[int]):
    """A header, the transcript, a line to write in, and the keys of the moment."""

    CSS = """
    #head { height: 1; background: $primary; color: $text; padding: 0 1; }
    #who { width: 1fr; }
    #clock { width: auto; }
    Transcript { padding: 0 1; }
    #new { display: none; height: 1; text-align: right; padding: 0 1; color: $accent; }
    #say { border: none; height: 1; padding: 0 1; }
    """
    TITLE = TITLE

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._now = now
        self._place: Place = "arriving"
        self._room = 0  # counts conversations
        self._since = 0.0
        self._clock = ""
        self._asked: Twice | None = None
        self._unread = self._below = 0
        self._has_focus = True

    def compose(self) -> ComposeResult:
        """Lay out the screen (called by Textual)."""
        with Horizontal(id="head"):
            yield Static(id="who", markup=False)
            yield Static(id="clock", markup=False)
        yield Transcript()
        yield Static(id="new", markup=False)
        yield Input(id="say", placeholder="say something")
        yield Footer()

    def on_mount(self) -> None:
        """Begin to show the time (called by Textual)."""
        self.set_interval(1.0, self._show_clock)
        self._set_title(TITLE, keep=True)

    def on_transcript_scrolled(self) -> None:
        """Forget the new lines once they are seen (called by Textual)."""
        if self._below and self._transcript.is_following:
            self._below = 0
            self._show_below()

    def on_app_blur(self, _: AppBlur) -> None:
        """Begin to count messages (called by Textual)."""
        self._has_focus = False

    def on_app_focus(self, _: AppFocus) -> None:
        """Count no more (called by Textual)."""
        self._has_focus, self._unread = True, 0
        self._set_title(TITLE)

    @property
    def _transcript(self) -> Transcript:
        return self.screen_stack[0].query_one(Transcript)

    def _static(self, name: str) -> Static:
        """Return a part of the screen, also from below a window."""
        return self.screen_stack[0].query_one(name, Static)

    def _go_to(self, place: Place, headline: str) -> None:
        """Show another place, and the keys of it."""
        if place == "chatting":
            self._since = self._now()
        self._place = place
        self._show_headline(headline)
        self._show_clock()
        self._ask(None)

    def _show_headline(self, text: str) -> None:
        self._static("#who").update(Content(text))

    def _show_clock(self) -> None:
        """Show how long the conversation has lasted; after it, how long it had."""
        if self._place == "chatting":
            seconds = int(self._now() - self._since)
            self._set_clock(f"{seconds // 60}:{seconds % 60:02d}")
        elif self._place != "ended":
            self._set_clock("")

    def _set_clock(self, text: str) -> None:
        """Show `text`, and lay the whole screen out, which takes long after a long talk, only for another length."""
        shown, self._clock = self._clock, text
        if text != shown:
            self._static("#clock").update(Content(text), layout=len(text) != len(shown))

    def _tell(self, text: str) -> Line:
        """Add a line of the program's own."""
        line = Line(told(text))
        self._add(line)
        return line

    def _add(self, line: Line) -> None:
        """Add a line; if the user has scrolled up, the view stays, and the line is counted."""
        if not self._transcript.is_following:
            self._below += 1
        self._transcript.add(line)
        self._show_below()

    def _show_below(self) -> None:
        new = self._static("#new")
        new.display = self._below > 0
        new.update(Content(f"{self._below} new ↓"))

    def _ask(self, what: Twice | None) -> None:
        """Ask for a key a second time; with `None`, no longer."""
        self._asked = what
        self._show_keys()

    def _show_keys(self) -> None:
        self.screen_stack[0].query_one(Footer).show(self._place, self._asked, has_failed=bool(self._failed()))

    def _hint(self, text: str) -> None:
        """Show a hint in the place of the keys, until they change."""
        self.screen_stack[0].query_one(Footer).hint(text)

    def _failed(self) -> list[OwnLine]:
        """Return the failed lines of this conversation."""
        return [line for line in self._transcript.query(OwnLine) if line.has_failed and line.room == self._room]

    def _alert(self, *, counts: bool) -> None:
        """Ring, and count a message in the terminal's title, if the terminal is in the background."""
        if self._has_focus:
            return
        self.bell()
        if counts:
            self._unread += 1
            self._set_title(f"({self._unread}) {TITLE}")

    def _set_title(self, title: str, *, keep: bool | None = None) -> None:
        """Set the terminal's title (OSC 2); `keep` saves the one from before, or brings it back if it is false."""
        if self._driver is None or self.is_headless:
            return
        if keep is not None:
            self._driver.write("\x1b[22;2t" if keep else "\x1b[23;2t")
        if title:
            self._driver.write(f"\x1b]2;{title}\x07")
