"""`python -m benchmarks.ghosts`: the wait of a living person for a living partner, while others vanish.

One broker, whole but for HTTP, with its log in memory and a clock that is moved: a run takes a second, and its seed
gives the same figures again. In a run 50 people come, at random within 20 minutes. They only call, without a stream:

- A person calls `enter_queue`, and waits by calls of 45 seconds, the default, with 1 to 6 seconds between them.
- In a room it speaks after 2 to 8 seconds, and answers each message after as long. After 30 to 90 seconds it leaves
  for good, one time in four, or calls `next_partner`. If the partner has never said a word, it calls `next_partner`
  after two minutes. If the partner is gone, it enters the queue again, and after a missed match it waits on.
- 17 of them vanish: each either within 10 seconds of its coming, if it waits then, or else at some time, on average
  90 seconds after its coming. Either a vanished person's machine closes its connection, and the broker notices that at
  once, or nothing is noticed: then a call in flight stays open until its time is up, and its result counts as written.
  A run has one of the two in each case (`--unnoticed` is the share of the second).

A wish begins with a call of `enter_queue` or `next_partner`. It ends with the opening of a room whose other member
makes a call after that: it is alive, and it answers. So the wait holds the time in rooms with people who had vanished.
Wishes of people who vanish before their end are not counted. A ghost's room is one that opened for a living person
and one who had vanished before.

"Before" is the default policy, as in older logs; "after" has the values that `serve` adopts. "Confirmed" is the part
of these that is about ghosts; the rest keeps two from meeting again at once, which costs time where few people are.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import median, quantiles
from typing import Final, NamedTuple

import structlog

from broker.broker import Broker
from broker.clock import sleep_until
from broker.testing.clock import FakeClock, settle
from events.commands import Command, EnterQueue, LeaveRoom, NextPartner, SendMessage
from events.commit import Commit
from events.events import RoomClosed, RoomOpened
from events.ids import ConnectionId, Position, RoomId
from events.memory import MemoryLog
from events.policy import Policy
from projections.connections import Chatting, Idle
from projections.state import State

PEOPLE: Final = 50
VANISHING: Final = 17
COMING_MS: Final = 1_200_000
STAYING_MS: Final = 2_400_000
SEEDS: Final = 20
TURNS: Final = 10  # of the event loop, after which everything has happened that a moment brings
UNNOTICED: Final = 0.5
VANISH_MS: Final = 90_000
VANISH_WAITING_MS: Final = 10_000
CALL_MS: Final = 45_000
BETWEEN_CALLS_MS: Final = (1_000, 6_000)
ANSWERING_MS: Final = (2_000, 8_000)
TALK_MS: Final = (30_000, 90_000)
SILENCE_MS: Final = 120_000
LEAVING: Final = 0.25
POLICIES: Final = {
    "before": Policy(),
    "confirmed": Policy(confirm_grace_ms=25_000, requeue_on_missed_match=1),
    "after": Policy(
        confirm_grace_ms=25_000, requeue_on_missed_match=1, rematch_after_ms=600_000, rematch_patience_ms=20_000
    ),
}


class Scenario(NamedTuple):
    """One run."""

    policy: Policy
    seed: int
    unnoticed: float = UNNOTICED


class Outcome(NamedTuple):
    """The waits for a living partner, and the times that living people spent in the rooms of ghosts."""

    waits_ms: list[float]
    with_ghosts_ms: list[float]


def outcome_of(scenario: Scenario) -> Outcome:
    """Run `scenario`."""
    return asyncio.run(_run(scenario))


async def _run(scenario: Scenario) -> Outcome:
    lobby = _Lobby(scenario)
    await lobby.start(scenario.policy)
    people = [asyncio.ensure_future(lobby.visit(does_vanish=number < VANISHING)) for number in range(PEOPLE)]
    await lobby.clock.advance(COMING_MS + STAYING_MS, quiet=lambda: settle(TURNS))
    for person in people:
        if person.done() and not person.cancelled():
            person.result()  # raises its error
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    return lobby.outcome


class _Lobby(Broker):
    """A broker with its people. It notes who meets whom, the moment that a room opens."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.random = random.Random(scenario.seed)
        self.clock: FakeClock = FakeClock()
        self.people: dict[ConnectionId, _Person] = {}
        self.outcome = Outcome([], [])
        super().__init__(MemoryLog("ghosts"), self.clock, random_bytes=random.Random(scenario.seed).randbytes)

    def committed(self, commit: Commit, state: State) -> None:
        """See `Broker.committed`."""
        super().committed(commit, state)
        for event in commit.events:
            if isinstance(event, RoomClosed):
                for who in (event.closed_by, event.other):
                    self.people[who].parts()
            elif isinstance(event, RoomOpened):
                for who, partner in ((event.first, event.second), (event.second, event.first)):
                    self.people[who].meets(self.people[partner])

    async def visit(self, *, does_vanish: bool) -> None:
        """Let a person come, and return when it has left or vanished."""
        await self.pause(self.random.uniform(0, COMING_MS))
        person = _Person(self, ConnectionId(f"c_{self.random.getrandbits(128):032x}"))
        self.people[person.who] = person
        if does_vanish:
            came_ms = self.clock.now_ms()
            self.clock.call_at(came_ms + self.random.uniform(0, VANISH_WAITING_MS), person.vanish_if_waiting)
            self.clock.call_at(came_ms + self.random.expovariate(1 / VANISH_MS), person.vanish)
        await person.living

    async def pause(self, of_ms: float) -> None:
        """Return after `of_ms`."""
        await sleep_until(self.clock, self.clock.now_ms() + of_ms)


