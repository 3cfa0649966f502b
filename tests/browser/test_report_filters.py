"""Filters in a report's search: the commands' language, with the commands' answers."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from broker.errors import UsageError
from events.commit import Commit
from log_debugger.reading.filter_parser import parse_filter
from log_debugger.reading.filters import LogContext
from log_debugger.reading.sources import open_source, steps
from projections.state import INITIAL_STATE, State, fold
from tests.browser.conftest import Open
from tests.browser.crowds import crowd
from tests.log_debugger.logs import (
    ANN,
    BOB,
    CAT,
    DAN,
    DAN_ROOM,
    ROOM,
    Script,
    by_interests,
    conversation,
    dumped,
    fair_company,
    trimmed,
)

SCRIPTS = ("text.js", "data.js", "search.js", "filter_times.js", "filter_masks.js", "filter.js")


def scripts() -> Script:
    """Return a log with names and texts of several scripts, and two of one name."""
    script = Script().enters(0, ANN, "Stra\u00dfe").enters(1_000, BOB, "\u0938\u0940\u0924\u093e", room=ROOM)
    for at_ms, text in enumerate(
        (
            "STRASSE \u0130stanbul",
            "\u03a3\u038a\u03a3\u03a5\u03a6\u039f\u03a3",
            "caf\u00e9",
            "\u05d3\u05e0\u05d4 \U0001f600",
        )
    ):
        script.says(2_000 + at_ms, ANN, text)
    return script.enters(3_000, CAT, "Ann").enters(4_000, DAN, "ann", room=DAN_ROOM)


LOGS = {
    "conversation": conversation().commits,
    "company": fair_company().commits,
    "interests": by_interests().commits,
    "crowd": crowd(300, matching="interests", every_ms=2_000),
    "scripts": scripts().commits,
}
FILTERS = [
    "person == Ann",
    "person != Bob and not (type == message_sent)",
    "person in (Ann, Cat) or person == b6",
    "Ann == person",
    "room == 2370",
    "room == r_91",
    "type in (room_opened, QueueLeft, match_due)",
    "type == SENDMESSAGE",
    "reason == timeout",
    "reason in (missed, spam)",
    "reason not in (left, next)",
    "wait > 10s",
    "wait <= 15000ms and wait >= 9s",
    "not 0.25m <= wait",
    "wait != 15s",
    "'hello' in text",
    "watches not in text",
    'text == "HELLO!"',
    "policy == interests",
    "policy != first-come and waiting > 1",
    "waiting == 1",
    "rooms_closed >= 1",
    "1 <= rooms_closed < 2 or rooms_closed == 40",
    "connections > 2",
    "connections in (1, 3) and messages < 2",
    "messages != 1",
    "messages > 100 and rooms_open > 2",
    "policy.idle_grace_room_ms > 15s",
    "policy.interest_patience_ms <= 15000 and position > 1",
    "policy.interest_patience_ms > 1d",
    "policy.message_bytes_max == 4096",
    "policy.matching == interests",
    "policy.matching in (first-come, interests)",
    "0 < policy.message_bytes_max <= 4096 and not rooms_closed == 0",
    "policy == fair",
    "policy.nothing > 3",
    "policy.message_bytes_max > 15s",
    "policy.matching > 3",
    "connections > 1s",
    "time > 24:00:00",
    "time > '2026-02-30 10:00:00'",
    "1 <= waiting < 3",
    "rooms_open >= 1 and position > 3",
    "position in (2, 4)",
    "time > +30s",
    "+1.5m > time or time >= +00:00:20",
    "14:13:21 < time <= 14:13:30",
    "time < 16:13:25.500+02:00",
    "time >= 2026-09-21T14:13:22Z and time < '2026-09-21 14:14:00'",
    "time > 09:00:00",
    "time > +90h",
    "person == Zoe",
    "room == ffff",
    "type == nothing",
    "reason == bored",
    "wait > 3",
    "waiting > x",
    "time == 14:13:21",
    "person > Ann",
    "waiting > 1 and",
    "(waiting > 1",
    "waiting > 1)",
    "1 < 2",
    "not not waiting > 0",
    "Ann in person",
    "'open == 1",
    "messages > rooms_closed",
    "waiting in (rooms_open, 3) or position == messages != waiting",
    "waiting > wait",
    "(waiting) >= (1) and 'Hello!' in (text)",
    "1 <= position in (2, 4)",
    "position in (2, 4) == 4",
    '"hello" in text != "Hello!"',
    "text in ('Hello!')",
    "text in ('Hello!', watches)",
    'person == ""',
    "person == c_",
    "person == c",
    "person == 6f5d",
    "room == ''",
    "type == room__opened",
    "type == roomopened",
    "reason == missed_by_both",
    "reason == Left",
    "type == names_forgotten and person == Bob and person in (Dan)",
    "person == ann",
    "person == STRASSE",
    "person == \u0938\u0940\u0924\u093e",
    "'strasse i\u0307stanbul' in text",
    "istanbul in text",
    "text == '\u03c3\u03af\u03c3\u03c5\u03c6\u03bf\u03c3'",
    "cafe\u0301 in text or \u05d3\u05e0\u05d4 in text",
    "time > 2026-09-21",
    "time < 2026-09-21 or time > 2026-09-20",
    "time > 2026-09-22",
    "time > 2026-09-21T",
    "time > 2026-09-21T14",
    "time > 20260921",
    "time > 2026-W39-1",
    "time > 16:13:21+02 and time < '14:13:23,5'",
    "time > '2026-09-21 14:13:21.000 UTC'",
    "time > 2026-09-21t14:13:21.123456z",
    "time > 14:13:21+24",
    f"{'(' * 50}waiting > 1{')' * 50}",
    f"{'(' * 51}waiting > 1{')' * 51}",
    f"waiting > 1 or text == '{'a' * 976}'",
    f"waiting > 1 or text == '{'a' * 977}'",
]


def told(log: str, text: str) -> list[int] | None:
    """Return the positions printed by `replay --when`; `None` where it refuses."""
    with closing(open_source(log)) as source:
        try:
            found = parse_filter(text)(LogContext(source))
        except UsageError:
            return None
        return [step.commit.position for step in steps(source) if found.matches(step)]


@pytest.mark.slow
@pytest.mark.parametrize("name", [*LOGS, "trimmed"])
def test_a_report_finds_what_the_commands_find(open_report: Open, name: str, tmp_path: Path) -> None:
    """A filter known to a report gives the commands' matches; it refuses the filters they refuse."""
    base: State = INITIAL_STATE
    commits: Sequence[Commit] = LOGS.get(name, LOGS["interests"])
    log = dumped(tmp_path / "log.jsonl", commits)
    if name == "trimmed":
        base = fold(commits[:3])
        log, commits = trimmed(tmp_path / "log.db", by_interests(), base), commits[3:]
    page = open_report(commits, base).page
    code = "\n".join(files("log_debugger.report").joinpath("page", one).read_text("utf-8") for one in SCRIPTS)
    program = f"""(texts) => {{ {code}
      return texts.map((text) => {{
        try {{ return [...filtered(text)].map(positionOf); }} catch (mistake) {{
          if (!(mistake instanceof FilterMistake)) throw mistake;
          return null;
        }}
      }});
    }}"""
    found: list[Any] = page.evaluate(program, FILTERS)
    assert dict(zip(FILTERS, found, strict=True)) == {text: told(log, text) for text in FILTERS}


