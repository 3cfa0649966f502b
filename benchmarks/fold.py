"""`python -m benchmarks.fold`: cost of reading a log, folding it, checking it, and of snapshots.

CPU time of this process, for a log of short conversations: 78% of its commits are messages with an id of their own.
Commits are read and folded a page at a time, as at a start. Each page is measured in every round, and its best round
counts, since other work on the machine can only add to it.
"""

import gc
import random
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Final

from broker.decide import decide
from broker.decision import Rejection
from events.codec import decode_commit, encode_commit
from events.commands import Command, EnterQueue, LeaveRoom, NextPartner, SendMessage
from events.commit import Commit, Facts, Tip, check_link, commit_after
from events.events import MessageSent
from events.ids import ClientMessageId, CommitId, ConnectionId, RoomId
from projections.connections import Chatting, Connection, Connections, Idle, Waiting
from projections.inbox import Inbox
from projections.invariants import CheckedFold, check_step
from projections.ordered_map import Order
from projections.persistent_map import Map
from projections.rooms import Room, Rooms
from projections.snapshots import STATE_CODEC
from projections.state import INITIAL_STATE, State, evolve

COMMITS: Final = 20_000
PAGE: Final = 500
PEOPLE: Final = 200
ROUNDS: Final = 7

IDLE: Final = 200_000
CLOSED_ROOMS: Final = 10_000
SNAPSHOT_ROUNDS: Final = 3

NOON_MS: Final = 1_790_000_000_000


def a_log(count: int) -> list[bytes]:
    """Return the lines of a log of `count` commits, always the same."""
    dice, state, lines, now_ms, number = random.Random(1), INITIAL_STATE, list[bytes](), NOON_MS, 0
    people = [ConnectionId(f"c_{number:032x}") for number in range(PEOPLE)]
    while len(lines) < count:
        number += 1
        now_ms += dice.randrange(5, 200)
        command = a_wish(state, dice.choice(people), number, dice)
        facts = Facts(now_ms, RoomId(f"r_{number:032x}"), f"{number:032x}")
        if command is None or isinstance(decision := decide(state, command, facts), Rejection):
            continue
        if decision:
            commit = commit_after(state.tip, command, facts, decision)
            state = evolve(state, commit)
            lines.append(encode_commit(commit))
    return lines


def a_wish(state: State, who: ConnectionId, number: int, dice: random.Random) -> Command | None:
    """Return what `who` does next, in short conversations; `None` while they wait."""
    known = state.connections.get(who)
    match known.place if known is not None else None:
        case Waiting():
            return None
        case Chatting(room_id=room_id):
            chance = dice.random()
            if chance < 0.9:
                return SendMessage(who, room_id, "hello there " * dice.randrange(1, 6), ClientMessageId(f"m{number}"))
            return LeaveRoom(who, room_id) if chance < 0.95 else NextPartner(who, room_id)
        case _:
            return EnterQueue(who, "Ann", ())