class _EndedError(Exception):
    """A person is done with everything."""


class _Person:
    """One person: what it does, and since when it has wished for a partner."""

    def __init__(self, lobby: _Lobby, who: ConnectionId) -> None:
        self.who = who
        self._partner: _Person | None = None
        self._met_ms = 0.0
        self._has_met_ghost = False
        self._lobby = lobby
        self._cursor: Position = 0
        self._wished_ms: float | None = None
        self._is_noticed = lobby.random.random() >= lobby.scenario.unnoticed
        self._is_gone = False
        self._is_listening = False
        self.living = asyncio.ensure_future(self._live())

    def vanish(self) -> None:
        """Be gone without a word."""
        self._is_gone = True
        if self._is_noticed or not self._is_listening:
            self.living.cancel()

    def vanish_if_waiting(self) -> None:
        """Be gone, unless a partner was found."""
        if self.is_waiting():
            self.vanish()

    def is_waiting(self) -> bool:
        """Return whether it is in the queue."""
        return self.who in self._lobby.state.queue.entered

    def meets(self, partner: _Person) -> None:
        """Note that a room has opened."""
        self._partner, self._met_ms = partner, self._lobby.clock.now_ms()
        self._has_met_ghost = partner._is_gone and not self._is_gone

    def parts(self) -> None:
        """Note that it has closed."""
        self._partner = None
        if self._has_met_ghost:
            self._lobby.outcome.with_ghosts_ms.append(self._lobby.clock.now_ms() - self._met_ms)

    async def _live(self) -> None:
        try:
            while True:
                place = self._lobby.state.connections.get(self.who)
                if place is None or isinstance(place.place, Idle):
                    await self._wish(EnterQueue(self.who, "Someone", ()))
                elif isinstance(place.place, Chatting):
                    await self._chat(place.place.room_id)
                else:
                    await self._listen()
                    if self.is_waiting():
                        await self._think(BETWEEN_CALLS_MS)
        except _EndedError:
            pass

    async def _chat(self, room_id: RoomId) -> None:
        """Talk, until one of the two has had enough."""
        until_ms, has_heard = self._lobby.clock.now_ms() + self._draw(TALK_MS), False
        silent_until_ms = self._lobby.clock.now_ms() + SILENCE_MS
        await self._think(ANSWERING_MS)
        await self._call(SendMessage(self.who, room_id, "Hello", None))
        while (room := self._lobby.state.rooms.get(room_id)) is not None and room.is_open:
            if self._lobby.clock.now_ms() >= (until_ms if has_heard else silent_until_ms):
                await self._go_on(room_id)
                return
            heard = await self._listen()
            has_heard = has_heard or heard
            await self._think(ANSWERING_MS)
            if heard:
                await self._call(SendMessage(self.who, room_id, "Indeed", None))

    async def _go_on(self, room_id: RoomId) -> None:
        """Leave for good, or wish for someone else."""
        if self._lobby.random.random() < LEAVING:
            await self._call(LeaveRoom(self.who, room_id))
            raise _EndedError
        await self._wish(NextPartner(self.who, room_id))

    async def _wish(self, command: Command) -> None:
        if self._wished_ms is None:
            self._wished_ms = self._lobby.clock.now_ms()
        await self._call(command)

    async def _call(self, command: Command) -> None:
        """Make a call that is answered at once."""
        with self._calling():
            await self._lobby.writer.submit(command)
        self._is_told(self._lobby.state.connections.by_id[self.who].last_position)

    async def _listen(self) -> bool:
        """Wait for what comes, and return whether the partner said something."""
        with self._calling():
            self._is_listening = True
            waited = await self._lobby.waits.start(self.who, self._cursor, CALL_MS).run()
            self._is_listening = False
        self._cursor = waited.page.cursor
        self._is_told(self._cursor)
        if self._is_gone:
            raise _EndedError
        return any(event.method == "message.received" for event in waited.page.events)

    @contextmanager
    def _calling(self) -> Iterator[None]:
        """Call the broker; the partner that this tells of life has what it wished for."""
        if self._partner is not None:
            self._partner.is_answered()
        with self._lobby.presence.call(self.who):
            yield

    def _is_told(self, cursor: Position) -> None:
        """Have a result written, which holds all up to `cursor`, to a connection that the broker believes open."""
        self._lobby.presence.confirmation.told(self.who, cursor)

    def is_answered(self) -> None:
        """Note that the partner is there."""
        if self._wished_ms is not None and not self._is_gone:
            self._lobby.outcome.waits_ms.append(self._met_ms - self._wished_ms)
            self._wished_ms = None

    async def _think(self, between_ms: tuple[int, int]) -> None:
        await self._lobby.pause(self._draw(between_ms))

    def _draw(self, between_ms: tuple[int, int]) -> float:
        return self._lobby.random.uniform(*between_ms)


