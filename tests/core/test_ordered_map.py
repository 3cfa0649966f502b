"""The persistent order: compared with a naive model, with its old versions, and its costs."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from projections import ordered_map as order_module
from projections.ordered_map import BITS, Order
from tests.support.examples import scaled

KEYS = st.integers(0, 40) | st.integers(0, 2**40)


class OrderModel(RuleBasedStateMachine):
    """An order, a dict with the expected content, and all earlier versions."""

    def __init__(self) -> None:
        super().__init__()
        self.order: Order[str] = Order()
        self.model: dict[int, str] = {}
        self.versions: list[tuple[Order[str], dict[int, str]]] = []

    @rule(key=KEYS)
    def insert(self, key: int) -> None:
        """Insert a new key."""
        if key not in self.model:
            self.versions.append((self.order, dict(self.model)))
            self.order = self.order.insert(key, f"v{key}")
            self.model[key] = f"v{key}"

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        """Remove any key."""
        key = data.draw(st.sampled_from(sorted(self.model)))
        self.versions.append((self.order, dict(self.model)))
        self.order = self.order.remove(key)
        del self.model[key]

    @rule(key=KEYS)
    def look(self, key: int) -> None:
        """Compare the value and the rank of a key."""
        assert self.order.get(key) == self.model.get(key)
        assert self.order.rank(key) == sum(k < key for k in self.model)

    @invariant()
    def says_the_same(self) -> None:
        """Compare items, length and head."""
        assert list(self.order.items()) == sorted(self.model.items())
        assert len(self.order) == len(self.model)
        assert self.order.head() == min(self.model.items(), default=None)

    def teardown(self) -> None:
        """Compare every old version."""
        for version, model in self.versions:
            assert list(version.items()) == sorted(model.items())


OrderModel.TestCase.settings = settings(deadline=None, max_examples=scaled(40), stateful_step_count=40)
TestOrder = OrderModel.TestCase


@settings(deadline=None, max_examples=scaled(100))
@given(st.sets(KEYS, min_size=1))
def test_the_same_entries_make_the_same_order(keys: set[int]) -> None:
    """Equal entries make equal orders, in any order of insertion and after removals."""
    ascending = descending = Order[str]()
    gone = [key for key in range(0, 3_000, 7) if key not in keys]
    for key in [*sorted(keys), *gone]:
        ascending = ascending.insert(key, "v")
    for key in gone:
        ascending = ascending.remove(key)
    for key in sorted(keys, reverse=True):
        descending = descending.insert(key, "v")
    assert ascending == descending == Order.of((key, "v") for key in sorted(keys))


@settings(deadline=None, max_examples=scaled(200))
@given(st.lists(st.tuples(st.sampled_from(["append", "remove", "pop"]), st.integers(0, 30))), st.integers(0, 60))
def test_a_working_copy_does_what_an_order_does(steps: list[tuple[str, int]], size: int) -> None:
    """A working copy agrees with the order, and leaves its origin unchanged."""
    before = Order.of((key, f"v{key}") for key in range(0, 3 * size, 3))
    was, order, working = list(before.items()), before, before.mutate()
    for number, (what, which) in enumerate(steps):
        keys = [key for key, _ in order.items()]
        if what == "append":
            order = order.insert(200 + number, "v")
            working.append(200 + number, "v")
        elif what == "remove" and keys:
            order = order.remove(keys[which % len(keys)])
            working.remove(keys[which % len(keys)])
        elif what == "pop":
            head = order.head()
            order = order.remove(head[0]) if head is not None else order
            assert working.pop_head() == head
        assert working.count == order.count == len(order)
        assert [working.get(key) for key in (*keys, 200 + number, 10**6)] == [
            order.get(key) for key in (*keys, 200 + number, 10**6)
        ]
    assert working.finish() == order
    assert list(before.items()) == was


@pytest.mark.parametrize("kept", [0, 10, 60, 61, 62, 63, 64, 65, 200])
@pytest.mark.parametrize("new", [1, 15, 16, 17, 18, 31, 32, 33])
def test_however_much_is_new_a_working_copy_ends_as_the_same_order(kept: int, new: int) -> None:
    """A working copy ends as the same order, by single insertions or a rebuild."""
    working = Order.of((key, "old") for key in range(kept)).mutate()
    for key in range(500, 500 + 3 * new, 3):
        working.append(key, "new")
    expected = [*((key, "old") for key in range(kept)), *((key, "new") for key in range(500, 500 + 3 * new, 3))]
    assert working.finish() == Order.of(expected)


def test_keys_must_ascend_to_make_an_order_of_them() -> None:
    """`Order.of` asserts ascending keys."""
    for keys in ((2, 1), (1, 1)):
        with pytest.raises(AssertionError, match="ascend"):
            Order.of((key, "v") for key in keys)


def test_only_what_is_there_can_be_taken_out_of_a_working_copy() -> None:
    """Removing a missing key from a working copy fails an assertion."""
    working = Order[str]().insert(7, "a").mutate()
    working.append(8, "b")
    with pytest.raises(AssertionError, match="only what is there"):
        working.remove(9)


def test_an_empty_order_has_no_head() -> None:
    """An empty order has no head."""
    empty = Order[str]()
    assert (len(empty), empty.head(), empty.get(0), empty.get(10**9), list(empty.items())) == (0, None, None, None, [])
    assert (empty.rank(0), empty.rank(10**9)) == (0, 0)


def test_ranks_are_known_of_keys_far_off_too() -> None:
    """Ranks are right for keys far below and above all others."""
    order = Order.of((key, "v") for key in range(1_000, 1_040))
    assert [order.rank(key) for key in (0, 5, 999, 1_000, 1_039, 1_040, 10**6)] == [0, 0, 0, 0, 39, 40, 40]
    order = Order.of((key, "v") for key in (0x305, 0x30A))
    assert [order.rank(key) for key in (0, 0x2FF, 0x305, 0x306, 0x30A, 0x30B, 0x400)] == [0, 0, 0, 1, 1, 2, 2]


def test_an_emptied_order_can_be_filled_again() -> None:
    """An emptied order can be filled again after it was deep."""
    order = Order[str]().insert(10**6, "a").remove(10**6)
    assert (len(order), order.head(), order.rank(10**6)) == (0, None, 0)
    assert list(order.insert(3, "b").insert(10**9, "c").items()) == [(3, "b"), (10**9, "c")]


def test_a_key_stands_once() -> None:
    """Inserting an existing key fails an assertion."""
    with pytest.raises(AssertionError, match="once"):
        Order[str]().insert(7, "a").insert(7, "b")


def test_nothing_cannot_be_inserted() -> None:
    """Inserting `None` fails an assertion."""
    with pytest.raises(AssertionError):
        Order[str | None]().insert(7, None)


@pytest.mark.parametrize(("present", "absent"), [(7, 8), (17, 18), (0, 16), (1, 17), (300, 301), (300, 44)])
def test_only_what_is_there_can_be_removed(present: int, absent: int) -> None:
    """Removing a missing key fails an assertion at any size."""
    with pytest.raises(AssertionError, match="only what is there"):
        Order[str]().insert(present, "a").remove(absent)
    with pytest.raises(AssertionError):
        Order[str]().remove(absent)


def branches(order: Order[str]) -> dict[int, order_module._Branch]:
    """Return every branch of the trie by identity."""
    found: dict[int, order_module._Branch] = {}
    ahead: list[object] = [order.root]
    while ahead:
        node = ahead.pop()
        if isinstance(node, order_module._Branch):
            found[id(node)] = node
            ahead += node.children
    return found


def branches_made(size: int) -> int:
    """Return the most branches made by an insertion or a removal at either end of `size` entries."""
    order = Order.of((key, "v") for key in range(size))
    shared = branches(order)
    changed = [order.insert(size, "v"), order.remove(0), order.remove(size // 2), order.remove(size - 1)]
    return max(len(branches(one).keys() - shared.keys()) for one in changed)


def test_a_change_costs_a_branch_a_level() -> None:
    """A change makes at most one branch for each 4 bits of the key, among 10 entries and 100,000."""
    assert branches_made(10) <= 2
    assert all(len(branch.children) == 16 for branch in branches(Order.of((key, "v") for key in range(300))).values())
    assert branches_made(100_000) <= -(-(100_000).bit_length() // BITS)


def test_a_few_entries_are_near_whatever_their_keys() -> None:
    """A short order is shallow, however high its keys."""
    order = Order.of((2**40 + 1_000 * n, "v") for n in range(3))
    assert len(branches(order)) <= 2
