"""The filter language of `replay`, `bisect`, `trace` and the stepper."""

from __future__ import annotations

import argparse
import operator
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import UsageError
from events.commands import LeaveQueue
from events.events import RoomOpened
from log_debugger.reading.filter_fields import COMPARE, COUNTS, NAMES, RISING
from log_debugger.reading.filter_parser import Filter, parse_filter
from log_debugger.reading.filters import (
    LogContext,
    add_filter_arguments,
    filter_from_options,
    filter_text_of,
    when_asked,
)
from log_debugger.reading.short_names import ShortNames
from log_debugger.reading.sources import Source, open_source, steps
from log_debugger.reading.times import LogSpan
from projections.state import INITIAL_STATE
from tests.log_debugger.crowds import LITTLE, crowd, states_of
from tests.log_debugger.logs import (
    ANN,
    BOB,
    ROOM,
    Script,
    by_interests,
    conversation,
    dumped,
    fair_company,
    filed,
    run_command,
    run_ok,
)

CROWDED = states_of(crowd(3, 150, policy=LITTLE))
DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place for this module's logs."""
    return tmp_path_factory.mktemp("filters")


@pytest.fixture(scope="module")
def talk(folder: Path) -> Iterator[Source]:
    """A conversation."""
    with closing(open_source(dumped(folder / "talk.jsonl", conversation().commits))) as source:
        yield source


@pytest.fixture(scope="module")
def company(folder: Path) -> Iterator[Source]:
    """A missed match, a report, blocks and forgotten names."""
    with closing(open_source(dumped(folder / "company.jsonl", fair_company().commits))) as source:
        yield source


@pytest.fixture(scope="module")
def interested(folder: Path) -> Iterator[Source]:
    """Matching by interests."""
    with closing(open_source(dumped(folder / "interested.jsonl", by_interests().commits))) as source:
        yield source


def positions(source: Source, text: str) -> list[int]:
    """Return the positions of the matching commits."""
    found = parse_filter(text)(LogContext(source))
    return [step.commit.position for step in steps(source) if found.matches(step)]


