"""The fold: the meaning of a log, under any hash seed, and its limits."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from events.commands import AdoptPolicy
from events.commit import BrokenChainError, Commit, Facts, commit_after
from events.ids import ClientMessageId, RoomId
from events.policy import Policy
from projections.connections import Chatting, Idle, Waiting
from projections.inbox import CHUNK
from projections.invariants import check_state
from projections.ordered_map import Order
from projections.persistent_map import Map
from projections.reports import Report
from projections.state import INITIAL_STATE, digest, evolve, fold
from tests.support.logs import log_of
from tests.support.people import (
    ANN,
    BOB,
    CAT,
    DAN,
    ROOM,
    closed,
    enter,
    leave,
    leave_queue,
    left,
    move_on,
    said,
    say,
    vanish,
)
from tests.support.specs import NOON_MS, PAST, Step, chatting, state_after, then_also, under, waiting

ROOT = Path(__file__).parent.parent.parent
ROOM_2 = RoomId("r_2")

EVENING = (
    AdoptPolicy(Policy(closed_rooms_kept=2, connections_kept=4, messages_per_10s_max=7)),
    enter(ANN, "Ann", "chess", "tea"),
    enter(BOB),
    say(ANN, "hi", "m1", RoomId("r_3")),
    say(BOB, "ho", "m1", RoomId("r_3")),
    say(BOB, "ho", "m2", RoomId("r_3")),
    enter(CAT),
    move_on(ANN, RoomId("r_3")),
    say(CAT, "hello", None, RoomId("r_8")),
    leave(CAT, RoomId("r_8")),
    enter(DAN),
    vanish(DAN),
    enter(BOB),
)


def test_an_empty_log_means_nothing_yet() -> None:
    """The initial state is empty, with the default policy."""
    assert fold([]) is INITIAL_STATE
    assert (INITIAL_STATE.position, INITIAL_STATE.at_ms, INITIAL_STATE.policy) == (0, 0, Policy())
    assert check_state(INITIAL_STATE) == []


def test_folding_is_evolving_commit_by_commit() -> None:
    """A fold from any state on the way equals evolving commit by commit."""
    commits, state = log_of(*EVENING), INITIAL_STATE
    for commit in commits:
        state = evolve(state, commit)
    assert fold(commits) == state
    for cut in range(len(commits)):
        assert digest(fold(commits[cut:], fold(commits[:cut]))) == digest(state)


def test_a_state_knows_where_it_stands() -> None:
    """Tip and time are the last commit's."""
    commits = log_of(*EVENING)
    state = fold(commits)
    assert (state.tip, state.position, state.at_ms) == (commits[-1].tip, len(commits), commits[-1].at_ms)


@pytest.mark.parametrize(
    "broken",
    [
        lambda log: log[1:],
        lambda log: [*log[:3], *log[4:]],
        lambda log: [*log[:3], msgspec.structs.replace(log[3], at_ms=log[3].at_ms + 1), *log[4:]],
        lambda log: [*log[:3], *log_of(enter(DAN), state=fold(log[:3])), *log[4:]],
    ],
    ids=["no beginning", "a gap", "altered", "another past"],
)
def test_a_log_that_is_not_what_it_was_is_not_folded(broken: object) -> None:
    """A broken chain raises an error, and no part is returned."""
    with pytest.raises(BrokenChainError):
        fold(broken(log_of(*EVENING)))


def test_an_old_state_stays_what_it_was() -> None:
    """An old state does not change when the log grows."""
    commits, states = log_of(*EVENING), [INITIAL_STATE]
    for commit in commits:
        states.append(evolve(states[-1], commit))
    assert [digest(state) for state in states] == [digest(fold(commits[:n])) for n in range(len(commits) + 1)]


def test_many_commits_are_folded_into_one_working_copy() -> None:
    """A working copy ends as the same state as single steps, and leaves its origin unchanged."""
    commits = log_of(*EVENING)
    before = fold(commits[:4])
    was, working = digest(before), before.mutate()
    working.fold_checked(commits[4:7])
    for commit in commits[7:]:
        working.fold(commit)
    assert working.finish() == fold(commits)
    assert digest(before) == was


