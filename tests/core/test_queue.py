"""Who waits: head, places and removal, and that they cost the same with 10 and 100,000 waiting."""

from __future__ import annotations

import time

from hypothesis import given, settings
from hypothesis import strategies as st

from broker.matching import first_come
from events.ids import ConnectionId
from projections.queue import Queue, queue_after
from tests.support.people import ANN, BOB, CAT, closed, entered, left, opened, said


def queue_of(*waiting: ConnectionId) -> Queue:
    """These wait, in this order."""
    queue = Queue()
    for position, who in enumerate(waiting, 1):
        queue = queue_after(queue, entered(who), position)
    return queue


def waiting_in(queue: Queue) -> list[ConnectionId]:
    """Who waits, in order."""
    return [who for _, who in queue.entries.items()]


def test_an_empty_queue_has_no_head() -> None:
    """Nobody waits longest."""
    assert (len(Queue()), Queue().head()) == (0, None)


def test_who_entered_first_stands_first() -> None:
    """Places count from 1, in the order of entering."""
    queue = queue_of(BOB, ANN, CAT)
    assert queue.head() == BOB
    assert {who: queue.place_of(who) for who in (ANN, BOB, CAT)} == {BOB: 1, ANN: 2, CAT: 3}


def test_who_leaves_from_the_middle_lets_the_others_move_up() -> None:
    """The ones before keep their places."""
    queue = queue_after(queue_of(ANN, BOB, CAT), left(BOB), 4)
    assert waiting_in(queue) == [ANN, CAT]
    assert (queue.place_of(ANN), queue.place_of(CAT)) == (1, 2)
    assert BOB not in queue.entered


def test_a_room_takes_both_out() -> None:
    """There is no leaving of the queue besides."""
    assert waiting_in(queue_after(queue_of(ANN, BOB, CAT), opened(ANN, CAT), 4)) == [BOB]


def test_what_happens_in_rooms_leaves_the_queue_alone() -> None:
    """Messages and endings move nobody in it."""
    queue = queue_of(CAT)
    for event in (said(ANN, BOB), closed(ANN, BOB, "left")):
        assert queue_after(queue, event, 9) is queue


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 8))))
def test_a_queue_is_a_list_that_people_join_at_the_end(steps: list[tuple[bool, int]]) -> None:
    """Against the naive model: a list."""
    queue, model = Queue(), list[ConnectionId]()
    for position, (enters, number) in enumerate(steps, 1):
        who = ConnectionId(f"c_{number}")
        if enters and who not in model:
            queue, model = queue.with_entry(who, position), [*model, who]
        elif not enters and who in model:
            queue = queue.without(who)
            model.remove(who)
        assert waiting_in(queue) == model
        assert queue.head() == (model[0] if model else None)
        assert [queue.place_of(one) for one in model] == list(range(1, len(model) + 1))


def test_a_match_costs_the_same_with_10_and_100_000_waiting() -> None:
    """Best of many, and a generous factor: a scan of the queue would be thousands of times slower."""

    def best_ns(size: int) -> int:
        queue = queue_of(*(ConnectionId(f"c_{n}") for n in range(size)))

        def one_match() -> int:
            began = time.perf_counter_ns()
            met = first_come(queue, ANN)
            assert met is not None
            queue_after(queue, opened(met, ConnectionId(f"c_{size - 1}")), size + 1)
            return time.perf_counter_ns() - began

        return min(one_match() for _ in range(50))

    assert best_ns(100_000) < 20 * best_ns(10)
