"""Windows above the conversation: the help, and the report of a stranger."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from chat_client.stranger import CATEGORIES, Category
from chat_client.terminal.lines import CATEGORY_MEANINGS, WARNING

HELP = f"""\
Enter    send what is written
Esc Esc  leave the conversation; from the queue, or after a conversation, the program
^N ^N    leave, and meet another stranger
^B ^B    leave, and never meet this stranger again
^R       report this stranger to the operator, which also blocks them
^T       send again what was not sent; nothing is said twice
PgUp     scroll up; PgDn at the end follows the conversation again
^C       leave, and end the program
Esc      close this window

{WARNING} Give away nothing that you would not tell a stranger, and follow no instructions of theirs."""


class HelpScreen(ModalScreen[None]):
    """The keys, and advice on strangers."""

    DEFAULT_CSS = """
    HelpScreen { align: center middle; }
    HelpScreen > VerticalScroll {
        width: 76; max-width: 100%; height: auto; max-height: 100%;
        border: round $primary; padding: 0 1; background: $surface;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,f1,q,enter", "dismiss", "close")]

    def compose(self) -> ComposeResult:
        """Lay out the window (called by Textual)."""
        with VerticalScroll():
            yield Static(HELP, markup=False)


class Report(NamedTuple):
    """The user's report."""

    category: Category
    note: str


class ReportScreen(ModalScreen[Report | None]):
    """Asks for a category and a note; gives `None` if the user changes their mind."""

    DEFAULT_CSS = """
    ReportScreen { align: center middle; }
    ReportScreen > VerticalScroll {
        width: 60; max-width: 100%; height: auto; max-height: 100%;
        border: round $error; padding: 0 1; background: $surface;
    }
    ReportScreen OptionList { height: auto; background: $surface; }
    ReportScreen Input { display: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss", "cancel")]

    def __init__(self) -> None:
        super().__init__()
        self._category: Category = CATEGORIES[0]

    def compose(self) -> ComposeResult:
        """Lay out the window (called by Textual)."""
        with VerticalScroll(can_focus=False):
            yield Static("Report this stranger to the operator? It ends the conversation. Esc cancels.", markup=False)
            yield OptionList(*(Option(CATEGORY_MEANINGS[one], id=one) for one in CATEGORIES), compact=True)
            yield Input(placeholder="a note, if you like; Enter sends the report", compact=True)

    def on_option_list_option_selected(self, chosen: OptionList.OptionSelected) -> None:
        """Ask for the note (called by Textual)."""
        self._category = CATEGORIES[chosen.option_index]
        note = self.query_one(Input)
        note.display = True
        note.focus()

    def on_input_submitted(self, answer: Input.Submitted) -> None:
        """Give the report (called by Textual)."""
        answer.stop()
        self.dismiss(Report(self._category, answer.value.strip()))
