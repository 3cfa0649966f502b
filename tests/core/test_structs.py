"""What the types of the log and of the state have in common."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

import msgspec
import pytest

import events
import projections
from broker import decide
from broker import reads as pages
from events import codec, commands, commit, policy, text
from events import events as happened
from events.sqlite import reader as sqlite_reader
from projections import connections as places
from projections import inbox, queue, rooms, snapshots, state
from projections import notifications as deliveries
from projections import ordered_map as order

STORED = (commands, happened, commit, policy, text)
READ_IN_PASSING = {codec._SchemaHeader, sqlite_reader._CommitTime, snapshots._Version}
"""Types that pick one field out of many, and are gone at once."""


def types_in(*modules: ModuleType) -> list[type[msgspec.Struct]]:
    """The structs that `modules` define."""
    return [
        each
        for module in modules
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, msgspec.Struct) and each.__module__ == module.__name__
    ]


def everything_in(package: ModuleType) -> list[type[msgspec.Struct]]:
    """The structs that all modules of `package` define."""
    names = [module.name for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")]
    return types_in(*map(importlib.import_module, names))


ALL = [*everything_in(events), *everything_in(projections), *types_in(decide, pages)]


@pytest.mark.parametrize("each", ALL, ids=lambda each: each.__qualname__)
def test_a_value_never_changes(each: type[msgspec.Struct]) -> None:
    """But for working copies, and what the encoding of a snapshot has in its hands for a moment."""
    is_passing = each in READ_IN_PASSING or each.__module__ == snapshots.__name__
    assert each.__struct_config__.frozen or each.__name__.endswith("Mutation") or is_passing


@pytest.mark.parametrize(
    "each",
    [*types_in(*STORED, deliveries, inbox, order, places, queue, rooms, state), snapshots._Room],
    ids=lambda each: each.__qualname__,
)
def test_the_garbage_collector_need_not_look_at_it(each: type[msgspec.Struct]) -> None:
    """A state holds millions; none is in a cycle, and to look at all of them is a pause."""
    assert not each.__struct_config__.gc


@pytest.mark.parametrize(
    "each",
    [*types_in(*STORED), snapshots._SnapshotHeader, snapshots._Rows, snapshots._Trailer],
    ids=lambda each: each.__qualname__,
)
def test_a_field_that_it_does_not_know_is_an_error(each: type[msgspec.Struct]) -> None:
    """What a newer program stored is not half understood."""
    assert each.__struct_config__.forbid_unknown_fields


@pytest.mark.parametrize("each", types_in(inbox, places), ids=lambda each: each.__qualname__)
def test_what_a_snapshot_holds_of_many_people_has_no_names_in_it(each: type[msgspec.Struct]) -> None:
    """Names of fields, a hundred thousand times over, would be most of it."""
    of_many = {inbox.Inbox, places.Idle, places.Waiting, places.Chatting, places.Connection}
    assert each.__struct_config__.array_like == (each in of_many)


def test_facts_that_are_not_there_take_no_room() -> None:
    """Every commit has some."""
    assert msgspec.json.encode(commit.Facts(1)) == b'{"at_ms":1}'
    assert (commit.Facts(1).room_id, commit.Facts(1).salt) == (None, None)


def test_a_part_of_a_snapshot_says_only_what_it_holds() -> None:
    """Rooms or people."""
    assert msgspec.json.encode(snapshots._Rows()) == b"{}"