def unbound(text: str) -> Filter:
    """Return a filter without references to a log."""
    with closing(open_source("docs/debugging/mystery.jsonl")) as source:
        return parse_filter(text)(LogContext(source))


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("waiting == 1", [1, 5, 8]),
        ("waiting<1", [2, 3, 4, 6, 7, 9]),
        ("rooms_open >= 1", [2, 3, 4, 5, 6]),
        ("rooms_closed > 0", [6, 7, 8, 9]),
        ("connections != 3", [1, 2, 3, 4]),
        ("messages == 2 and position <= 5", [4, 5]),
        ("position == 1 or position == 3 and waiting == 1", [1]),
        ("(position == 1 or position == 3) and waiting == 0", [3]),
        ("not position > 1", [1]),
        ("not not position > 8", [9]),
        ("not (position > 1 and position < 9)", [1, 9]),
        ("3 < position", [4, 5, 6, 7, 8, 9]),
        ("2 < position <= 4", [3, 4]),
        ("waiting == rooms_open == 1", [5]),
        ("messages > rooms_closed > 0", [6]),
        ("  position\n==\t7  ", [7]),
        ("position in (2, 4)", [2, 4]),
        ("position not in (2, 4) and position < 6", [1, 3, 5]),
        ("position in 2", [2]),
        ("'7' == position", [7]),
    ],
)
def test_a_count_is_compared_as_in_python(talk: Source, text: str, where: list[int]) -> None:
    """`not` binds closest, then comparisons' chains, then `and`, then `or`."""
    assert positions(talk, text) == where


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("person == Ann", [1, 2, 3, 4, 6]),
        ("Ann == person", [1, 2, 3, 4, 6]),
        ("person == 6f5d", [1, 2, 3, 4, 6]),
        ("person == Ann\u00b76f5d", [1, 2, 3, 4, 6]),
        (f"person == {BOB}", [2, 3, 4, 6, 7, 8, 9]),
        ('person == "Ann"', [1, 2, 3, 4, 6]),
        ("person != Ann", [5, 7, 8, 9]),
        ("not person != Ann", [1, 2, 3, 4, 6]),
        ("person in (Ann, 0a1b)", [1, 2, 3, 4, 5, 6, 7]),
        ("person == Ann and person == Anonymous", [6]),
        ("room == 2370", [2, 3, 4, 6]),
        ("room == r_91aa", [6, 7]),
        ("type == message_sent", [3, 4]),
        ("type == SendMessage", [3, 4]),
        ("type in (message_sent, queue_left)", [3, 4, 9]),
        ("not type in (queue_entered, message_sent)", [7, 9]),
        ("reason == timeout", [7]),
        ("reason == next", [6]),
        ("reason in (left, disconnected)", [9]),
        ("wait > 30s", [2]),
        ("wait >= 15s", [2, 6]),
        ("0.25m == wait", [6]),
        ("wait < 10s", [9]),
        ("not wait < 10s", [1, 2, 3, 4, 5, 6, 7, 8]),
        ("wait <= 15000ms", [6, 9]),
        ('"hello" in text', [3, 4]),
        ("stranger in text", [3]),
        ('"stranger" not in text and type == message_sent', [4]),
        ("text == 'HELLO!'", [4]),
        ("text != 'Hello!' and type == message_sent", [3]),
        ('"\\"" in text', []),
        ("policy == first-come", [1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ("policy == interests", []),
        ("policy == rules:mine", []),
        ("policy.idle_grace_room_ms == 5m and position > 8", [9]),
        ("policy.idle_grace_room_ms != 300000", []),
        ("policy.queue_connections_max < 10", []),
        ("policy.matching == first-come and position == 1", [1]),
        ("rejection", []),
        ("not rejection and waiting == 1", [1, 5, 8]),
        ("person == Bob and (wait > 1m or reason == next)", [6]),
    ],
)
def test_a_part_of_a_commit_is_compared_with_a_value(talk: Source, text: str, where: list[int]) -> None:
    """A condition holds if one of the commit's people, rooms, types, reasons, waits or texts satisfies it."""
    assert positions(talk, text) == where


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("reason == missed", [4]),
        ("reason == timeout", []),
        ("reason == spam", [10]),
        ("watches in text", [6, 10]),
        ("person == Bob", [3, 4, 16]),
        ("policy.confirm_grace_ms > 20s and position < 3", [1, 2]),
    ],
)
def test_missed_matches_and_reports_are_found(company: Source, text: str, where: list[int]) -> None:
    """A missed match has a reason of its own; a report's category is one, and its note is a text."""
    assert positions(company, text) == where


def test_the_matching_is_that_after_the_commit(interested: Source) -> None:
    """The commit with the change counts."""
    assert positions(interested, "policy == interests") == [1, 2, 3, 4, 5, 6, 7]
    assert positions(interested, "policy == interests and type == match_due") == [6]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("time >= 14:14:01.200", [2, 3, 4, 5, 6, 7, 8, 9]),
        ("14:14 <= time < 14:14:04", [2, 3]),
        ("time > 16:14:04+02:00 and time <= 15:14:20+0100", [5, 6]),
        ("time < 2026-09-21T14:14:00Z", [1]),
        ("time < 2026-09-21 14:14:00", [1]),
        ("time < 2026-09-21T16:14:00+02:00", [1]),
        ("time <= +44s", [1, 2, 3, 4]),
        ("time <= +0.75m", [1, 2, 3, 4, 5]),
        ("+1.5m < time < +00:07:01", [7]),
        ("not time < +7m", [7, 8, 9]),
        ("+7m <= time", [7, 8, 9]),
        ("time >= 2026-09-21", [1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ("time < 2026-09-21", []),
        ("time < '2026-09-21 14:14:00.000 UTC'", [1]),
        ("time < '14:14:01,200'", [1]),
        ("time < 16:14:01.2001239+02", [1]),
    ],
)
def test_a_time_is_of_day_or_since_the_log_began(talk: Source, text: str, where: list[int]) -> None:
    """Wall-clock time is UTC without a zone; with `+` it counts from the first commit."""
    assert positions(talk, text) == where


