"""The persistent map: both of its implementations are compared with a dict, with their old versions too."""

from __future__ import annotations

import importlib.util
import pickle
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from projections import persistent_map
from projections.persistent_map import LEAF_MAX, Map, TrieMap
from tests.support.examples import scaled

MAPS = list(dict.fromkeys([Map, TrieMap]))  # one, where `immutables` is not installed


class Key:
    """A key whose hash is chosen, so that keys meet in one leaf at any depth."""

    def __init__(self, name: str, hashed: int) -> None:
        self.name = name
        self.hashed = hashed

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Key) and self.name == other.name

    def __hash__(self) -> int:
        return self.hashed

    def __repr__(self) -> str:
        return f"{self.name}#{self.hashed:x}"


KEYS = [
    *(Key(f"near {n}", n) for n in range(200)),
    *(Key(f"far {n}", n << 55) for n in range(-40, 40)),
    *(Key(f"same {n}", 77) for n in range(60)),
]
"""Keys that part early, keys that part late, and keys that never part."""

SOME_KEYS = st.lists(st.sampled_from(KEYS), max_size=120, unique_by=lambda key: key.name)


class MapModel(RuleBasedStateMachine):
    """A map of one kind, a dict with the expected content, and all earlier versions."""

    kind: Any = TrieMap

    def __init__(self) -> None:
        super().__init__()
        self.map = self.kind()
        self.model: dict[Key, int] = {}
        self.versions: list[tuple[Any, dict[Key, int]]] = []

    def keep(self) -> None:
        """Remember this version."""
        self.versions.append((self.map, dict(self.model)))

    @rule(keys=SOME_KEYS, value=st.integers(0, 9))
    def set(self, keys: list[Key], value: int) -> None:
        """Set keys, one version each."""
        self.keep()
        for key in keys:
            self.map = self.map.set(key, value)
            self.model[key] = value

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        """Delete some keys, one version each."""
        self.keep()
        names = sorted(key.name for key in self.model)
        for name in data.draw(st.lists(st.sampled_from(names), unique=True)):
            key = next(key for key in self.model if key.name == name)
            self.map = self.map.delete(key)
            del self.model[key]

    @rule(sets=SOME_KEYS, removes=SOME_KEYS, again=SOME_KEYS, pops=SOME_KEYS)
    def mutate(self, sets: list[Key], removes: list[Key], again: list[Key], pops: list[Key]) -> None:
        """Change a working copy, and read it at each step."""
        self.keep()
        working = self.map.mutate()
        working.update(dict.fromkeys(sets, 10))
        self.model.update(dict.fromkeys(sets, 10))
        for key in removes:
            if key in self.model:
                del working[key]
                del self.model[key]
        for key in again:
            working[key] = self.model[key] = self.model.get(key, 0) + 1
        assert [working.pop(key, None) for key in pops] == [self.model.pop(key, None) for key in pops]
        assert len(working) == len(self.model)
        assert [working.get(key) for key in KEYS] == [self.model.get(key) for key in KEYS]
        assert [working.get(key, -1) for key in KEYS] == [self.model.get(key, -1) for key in KEYS]
        assert [key in working for key in KEYS] == [key in self.model for key in KEYS]
        assert {key: working[key] for key in self.model} == self.model
        self.map = working.finish()

    @invariant()
    def says_the_same(self) -> None:
        """Compare all reads of the map with those of the dict."""
        assert dict(self.map.items()) == self.model
        assert set(self.map) == set(self.model)
        assert sorted(self.map.values()) == sorted(self.model.values())
        assert [self.map.get(key) for key in KEYS] == [self.model.get(key) for key in KEYS]
        assert [self.map.get(key, -1) for key in KEYS] == [self.model.get(key, -1) for key in KEYS]
        assert [key in self.map for key in KEYS] == [key in self.model for key in KEYS]
        assert {key: self.map[key] for key in self.model} == self.model
        assert (len(self.map), bool(self.map)) == (len(self.model), bool(self.model))

    def teardown(self) -> None:
        """Compare every old version, and equality with a map that was made at once."""
        for version, model in self.versions:
            assert dict(version.items()) == model
            rebuilt = self.kind(model)
            assert version == rebuilt
            assert hash(version) == hash(rebuilt)
            assert (version == self.map) is (model == self.model)


