"""The words of the terminal, and the fate of a stranger's words in it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import get_args

import pytest

from chat_client import (
    ConnectionLost,
    ConnectionRestored,
    Event,
    HistoryMissed,
    Lobby,
    MessageReceived,
    PartnerLeft,
    PartnerSilent,
    StrangerFound,
    TimedOut,
)
from chat_client.terminal.lines import introduction, note, one_line, shown_name, visible, waiting

NOW = datetime(2026, 11, 29, tzinfo=UTC)
EVENTS = [
    StrangerFound("r_1", "Bob", NOW, 1),
    *(PartnerLeft("r_1", reason, requeued, NOW, 2) for reason in ("left", "timeout") for requeued in (False, True)),
    PartnerSilent("r_1", 75),
    HistoryMissed(),
    TimedOut("missed_match"),
    TimedOut("you_timed_out"),
    ConnectionLost("it\nbroke \x1b[2J"),
    ConnectionRestored(),
]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("[bold]x[/bold]", "[bold]x[/bold]"),
        ("\x1b[31mred", "\ufffd[31mred"),
        ("\x1b]8;;http://x\x07link", "\ufffd]8;;http://x\ufffdlink"),
        ("\x9b2J", "\ufffd2J"),
        ("abc\u202edef\u2066ghi", "abcdefghi"),
        ("a\tb\rc", "a b\ufffdc"),
        ("\u2028", "\ufffd"),
        ("two\nlines", "two\nlines"),
        ("grüße 日本 👩‍🚀", "grüße 日本 👩‍🚀"),
    ],
)
def test_text_of_strangers_commands_no_terminal(text: str, shown: str) -> None:
    """Escape sequences lose their beginning, directions are dropped, and letters stay."""
    assert visible(text) == shown


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_every_event_has_a_line(event: Event) -> None:
    """Each event is one line without control characters."""
    line = note(event, "Bob")
    assert line.isprintable()
    assert line.endswith(".")


def test_no_event_is_forgotten() -> None:
    """The events above, with messages, are all the kinds there are."""
    assert {type(event) for event in EVENTS} | {MessageReceived} == set(get_args(Event))


def test_the_introduction_says_what_holds_here() -> None:
    """The stranger's nature is always in it; rules, operator and unused interests only if there are any."""
    assert len(list(introduction(Lobby(0, 0), ["tea"]))) == 1
    told = list(introduction(Lobby(0, 0, "first-come", "https://x/rules", "ops@x"), ["tea"]))
    assert "person or a program" in told[0]
    assert told[1:3] == ["Rules: https://x/rules", "Operator: ops@x"]
    assert "not used" in told[3]
    assert len(list(introduction(Lobby(0, 0, "interests"), ["tea"]))) == 1
    assert len(list(introduction(Lobby(0, 0, "first-come"), []))) == 1


def test_the_queue_is_counted_without_oneself() -> None:
    """One other waits, two others wait."""
    assert [waiting(people)[23:] for people in (1, 2, 3)] == [
        " nobody else waits yet.",
        " 1 other waits.",
        " 2 others wait.",
    ]


def test_plain_output_has_a_line_an_event() -> None:
    """A message of several lines is one."""
    assert one_line("two\nlines") == "two / lines"


@pytest.mark.parametrize(
    ("name", "shown"),
    [("Ann", "Ann"), ("you", "“you”"), ("YOU", "“YOU”"), ("* Bob", "“* Bob”"), ("", "“”"), ("a\nb", "a / b")],
)
def test_no_stranger_is_taken_for_another(name: str, shown: str) -> None:
    """A name like the user's own word or the program's marks is quoted."""
    assert shown_name(name) == shown
