"""Hosts of every kind with their people; some vanish, and others come instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.simulation.hosts import Host, PerCallHost
from tests.simulation.kept_host import KeptHost
from tests.simulation.listening_host import ListeningHost
from tests.simulation.loop import sleep_ms
from tests.simulation.people import Person

if TYPE_CHECKING:
    from tests.simulation.surroundings import Surroundings

TICK_MS = 250.0
PEOPLE_MAX = 16


def populate(around: Surroundings) -> None:
    """Make the plan's first hosts and people."""
    plan = around.plan
    for kind, count in (
        (Host, plan.modern),
        (PerCallHost, plan.per_call),
        (ListeningHost, plan.listening),
        (KeptHost, plan.kept),
    ):
        for _ in range(count):
            new_host(around, kind)


def come(around: Surroundings, host: Host) -> None:
    """Start the people of `host`, and its stream."""
    for person in around.people:
        if person.host is host:
            around.clients.call_soon(around.clients.create_task, person.run())
    if isinstance(host, KeptHost | ListeningHost):
        around.clients.call_soon(around.clients.create_task, host.keep_streaming())


async def vanishing(around: Surroundings) -> None:
    """Let hosts vanish at any moment while their people wait or chat, during the faults."""
    chance = around.plan.vanishing * TICK_MS / 1_000
    draw = around.faults.random
    while around.faulty and chance:
        await sleep_ms(TICK_MS)
        for host in tuple(around.hosts):
            somewhere = any(person.is_somewhere for person in around.people if person.host is host)
            if somewhere and draw.random() < chance:
                vanish(around, host)
                if len(around.people) < PEOPLE_MAX:
                    come(around, new_host(around, type(host)))


def vanish(around: Surroundings, host: Host) -> None:
    """Let `host` disappear for good, with its people and its connections."""
    around.world.note(host.name, "vanishes")
    around.sometimes.reached("a host vanished")
    for person in around.people:
        if person.host is host:
            person.vanished = True
    host.vanish()


def new_host(around: Surroundings, kind: type[Host]) -> Host:
    """Make a host and its people."""
    host = kind(around, f"host {len(around.hosts)} {kind.kind}")
    around.hosts.append(host)
    seats = 2 if kind is KeptHost and around.plan.random.random() < 0.4 else 1
    for _ in range(seats):
        person = Person(around, host, f"p{len(around.people)}")
        around.people.append(person)
        if isinstance(host, KeptHost):
            host.people.append(person)
        elif isinstance(host, ListeningHost):
            host.person = person
    return host
