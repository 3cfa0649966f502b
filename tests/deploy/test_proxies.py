"""Two workers of one log behind the load balancers of `deploy/`, with clients of both eras, without sticky routing."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import cast

import httpx
import pytest

from tests.chat_client.relay import relaying
from tests.deploy.listener import Listener, insist
from tests.deploy.proxies import PROXIES, Backend, Front, haproxy_servers, program, proxy, substituted
from tests.deploy.workers import Served, launched, metric, until
from tests.facade.people import Crowd, Era, Person, crowd, texts
from tests.facade.test_clients import MODES, Host
from tests.support.certificates import certify
from tests.support.engines.redis import RedisServer, running
from tests.support.limits import HUNG_SECONDS
from tests.support.process import NO_MISSED_MATCH
from tests.support.server import Running

pytestmark = pytest.mark.anyio

NAMES = count()
ERAS: Sequence[Era] = ("2025", "2026")

AT_ONCE_SECONDS = 0.1
"""Of the quickest of several, since other processes slow down some."""

NOTICED_WITHIN_SECONDS = 10
"""A stream whose client has gone must end with it, and not with the next ping, which comes after 15 seconds."""


@pytest.fixture(scope="module")
def valkey() -> Iterator[RedisServer]:
    """The store of all tests here."""
    with running("valkey") as server:
        yield server


@pytest.fixture(scope="module")
def pair(valkey: RedisServer) -> Iterator[tuple[Served, Served]]:
    """Two workers of one log, on ports of their own."""
    log = valkey.url("pair")
    workers = Served(log, *NO_MISSED_MATCH), Served(log, *NO_MISSED_MATCH)
    try:
        launched(*workers)
        yield workers
    finally:
        for worker in workers:
            worker.stop()


@pytest.fixture(params=sorted(PROXIES))
def front(request: pytest.FixtureRequest, pair: tuple[Served, Served], tmp_path: Path) -> Iterator[Front]:
    """Each proxy in turn, in front of that pair."""
    with proxy(request.param, tmp_path, *map(backend, pair)) as running_proxy:
        yield running_proxy


def backend(worker: Served) -> Backend:
    """The only process behind the ports of `worker`."""
    return Backend(worker.port, worker.admin_port)


async def total(name: str, *workers: Served, **labels: str) -> float:
    """A metric of all these workers together."""
    values = [await metric(port, name, **labels) for worker in workers for port in worker.admin_ports]
    return sum(values)


async def streams_are_open(kind: str, number: int, *workers: Served) -> None:
    """Return when the workers have `number` open streams in all."""

    async def there_are() -> bool:
        return await total("chat_broker_streams", *workers, kind=kind) == number

    await until(there_are)


@pytest.mark.parametrize("mode", MODES)
async def test_people_talk_whichever_worker_serves_them(front: Front, pair: tuple[Served, Served], mode: str) -> None:
    """The official client enters, is matched, listens and leaves; each worker serves a stream or a command."""
    kind = "get" if mode == "legacy" else "listen"
    before = [await metric(worker.admin_port, "chat_broker_appended_total") for worker in pair]
    ann, bob = Host(front.url, mode), Host(front.url, mode)
    async with ann.client, bob.client:
        assert (await ann.enter("Ann"))["status"] == "waiting"
        if mode == "legacy":
            await streams_are_open(kind, 2, *pair)
        matched = await bob.enter("Bob")
        assert matched["partner"] == "Ann"
        room = {"room_id": matched["room_id"]}
        assert (await ann.events.next())[0] == "chatroom.found"
        if mode == "legacy":
            assert (await bob.events.next())[0] == "chatroom.found"
        for number in range(5):
            await bob.call("send_message", message=f"to Ann {number}", **room)
            assert (await ann.events.next())[1]["message"] == f"to Ann {number}"
            await ann.call("send_message", message=f"to Bob {number}", **room)
            assert (await bob.events.next())[1]["message"] == f"to Bob {number}"
        await bob.call("leave_chat", **room)
        assert (await ann.events.next())[1]["reason"] == "left"
        streams = [await metric(worker.admin_port, "chat_broker_streams", kind=kind) for worker in pair]
        after = [await metric(worker.admin_port, "chat_broker_appended_total") for worker in pair]
        assert all(here or later > was for here, later, was in zip(streams, after, before, strict=True))
        for host in (ann, bob):
            await host.hang_up()
    await asyncio.wait_for(streams_are_open(kind, 0, *pair), NOTICED_WITHIN_SECONDS)


def test_the_lines_for_tls_are_valid(tmp_path: Path) -> None:
    """The commented lines for TLS are valid in the place of the line without TLS."""
    certify(tmp_path)
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    (tmp_path / "chat.pem").write_bytes(certificate.read_bytes() + key.read_bytes())
    live = "/etc/letsencrypt/live/chat.example.com"
    nginx = {
        "        listen 80;\n": "",
        "# listen 443 ssl http2;": "listen 443 ssl http2;",
        f"# ssl_certificate {live}/fullchain.pem;": f"ssl_certificate {certificate};",
        f"# ssl_certificate_key {live}/privkey.pem;": f"ssl_certificate_key {key};",
    }
    haproxy = {
        "    bind :80\n": "",
        "# bind :443 ssl crt /etc/haproxy/chat.pem": f"bind :443 ssl crt {tmp_path}/chat.pem",
    }
    for file, changes, command in (
        ("nginx.conf", nginx, [program("nginx", "nginx-light"), "-t", "-g", f"pid {tmp_path}/pid;", "-c"]),
        ("haproxy.cfg", haproxy, [program("haproxy"), "-c", "-f"]),
    ):
        config = tmp_path / file
        config.write_text(substituted(file, changes))
        found = subprocess.run([*command, str(config)], capture_output=True, text=True, check=False)
        assert found.returncode == 0, found.stderr


async def test_only_the_endpoint_and_the_page_are_public(front: Front) -> None:
    """The operator's paths and the reserved paths are not forwarded."""
    async with httpx.AsyncClient(trust_env=False) as client:
        origin = front.url.removesuffix("/mcp")
        assert (await client.get(f"{origin}/")).status_code == 200
        for path in ("/metrics", "/readyz", "/healthz", "/mcp/lobby", "/x"):
            assert (await client.get(origin + path)).status_code == 404, path


