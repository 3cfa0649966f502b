"""A persistent map ordered by position, with the lowest key first and removal from anywhere.

A trie over the bits of the key, 16 ways at each branch; a branch exists only where keys part, and counts the entries
below it. Head, rank, insertion and removal touch one node a level, so their cost is O(log n): 5 levels at a million.
Versions share nodes, so an old version costs nothing to keep. Equal entries make equal orders, however they were made.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, ClassVar, Generic, TypeVar

import msgspec

T = TypeVar("T")

BITS = 4
WIDTH = 1 << BITS
MASK = WIDTH - 1


class _Entry(msgspec.Struct, frozen=True, gc=False):
    key: int
    value: Any
    count: ClassVar[int] = 1


class _Branch(msgspec.Struct, frozen=True, gc=False):
    key: int  # the common leading bits of all keys below it, then zeros
    shift: int  # its children part in the `BITS` bits of the key from this one on
    count: int
    children: tuple[_Branch | _Entry | None, ...]  # WIDTH of them, at least two not `None`


_Node = _Branch | _Entry

_NO_CHILDREN: tuple[_Node | None, ...] = (None,) * WIDTH


class Order(msgspec.Struct, Generic[T], frozen=True, gc=False):
    """Values in ascending order of their keys, non-negative integers. Values are never `None`."""

    root: _Branch | _Entry | None = None

    @staticmethod
    def of(items: Iterable[tuple[int, T]]) -> Order[T]:
        """Return the order of `items`, given with ascending keys; far cheaper than single insertions."""
        nodes: list[_Node] = [_Entry(key, value) for key, value in items]
        keys = [node.key for node in nodes]
        assert keys == sorted(set(keys)), "keys ascend"
        shift = 0
        while len(nodes) > 1:
            nodes = _grouped(nodes, shift)
            shift += BITS
        return Order(nodes[0] if nodes else None)

    def __len__(self) -> int:
        return self.root.count if self.root is not None else 0

    @property
    def count(self) -> int:
        """The number of values; a working copy has it under the same name."""
        return self.root.count if self.root is not None else 0

    def mutate(self) -> OrderMutation[T]:
        """Return a working copy; this order does not change."""
        root = self.root
        return OrderMutation(self, root.count if root is not None else 0)

    def get(self, key: int) -> T | None:
        """Return the value at `key`, or `None`."""
        node = self.root
        while type(node) is _Branch:
            node = node.children[key >> node.shift & MASK]
        found: T | None = node.value if type(node) is _Entry and node.key == key else None
        return found

    def insert(self, key: int, value: T) -> Order[T]:
        """Return this order with `value` at `key`, a new key."""
        assert value is not None
        return Order(_with(self.root, _Entry(key, value)))

    def remove(self, key: int) -> Order[T]:
        """Return this order without `key`, which must exist."""
        return Order(_without(self.root, key))

    def head(self) -> tuple[int, T] | None:
        """Return the lowest key with its value."""
        node = self.root
        while type(node) is _Branch:
            node = next(child for child in node.children if child is not None)
        return (node.key, node.value) if type(node) is _Entry else None

    def rank(self, key: int) -> int:
        """Return the number of keys lower than `key`."""
        lower, node = 0, self.root
        while type(node) is _Branch:
            if (key ^ node.key) >> node.shift + BITS:
                return lower + node.count if key > node.key else lower
            digit = key >> node.shift & MASK
            lower += sum(child.count for child in node.children[:digit] if child is not None)
            node = node.children[digit]
        return lower + 1 if type(node) is _Entry and node.key < key else lower

    def items(self) -> Iterator[tuple[int, T]]:
        """Return keys and values in ascending order of the keys."""
        ahead = [self.root]
        while ahead:
            node = ahead.pop()
            if type(node) is _Entry:
                yield node.key, node.value
            elif type(node) is _Branch:
                ahead += filter(None, node.children[::-1])


class OrderMutation(msgspec.Struct, Generic[T], gc=False):
    """A working copy of an order. New values come last; one that is removed again never enters the trie."""

    kept: Order[T]
    count: int  # of all values
    appended: OrderedDict[int, T] | None = None  # keys ascend, above all in `kept`

    def get(self, key: int) -> T | None:
        """Return the value at `key`, or `None`."""
        found = self.appended.get(key) if self.appended is not None else None
        return found if found is not None else self.kept.get(key)

    def append(self, key: int, value: T) -> None:
        """Add `value` at `key`, higher than all others."""
        if self.appended is None:
            self.appended = OrderedDict()
        self.appended[key] = value
        self.count += 1

    def remove(self, key: int) -> None:
        """Remove `key`, which must exist."""
        if self.appended is None or self.appended.pop(key, None) is None:
            self.kept = self.kept.remove(key)
        self.count -= 1

    def head(self) -> tuple[int, T] | None:
        """Return the lowest key with its value."""
        head = self.kept.head()
        return head if head is not None or not self.appended else next(iter(self.appended.items()))

    def pop_head(self) -> tuple[int, T] | None:
        """Remove the lowest key, and return it with its value."""
        head = self.head()
        if head is not None:
            self.remove(head[0])
        return head

    def finish(self) -> Order[T]:
        """Return the resulting order."""
        kept, appended = self.kept, self.appended
        if not appended:
            return kept
        if WIDTH < len(appended) > len(kept) // 2:
            return Order.of([*kept.items(), *appended.items()])
        for key, value in appended.items():
            kept = kept.insert(key, value)
        return kept


def _with(node: _Node | None, entry: _Entry) -> _Node:
    if node is None:
        return entry
    apart = entry.key ^ node.key
    if type(node) is _Branch and not apart >> node.shift + BITS:
        children, digit = list(node.children), entry.key >> node.shift & MASK
        children[digit] = _with(children[digit], entry)
        return _Branch(node.key, node.shift, node.count + 1, tuple(children))
    assert apart, "a key is inserted once"
    return _branch([node, entry], (apart.bit_length() - 1) // BITS * BITS)


def _without(node: _Node | None, key: int) -> _Node | None:
    if type(node) is _Branch:
        children, digit = list(node.children), key >> node.shift & MASK
        children[digit] = rest = _without(children[digit], key)
        if rest is None:
            only = next(child for child in children if child is not None)
            if only.count == node.count - 1:
                return only
        return _Branch(node.key, node.shift, node.count - 1, tuple(children))
    assert type(node) is _Entry and node.key == key, "only what is there can be removed"  # noqa: PT018 - one claim
    return None


def _grouped(nodes: list[_Node], shift: int) -> list[_Node]:
    """Return `nodes`, with a branch for each group that parts at `shift`."""
    groups = (list(group) for _, group in groupby(nodes, key=lambda node: node.key >> shift + BITS))
    return [_branch(group, shift) if len(group) > 1 else group[0] for group in groups]


def _branch(nodes: list[_Node], shift: int) -> _Branch:
    children, count = list(_NO_CHILDREN), 0
    for node in nodes:
        children[node.key >> shift & MASK] = node
        count += node.count
    return _Branch(nodes[0].key >> shift + BITS << shift + BITS, shift, count, tuple(children))
