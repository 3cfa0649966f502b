"""The queue: head, places, interests, removal, and equal costs with 10 and 100,000 waiting."""

from __future__ import annotations

import time

from hypothesis import given, settings
from hypothesis import strategies as st

from events.ids import ConnectionId
from projections.queue import Queue, QueueMutation
from tests.support.examples import scaled
from tests.support.people import ANN, BOB, CAT

Step = tuple[bool, int, tuple[str, ...]]
"""True for an entry, the connection, and its interests."""

STEPS = st.lists(
    st.tuples(st.booleans(), st.integers(0, 8), st.lists(st.sampled_from("abcd"), max_size=3, unique=True).map(tuple))
)


def queue_of(*waiting: ConnectionId) -> Queue:
    """Return a queue of these connections in this order."""
    queue = Queue()
    for position, who in enumerate(waiting, 1):
        queue = queue.with_entry(who, position)
    return queue


def waiting_in(queue: Queue) -> list[ConnectionId]:
    """Return the waiting connections in order."""
    return [who for _, who in queue.entries.items()]


def test_an_empty_queue_has_no_head() -> None:
    """An empty queue has no head, and finds no shared interest."""
    assert (len(Queue()), Queue().head(), Queue().sharing("tea")) == (0, None, None)


def test_who_entered_first_stands_first() -> None:
    """Places count from 1, in the order of entry."""
    queue = queue_of(BOB, ANN, CAT)
    assert queue.head() == BOB
    assert {who: queue.place_of(who) for who in (ANN, BOB, CAT)} == {BOB: 1, ANN: 2, CAT: 3}


def test_who_leaves_from_the_middle_lets_the_others_move_up() -> None:
    """A removal moves the later connections up, and leaves the earlier ones."""
    queue = queue_of(ANN, BOB, CAT).without(BOB)
    assert waiting_in(queue) == [ANN, CAT]
    assert (queue.place_of(ANN), queue.place_of(CAT)) == (1, 2)
    assert BOB not in queue.entered


def test_those_who_share_an_interest_are_found() -> None:
    """Waiting connections with an interest are found by entry position."""
    queue = Queue().with_entry(ANN, 1, ("chess", "tea")).with_entry(BOB, 2, ("tea",)).with_entry(CAT, 3)
    assert [list((queue.sharing(one) or ()).items()) for one in ("chess", "tea")] == [[(1, ANN)], [(1, ANN), (2, BOB)]]
    assert queue.without(ANN).sharing("chess") is None


def test_who_leaves_takes_what_they_look_for_along() -> None:
    """After a removal the queue equals one without that connection, interests included."""
    entries = [(1, ANN, ("chess", "tea")), (2, BOB, ("tea",)), (3, CAT, ())]
    queue = Queue.of(entries)
    for gone in (ANN, BOB, CAT):
        assert queue.without(gone) == Queue.of([entry for entry in entries if entry[1] != gone])


def test_without_interests_there_is_no_index() -> None:
    """Connections without interests leave the index empty."""
    empty, queue = Queue(), queue_of(ANN, BOB)
    assert (queue.interests, queue.by_interest) == (empty.interests, empty.by_interest)


@settings(deadline=None, max_examples=scaled(200))
@given(STEPS)
def test_a_queue_is_a_list_that_people_join_at_the_end(steps: list[Step]) -> None:
    """The queue agrees with a list after any entries and removals."""
    queue, model = Queue(), list[tuple[int, ConnectionId, tuple[str, ...]]]()
    for position, (enters, number, interests) in enumerate(steps, 1):
        who, waits = ConnectionId(f"c_{number}"), number in {int(one[2:]) for _, one, _ in model}
        if enters and not waits:
            queue, model = queue.with_entry(who, position, interests), [*model, (position, who, interests)]
        elif not enters and waits:
            queue, model = queue.without(who), [entry for entry in model if entry[1] != who]
        assert waiting_in(queue) == [one for _, one, _ in model]
        assert queue.head() == (model[0][1] if model else None)
        assert [queue.place_of(one) for _, one, _ in model] == list(range(1, len(model) + 1))
        for interest in "abcd":
            sharing = queue.sharing(interest)
            found = [] if sharing is None else list(sharing.items())
            assert found == [(at, one) for at, one, theirs in model if interest in theirs]
            assert sharing is None or found
        assert queue == Queue.of(model)


@settings(deadline=None, max_examples=scaled(200))
@given(STEPS, st.integers(0, 20), st.sets(st.integers(1, 20)))
def test_a_working_copy_does_what_the_queue_does(steps: list[Step], kept: int, looks: set[int]) -> None:
    """A working copy agrees with the queue however often it is read, and leaves its origin unchanged."""
    queue = before = Queue()
    working, was = QueueMutation(before), list[ConnectionId]()
    for position, (enters, number, interests) in enumerate(steps, 1):
        who = ConnectionId(f"c_{number}")
        if position == kept:
            before, was, working = queue, waiting_in(queue), QueueMutation(queue)
        if enters and who not in queue.entered:
            queue = queue.with_entry(who, position, interests)
            working.add(who, position, interests)
        elif not enters and who in queue.entered:
            queue = queue.without(who)
            working.remove(who)
        if position in looks:
            assert working.flush() == queue
    assert working.flush() == queue
    assert waiting_in(before) == was


def test_a_match_costs_the_same_with_10_and_100_000_waiting() -> None:
    """The cost is the same at both sizes, within a factor far below a scan's."""

    def best_ns(size: int) -> int:
        queue = Queue.of([(n, ConnectionId(f"c_{n}"), ("tea",)) for n in range(size)])

        def one_match() -> int:
            began = time.perf_counter_ns()
            sharing = queue.sharing("tea")
            assert sharing is not None
            assert sharing.head() == (0, queue.head())
            queue.without(ConnectionId("c_0")).without(ConnectionId(f"c_{size - 1}")).with_entry(ANN, size, ("tea",))
            return time.perf_counter_ns() - began

        return min(one_match() for _ in range(50))

    assert best_ns(100_000) < 20 * best_ns(10)
