"""Delta debugging: reduce a sequence to the few items that matter (after Zeller and Hildebrandt, 2002)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import TypeVar

T = TypeVar("T")


PAIRS_AMONG_MAX = 40


def ddmin(items: Sequence[T], is_enough: Callable[[Sequence[T]], bool]) -> list[T]:
    """Return some of `items`, in their order, that are enough and of which none can be left out.

    If few are left, no two of them can be left out either. `items` must be enough. Long pieces are tried first, and
    pieces at the end before those at the start, on which they may depend. It takes O(log n) tries for each item that
    matters if these are independent, and O(n^2) at worst.
    """
    kept = list(items)
    size = max(1, len(kept) // 2)
    while True:
        before = len(kept)
        kept = _without_pieces(kept, size, is_enough)
        if size > 1:
            size //= 2
        elif len(kept) == before:
            fewer = _without_two(kept, is_enough)
            if fewer is None:
                return kept
            kept = fewer


def _without_two(kept: list[T], is_enough: Callable[[Sequence[T]], bool]) -> list[T] | None:
    """Return `kept` without some two items, or `None`: in a queue, an entry and its match go together."""
    if len(kept) > PAIRS_AMONG_MAX:
        return None
    for one, other in combinations(reversed(range(len(kept))), 2):
        rest = kept[:other] + kept[other + 1 : one] + kept[one + 1 :]
        if is_enough(rest):
            return rest
    return None


def _without_pieces(kept: list[T], size: int, is_enough: Callable[[Sequence[T]], bool]) -> list[T]:
    """Return `kept` without each piece of `size` that can be left out, from the end on."""
    end = len(kept)
    while end > 0:
        start = max(0, end - size)
        rest = kept[:start] + kept[end:]
        if is_enough(rest):
            kept = rest
        end = start
    return kept
