"""What is tried, how a fault gets into a function that is there, and how a survivor is recognised."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import lru_cache
from types import ModuleType

import pytest

from tests.mutation.annotations import merely_annotating
from tests.mutation.mutants import Mutant, mutants_of
from tests.mutation.survivors import by_reason, listed
from tests.mutation.swap import swap

SOURCE = '''\
"""Words."""
from functools import lru_cache

LIMIT = 3


@lru_cache(maxsize=2)
def few(count: int, *, also: bool = True) -> bool:
    """Words."""
    assert count >= 0, "words"
    if count < LIMIT:
        return also
    return False


class Counter:
    """Words."""

    @property
    def more(self) -> int:
        def one() -> int:
            return 1

        return one() + 1

    @staticmethod
    def sql() -> str:
        return "DELETE FROM t WHERE a > 1 AND b"
'''


def changes(inside: str) -> set[tuple[str, str]]:
    """The faults in one function, or in the head of one type."""
    return {(each.before, each.after) for each in mutants_of("m.py", SOURCE) if each.inside == inside}


def test_a_module_has_faults_at_its_own_level_too() -> None:
    """Imports, annotations and docstrings have none."""
    assert changes("") == {("LIMIT = 3", "LIMIT = 4"), ("LIMIT = 3", "LIMIT = None")}
    assert changes("Counter") == set()


def test_a_decorated_function_is_tried_with_its_decorator_and_its_defaults() -> None:
    """Also the conditions, the bounds and the answers in it; not the words of an assertion."""
    head = "def few(count: int, *, also: bool = True) -> bool:"
    assert changes("few") == {
        ("@lru_cache(maxsize=2)", "@lru_cache(maxsize=3)"),
        ("@lru_cache(maxsize=2)", "@lru_cache(maxsize=None)"),
        (head, head.replace("True", "False")),
        ('assert count >= 0, "words"', 'assert count > 0, "words"'),
        ('assert count >= 0, "words"', 'assert count >= 1, "words"'),
        ("if count < LIMIT:", "if count <= LIMIT:"),
        ("if count < LIMIT:", "if not (count < LIMIT):"),
        ("return also", "return None"),
        ("return False", "return True"),
        ("return False", "return None"),
    }


def test_sql_has_faults_of_its_own() -> None:
    """Its bounds and its connectives."""
    assert {after for _, after in changes("Counter.sql")} == {
        'return "DELETE FROM t WHERE a >= 1 AND b"',
        'return "DELETE FROM t WHERE a > 1 OR b"',
        'return "XXDELETE FROM t WHERE a > 1 AND bXX"',
        "return None",
    }


def test_a_fault_knows_the_statement_that_it_is_in() -> None:
    """By its lines, for the tests that reach them, and by the function whose code it changes."""
    where = {(each.function, each.first_line, each.last_line) for each in mutants_of("m.py", SOURCE)}
    assert where == {
        ("", 4, 4),
        ("", 8, 8),
        ("few", 10, 10),
        ("few", 11, 11),
        ("few", 12, 12),
        ("few", 13, 13),
        ("Counter.more", 22, 22),
        ("Counter.more", 24, 24),
        ("Counter.sql", 28, 28),
    }


def test_a_type_that_only_annotations_use_has_no_faults() -> None:
    """Wherever they stand, but in a class, where they may be gone by; a name is its module's."""
    sources = {
        "one": "Who = tuple[int, str]\nWhat = int | str\nWhen = list[int]\nWhy = set[int]\nLIMIT = 3\n"
        "def say(who: Who, why: Why = Why()) -> Who: ...\n",
        "two": "import one\nfrom one import Who, What\nWhy = dict[int, str]\nprint(one.When)\nx: Why = {}\n"
        "class Said:\n    what: What\n    def to(self) -> Who:\n        who: Who = ()\n",
    }
    assert merely_annotating(sources) == {("one", "Who"), ("two", "Why")}
    assert {each.before for each in mutants_of("one.py", sources["one"], {"Who", "What", "When"})} == {
        "Why = set[int]",
        "LIMIT = 3",
    }


def test_a_key_stays_as_lines_move() -> None:
    """So a survivor is known again."""
    moved = SOURCE.replace("LIMIT = 3", "# more\n\n\nLIMIT = 3")
    assert [each.key for each in mutants_of("m.py", moved)] == [each.key for each in mutants_of("m.py", SOURCE)]


@pytest.fixture
def module() -> Iterator[ModuleType]:
    """`SOURCE`, imported."""
    made = ModuleType("sample")
    exec(compile(SOURCE, "sample", "exec"), vars(made))
    sys.modules["sample"] = made
    yield made
    del sys.modules["sample"]


def with_fault(after: str) -> Mutant:
    """The one that makes a line this."""
    return next(each for each in mutants_of("m.py", SOURCE) if each.after == after)


def test_a_fault_gets_into_a_function_that_others_hold_already(module: ModuleType) -> None:
    """Whatever it is decorated with, and however deep in it."""
    counter, few, sql = module.Counter(), module.few, module.Counter.sql
    assert isinstance(few, type(lru_cache(len)))
    for after in ("if count <= LIMIT:", "return 2", 'return "DELETE FROM t WHERE a > 1 OR b"'):
        fault = with_fault(after)
        assert swap("sample", fault.function, fault.source)
    assert (few(3), counter.more, sql()) == (True, 3, "DELETE FROM t WHERE a > 1 OR b")


def test_what_is_no_function_can_not_be_swapped(module: ModuleType) -> None:
    """It is tried from the beginning then."""
    assert not swap("sample", "Counter.missing", SOURCE)
    assert not swap("sample", "LIMIT", SOURCE)


def test_every_listed_survivor_has_a_reason() -> None:
    """And stands there once."""
    entries = listed()
    assert len({entry.key for entry in entries}) == len(entries)
    assert [each for each in by_reason() if len(each.reason.split()) < 4 or not each.faults] == []
