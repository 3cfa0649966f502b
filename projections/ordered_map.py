"""A persistent map ordered by position: what stands longest is found first, and anything can be taken out.

A trie over the bits of the key, 16 ways at each branch, which counts what is below it; a branch stands only where
keys part. Head, rank, insertion and removal touch a node a level, so their cost is O(log n): 5 levels at a million.
Nodes are shared between versions, so an old version costs nothing to keep. Equal entries make equal orders,
however they came about.
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
    key: int  # the bits that all keys below it begin with, and zeros
    shift: int  # its children part in the `BITS` bits of the key from this one on
    count: int
    children: tuple[_Branch | _Entry | None, ...]  # WIDTH of them, two at least not `None`


_Node = _Branch | _Entry

_NO_CHILDREN: tuple[_Node | None, ...] = (None,) * WIDTH


class Order(msgspec.Struct, Generic[T], frozen=True, gc=False):
    """Values in ascending order of their keys, which are non-negative integers. Values are never `None`."""

    root: _Branch | _Entry | None = None

    @staticmethod
    def of(items: Iterable[tuple[int, T]]) -> Order[T]:
        """The order that `items`, whose keys ascend, make; far cheaper than to insert them one by one."""
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
        """How many there are; a working copy tells it by the same name."""
        return self.root.count if self.root is not None else 0

    def mutate(self) -> OrderMutation[T]:
        """A working copy, which leaves this order what it is."""
        root = self.root
        return OrderMutation(self, root.count if root is not None else 0)

    def get(self, key: int) -> T | None:
        """The value at `key`, if there is one."""
        node = self.root
        while type(node) is _Branch:
            node = node.children[key >> node.shift & MASK]
        found: T | None = node.value if type(node) is _Entry and node.key == key else None
        return found

    def insert(self, key: int, value: T) -> Order[T]:
        """This order with `value` at `key`, where nothing stands yet."""
        assert value is not None
        return Order(_with(self.root, _Entry(key, value)))

    def remove(self, key: int) -> Order[T]:
        """This order without what stands at `key`, where something must."""
        return Order(_without(self.root, key))

    def head(self) -> tuple[int, T] | None:
        """The lowest key and its value."""
        node = self.root
        while type(node) is _Branch:
            node = next(child for child in node.children if child is not None)
        return (node.key, node.value) if type(node) is _Entry else None

    def rank(self, key: int) -> int:
        """How many keys are lower than `key`."""
        lower, node = 0, self.root
        while type(node) is _Branch:
            if (key ^ node.key) >> node.shift + BITS:
                return lower + node.count if key > node.key else lower
            digit = key >> node.shift & MASK
            lower += sum(child.count for child in node.children[:digit] if child is not None)
            node = node.children[digit]
        return lower + 1 if type(node) is _Entry and node.key < key else lower

    def items(self) -> Iterator[tuple[int, T]]:
        """Keys and values in ascending order of the keys."""
        ahead = [self.root]
        while ahead:
            node = ahead.pop()
            if type(node) is _Entry:
                yield node.key, node.value
            elif type(node) is _Branch:
                ahead += node.children[::-1]


class OrderMutation(msgspec.Struct, Generic[T], gc=False):
    """A working copy of an order, in which what is new stands last. What comes and goes never enters the trie."""

    kept: Order[T]
    count: int  # of all that is in it
    appended: OrderedDict[int, T] | None = None  # keys ascend, above all in `kept`

    def get(self, key: int) -> T | None:
        """The value at `key`, if there is one."""
        found = self.appended.get(key) if self.appended is not None else None
        return found if found is not None else self.kept.get(key)

    def append(self, key: int, value: T) -> None:
        """Let `value` stand at `key`, which is above all others."""
        if self.appended is None:
            self.appended = OrderedDict()
        self.appended[key] = value
        self.count += 1

    def remove(self, key: int) -> None:
        """Take out what stands at `key`, where something must."""
        if self.appended is None or self.appended.pop(key, None) is None:
            self.kept = self.kept.remove(key)
        self.count -= 1

    def pop_head(self) -> tuple[int, T] | None:
        """The lowest key and its value, which are taken out."""
        head = self.kept.head()
        if head is not None:
            self.kept = self.kept.remove(head[0])
        elif self.appended:
            head = self.appended.popitem(last=False)
        self.count -= head is not None
        return head

    def finish(self) -> Order[T]:
        """The order that came of it."""
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
    """`nodes`, with a branch for those that part at `shift`."""
    groups = (list(group) for _, group in groupby(nodes, key=lambda node: node.key >> shift + BITS))
    return [_branch(group, shift) if len(group) > 1 else group[0] for group in groups]


def _branch(nodes: list[_Node], shift: int) -> _Branch:
    children, count = list(_NO_CHILDREN), 0
    for node in nodes:
        children[node.key >> shift & MASK] = node
        count += node.count
    return _Branch(nodes[0].key >> shift + BITS << shift + BITS, shift, count, tuple(children))