async def test_a_message_is_heard_at_once(front: Front) -> None:
    """Each message arrives at once: the proxy neither buffers a stream nor waits for more of it."""
    async with crowd(cast("Running", front)) as people:
        ann, bob = await people.pair("2026", "2026")
        async with ann.stream() as frames:
            delays_s = []
            for number in range(10):
                said_s = time.monotonic()
                await bob.say(f"line {number}")
                assert texts([await frames.next()]) == [f"line {number}"]
                delays_s.append(time.monotonic() - said_s)
    assert min(delays_s) < AT_ONCE_SECONDS, delays_s


async def test_every_answer_arrives_whole(front: Front) -> None:
    """An answer arrives whole even if the worker gives it before the proxy has sent the whole request."""
    async with crowd(cast("Running", front)) as people:
        for number in range(30):
            newcomer = await people.person(ERAS[number % 2])
            assert (await newcomer.enter(f"Newcomer {number}"))["handle"]


async def test_a_silent_wait_is_not_cut_and_wakes_at_once(front: Front) -> None:
    """A call waits at one worker, and a message through any worker wakes it."""
    async with crowd(cast("Running", front)) as people:
        ann, bob = await people.pair("2026", "2025")
        await ann.hear()
        waiting = ann.calling("wait_for_events", handle=ann.handle, cursor=ann.cursor, wait_seconds=300)
        await bob.say("awake?")
        given = await asyncio.wait_for(waiting, HUNG_SECONDS)
        assert texts(given["events"]) == ["awake?"]


@pytest.mark.slow
@pytest.mark.parametrize("era", ERAS)
async def test_nothing_acknowledged_is_lost_with_a_worker(front: Front, pair: tuple[Served, Served], era: Era) -> None:
    """After a worker is killed, its streams continue at the other; each message is heard once and in order."""
    kind = "get" if era == "2025" else "listen"
    async with crowd(cast("Running", front)) as people:
        ann, bob = await people.pair(era, era)
        listeners = [Listener(one) for one in (ann, bob)]
        for one in listeners:
            await one.listen()
        await streams_are_open(kind, 2, *pair)
        said = [[f"{name} {number}" for number in range(40)] for name in ("Ann", "Bob")]

        async def talk(person: Person, lines: Sequence[str]) -> None:
            for number, text in enumerate(lines):
                await insist(person, text, number)

        first = [await metric(worker.admin_port, "chat_broker_streams", kind=kind) for worker in pair]
        doomed = pair[0] if first[0] else pair[1]
        talking = [asyncio.create_task(talk(*one)) for one in zip((ann, bob), said, strict=True)]
        await listeners[0].until_heard(5)
        doomed.kill()
        try:
            async with asyncio.timeout(60):
                await asyncio.gather(*talking, *(one.until_heard(40) for one in listeners))
            for one, partners in zip(listeners, reversed(said), strict=True):
                assert one.heard == partners
                await one.close()
        finally:
            await asyncio.to_thread(launched, doomed)
    await streams_are_open(kind, 0, *pair)


