"""The persistent order: against a naive model, with its old versions, and what it costs."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from projections import order as order_module
from projections.order import BITS, Order

KEYS = st.integers(0, 40) | st.integers(0, 2**40)


class OrderModel(RuleBasedStateMachine):
    """An order beside a dict that says what should be in it, and every version that there was."""

    def __init__(self) -> None:
        super().__init__()
        self.order: Order[str] = Order()
        self.model: dict[int, str] = {}
        self.versions: list[tuple[Order[str], dict[int, str]]] = []

    @rule(key=KEYS)
    def insert(self, key: int) -> None:
        """Something new stands in the order."""
        if key not in self.model:
            self.versions.append((self.order, dict(self.model)))
            self.order = self.order.insert(key, f"v{key}")
            self.model[key] = f"v{key}"

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        """Something is taken out, from anywhere."""
        key = data.draw(st.sampled_from(sorted(self.model)))
        self.versions.append((self.order, dict(self.model)))
        self.order = self.order.remove(key)
        del self.model[key]

    @rule(key=KEYS)
    def look(self, key: int) -> None:
        """What stands at a key, and how much stands below it."""
        assert self.order.get(key) == self.model.get(key)
        assert self.order.rank(key) == sum(k < key for k in self.model)

    @invariant()
    def says_the_same(self) -> None:
        """Items, length and head are the model's."""
        assert list(self.order.items()) == sorted(self.model.items())
        assert len(self.order) == len(self.model)
        assert self.order.head() == min(self.model.items(), default=None)

    def teardown(self) -> None:
        """Every old version is what it was."""
        for version, model in self.versions:
            assert list(version.items()) == sorted(model.items())


OrderModel.TestCase.settings = settings(deadline=None, max_examples=40, stateful_step_count=40)
TestOrder = OrderModel.TestCase


@settings(deadline=None, max_examples=100)
@given(st.sets(KEYS, min_size=1))
def test_the_same_entries_make_the_same_order(keys: set[int]) -> None:
    """Whatever the order of insertion: so equal states have equal digests."""
    ascending = descending = Order[str]()
    for key in sorted(keys):
        ascending = ascending.insert(key, "v")
    for key in sorted(keys, reverse=True):
        descending = descending.insert(key, "v")
    assert ascending == descending


def test_an_empty_order_has_no_head() -> None:
    """Nothing is first of nothing."""
    empty = Order[str]()
    assert (len(empty), empty.head(), empty.get(0), empty.get(10**9), list(empty.items())) == (0, None, None, None, [])
    assert (empty.rank(0), empty.rank(10**9)) == (0, 0)


def test_an_emptied_order_can_be_filled_again() -> None:
    """Also after it had grown deep."""
    order = Order[str]().insert(10**6, "a").remove(10**6)
    assert (len(order), order.head(), order.rank(10**6)) == (0, None, 0)
    assert list(order.insert(3, "b").insert(10**9, "c").items()) == [(3, "b"), (10**9, "c")]


def test_a_key_stands_once() -> None:
    """Inserting what is there is a bug of the caller's."""
    with pytest.raises(AssertionError, match="once"):
        Order[str]().insert(7, "a").insert(7, "b")


def test_nothing_cannot_be_inserted() -> None:
    """`None` means that nothing is there."""
    with pytest.raises(AssertionError):
        Order[str | None]().insert(7, None)


@pytest.mark.parametrize(("present", "absent"), [(7, 8), (17, 18), (0, 16), (1, 17), (300, 301), (300, 44)])
def test_only_what_is_there_can_be_removed(present: int, absent: int) -> None:
    """Anything else is a bug of the caller's, and is noticed however few stand there."""
    with pytest.raises(AssertionError, match="only what is there"):
        Order[str]().insert(present, "a").remove(absent)
    with pytest.raises(AssertionError):
        Order[str]().remove(absent)


def nodes_made(monkeypatch: pytest.MonkeyPatch, size: int) -> int:
    """How many nodes the costliest of insertion and removal at both ends makes among `size` entries."""
    order = Order[str]()
    for key in range(size):
        order = order.insert(key, "v")
    made = 0
    node = order_module._Node

    def counting(*fields: object) -> object:
        nonlocal made
        made += 1
        return node(*fields)  # type: ignore[arg-type]

    worst = 0
    with monkeypatch.context() as patched:
        patched.setattr(order_module, "_Node", counting)
        for change in ("insert", "remove the first", "remove from the middle"):
            made = 0
            if change == "insert":
                order.insert(size, "v")
            else:
                order.remove(0 if change == "remove the first" else size // 2)
            worst = max(worst, made)
    return worst


def test_a_change_costs_a_node_a_level(monkeypatch: pytest.MonkeyPatch) -> None:
    """Among 10 entries as among 100,000: at most one new node for each 4 bits of the key."""
    assert nodes_made(monkeypatch, 10) <= 2
    assert nodes_made(monkeypatch, 100_000) <= -(-(100_000).bit_length() // BITS)