def a_state() -> State:
    """Return the state of a broker after long use: many idle clients, closed rooms, a few inboxes."""
    dice = random.Random(1)
    people = [ConnectionId(f"c_{dice.getrandbits(128):032x}") for _ in range(IDLE)]
    idle = [(6 * number, who) for number, who in enumerate(people)]
    connections = {who: Connection("Anonymous", (), Idle(key), key // 2, NOON_MS, 1, 1) for key, who in idle}
    rooms: dict[RoomId, Room] = {}
    closed: list[tuple[int, RoomId]] = []
    for number, (first, second) in enumerate(pairwise(people[: CLOSED_ROOMS + 1])):
        room_id = RoomId(f"r_{dice.getrandbits(128):032x}")
        ids = {((first, second)[n % 2], ClientMessageId(f"m{number}-{n}")): NOON_MS for n in range(10)}
        rooms[room_id] = Room(room_id, first, second, "Ann", "Bob", number, 10**7 + number, Map(ids))
        closed.append((10**7 + number, room_id))
    inboxes = {who: Inbox(tuple(range(9)), (), 0, NOON_MS) for who in people[::4]}
    return State(
        Tip(10**8, CommitId("0" * 32)),
        NOON_MS,
        rooms=Rooms(Map(rooms), Order.of(closed)),
        connections=Connections(Map(connections), Order.of(idle)),
        inboxes=Map(inboxes),
    )


Work = Callable[[list[bytes], list[Commit]], None]
"""Work on one page, given as lines and as commits."""


def decoding() -> Work:
    """Decode lines to commits."""

    def work(lines: list[bytes], commits: list[Commit]) -> None:
        for line in lines:
            decode_commit(line)

    return work


def linking() -> Work:
    """Check that each commit follows the one before and is as it was stored."""
    tip = INITIAL_STATE.tip

    def work(lines: list[bytes], commits: list[Commit]) -> None:
        nonlocal tip
        for commit in commits:
            check_link(tip, commit)
            tip = commit.tip

    return work


def folding() -> Work:
    """Fold many commits into one working copy."""
    working = INITIAL_STATE.mutate()

    def work(lines: list[bytes], commits: list[Commit]) -> None:
        for commit in commits:
            working.fold(commit)

    return work


def folding_with_links() -> Work:
    """Fold many commits into one working copy, and check every link."""
    working = INITIAL_STATE.mutate()

    def work(lines: list[bytes], commits: list[Commit]) -> None:
        working.fold_checked(commits)

    return work


def evolving() -> Work:
    """Build a state for each commit, as a broker does."""
    state = INITIAL_STATE

    def work(lines: list[bytes], commits: list[Commit]) -> None:
        nonlocal state
        for commit in commits:
            state = evolve(state, commit)

    return work


def checking() -> Work:
    """Build a state for each commit, and check the step to it."""
    state = INITIAL_STATE

    def work(lines: list[bytes], commits: list[Commit]) -> None:
        nonlocal state
        for commit in commits:
            after = evolve(state, commit)
            assert not check_step(state, commit, after)
            state = after

    return work


def checking_one_copy() -> Work:
    """Check each step on a working copy, as `verify` does."""
    checked = CheckedFold(INITIAL_STATE.mutate())

    def work(lines: list[bytes], commits: list[Commit]) -> None:
        for commit in commits:
            assert not checked.step(commit)

    return work


def deciding() -> Work:
    """Decide the commands again on the working copy, then fold."""
    working = INITIAL_STATE.mutate()

    def work(lines: list[bytes], commits: list[Commit]) -> None:
        for commit in commits:
            assert decide(working, commit.command, commit.facts)
            working.fold(commit)

    return work


MEASUREMENTS: Final = {
    "decode": decoding,
    "check_link": linking,
    "fold, links unchecked": folding,
    "fold, links checked": folding_with_links,
    "fold, deciding again": deciding,
    "fold, steps checked": checking_one_copy,
    "evolve, one by one": evolving,
    "evolve and check_step": checking,
}


def page_seconds(prepare: Callable[[], Work], lines: list[bytes]) -> Iterator[float]:
    """Yield the CPU seconds of each page, not counting the decoding before it."""
    work = prepare()
    for start in range(0, len(lines), PAGE):
        page = lines[start : start + PAGE]
        commits = [decode_commit(line) for line in page]
        began = time.process_time()
        work(page, commits)
        yield time.process_time() - began


def snapshot_seconds(state: State) -> tuple[float, float, list[bytes]]:
    """Return the CPU seconds of writing `state` and of reading it, and the lines."""
    began = time.process_time()
    lines = list(STATE_CODEC.encode(state))
    written = time.process_time()
    again = STATE_CODEC.decode(lines)
    read = time.process_time()
    assert again == state
    return written - began, read - written, lines


def main() -> None:
    """Measure and print."""
    lines = a_log(COMMITS)
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)  # as the commands that read a log
    messages = sum(type(decode_commit(line).events[0]) is MessageSent for line in lines)
    print(f"{COMMITS:,} commits, {messages / COMMITS:.0%} messages: CPU of each, best of {ROUNDS} rounds\n")
    rounds: dict[str, list[list[float]]] = {name: [] for name in MEASUREMENTS}
    for _ in range(ROUNDS):
        for name, prepare in MEASUREMENTS.items():
            rounds[name].append(list(page_seconds(prepare, lines)))
    for name, seconds in rounds.items():
        each = sum(map(min, zip(*seconds, strict=True))) / COMMITS
        print(f"{name:24} {each * 1e6:6.2f} us {1 / each:10,.0f} a second")
    state = a_state()
    gc.freeze()
    gc.disable()  # or a collection would go through everything just read
    tries = [snapshot_seconds(state) for _ in range(SNAPSHOT_ROUNDS)]
    encoding_s, decoding_s = min(one[0] for one in tries), min(one[1] for one in tries)
    megabytes = sum(map(len, tries[0][2])) / 1e6
    print(f"\na snapshot of {IDLE:,} idle people and {CLOSED_ROOMS:,} closed rooms, {megabytes:.0f} MB:")
    print(f"encode {encoding_s:.2f} s, decode {decoding_s:.2f} s")


if __name__ == "__main__":
    main()
