"""The last line: the keys of the moment."""

from __future__ import annotations

from typing import Literal

from textual.content import Content
from textual.widgets import Static

Place = Literal["arriving", "waiting", "chatting", "ended"]

KEYS: dict[Place, tuple[tuple[str, str], ...]] = {
    "arriving": (("^c", "quit"), ("f1", "help")),
    "waiting": (("esc esc", "quit"), ("f1", "help")),
    "chatting": (
        ("enter", "send"),
        ("esc esc", "leave"),
        ("^n", "next"),
        ("^b", "block"),
        ("^r", "report"),
        ("f1", "help"),
    ),
    "ended": (("^n", "next stranger"), ("^b", "block"), ("^r", "report"), ("esc esc", "quit"), ("f1", "help")),
}
AGAIN = {
    "leave": ("esc", "again to leave"),
    "next": ("^n", "again to leave, and meet another"),
    "block": ("^b", "again to never meet this stranger again"),
}
TRY_AGAIN = ("^t", "try again")
PADDING, GAP = 1, "   "


class Footer(Static):
    """The keys of the moment, or the question of the key just pressed."""

    DEFAULT_CSS = """
    Footer { height: auto; padding: 0 1; background: $panel; color: $text; }
    """

    def __init__(self) -> None:
        super().__init__(markup=False)
        self._keys: tuple[tuple[str, str], ...] = ()

    def show(self, place: Place, asked: str | None, *, has_failed: bool) -> None:
        """Show the keys of a place; if a key asks for a second time, this key alone."""
        self._keys = (AGAIN[asked],) if asked is not None else KEYS[place]
        if has_failed and asked is None:
            self._keys = (TRY_AGAIN, *self._keys)
        self._draw()

    def hint(self, text: str) -> None:
        """Show a hint until the keys change."""
        self.update(Content.styled(text, "$warning"))

    def on_resize(self) -> None:
        """Fit the keys into the new width (called by Textual)."""
        self._draw()

    def _draw(self) -> None:
        """Show the keys in as many lines as they need; a key and its meaning stay in one."""
        width, used = self.app.size.width - 2 * PADDING, 0
        parts: list[str | tuple[str, str]] = []
        for key, meaning in self._keys:
            length = len(key) + 1 + len(meaning)
            if parts:
                fits = used + len(GAP) + length <= width
                parts.append(GAP if fits else "\n")
                used = used + len(GAP) if fits else 0
            parts += [(key, "bold $accent"), f" {meaning}"]
            used += length
        self.update(Content.assemble(*parts))
