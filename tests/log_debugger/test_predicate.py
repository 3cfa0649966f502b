"""The questions that `--when` asks."""

from __future__ import annotations

import operator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import UsageError
from log_debugger.reading.predicate import COMPARE, MONOTONE, VARIABLES, parse_predicate
from projections.state import INITIAL_STATE
from tests.log_debugger.crowds import LITTLE, crowd, states_of
from tests.log_debugger.logs import conversation

STATES = states_of(conversation().commits)
CROWDED = states_of(crowd(3, 150, policy=LITTLE))


def positions(text: str) -> list[int]:
    """Where in the conversation it holds."""
    predicate = parse_predicate(text)
    return [state.position for state in STATES if predicate(state)]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("waiting == 1", [1, 5, 8]),
        ("waiting<1", [0, 2, 3, 4, 6, 7, 9]),
        ("rooms_open >= 1", [2, 3, 4, 5, 6]),
        ("rooms_closed > 0", [6, 7, 8, 9]),
        ("connections != 3", [0, 1, 2, 3, 4]),
        ("messages == 2 and position <= 5", [4, 5]),
        ("position == 1 or position == 3 and waiting == 1", [1]),
        ("(position == 1 or position == 3) and waiting == 0", [3]),
        ("not position > 1", [0, 1]),
        ("not not position > 8", [9]),
        ("not (position > 1 and position < 9)", [0, 1, 9]),
        ("3 < position", [4, 5, 6, 7, 8, 9]),
        ("2 < position <= 4", [3, 4]),
        ("waiting == rooms_open == 1", [5]),
        ("messages > rooms_closed > 0", [6]),
        ("  position\n==\t7  ", [7]),
        ("1 < 2", list(range(10))),
    ],
)
def test_a_question_is_answered_by_the_state(text: str, where: list[int]) -> None:
    """As one would read it: `not` binds closest, then comparisons' chains, then `and`, then `or`."""
    assert positions(text) == where


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "--when, column 1: expected a name (waiting, "),
        ("waiting", "--when, column 8: expected a comparison (< <= > >= == !=)"),
        ("waiting >", "--when, column 10: expected a name"),
        ("waiting > x", "--when, column 11: expected a name"),
        ("waiting > 1 2", "--when, column 13: expected 'and', 'or' or the end"),
        ("(waiting > 1", "--when, column 13: expected 'and', 'or' or ')'"),
        ("waiting > 1)", "--when, column 12: expected 'and', 'or' or the end"),
        ("waiting = 1", "--when, column 9: = is no sign here; did you mean ==?"),
        ("waiting > 1 && messages > 2", "--when, column 13: && is no sign here; did you mean and?"),
        ("waiting > 1 || messages > 2", "--when, column 13: || is no sign here; did you mean or?"),
        ("waiting > 1 & messages > 2", "--when, column 13: & is no sign here; did you mean and?"),
        ("waiting > 1 | messages > 2", "--when, column 13: | is no sign here; did you mean or?"),
        ("!(waiting > 1)", "--when, column 1: ! is no sign here; did you mean not?"),
        ("waiting + 1 > 2", "--when, column 9: expected a name, a whole number, a comparison or a parenthesis"),
        ("waiting >  -1", "--when, column 12: expected a name, a whole number, a comparison or a parenthesis"),
        ("waiting > 1.5", "--when, column 12: expected a name, a whole number"),
        ("waiting > 1e3", "--when, column 12: expected 'and', 'or' or the end"),
        ("waiting > 0x10", "--when, column 12: expected 'and', 'or' or the end"),
        ("waiting > 1111111111111111", "--when, column 11: expected a number of at most 15 digits"),
        ("waiting > \u0661", "--when, column 11: expected a name"),
        ("waiting.__class__ > 1", "--when, column 8: expected a name"),
        ("Waiting > 1", "--when, column 1: expected a name"),
        ("and", "--when, column 1: expected a name"),
        ("not", "--when, column 4: expected a name"),
        ("waiting > 1 and", "--when, column 16: expected a name"),
        ("waiting not > 1", "--when, column 9: expected a comparison"),
    ],
)
def test_what_is_no_question_is_refused_with_the_column(text: str, says: str) -> None:
    """The column, counted from 1, and what was expected there."""
    with pytest.raises(UsageError) as refused:
        parse_predicate(text)
    assert str(refused.value).startswith(says)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "waiting > 1" + " or waiting > 1" * 100,
        "(" * 60 + "waiting > 1" + ")" * 60,
        "not " * 60 + "waiting > 1",
        "(not " * 30 + "waiting > 1" + ")" * 30,
    ],
)
def test_a_question_is_bounded_in_length_and_depth(text: str) -> None:
    """Neither costs more than a refusal."""
    with pytest.raises(UsageError, match=r"at most 1000 characters|more than 50 levels"):
        parse_predicate(text)


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
        ("1 < 2", True),
    ],
)
def test_a_question_knows_whether_it_goes_on_to_hold(text: str, is_monotone: bool) -> None:
    """Where only what grows is asked to be large enough, however that is said."""
    assert parse_predicate(text).is_monotone is is_monotone


def test_a_question_knows_what_it_reads() -> None:
    """The names in it."""
    predicate = parse_predicate("not (waiting > 1 or messages < rooms_open) and 3 < position")
    assert predicate.names == {"waiting", "messages", "rooms_open", "position"}


OPERANDS = st.sampled_from(sorted(VARIABLES)) | st.integers(0, 60).map(str)
COMPARISONS = st.tuples(OPERANDS, st.sampled_from(sorted(COMPARE)), OPERANDS).map(" ".join)
QUESTIONS = st.recursive(
    COMPARISONS,
    lambda inner: (
        inner.map(lambda one: f"not ({one})")
        | st.tuples(inner, st.sampled_from([" and ", " or "]), inner).map(lambda parts: f"({''.join(parts)})")
    ),
    max_leaves=6,
)


@given(QUESTIONS)
def test_a_question_means_what_python_would_make_of_it(text: str) -> None:
    """The grammar is a part of Python's; and what is said to go on to hold does."""
    predicate = parse_predicate(text)
    held = [predicate(state) for state in CROWDED]
    code = compile(text, "question", "eval")
    expected = [eval(code, {}, {name: read(state) for name, read in VARIABLES.items()}) for state in CROWDED]
    assert held == expected
    if predicate.is_monotone:
        assert held == sorted(held)


@given(
    st.text(max_size=40)
    | st.lists(st.sampled_from([*VARIABLES, *COMPARE, "(", ")", "and", "or", "not", "7"])).map(" ".join)
)
def test_anything_is_a_question_or_an_error_of_use(text: str) -> None:
    """Nothing else comes of it."""
    with suppress(UsageError):
        parse_predicate(text)(INITIAL_STATE)


def test_what_is_called_growing_grows() -> None:
    """Under every log: nothing that is said to grow ever gets smaller."""
    for name in MONOTONE:
        numbers = [VARIABLES[name](state) for state in CROWDED]
        assert all(map(operator.le, numbers, numbers[1:])), name