@pytest.mark.parametrize("kind", MAPS)
def test_a_map_is_a_dict_whose_versions_stay(kind: Any) -> None:
    """Any steps lead to the content of a `dict`, and no earlier version has changed."""
    machine = type(f"ModelOf{kind.__name__}", (MapModel,), {"kind": kind})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=scaled(60), stateful_step_count=12, deadline=None)
    )


@pytest.mark.parametrize("kind", MAPS)
@given(keys=SOME_KEYS)
@settings(max_examples=scaled(60), deadline=None)
def test_equal_entries_make_equal_maps(kind: Any, keys: list[Key]) -> None:
    """The order of creation and removed entries leave no trace."""
    entries = {key: len(key.name) for key in keys}
    more = kind(entries | dict.fromkeys(KEYS, 0))
    working = more.mutate()
    for key in KEYS:
        if key not in entries:
            del working[key]
    working.update(entries)
    backwards = kind()
    for key in reversed(keys):
        backwards = backwards.set(key, len(key.name))
    assert kind(entries) == kind(entries.items()) == backwards == working.finish()
    assert kind(entries) != more
    assert kind(entries) != entries


@pytest.mark.parametrize("kind", MAPS)
@pytest.mark.parametrize("count", [0, 3, 500])
def test_what_is_not_there_is_an_error(kind: Any, count: int) -> None:
    """A missing key is a `KeyError` for a map and its working copy, even just after its removal."""
    full = kind({f"k{n}": n for n in range(count)})
    working = full.set("gone", 1).mutate()
    del working["gone"]
    reads: list[Callable[[], object]] = [
        lambda: full["gone"],
        lambda: full.delete("gone"),
        lambda: working["gone"],
        lambda: working["never"],
        lambda: working.__delitem__("gone"),
        lambda: working.__delitem__("never"),
    ]
    for read in reads:
        with pytest.raises(KeyError, match=r"gone|never"):
            read()
    assert working.finish() == full


@pytest.mark.parametrize("kind", MAPS)
def test_a_map_can_be_sent_to_another_process(kind: Any) -> None:
    """A pickled map comes back equal, where strings hash differently too."""
    full = kind({f"k{n}": n for n in range(100)})
    again = pickle.loads(pickle.dumps(full))
    assert (type(again), again) == (kind, full)


def test_a_map_shows_its_entries() -> None:
    """Its `repr` is for the diff of a failed test."""
    assert repr(TrieMap({"a": 1})) == "TrieMap({'a': 1})"


def test_an_emptied_map_keeps_nothing() -> None:
    """The branches go with their last entry."""
    full = TrieMap(dict.fromkeys(KEYS, 0))
    assert type(full._root) is tuple
    for key in KEYS:
        full = full.delete(key)
    assert (full._root, len(full)) == ({}, 0)


def test_a_change_shares_the_rest() -> None:
    """A new version copies one leaf and the branches above it; no leaf is larger than `LEAF_MAX`."""
    full = TrieMap({f"k{n}": n for n in range(20_000)})
    before, after = nodes(full._root), nodes(full.set("k7", 0)._root)
    fresh = [node for id_, node in after.items() if id_ not in before]
    assert [type(node) for node in fresh] == [tuple] * (len(fresh) - 1) + [dict]
    assert len(fresh) <= 6
    assert max(len(node) for node in after.values() if type(node) is dict) <= LEAF_MAX


def nodes(node: Any) -> dict[int, Any]:
    """Return all nodes below `node` by identity, branches before their children."""
    found = {id(node): node}
    for child in node if type(node) is tuple else ():
        found |= nodes(child)
    return found


def loaded(monkeypatch: pytest.MonkeyPatch, package: ModuleType | None) -> ModuleType:
    """Return a copy of the module, loaded while `immutables` is `package`; `None` is a package that is missing."""
    monkeypatch.setitem(sys.modules, "immutables", package)
    spec = importlib.util.spec_from_file_location("persistent_map_copy", persistent_map.__file__)
    assert spec is not None
    assert spec.loader is not None
    copy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(copy)
    return copy


def test_without_the_package_the_map_is_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """`Map` needs no optional package."""
    copy = loaded(monkeypatch, None)
    assert (copy.Map, copy.MapMutation) == (copy.TrieMap, copy.TrieMapMutation)


def test_with_the_package_the_map_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """`Map` is the very class of `immutables`, so it costs nothing more."""
    package: Any = ModuleType("immutables")
    package.Map, package.MapMutation = dict, list
    copy = loaded(monkeypatch, package)
    assert (copy.Map, copy.MapMutation) == (dict, list)
