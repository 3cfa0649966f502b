"""The screen of `top`: the figures of a log that grows, and the trace of a line that was chosen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar

from rich.cells import cell_len, chop_cells
from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.events import Key, Resize
from textual.geometry import Region
from textual.widgets import Footer, Log, Static

from log_debugger.reading.sources import LOG_ERRORS
from log_debugger.telling.figures import Figures, Subject, head_lines
from log_debugger.telling.keybindings import UNBOUND, keys_help, keys_of

LOOK_SECONDS = 1.0
ROWS_MIN = 3
COLUMNS_MIN = 20
MARGIN_COLUMNS = 4
"""The columns beside a trace: its padding, and the scroll bar."""
SECTIONS = 3
FRAME_ROWS = 2 * SECTIONS - 1
"""The titles of the sections, and the lines between them."""
FAR = 1_000_000

RowKey = tuple[int, str]
"""The number of a row's section, and the row's own key."""

NO_ROW: RowKey = (-1, "")
Line = tuple[Text, RowKey, Subject | None]
Traced = Callable[[Subject, Callable[[], bool]], str]

BINDINGS: Sequence[Binding] = (
    Binding("question_mark", "keys", "keys", key_display="?", tooltip="lists the keys"),
    Binding("down,j", "move(1)", "next", key_display="↓", tooltip="to the next line, or moves the trace"),
    Binding("up,k", "move(-1)", "prev", key_display="↑", tooltip="to the one before"),
    Binding("pagedown,space", "move(10)", "+10", key_display="PgDn", tooltip="ten on"),
    Binding("pageup", "move(-10)", "-10", key_display="PgUp", tooltip="ten back"),
    Binding("home,g", f"move({-FAR})", "first", show=False, tooltip="to the first"),
    Binding("end,G", f"move({FAR})", "last", show=False, tooltip="to the last"),
    Binding("enter", "trace", "trace", key_display="Enter", tooltip="shows the trace of the person or room"),
    Binding("escape", "close", "back", key_display="Esc", tooltip="leads back to the figures"),
    Binding("r", "look", "look", tooltip="looks at once, and not after a second"),
    Binding("q,ctrl+c", "quit", "quit", key_display="q", tooltip="ends"),
)


def wrapped(line: str, columns: int) -> Iterator[str]:
    """Yield the parts of `line`, none of which is wider than `columns`; Rich takes far too long for a long trace."""
    while cell_len(line) > columns:
        part = chop_cells(line, columns)[0]
        end = part.rfind(" ", columns // 2) + 1 or len(part)
        yield line[:end]
        line = line[end:]
    yield line


class TopScreen(App[Exception]):
    """Shows the figures, and takes in new ones; its result is the error that ended it, if one did.

    Args:
        look: returns the newest figures. It is called in a thread, one call after the other.
        traced: returns the trace of a subject, or less once the function that it is given returns false. It is called
            in a thread of its own.
    """

    CSS = """
    #head { height: auto; background: $primary; color: $text; padding: 0 1; }
    #body { padding: 0 1; }
    #figures { text-wrap: nowrap; text-overflow: ellipsis; }
    #trace { display: none; padding: 0 1; }
    #note { height: auto; padding: 0 1; }
    """
    ENABLE_COMMAND_PALETTE = False
    AUTO_FOCUS = None
    BINDINGS: ClassVar[list[BindingType]] = [*BINDINGS]

    def __init__(self, look: Callable[[], Figures], traced: Traced) -> None:
        super().__init__()
        self.noted = ""
        self.opened: Subject | None = None  # its trace is shown
        self._look, self._traced = look, traced
        self._figures: Figures | None = None
        self._is_looking = False
        self._chosen: RowKey | None = None
        self._rows_max = ROWS_MIN  # in each section

    def compose(self) -> ComposeResult:
        """Lay out the screen (called by Textual)."""
        yield Static(id="head")
        with VerticalScroll(id="body", can_focus=False):
            yield Static(id="figures")
        yield Log(id="trace", auto_scroll=False)
        yield Static(id="note")
        yield Footer(compact=True)

    def on_mount(self) -> None:
        """Look at the log, now and from time to time (called by Textual)."""
        self.set_interval(LOOK_SECONDS, self.action_look)
        self.action_look()

    def on_resize(self, event: Resize) -> None:
        """Show as many rows as there is place for (called by Textual)."""
        self._show()

    def on_key(self, event: Key) -> None:
        """Report an unbound key (called by Textual)."""
        if event.key not in keys_of(BINDINGS):
            self._note(UNBOUND)

    def action_keys(self) -> None:
        """List the keys."""
        self._note(keys_help(BINDINGS))

    def action_look(self) -> None:
        """Take in what is new; nothing is done while a look goes on."""
        if not self._is_looking:
            self._is_looking = True
            self.run_worker(self._take_in(), group="look")

    async def _take_in(self) -> None:
        try:
            self._figures = await asyncio.to_thread(self._look)
        except LOG_ERRORS as error:
            self.exit(error)
        else:
            self._is_looking = False
            self._show()

    def action_move(self, lines: int) -> None:
        """Choose another row, or scroll the trace."""
        self._note("")
        if self.opened is not None:
            self.query_one("#trace").scroll_relative(y=lines, animate=False)
            return
        rows = [key for _, key, subject in self._lines() if subject is not None]
        if rows:
            now = rows.index(self._chosen) if self._chosen in rows else -1 if lines > 0 else len(rows)
            self._chosen = rows[max(0, min(now + lines, len(rows) - 1))]
            self._show()

    def action_trace(self) -> None:
        """Show the trace of the chosen row."""
        if self.opened is not None:
            return
        subject = next((subject for _, key, subject in self._lines() if key == self._chosen), None)
        if subject is None:
            self._note("no line is chosen: ↓ leads to the first")
            return
        self._open(subject, "the trace is being read; Esc leads back")
        self.run_worker(self._trace(subject), group="trace")

    async def _trace(self, subject: Subject) -> None:
        text = await asyncio.to_thread(self._wrapped_trace, subject)
        if self._is_wanted(subject):
            self._open(subject, text)

    def _is_wanted(self, subject: Subject) -> bool:
        return self.is_running and self.opened is subject

    def _wrapped_trace(self, subject: Subject) -> str:
        text = self._traced(subject, lambda: self._is_wanted(subject))
        width = max(COLUMNS_MIN, self.size.width - MARGIN_COLUMNS)
        return "\n".join(part for line in text.split("\n") for part in wrapped(line, width))

    def action_close(self) -> None:
        """Show the figures again."""
        self._open(None, "")
        self._show()

    def _open(self, subject: Subject | None, text: str) -> None:
        self.opened = subject
        self._note("")
        trace = self.query_one("#trace", Log)
        trace.clear().write_lines([text]).scroll_home(animate=False)
        trace.display = subject is not None
        self.query_one("#body").display = subject is None

    def _lines(self) -> list[Line]:
        """Return the lines of the figures; those with a subject can be chosen."""
        if self._figures is None:
            return []
        lines: list[Line] = []
        for number, section in enumerate(self._figures.sections):
            lines += [(Text(), NO_ROW, None)] if number else []
            lines.append((Text(section.title, "bold"), NO_ROW, None))
            for row in section.cut(self._rows_max):
                key = (number, row.key)
                mark, style = (">", "reverse") if key == self._chosen else (" ", "")
                lines.append((Text(f"{mark} {row.text}", style), key, row.subject))
        return lines

    def _show(self) -> None:
        if self._figures is None or not self.is_running:  # it may have been left during a look
            return
        self.query_one("#head", Static).update(Text("\n".join(head_lines(self._figures))))
        self.call_after_refresh(self._show_rows)  # the head may have become higher

    def _show_rows(self) -> None:
        if self.opened is not None or not self.is_running:
            return
        body = self.query_one("#body")
        self._rows_max = max(ROWS_MIN, (body.size.height - FRAME_ROWS) // SECTIONS)
        lines = self._lines()
        keys = [key for _, key, _ in lines]
        self.query_one("#figures", Static).update(Text("\n").join(text for text, _, _ in lines))
        if self._chosen not in keys:
            self._chosen = None
        else:
            body.scroll_to_region(Region(0, keys.index(self._chosen), 1, 1), animate=False)

    def _note(self, text: str) -> None:
        self.noted = text
        self.query_one("#note", Static).update(Text(text))