def test_a_working_copy_tells_who_waits_by_now() -> None:
    """The queue of a working copy can be read between commits, and does not change afterwards."""
    working, commits = INITIAL_STATE.mutate(), log_of(enter(ANN), leave_queue(ANN), enter(BOB))
    told = []
    for commit in commits:
        working.fold(commit)
        told.append(working.queue)
    assert told == [fold(commits[:n]).queue for n in (1, 2, 3)]


def test_a_state_counts_what_was_said_and_what_ended() -> None:
    """The counts go back to the first commit, also for forgotten rooms."""
    state = fold(log_of(*EVENING))
    assert (state.messages_sent, state.rooms_closed) == (4, 2)
    state = state_after(under(closed_rooms_kept=1), *[_and_it_ends(RoomId(f"r_{n}")) for n in range(3)])
    assert (state.rooms_closed, len(state.rooms.by_id)) == (3, 1)


def _and_it_ends(room: RoomId) -> list[Step]:
    return [*chatting(ANN, BOB, room), (closed(ANN, BOB, "left", room),)]


def test_what_happens_in_rooms_leaves_the_queue_alone() -> None:
    """Messages and closings keep the very same queue."""
    state = state_after(chatting(ANN, BOB), waiting(CAT))
    for event in (said(ANN, BOB), closed(ANN, BOB, "left")):
        after = evolve(state, commit_after(state.tip, PAST, Facts(NOON_MS), [event]))
        assert after.queue is state.queue


def test_a_commit_that_does_not_follow_is_a_bug() -> None:
    """Evolving with a commit that does not follow fails an assertion."""
    with pytest.raises(AssertionError):
        evolve(INITIAL_STATE, log_of(*EVENING)[1])


class TestDigest:
    """Equal digests are equal states."""

    def test_every_commit_changes_it(self) -> None:
        """No two states of a log have the same digest."""
        commits = log_of(*EVENING)
        assert len({digest(fold(commits[:n])) for n in range(len(commits) + 1)}) == len(commits) + 1

    def test_it_is_a_sha_256(self) -> None:
        """A digest is a SHA-256 in hexadecimal."""
        assert len(digest(INITIAL_STATE)) == 64

    @pytest.mark.parametrize("name", INITIAL_STATE.__struct_fields__)
    def test_it_covers_every_part_of_the_state(self, name: str) -> None:
        """A change of any field changes the digest."""
        state = msgspec.structs.replace(fold(log_of(*EVENING)), reports=Order.of([(1, Report(ROOM, NOON_MS))]))
        emptied = msgspec.structs.replace(state, **{name: getattr(INITIAL_STATE, name)})
        assert digest(emptied) != digest(state)

    def test_it_does_not_depend_on_how_a_map_came_about(self) -> None:
        """Equal maps with different histories give the same digest."""
        state = fold(log_of(*EVENING))
        people = list(state.inboxes.items())
        backwards = Map(reversed(people))
        assert digest(msgspec.structs.replace(state, inboxes=backwards)) == digest(state)

    def test_it_is_the_same_under_any_hash_seed(self) -> None:
        """The digest is the same under any hash seed."""
        program = (
            "from tests.core.test_state import EVENING; from tests.support.logs import log_of;"
            "from projections.state import digest, fold; print(digest(fold(log_of(*EVENING))))"
        )
        seen = {
            subprocess.run(
                [sys.executable, "-c", program],
                env=os.environ | {"PYTHONHASHSEED": seed},
                cwd=ROOT,
                check=True,
                capture_output=True,
                text=True,
            ).stdout.strip()
            for seed in ("1", "4242")
        }
        assert seen == {digest(fold(log_of(*EVENING)))}