TALKED = "outside the log, which goes from 2026-09-21T14:13:20.000Z to 2026-09-21T14:20:30.000Z"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("time > 15:00:00", f'"15:00:00" is {TALKED}; 15:00:00 since its beginning is written +15:00:00'),
        ("time > 14:13:19.999Z", f'"14:13:19.999Z" is {TALKED}'),
        ("time > 2026-09-22T14:14:00Z", f'"2026-09-22T14:14:00Z" is {TALKED}'),
        ("time < 2026-09-20", f'"2026-09-20" is {TALKED}'),
        ("time < 2026-09-22", f'"2026-09-22" is {TALKED}'),
        ("time > +8m", f'"+8m" is {TALKED}, which is +00:07:10.000'),
        ("person == Zoe", 'there is no connection "Zoe" in this log; there are Ann\u00b76f5d, Bob\u00b7b6cd'),
        ("room == ffff", 'there is no room "ffff" in this log; there are r_2370, r_91aa'),
        ("person == cb_secret", "that is a handle, which is a secret and in no log"),
    ],
)
def test_a_value_that_is_not_in_the_log_is_an_error(talk: Source, text: str, says: str) -> None:
    """The log's span, its people or its rooms are named."""
    with pytest.raises(UsageError) as refused:
        positions(talk, text)
    assert str(refused.value).startswith(says)


@pytest.mark.parametrize("time", ["14:14:00+24:00", "14:14-2400", "14:14:00+99:99", "2026-09-21T14:14:00+24:00"])
def test_a_zone_of_a_day_or_more_is_an_error(talk: Source, time: str) -> None:
    """There is no such zone, so it is no time; the column is named."""
    with pytest.raises(UsageError) as refused:
        positions(talk, f"time > {time}")
    assert str(refused.value).startswith(f'--when, column 8: "{time}" is no time: write it as in 14:03:22')


def test_a_time_of_day_that_comes_twice_needs_its_date(folder: Path) -> None:
    """The error writes both; with the date, or since the beginning, it is one time."""
    script = Script().enters(0, ANN, "Ann").add(1_000, LeaveQueue(ANN)).enters(DAY_MS + 500, BOB, "Bob")
    with closing(open_source(dumped(folder / "days.jsonl", script.commits))) as source:
        with pytest.raises(UsageError) as refused:
            positions(source, "time > 14:13:20.100")
        assert str(refused.value) == (
            '"14:13:20.100" comes more than once in the log; write a date, '
            "as in 2026-09-21T14:13:20.100Z and 2026-09-22T14:13:20.100Z"
        )
        assert positions(source, "time > 2026-09-22T14:13:20.100Z") == [3]
        assert positions(source, "time > +24h") == [3]
        assert positions(source, "time < 14:13:21") == [1]
        assert positions(source, "time < 14:13:19") == [1, 2]


def test_a_date_is_the_midnight_with_which_it_begins(folder: Path) -> None:
    """A log that goes over midnight, by UTC in any zone of the machine, is asked for either day."""
    night = Script().enters(35_170_000, ANN, "Ann").enters(35_250_000, BOB, "Bob", room=ROOM)
    with closing(open_source(dumped(folder / "night.jsonl", night.commits))) as source:
        assert positions(source, "2026-09-21 <= time < 2026-09-22") == [1]
        assert positions(source, "time >= 2026-09-22") == [2]
        assert positions(source, "23:59:30 <= time < 00:00:30") == [1]
        assert positions(source, "time > 00:00") == [2]


def test_a_name_is_found_in_any_case_and_form(folder: Path) -> None:
    """Names and texts are stored composed; a value may come decomposed, and need no quotes in any script."""
    hindi = "\u0938\u0940\u0924\u093e"
    script = Script().enters(0, ANN, "Zo\u00eb").enters(1_000, BOB, hindi, room=ROOM).says(2_000, ANN, "Caf\u00e9")
    log = dumped(folder / "scripts.jsonl", script.commits)
    with closing(open_source(log)) as source:
        assert positions(source, "person == zoe\u0308 and type == message_sent") == [3]
        assert positions(source, f"person == {hindi} and type == queue_entered") == [2]
        assert positions(source, "'CAFE\u0301' in text") == [3]
    assert run_ok("replay", log, "--connection", "Zoe\u0308").lines[0].startswith("      1  ")