@pytest.mark.slow
async def test_the_official_client_resumes_by_itself(front: Front, pair: tuple[Served, Served]) -> None:
    """After its worker is killed, the client resumes its stream of 2025 at the other one by itself."""
    ann, bob = Host(front.url, "legacy"), Host(front.url, "legacy")
    async with ann.client, bob.client:
        await ann.enter("Ann")
        await streams_are_open("get", 2, *pair)
        room = {"room_id": (await bob.enter("Bob"))["room_id"]}
        for host in (ann, bob):
            assert (await host.events.next())[0] == "chatroom.found"
        pair[0].kill()
        try:
            await streams_are_open("get", 2, pair[1])
            for number in range(3):
                await bob.call("send_message", message=f"still {number}", **room)
                assert (await ann.events.next())[1]["message"] == f"still {number}"
        finally:
            await asyncio.to_thread(launched, pair[0])


@pytest.mark.slow
async def test_a_worker_that_is_not_ready_gets_no_requests(valkey: RedisServer, tmp_path: Path) -> None:
    """HAProxy asks `/readyz`: a worker without its log gets no requests until it can reach it again."""
    name = f"log-{next(NAMES)}"
    async with relaying(valkey.port) as relay:
        relay.cut()
        near, far = Served(valkey.url(name)), Served(f"redis://127.0.0.1:{relay.port}/?name={name}")
        try:
            await asyncio.to_thread(launched, near)
            far.launch()
            with proxy("haproxy", tmp_path, backend(near), backend(far)) as front:
                await until(haproxy_holds(front, lambda: not haproxy_servers(front)["b"].is_up))
                before = haproxy_servers(front)["b"].requests
                async with crowd(cast("Running", front)) as people:
                    await enter_often(people, 20)
                    assert haproxy_servers(front)["b"].requests == before
                    relay.mend()
                    await until(haproxy_holds(front, lambda: haproxy_servers(front)["b"].is_up))
                    await enter_often(people, 20)
                    assert haproxy_servers(front)["b"].requests > before
        finally:
            near.stop()
            far.stop()


def haproxy_holds(front: Front, holds: Callable[[], bool]) -> Callable[[], object]:
    """Give `until` a condition that asks HAProxy alone."""

    async def look() -> bool:
        return holds()

    return look


async def enter_often(people: Crowd, times: int) -> None:
    """Have `times` newcomers enter the queue."""
    for number in range(times):
        newcomer = await people.modern()
        assert (await newcomer.enter(f"Newcomer {number}"))["status"] in ("waiting", "matched")


@pytest.mark.slow
async def test_workers_are_replaced_without_a_failed_call(valkey: RedisServer, tmp_path: Path) -> None:
    """SIGHUP behind HAProxy fails no call, on kept connections or on new ones."""
    served = Served(valkey.url(f"log-{next(NAMES)}"), workers=2)
    try:
        await asyncio.to_thread(launched, served)
        backends = [Backend(served.port, port) for port in served.admin_ports]
        with proxy("haproxy", tmp_path, backends[0], backends[1]) as front:
            async with crowd(cast("Running", front)) as people:
                await _replaced_under_calls(served, people)
    finally:
        served.stop()


async def _replaced_under_calls(served: Served, people: Crowd) -> None:
    started = [await metric(port, "process_start_time_seconds") for port in served.admin_ports]
    ended, calls = asyncio.Event(), 0
    callers = [await people.person(era) for era in ERAS for _ in range(2)]
    for caller in callers:
        await caller.enter("Caller")

    async def call_all_the_time(caller: Person, *, anew: bool) -> None:
        nonlocal calls
        while not ended.is_set():
            if anew:
                await caller.call_from("127.0.0.1")
            await caller.call("get_status", handle=caller.handle)
            calls += 1

    calling = [
        asyncio.create_task(call_all_the_time(caller, anew=bool(number % 2))) for number, caller in enumerate(callers)
    ]

    async def all_are_new() -> bool:
        assert not any(task.done() for task in calling), [task.exception() for task in calling if task.done()]
        try:
            now = [await metric(port, "process_start_time_seconds") for port in served.admin_ports]
        except httpx.TransportError:  # the port passes from one worker to the other
            return False
        return all(later > earlier for earlier, later in zip(started, now, strict=True))

    served.replace_workers()
    await until(all_are_new)
    ended.set()
    await asyncio.gather(*calling)
    assert calls > 20