class TestPlaces:
    """The places of connections."""

    def test_people_wait_chat_and_are_idle(self) -> None:
        """Each connection has one place."""
        state = state_after(chatting(ANN, BOB), waiting(CAT), waiting(DAN), then_also(left(DAN)))
        where = {who: connection.place for who, connection in state.connections.by_id.items()}
        assert where == {ANN: Chatting(ROOM), BOB: Chatting(ROOM), CAT: Waiting(3), DAN: Idle(10)}

    def test_the_last_position_is_of_what_one_did(self) -> None:
        """A match or a partner's leaving moves the last position; a received message does not."""
        state = state_after(chatting(ANN, BOB), then_also(said(ANN, BOB)))
        assert (state.connections.by_id[ANN].last_position, state.connections.by_id[BOB].last_position) == (3, 2)
        state = state_after(chatting(ANN, BOB), then_also(closed(ANN, BOB, "left")))
        assert (state.connections.by_id[ANN].last_position, state.connections.by_id[BOB].last_position) == (3, 3)

    def test_a_new_entry_brings_its_name_and_keeps_what_was_spent(self) -> None:
        """Coming back changes the name and keeps both spent allowances."""
        before = state_after(chatting(ANN, BOB), then_also(said(ANN, BOB)), then_also(closed(BOB, ANN, "left")))
        after = evolve(before, log_of(enter(ANN, "Anna", "tea"), state=before)[0]).connections.by_id[ANN]
        assert (after.display_name, after.interests) == ("Anna", ("tea",))
        spent = before.connections.by_id[ANN]
        assert after.messages_spent_until_us == spent.messages_spent_until_us > 0
        assert after.queue_spent_until_us > spent.queue_spent_until_us > 0

    def test_the_longest_idle_are_forgotten_beyond_the_limit(self) -> None:
        """The longest idle are forgotten with their inboxes; waiting and chatting connections are kept."""
        state = state_after(
            under(connections_kept=3),
            chatting(ANN, BOB),
            waiting(CAT),
            then_also(closed(BOB, ANN, "left")),
            waiting(DAN),
        )
        assert set(state.connections.by_id) == {ANN, CAT, DAN}
        assert set(state.inboxes) == {ANN}
        assert [who for _, who in state.connections.idle.items()] == [ANN]

    def test_the_present_are_kept_beyond_the_limit(self) -> None:
        """The limit never removes a connection from a conversation."""
        state = state_after(under(connections_kept=1), chatting(ANN, BOB), waiting(CAT))
        assert set(state.connections.by_id) == {ANN, BOB, CAT}

    def test_who_ended_a_conversation_is_forgotten_before_who_was_left(self) -> None:
        """Of two members idle since the same position, the closer is forgotten first."""
        state = state_after(under(connections_kept=1), chatting(ANN, BOB), then_also(closed(BOB, ANN, "left")))
        assert set(state.connections.by_id) == {ANN}

    def test_a_smaller_limit_takes_hold_at_once(self) -> None:
        """A smaller limit takes effect with the commit that adopts it."""
        state = state_after(*([*waiting(who), (left(who),)] for who in (ANN, BOB, CAT)), under(connections_kept=1))
        assert set(state.connections.by_id) == {CAT}

    def test_who_was_forgotten_comes_back_as_new(self) -> None:
        """A forgotten connection comes back with full allowances and an empty inbox."""
        state = state_after(under(connections_kept=1), chatting(ANN, BOB), then_also(closed(BOB, ANN, "left")))
        state = evolve(state, log_of(enter(BOB), state=state)[0])
        assert state.connections.by_id[BOB].place == Waiting(state.position)
        assert BOB not in state.inboxes

    def test_entering_from_anywhere_but_idle_is_a_bug(self) -> None:
        """An entry from the queue or a room fails an assertion."""
        with pytest.raises(AssertionError):
            state_after(waiting(ANN), waiting(ANN))