def test_an_empty_log_has_no_time(folder: Path) -> None:
    """Any time is outside."""
    answer = run_command("replay", filed(folder / "empty.db", []), "--when", "time > +0s")
    assert (answer.status, answer.err) == (2, 'chat-broker: the log has no commits, so "+0s" is outside it\n')


def test_a_log_with_a_damaged_end_is_searched_as_far_as_it_goes(folder: Path) -> None:
    """Its last time is not known, so no time is after it."""
    log = dumped(folder / "cut.jsonl", conversation().commits[:4], b'{"schema_version":')
    answer = run_command("replay", log, "--when", "time > 14:14:02")
    assert [line[:7].strip() for line in answer.lines] == ["3", "4"]
    assert "cut off" in answer.err
    early = run_command("replay", log, "--at", "2026-09-21T14:00:00Z").err
    assert "which goes from 2026-09-21T14:13:20.000Z on" in early


WHAT = f"a name ({', '.join(NAMES)})"
NO_NAME = f"is no name of a filter, which are {', '.join(NAMES)} and policy.FIELD"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", f"1: expected {WHAT} or a value"),
        ("waiting", "8: expected a comparison (< <= > >= == != in), as in waiting > 3"),
        ("person and waiting > 1", "7: expected a comparison (< <= > >= == != in), as in person == Ida"),
        ("waiting >", "10: expected a value"),
        ("waiting > x", "11: expected a whole number of at most 15 digits"),
        ("waiting > 1 2", "13: expected 'and', 'or' or the end; a value of several words stands in quotes"),
        ("person == Ida Smith", "15: expected 'and', 'or' or the end; a value of several words stands in quotes"),
        ("(waiting > 1", "13: expected 'and', 'or' or ')'"),
        ("waiting > 1)", "12: expected 'and', 'or' or the end"),
        ("waiting = 1", "9: = is no sign here; did you mean ==?"),
        ("waiting === 1", "9: === is no sign here; did you mean ==?"),
        ("waiting <> 1", "9: <> is no sign here; did you mean !=?"),
        ("waiting => 1", "9: => is no sign here; did you mean >=?"),
        ("waiting \u2265 1", "9: \u2265 is no sign here; did you mean >=?"),
        ("person == \u201cAnn\u201d", '11: \u201c is no sign here; did you mean "?'),
        ("waiting is 1", "9: is is no sign here; did you mean ==?"),
        ("text contains chess", '6: contains is no sign here; did you mean in, as in "chess" in text?'),
        ("text =~ chess", '6: =~ is no sign here; did you mean in, as in "chess" in text?'),
        ("waiting > 1 && messages > 2", "13: && is no sign here; did you mean and?"),
        ("waiting > 1 || messages > 2", "13: || is no sign here; did you mean or?"),
        ("waiting > 1 & messages > 2", "13: & is no sign here; did you mean and?"),
        ("waiting > 1 | messages > 2", "13: | is no sign here; did you mean or?"),
        ("waiting > 1 AND messages > 2", "13: AND is no sign here; did you mean and?"),
        ("NOT waiting > 1", "1: NOT is no sign here; did you mean not?"),
        ("waiting > 1, messages > 2", "12: , is no sign here; did you mean and?"),
        ("!(waiting > 1)", "1: ! is no sign here; did you mean not?"),
        ("waiting + 1 > 2", "9: expected a name, a value, a comparison or a parenthesis"),
        ("waiting >  -1", "12: expected a name, a value, a comparison or a parenthesis"),
        ("waiting > 1.5", "11: expected a whole number"),
        ("waiting > 0x10", "11: expected a whole number"),
        ("waiting > 1111111111111111", "11: expected a whole number of at most 15 digits"),
        ("waiting > \u0661", "11: expected a whole number"),
        ("waiting.__class__ > 1", f'1: "waiting.__class__" {NO_NAME}'),
        ("wating > 1", f'1: "wating" {NO_NAME}; did you mean waiting?'),
        ("Waiting > 1", f'1: "Waiting" {NO_NAME}; did you mean waiting?'),
        ("1 < 2", f'1: "1" {NO_NAME}'),
        ("xyzzy == 'person'", f'1: "xyzzy" {NO_NAME}'),
        ("policy.idle_grace_rom_ms > 1", f'1: "policy.idle_grace_rom_ms" {NO_NAME}; did you mean'),
        ("and", f"1: expected {WHAT}"),
        ("not", f"4: expected {WHAT}"),
        ("waiting > 1 and", f"16: expected {WHAT}"),
        ("waiting > not 1", "11: expected a value"),
        ("waiting not > 1", "9: expected a comparison"),
        ('waiting > 1 "and" waiting > 2', "13: expected 'and', 'or' or the end; a value of several words stands in"),
        ('person "in" (Ann, Bob)', "8: expected a comparison"),
        ("person == and", "11: expected a value"),
        ("room 2370", "6: expected a comparison (< <= > >= == != in)"),
        ("room == 2370, type == message_sent", "13: , is no sign here; did you mean and?"),
        ("wait > 30", "8: expected a duration with its unit, as in 30s, 1.5m or 250ms"),
        ("time > soon", '8: "soon" is no time: write it as in 14:03:22'),
        ("time > 25:00:00", '8: "25:00:00" is no time: write it as in 14:03:22'),
        ("time == 14:14:00", "9: expected time to be compared by < <= > >=, as in 14:03:22 <= time < 14:03:23"),
        ("person > Ann", "10: expected person to be compared by == != in, as in person == Ida"),
        ("type == message", '9: there is no command or event "message"; there are adopt_policy, '),
        ("reason == bored", '11: there is no reason "bored"; there are left, disconnected, timeout, next, missed, '),
        ("policy == interest", '11: there is no matching "interest"; there are first-come, interests'),
        ("policy.wait_ms_max > x", "22: expected a number, as in policy.wait_ms_max > 15s"),
        ("text in chess", '1: expected the words first, as in "chess" in text'),
        ("chess in person", "10: expected text after in; for person write person == Ida"),
        ("chess in rooms", f'10: "rooms" {NO_NAME}; did you mean room'),
        ("1 == wating", f'6: "wating" {NO_NAME}; did you mean waiting?'),
        ("cb_sLYn2n0ArpncMJw3 == 1", f"1: this {NO_NAME}"),
        ("type in room_opened, room_closed", "20: expected parentheses around the values after in"),
        ("chess in (a, b)", f'1: "chess" {NO_NAME}'),
        ("(waiting > 1) > 2", "2: expected a name and a value on the sides of a comparison"),
        ("type in (message_sent, (a, b))", "26: expected parentheses around the values after in"),
        ("type in ()", f"10: expected {WHAT}"),
        ('text == "chess', "9: the quote that begins here has no end"),
        ("(waiting > 1) (messages > 2)", "15: expected 'and', 'or' or the end"),
        ("rejection == 1", "1: expected rejection alone, without a comparison"),
        ("lambda: 1", "9: expected a comparison"),
        ("__import__('os')", "11: expected a comparison"),
        ("[waiting > 1]", "1: expected a name, a value, a comparison or a parenthesis"),
    ],
)
def test_a_mistake_is_answered_by_its_column_and_by_what_to_write(text: str, says: str) -> None:
    """The column is counted from 1."""
    with pytest.raises(UsageError) as refused:
        parse_filter(text)
    assert str(refused.value).startswith(f"--when, column {says}")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "waiting > 1" + " or waiting > 1" * 100,
        "(" * 60 + "waiting > 1" + ")" * 60,
        "not " * 60 + "waiting > 1",
        "(not " * 51 + "waiting > 1" + ")" * 51,
        "(" * 900,
    ],
)
def test_a_filter_is_bounded_in_length_and_depth(text: str) -> None:
    """Neither costs more than a refusal."""
    with pytest.raises(UsageError, match=r"at most 1000 characters|more than 50 levels"):
        parse_filter(text)


