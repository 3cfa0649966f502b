"""A persistent map: a change makes a new version, and shares with the old one all that is equal.

`Map` is the map of the package `immutables`, a C extension, where that is installed: below Python 3.14, since there is
no wheel for later ones. Elsewhere `Map` is `TrieMap`, which needs only Python and is slower.

The two iterate in different orders, which depend on the seed of string hashes. So no such order may reach an event.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, Mapping, ValuesView
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, overload

K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")

BITS: Final = 4
WIDTH: Final = 1 << BITS
MASK: Final = WIDTH - 1
LEAF_MAX: Final = 32
SHIFT_MAX: Final = 60  # no bits of a hash are left, so a leaf there holds any number of entries

_Leaf = dict[Any, Any]  # never changed once it is part of a map
_Node = _Leaf | tuple[Any, ...]  # a branch has `WIDTH` nodes, by the next `BITS` bits of the hash

_EMPTY: Final[_Leaf] = {}
_ABSENT: Final[Any] = object()


class TrieMap(Mapping[K, V]):
    """A hash trie with dicts for leaves. At 100,000 entries a change copies one leaf and three or four branches."""

    __slots__ = ("_count", "_root")

    def __init__(self, items: Mapping[K, V] | Iterable[tuple[K, V]] = ()) -> None:
        entries = dict(items)
        self._root: _Node = _built(entries, 0)
        self._count = len(entries)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[K]:
        return iter(_entries(self._root))

    def __contains__(self, key: object) -> bool:
        return key in _leaf(self._root, key)

    def __getitem__(self, key: K) -> V:
        value: V = _leaf(self._root, key)[key]
        return value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TrieMap):
            return NotImplemented
        return self._root is other._root or _entries(self._root) == _entries(other._root)

    def __hash__(self) -> int:
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[type[TrieMap[K, V]], tuple[dict[K, V]]]:  # strings hash differently elsewhere
        return TrieMap, (_entries(self._root),)

    def __repr__(self) -> str:
        return f"TrieMap({_entries(self._root)!r})"

    @overload
    def get(self, key: K, /) -> V | None: ...

    @overload
    def get(self, key: K, /, default: V | D) -> V | D: ...

    def get(self, key: K, /, default: Any = None) -> Any:
        """Return the value of `key`, or `default`."""
        return _leaf(self._root, key).get(key, default)

    def items(self) -> ItemsView[K, V]:
        """Return all keys with their values, in an order without meaning."""
        return _entries(self._root).items()

    def values(self) -> ValuesView[V]:
        """Return all values, in an order without meaning."""
        return _entries(self._root).values()

    def set(self, key: K, value: V) -> TrieMap[K, V]:
        """Return this map with `value` at `key`."""
        root, added = _with(self._root, hash(key), 0, key, value)
        return self._version(root, self._count + added)

    def delete(self, key: K) -> TrieMap[K, V]:
        """Return this map without `key`.

        Raises:
            KeyError: there is no such key.
        """
        return self._version(_without(self._root, hash(key), key), self._count - 1)

    def mutate(self) -> TrieMapMutation[K, V]:
        """Return a working copy; this map does not change."""
        return TrieMapMutation(self)

    @classmethod
    def _version(cls, root: _Node, count: int) -> TrieMap[K, V]:
        new: TrieMap[K, V] = cls.__new__(cls)
        new._root, new._count = root, count
        return new


class TrieMapMutation(Generic[K, V]):
    """A working copy of a map, with its changes apart. A key that is set many times enters the trie once."""

    __slots__ = ("_base", "_changes", "_count")

    def __init__(self, base: TrieMap[K, V]) -> None:
        self._base = base
        self._changes: dict[K, Any] = {}  # `_ABSENT` for a key that was removed
        self._count = len(base)

    def __len__(self) -> int:
        return self._count

    def __contains__(self, key: object) -> bool:
        changes: dict[Any, Any] = self._changes
        found = changes.get(key, self)
        return key in self._base if found is self else found is not _ABSENT

    def __getitem__(self, key: K) -> V:
        found = self._changes.get(key, self)
        if found is _ABSENT:
            raise KeyError(key)
        value: V = self._base[key] if found is self else found
        return value

    def __setitem__(self, key: K, value: V) -> None:
        if key not in self:
            self._count += 1
        self._changes[key] = value

    def __delitem__(self, key: K) -> None:
        if key not in self:
            raise KeyError(key)
        self._changes[key] = _ABSENT
        self._count -= 1

    @overload
    def get(self, key: K, /) -> V | None: ...

    @overload
    def get(self, key: K, /, default: V | D) -> V | D: ...

    def get(self, key: K, /, default: Any = None) -> Any:
        """Return the value of `key`, or `default`."""
        found = self._changes.get(key, self)
        if found is self:
            return self._base.get(key, default)
        return default if found is _ABSENT else found

    def pop(self, key: K, default: V | D, /) -> V | D:
        """Remove `key`, and return its value; `default` if there is none."""
        if key not in self:
            return default
        value = self[key]
        del self[key]
        return value

    def update(self, items: Mapping[K, V]) -> None:
        """Set every key of `items`."""
        for key, value in items.items():
            self[key] = value

    def finish(self) -> TrieMap[K, V]:
        """Return the resulting map."""
        base, changes = self._base, self._changes
        if LEAF_MAX < len(changes) > len(base) // 2:
            entries = dict(base.items()) | changes
            return TrieMap({key: value for key, value in entries.items() if value is not _ABSENT})
        for key, value in changes.items():
            if value is not _ABSENT:
                base = base.set(key, value)
            elif key in base:
                base = base.delete(key)
        return base


def _leaf(node: _Node, key: object) -> _Leaf:
    """Return the only leaf below `node` that may hold `key`."""
    bits = hash(key)
    while type(node) is tuple:
        node = node[bits & MASK]
        bits >>= BITS
    return node  # type: ignore[return-value]  # what is no tuple is a leaf


def _entries(node: _Node) -> _Leaf:
    """Return all entries below `node`, which must not be changed."""
    if type(node) is dict:
        return node
    entries: _Leaf = {}
    for child in node:
        entries.update(_entries(child))
    return entries


def _built(entries: _Leaf, shift: int) -> _Node:
    """Return a node of `entries`, whose hashes part from `shift` on."""
    if len(entries) <= LEAF_MAX or shift > SHIFT_MAX:
        return entries
    parts: list[_Leaf] = [{} for _ in range(WIDTH)]
    for key, value in entries.items():
        parts[hash(key) >> shift & MASK][key] = value
    return tuple([_built(part, shift + BITS) if part else _EMPTY for part in parts])


def _with(node: _Node, bits: int, shift: int, key: object, value: object) -> tuple[_Node, int]:
    """Return `node` with `value` at `key`, and the number of keys added; `bits` is the hash from `shift` on."""
    if type(node) is dict:
        leaf = node.copy()
        leaf[key] = value
        return _built(leaf, shift), len(leaf) - len(node)
    children = list(node)
    child, added = _with(children[bits & MASK], bits >> BITS, shift + BITS, key, value)
    children[bits & MASK] = child
    return tuple(children), added


def _without(node: _Node, bits: int, key: object) -> _Node:
    """Return `node` without `key`; a branch with no entry left becomes an empty leaf."""
    if type(node) is dict:
        leaf = node.copy()
        del leaf[key]
        return leaf or _EMPTY
    children = list(node)
    children[bits & MASK] = _without(children[bits & MASK], bits >> BITS, key)
    return tuple(children) if any(children) else _EMPTY


if TYPE_CHECKING:
    Map = TrieMap
    MapMutation = TrieMapMutation
else:
    try:
        from immutables import Map, MapMutation
    except ImportError:
        Map, MapMutation = TrieMap, TrieMapMutation