class TestRooms:
    """The rooms of a state."""

    def test_a_room_knows_its_two_members(self) -> None:
        """A room has two members, and tells each the other's name."""
        state = state_after(chatting(ANN, BOB))
        room = state.rooms.by_id[ROOM]
        assert (room.is_open, room.opened_position, state.rooms.open_count) == (True, 2, 1)
        assert (room.has(ANN), room.has(BOB), room.has(CAT)) == (True, True, False)
        assert (room.partner_of(ANN), room.partner_of(BOB)) == (BOB, ANN)
        assert (room.partner_name_of(ANN), room.partner_name_of(BOB)) == ("Bob", "Ann")

    def test_a_room_remembers_so_many_message_ids(self) -> None:
        """A room remembers at least the newest half of `message_ids_kept` ids, and never more than all."""
        state = state_after(under(message_ids_kept=4, messages_per_10s_max=1_000), chatting(ANN, BOB))
        for number in range(9):
            facts = Facts(NOON_MS, salt="s")
            message_id = f"m{number}"
            state = evolve(
                state, commit_after(state.tip, say(ANN, "x", message_id), facts, [said(ANN, BOB, "x", message_id)])
            )
        room = state.rooms.by_id[ROOM]
        remembered = [n for n in range(9) if room.sent_at_ms(ANN, ClientMessageId(f"m{n}")) is not None]
        assert remembered[-2:] == [7, 8]
        assert len(remembered) <= 4

    def test_a_closed_room_is_kept_for_a_while(self) -> None:
        """A closed room keeps its closing position and its message ids."""
        state = state_after(
            chatting(ANN, BOB), then_also(said(ANN, BOB, "hi", "m1")), then_also(closed(BOB, ANN, "next"))
        )
        room = state.rooms.by_id[ROOM]
        assert (room.is_open, room.closed_position) == (False, 4)
        assert room.sent_at_ms(ANN, ClientMessageId("m1")) == NOON_MS
        assert state.rooms.open_count == 0

    def test_only_the_rooms_that_closed_last_are_kept(self) -> None:
        """Only the newest closed rooms are kept; open rooms do not count."""
        state = state_after(
            under(closed_rooms_kept=1),
            chatting(ANN, BOB),
            chatting(CAT, DAN, ROOM_2),
            then_also(closed(CAT, DAN, "left", ROOM_2)),
            then_also(closed(ANN, BOB, "left")),
        )
        assert set(state.rooms.by_id) == {ROOM}
        assert (state.rooms.get(ROOM_2), state.rooms.open_count) == (None, 0)

    def test_a_smaller_limit_takes_hold_with_the_next_ending(self) -> None:
        """A smaller limit takes effect with the next closing, for as many rooms as it takes."""
        rooms = [RoomId(f"r_{n}") for n in range(3)]
        past = [step for room in rooms for step in ([*chatting(ANN, BOB, room), (closed(ANN, BOB, "left", room),)])]
        state = state_after(past, under(closed_rooms_kept=1))
        assert len(state.rooms.by_id) == 3
        state = state_after(past, under(closed_rooms_kept=1), chatting(ANN, BOB), then_also(closed(ANN, BOB, "left")))
        assert set(state.rooms.by_id) == {ROOM}

    def test_a_message_without_an_id_leaves_no_trace(self) -> None:
        """A message without an id changes nothing in its room."""
        state = state_after(chatting(ANN, BOB))
        after = evolve(state, log_of(say(ANN), state=state)[0])
        assert after.rooms == state.rooms


class TestInboxes:
    """The inboxes of a state."""

    def test_everyone_told_has_it_in_their_inbox(self) -> None:
        """Exactly the recipients have the position in their inboxes."""
        state = state_after(
            chatting(ANN, BOB), then_also(said(ANN, BOB)), waiting(CAT), then_also(closed(ANN, BOB, "next"))
        )
        assert {who: inbox.last(9) for who, inbox in state.inboxes.items()} == {ANN: [2], BOB: [2, 3, 5]}

    def test_only_the_newest_are_kept(self) -> None:
        """The oldest positions go a chunk at a time, and the inbox records it."""
        talk = [then_also(said(ANN, BOB)) for _ in range(3 * CHUNK)]
        state = state_after(under(inbox_events_max=CHUNK, messages_per_10s_max=10_000), chatting(ANN, BOB), *talk)
        inbox = state.inboxes[BOB]
        assert CHUNK <= len(inbox) <= 2 * CHUNK
        assert inbox.dropped_through == state.position - len(inbox)


def test_a_policy_holds_from_its_commit_on() -> None:
    """A new policy already applies to the later events of its commit."""
    state = state_after(under(messages_per_10s_max=3))
    assert state.policy == Policy(messages_per_10s_max=3)


def test_a_commit_without_events_moves_nothing_but_the_tip() -> None:
    """A commit without events changes the tip alone."""
    state = state_after(chatting(ANN, BOB))
    commit: Commit = msgspec.structs.replace(log_of(leave(ANN), state=state)[0], events=())
    after = evolve(state, commit)
    assert msgspec.structs.replace(after, tip=state.tip, at_ms=state.at_ms) == state