@pytest.mark.parametrize(
    ("text", "is_monotone"),
    [
        ("messages > 5", True),
        ("messages >= 5 and position > 3 or rooms_closed > 1", True),
        ("5 < messages", True),
        ("not messages < 5", True),
        ("not (messages < 5 or position <= 3)", True),
        ("not not messages > 5", True),
        ("not 5 > messages", True),
        ("messages < 5", False),
        ("not messages > 5", False),
        ("not (messages < 5 or position > 3)", False),
        ("messages == 5", False),
        ("messages != 5", False),
        ("5 > messages", False),
        ("3 < messages < 9", False),
        ("3 < messages > 1", True),
        ("waiting > 5", False),
        ("messages > 5 and waiting > 1", False),
        ("messages > rooms_closed", False),
        ("position >= position", True),
        ("messages in (5, 6)", False),
        ("messages not in (5, 6)", False),
        ("time > +30s", True),
        ("time < +30s", False),
        ("not time < +30s", True),
        ("person == Ida", False),
        ("wait > 30s", False),
        ("policy.wait_ms_max > 1", False),
        ("rejection", False),
    ],
)
def test_a_filter_knows_whether_it_goes_on_to_hold(text: str, is_monotone: bool) -> None:
    """A filter is monotone if all its conditions are lower bounds of growing counts, in any form."""
    assert unbound(text).is_monotone is is_monotone


