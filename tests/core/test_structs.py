"""Common properties of the log's and the state's types."""

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
"""Short-lived types that read one field of many."""


def types_in(*modules: ModuleType) -> list[type[msgspec.Struct]]:
    """Return the structs defined in `modules`."""
    return [
        each
        for module in modules
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, msgspec.Struct) and each.__module__ == module.__name__
    ]


def everything_in(package: ModuleType) -> list[type[msgspec.Struct]]:
    """Return the structs defined in all modules of `package`."""
    names = [module.name for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")]
    return types_in(*map(importlib.import_module, names))


ALL = [*everything_in(events), *everything_in(projections), *types_in(decide, pages)]


@pytest.mark.parametrize("each", ALL, ids=lambda each: each.__qualname__)
def test_a_value_never_changes(each: type[msgspec.Struct]) -> None:
    """Every struct is frozen, except working copies and the rows of a snapshot."""
    is_passing = each in READ_IN_PASSING or each.__module__ == snapshots.__name__
    assert each.__struct_config__.frozen or each.__name__.endswith("Mutation") or is_passing


@pytest.mark.parametrize(
    "each",
    [*types_in(*STORED, deliveries, inbox, order, places, queue, rooms, state), snapshots._Room],
    ids=lambda each: each.__qualname__,
)
def test_the_garbage_collector_need_not_look_at_it(each: type[msgspec.Struct]) -> None:
    """The garbage collector tracks no struct of the state: there are millions, and none is in a cycle."""
    assert not each.__struct_config__.gc


@pytest.mark.parametrize(
    "each",
    [*types_in(*STORED), snapshots._SnapshotHeader, snapshots._Rows, snapshots._Trailer],
    ids=lambda each: each.__qualname__,
)
def test_a_field_that_it_does_not_know_is_an_error(each: type[msgspec.Struct]) -> None:
    """An unknown field is an error, so content of a newer program is not half understood."""
    assert each.__struct_config__.forbid_unknown_fields


@pytest.mark.parametrize("each", types_in(inbox, places), ids=lambda each: each.__qualname__)
def test_what_a_snapshot_holds_of_many_people_has_no_names_in_it(each: type[msgspec.Struct]) -> None:
    """Frequent structs are encoded as arrays, since field names would be most of a snapshot."""
    of_many = {inbox.Inbox, places.Idle, places.Waiting, places.Chatting, places.Connection}
    assert each.__struct_config__.array_like == (each in of_many)


def test_facts_that_are_not_there_take_no_room() -> None:
    """Missing facts are not encoded."""
    assert msgspec.json.encode(commit.Facts(1)) == b'{"at_ms":1}'
    assert (commit.Facts(1).room_id, commit.Facts(1).salt) == (None, None)


def test_a_part_of_a_snapshot_says_only_what_it_holds() -> None:
    """A line encodes only the tables that it holds."""
    assert msgspec.json.encode(snapshots._Rows()) == b"{}"
