"""A persistent map ordered by position: what stands longest is found first, and anything can be taken out.

A trie over the bits of the key, 16 ways at each level, in which every node counts what is below it. Head, rank,
insertion and removal touch one node a level, so their cost is O(log16 of the highest key): 5 levels at a
million. Nodes are shared between versions, so an old version costs nothing to keep.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Generic, TypeVar

import msgspec

T = TypeVar("T")

BITS = 4
WIDTH = 1 << BITS
MASK = WIDTH - 1


class _Node(msgspec.Struct, frozen=True, gc=False):
    count: int
    children: tuple[Any, ...]  # WIDTH of them; a `_Node`, or a value on the lowest level, or None


_EMPTY_CHILDREN: tuple[Any, ...] = (None,) * WIDTH


class Order(msgspec.Struct, Generic[T], frozen=True, gc=False):
    """Values in ascending order of their keys, which are non-negative integers. Values are never `None`."""

    root: _Node | None = None
    levels: int = 1

    def __len__(self) -> int:
        return self.root.count if self.root is not None else 0

    def get(self, key: int) -> T | None:
        """The value at `key`, if there is one."""
        if key >> (BITS * self.levels):
            return None
        node: Any = self.root
        for level in range(self.levels - 1, -1, -1):
            if node is None:
                return None
            node = node.children[key >> (BITS * level) & MASK]
        found: T | None = node
        return found

    def insert(self, key: int, value: T) -> Order[T]:
        """This order with `value` at `key`, where nothing stands yet."""
        assert value is not None
        root, levels = self.root, self.levels
        while key >> (BITS * levels):
            root = _Node(root.count, (root, *_EMPTY_CHILDREN[1:])) if root is not None else None
            levels += 1
        return Order(_with(root, key, levels - 1, value), levels)

    def remove(self, key: int) -> Order[T]:
        """This order without what stands at `key`, where something must."""
        assert self.root is not None
        assert self.get(key) is not None, "only what is there can be removed"
        return Order(_without(self.root, key, self.levels - 1), self.levels)

    def head(self) -> tuple[int, T] | None:
        """The lowest key and its value."""
        return next(iter(self.items()), None)

    def rank(self, key: int) -> int:
        """How many keys are lower than `key`."""
        if key >> (BITS * self.levels):
            return len(self)
        lower, node = 0, self.root
        for level in range(self.levels - 1, 0, -1):
            if node is None:
                return lower
            digit = key >> (BITS * level) & MASK
            lower += sum(child.count for child in node.children[:digit] if child is not None)
            node = node.children[digit]
        if node is not None:
            lower += sum(child is not None for child in node.children[: key & MASK])
        return lower

    def items(self) -> Iterator[tuple[int, T]]:
        """Keys and values in ascending order of the keys."""
        yield from _items(self.root, 0, self.levels - 1)


def _with(node: _Node | None, key: int, level: int, value: Any) -> _Node:
    children = node.children if node is not None else _EMPTY_CHILDREN
    digit = key >> (BITS * level) & MASK
    if level:
        value = _with(children[digit], key, level - 1, value)
    else:
        assert children[digit] is None, "a key is inserted once"
    count = node.count + 1 if node is not None else 1
    return _Node(count, (*children[:digit], value, *children[digit + 1 :]))


def _without(node: _Node, key: int, level: int) -> _Node | None:
    digit = key >> (BITS * level) & MASK
    if node.count == 1:
        return None
    rest = _without(node.children[digit], key, level - 1) if level else None
    return _Node(node.count - 1, (*node.children[:digit], rest, *node.children[digit + 1 :]))


def _items(node: _Node | None, prefix: int, level: int) -> Iterator[tuple[int, Any]]:
    if node is None:
        return
    for digit, child in enumerate(node.children):
        if child is None:
            continue
        key = prefix << BITS | digit
        if level:
            yield from _items(child, key, level - 1)
        else:
            yield key, child