def test_a_filter_knows_what_it_reads() -> None:
    """The set has all names in the filter."""
    found = unbound(
        "not (waiting > 1 or messages < rooms_open) and 3 < position or policy.wait_ms_max > 1 or rejection"
    )
    assert found.names == {"waiting", "messages", "rooms_open", "position", "policy.wait_ms_max", "rejection"}


COUNTED = st.sampled_from(sorted(COUNTS))
NUMBERS = st.integers(0, 60).map(str)
SIGNS = st.sampled_from(sorted(COMPARE))
COMPARISONS = st.tuples(COUNTED, SIGNS, COUNTED | NUMBERS).map(" ".join) | st.tuples(NUMBERS, SIGNS, COUNTED).map(
    " ".join
)
FILTERS = st.recursive(
    COMPARISONS,
    lambda inner: (
        inner.map(lambda one: f"not ({one})")
        | st.tuples(inner, st.sampled_from([" and ", " or "]), inner).map(lambda parts: f"({''.join(parts)})")
    ),
    max_leaves=6,
)


class _NoLog:
    """A log for filters without questions to it."""

    @property
    def names(self) -> ShortNames:
        raise AssertionError

    @property
    def span(self) -> LogSpan:
        raise AssertionError


@given(FILTERS)
def test_a_filter_means_what_python_would_make_of_it(text: str) -> None:
    """The grammar is a part of Python's; and a filter called monotone does go on to hold."""
    found = parse_filter(text)(_NoLog())
    held = [found.holds(state, None) for state in CROWDED]
    code = compile(text, "filter", "eval")
    expected = [eval(code, {}, {name: read(state) for name, read in COUNTS.items()}) for state in CROWDED]
    assert held == expected
    if found.is_monotone:
        assert held == sorted(held)


@given(
    st.text(max_size=40)
    | st.lists(
        st.sampled_from(
            [*NAMES, *COMPARE, "(", ")", ",", "and", "or", "not", "in", "7", "x", "'y'", "30s", "+1m", "rejection"]
        )
    ).map(" ".join)
)
def test_anything_is_a_filter_or_an_error_of_use(text: str) -> None:
    """No other error comes of it."""
    with suppress(UsageError):
        parse_filter(text)


def test_what_is_called_rising_rises() -> None:
    """Under every log: no count called rising ever gets smaller."""
    reads = {**COUNTS, "time": lambda state: state.at_ms}
    for name in RISING:
        numbers = [reads[name](state) for state in CROWDED]
        assert all(map(operator.le, numbers, numbers[1:])), name


def test_before_the_first_commit_there_is_a_state_and_nothing_else(talk: Source) -> None:
    """A comparison with a part of a commit does not hold there."""
    log = LogContext(talk)
    for text, holds in (
        ("waiting == 0", True),
        ("person == Ann", False),
        ("person != Ann", True),
        ("type == message_sent or wait < 1h or 'x' in text or rejection", False),
        ("policy == first-come", True),
    ):
        assert parse_filter(text)(log).holds(INITIAL_STATE, None) is holds