def test_a_filter_in_the_search_leads_to_its_commits(open_report: Open) -> None:
    """They come first; a mistake is told where nothing else was found."""
    page = open_report(conversation().commits).page
    page.fill("#search", "person == Bob and wait > 30s or reason == timeout")
    expect(page.locator("#found [data-sort=commit]").first).to_contain_text("#2 ")
    expect(page.locator("#found-count")).to_have_text("2 found")
    page.press("#search", "Enter")
    expect(page.locator("#position-now")).to_have_text("2")
    page.fill("#search", "wating > 1")
    expect(page.locator("#found-count")).to_contain_text("Nothing found; as a filter: column 1: expected a name (text,")
    page.fill("#search", "time > 15:00:00")
    expect(page.locator("#found-count")).to_contain_text(
        "15:00:00 is outside the log, which goes from 2026-09-21 14:13:20.000 UTC"
    )
    page.fill("#search", "Hello")
    expect(page.locator("#found [data-sort=text]")).to_have_count(2)
    page.fill("#search", "rejection")
    expect(page.locator("#found-count")).to_contain_text("chat-broker replay LOG --when rejection")
    page.fill("#search", "person = Bob")
    expect(page.locator("#found-count")).to_contain_text("column 8: = is no sign here; did you mean ==?")
    page.fill("#search", "person == Bob && wait > 30s")
    expect(page.locator("#found-count")).to_contain_text("column 15: && is no sign here; did you mean and?")


@pytest.mark.parametrize("typed", ["person == Zoe", "no such words", "   "])
def test_nothing_found_leads_nowhere(open_report: Open, typed: str) -> None:
    """Enter does not follow what was found for an earlier text, and the arrows find no row."""
    page = open_report(conversation().commits).page
    page.fill("#search", "person == Bob")
    expect(page.locator("#found [data-sort=commit]").first).to_be_visible()
    page.fill("#search", typed)
    page.press("#search", "Enter")
    expect(page.locator("#position-now")).to_have_text("9")
    page.press("#search", "ArrowDown")
    expect(page.locator("#search")).to_be_focused()
    expect(page.locator("#found [role=listitem]")).to_have_count(0)


@pytest.mark.parametrize(
    ("typed", "position"),
    [
        ("14:13:21", 1),
        ("14:14:01", 1),
        ("15:14:03+01:00", 3),
        ("2026-09-21 14:14:04", 4),
        ("+1m", 6),
        ("+00:00:00", 1),
        ("2026-09-21", 0),
    ],
)
def test_a_time_in_the_search_leads_to_its_moment(open_report: Open, typed: str, position: int) -> None:
    """It may have any form of the commands, and leads to the last commit at or before it."""
    page = open_report(conversation().commits).page
    page.fill("#search", typed)
    found = page.locator("#found [data-sort=time]")
    expect(found).to_contain_text(f"#{position} 2026-09-21 14:")
    found.click()
    expect(page.locator("#position-now")).to_have_text(str(position))


def test_a_trimmed_log_counts_from_its_first_commit(open_report: Open) -> None:
    """As `replay` does; so a time that the page shows is found by the search."""
    commits = conversation().commits
    report = open_report(commits[2:], fold(commits[:2]))
    for position, shown in ((2, "-0:00:01.055"), (3, "+0:00:00.000"), (5, "+0:00:02.745")):
        report.go_to(position)
        expect(report.page.locator("#time-relative")).to_have_text(shown)
    report.page.fill("#search", "+00:00:02.745")
    report.page.locator("#found [data-sort=time]").click()
    expect(report.page.locator("#position-now")).to_have_text("5")


def test_a_time_outside_the_log_is_said(open_report: Open) -> None:
    """The hint has the span of the log."""
    page = open_report(conversation().commits).page
    page.fill("#search", "+9h")
    expect(page.locator("#found-count")).to_contain_text("Nothing found; as a time: +9h is outside the log, which goes")