HEAD: Final = "| policy | unnoticed | waits | median s | p95 s | p99 s | above 60 s | ghosts' rooms | mean s |"


def row(name: str, unnoticed: float, outcomes: Sequence[Outcome]) -> str:
    """Return a row of the table, in Markdown."""
    waits_s = [wait_ms / 1_000 for outcome in outcomes for wait_ms in outcome.waits_ms]
    ghosts_s = [held_ms / 1_000 for outcome in outcomes for held_ms in outcome.with_ghosts_ms]
    percentiles = quantiles(waits_s, n=100, method="inclusive")
    above = sum(wait > 60 for wait in waits_s) / len(waits_s)
    return (
        f"| {name} | {unnoticed:.0%} | {len(waits_s):,} | {median(waits_s):.1f} | {percentiles[94]:.0f} | "
        f"{percentiles[98]:.0f} | {above:.1%} | {len(ghosts_s)} | {sum(ghosts_s) / max(1, len(ghosts_s)):.0f} |"
    )


def main(arguments: Sequence[str]) -> None:
    """Print a table of some seeds."""
    parser = argparse.ArgumentParser("python -m benchmarks.ghosts")
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"how many runs, from seed 1 on (default {SEEDS})")
    parser.add_argument("--unnoticed", type=float, nargs="+", default=(0.0, UNNOTICED), help="shares from 0 to 1")
    asked = parser.parse_args(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    print(HEAD, "| --- |" + " ---: |" * 8, sep="\n")
    for unnoticed in asked.unnoticed:
        for name, policy in POLICIES.items():
            outcomes = [outcome_of(Scenario(policy, seed, unnoticed)) for seed in range(1, asked.seeds + 1)]
            print(row(name, unnoticed, outcomes), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