def test_every_command_takes_the_same_filter(folder: Path) -> None:
    """`replay` prints the matches, `bisect` the first, `trace` those of a life."""
    log = dumped(folder / "all.jsonl", conversation().commits)
    told = ("--when", 'person == Bob and (type == message_sent or "hello" in text)')
    assert numbers_of(run_ok("replay", log, *told).lines[:2]) == [3, 4]
    assert numbers_of(run_ok("bisect", log, *told).lines[:1]) == [3]
    lines = run_ok("trace", log, "--connection", "Ann", *told).lines
    assert numbers_of(line for line in lines if line[:7].strip().isdigit()) == [3, 4]
    assert "  1 stay in the queue (41.2 s); 1 room; 2 messages (1 by Bob\u00b7b6cd, 1 by Ann\u00b76f5d)" in lines
    objects = run_ok("trace", log, "--connection", "Ann", "--json", *told).objects
    assert [one.get("position") for one in objects] == [3, 4, None]
    pair = run_ok("trace", log, "--pair", "Ann", "Bob", "--when", "wait > 30s").lines
    assert numbers_of(line for line in pair if line[:7].strip().isdigit()) == [2]
    for command in (("replay", log), ("bisect", log), ("trace", log, "--room", "23")):
        answer = run_command(*command, "--when", "person = Bob")
        assert (answer.status, answer.out) == (2, "")
        assert answer.err == "chat-broker: --when, column 8: = is no sign here; did you mean ==?\n"


def numbers_of(lines: Sequence[str] | Iterator[str]) -> list[int]:
    """Return the leading positions of lines."""
    return [int(line[:7]) for line in lines]


def test_flags_and_a_filter_hold_together(folder: Path) -> None:
    """Types are alternatives; everything else is joined by `and`."""
    log = dumped(folder / "flags.jsonl", conversation().commits)
    types = ("--type", "message_sent", "--type", "room_opened")
    assert [one["position"] for one in run_ok("replay", log, *types, "--json").objects[:-1]] == [2, 3, 4, 6]
    more = (*types, "--connection", "Ann", "--when", "messages > 0")
    assert [one["position"] for one in run_ok("replay", log, *more, "--json").objects[:-1]] == [3, 4, 6]


@pytest.mark.parametrize(
    ("flags", "text", "where"),
    [
        ((), "", None),
        (("--when", "waiting == 1 or messages > 0"), "waiting == 1 or messages > 0", [1, 3, 4, 5, 6, 7, 8, 9]),
        (("--connection", "Ann", "--room", "23"), "person == Ann and room == 23", [2, 3, 4, 6]),
        (("--type", "message_sent", "--type", "RoomClosed"), "type in (message_sent, RoomClosed)", [3, 4, 6, 7]),
        (
            ("--type", "message_sent", "--when", "position == 1 or position == 3"),
            "type == message_sent and (position == 1 or position == 3)",
            [3],
        ),
        (("--rejection", "--connection", "Ann b"), None, None),
        (("--rejection",), "rejection", []),
    ],
)
def test_flags_are_shown_as_the_filter_that_they_mean(
    talk: Source, flags: tuple[str, ...], text: str | None, where: list[int] | None
) -> None:
    """The stepper shows its search as one would type it."""
    parser = argparse.ArgumentParser()
    add_filter_arguments(parser)
    shown = filter_text_of(parser.parse_args(flags))
    assert shown == (text if text is not None else 'person == "Ann b" and rejection')
    if where is not None:
        assert positions(talk, shown) == where
        options = parser.parse_args(flags)
        chosen = filter_from_options(options, when_asked(options), LogContext(talk))
        assert [step.commit.position for step in steps(talk) if chosen.matches(step)] == where


def test_the_stay_of_a_match_that_was_missed_counts_from_its_entry(company: Source) -> None:
    """The match ends the wait, as any match; the next one begins where the first did."""
    opened = [
        step.commit.position
        for step in steps(company)
        if any(isinstance(event, RoomOpened) for event in step.commit.events)
    ]
    assert positions(company, "wait >= 0s and type == room_opened") == opened
    assert positions(company, "wait == 30s") == [5]
