"""`--workers`: several processes on one port and one log, in the form for operators."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.facade.people import InSession, Modern, texts
from tests.facade.test_command_line import failed
from tests.support.engines.redis import RedisServer, running
from tests.support.limits import HUNG_SECONDS
from tests.support.process import free_port, free_ports, inherited_environment, started
from tests.support.server import eventually
from tests.support.workers import Supervised, lives, readiness, supervised

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def valkey() -> Iterator[RedisServer]:
    """Run a server for all tests of this module; each has a log of its own."""
    with running("valkey") as server:
        yield server


@pytest.fixture
def log(valkey: RedisServer, request: pytest.FixtureRequest) -> str:
    """Return the URL of a new log."""
    return valkey.url(f"log{abs(hash(request.node.name))}")


async def statuses(workers: Supervised, calls: int) -> Counter[object]:
    """Return the statuses of that many calls, each on a connection of its own."""
    answered: Counter[object] = Counter()
    for _ in range(calls):
        async with httpx.AsyncClient(trust_env=False) as client:
            try:
                answered[(await client.get(workers.url.replace("/mcp", "/healthz"))).status_code] += 1
            except httpx.TransportError as error:
                answered[type(error).__name__] += 1
    return answered


@pytest.mark.slow
async def test_several_workers_serve_one_port(log: str) -> None:
    """People meet across them; each has a port for its operator, and its number in its log lines."""
    async with supervised(log, workers=3, CHAT_BROKER_NO_SUCH="1") as workers:
        await workers.logged("workers_ready", workers=3)
        assert await readiness(workers.url.replace("/mcp", "/readyz")) == {"ready": True}
        async with httpx.AsyncClient(trust_env=False) as client:
            for number in (1, 2, 3):
                assert (await client.get(workers.admin_url(number, "/healthz"))).json() == {"status": "ok"}
                assert (await client.get(workers.admin_url(number, "/readyz"))).json() == {"ready": True}
                metrics = (await client.get(workers.admin_url(number, "/metrics"))).text
                assert "chat_broker_info{" in metrics
                for path in ("/mcp", "/", "/x"):
                    assert (await client.get(workers.admin_url(number, path))).status_code == 404
        there = workers.people()
        ann, bob = await there.pair("2025", "2026")
        await bob.say("hello")
        assert await ann.hear_until("hello") == ["hello"]
        await there.close()
        assert len(workers.events("serving", workers=3)) == 1
        assert len(workers.events("serving")) == 1
        assert len(workers.events("unknown_setting")) == 1
        assert {line["worker"] for line in workers.events("ready")} == {1, 2, 3}
        assert {line["worker"] for line in workers.events("log_opened")} == {1, 2, 3}
        assert {command_of(pid) for pid in workers.pids()} == {command_of(workers.process.pid)}


def command_of(pid: int) -> bytes:
    """Return the command line of a process, as in `ps`."""
    return Path(f"/proc/{pid}/cmdline").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_all_with_everything_answered(log: str, number: signal.Signals) -> None:
    """Streams and waits get their end, over a second; the status is 0 within six seconds."""
    async with supervised(log) as workers:
        await workers.logged("workers_ready")
        there = workers.people()
        ann, bob = await there.pair("2025", "2025")
        assert isinstance(ann, InSession)
        async with ann.stream() as anns:
            wait = bob.calling("wait_for_events", handle=bob.handle, cursor=bob.cursor, wait_seconds=300)
            await bob.call("get_status", handle=bob.handle)
            began_s = time.monotonic()
            workers.send(number)
            assert (await wait)["timed_out"] is True
            assert await anns.rest() == []
        assert await workers.ended() == 0
        assert time.monotonic() - began_s < 6
        await there.close()
        assert [line for line in workers.lines if line["level"] == "error"] == []
        assert workers.texts == []


@pytest.mark.slow
async def test_a_second_signal_ends_all_at_once(log: str) -> None:
    """An open connection of a client then holds nothing up."""
    async with supervised(log) as workers:
        await workers.logged("workers_ready")
        with socket.create_connection(("127.0.0.1", workers.port)) as half:
            half.sendall(b"POST /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 100\r\n\r\n{")
            await statuses(workers, 1)
            workers.send(signal.SIGTERM)
            await workers.logged("shutting_down", worker=1)
            await workers.logged("shutting_down", worker=2)
            began_s = time.monotonic()
            workers.send(signal.SIGTERM)
            assert await workers.ended() == 0
            assert time.monotonic() - began_s < 4


@pytest.mark.slow
async def test_a_worker_that_is_killed_comes_back(log: str) -> None:
    """The others go on serving meanwhile; no acknowledged message is lost."""
    async with supervised(log, workers=3) as workers:
        await workers.logged("workers_ready")
        there = workers.people()
        ann, bob = await there.pair("2026", "2026")
        said = await say_until(bob, lambda: os.kill(workers.pids()[0], signal.SIGKILL), workers)
        (ended,) = workers.events("worker_ended")
        assert (ended["status"], ended["again_in_s"]) == (-9, 1.0)
        heard: list[str] = []
        while len(heard) < len(said):
            heard += texts(await ann.hear())
        assert [text for text in heard if text in said] == said
        await there.close()


async def say_until(bob: Modern | InSession, kill: Callable[[], None], workers: Supervised) -> list[str]:
    """Let Bob send on and on until the killed worker is ready again; return the acknowledged messages."""
    said: list[str] = []
    async with asyncio.timeout(HUNG_SECONDS):
        for number in itertools.count():
            if number == 5:
                kill()
            try:
                await bob.say(f"m{number}", client_message_id=f"m{number}")
            except httpx.TransportError:  # from the killed one
                continue
            said.append(f"m{number}")
            if len(workers.events("ready")) == workers.workers + 1:
                break
    return said


@pytest.mark.slow
async def test_workers_are_replaced_without_a_failed_call(log: str) -> None:
    """SIGHUP replaces them one by one, the new one first. A stream resumes at another, where it ended."""
    async with supervised(log, workers=2) as workers:
        await workers.logged("workers_ready")
        before = workers.pids()
        there = workers.people()
        ann, bob = await there.pair("2025", "2025")
        assert isinstance(ann, InSession)
        heard, last = list[str](), None
        workers.send(signal.SIGHUP)
        answered: Counter[object] = Counter()
        for number in itertools.count():
            async with ann.stream(last) as frames:
                await bob.say(f"m{number}")
                answered += await statuses(workers, 5)
                event = await frames.next()
                heard += texts([event])
                last = event.id
            if len(workers.events("ended")) == 2:
                break
        assert heard == [f"m{n}" for n in range(len(heard))]
        assert set(answered) == {200}
        assert len(workers.events("worker_replaced")) == 2
        await eventually(lambda: not set(before) & set(workers.pids()))  # their last line comes before their end
        assert await readiness(workers.admin_url(1, "/readyz")) == {"ready": True}
        assert [line for line in workers.lines if line["level"] == "error"] == []
        await there.close()


@pytest.mark.slow
async def test_a_replacement_that_can_not_start_replaces_nobody(log: str, tmp_path: Path) -> None:
    """The old workers go on, and a line gives the reason."""
    denied = tmp_path / "denied"
    denied.write_text("192.0.2.1\n")
    async with supervised(log, "--deny-peers", str(denied)) as workers:
        await workers.logged("workers_ready")
        before = sorted(workers.pids())
        denied.unlink()
        workers.send(signal.SIGHUP)
        line = await workers.logged("replacing_given_up", status=2)
        assert "--deny-peers" in line["reason"]
        assert sorted(workers.pids()) == before
        assert await statuses(workers, 10) == {200: 10}
        denied.write_text("192.0.2.1\n")
        workers.send(signal.SIGHUP)
        await workers.logged("worker_replaced", worker=2)


@pytest.mark.slow
async def test_a_worker_that_is_refused_later_leaves_the_others_alone() -> None:
    """It is tried again, after growing pauses, until the store has the right setting."""
    with running("valkey") as server:
        async with supervised(server.url()) as workers:
            await workers.logged("workers_ready")
            server.client.config_set("appendfsync", "everysec")
            os.kill(workers.pids()[0], signal.SIGKILL)
            await workers.logged("worker_ended", status=-9)
            line = await workers.logged("worker_ended", status=2)
            assert "appendfsync everysec" in line["reason"]
            assert line["again_in_s"] == 2.0
            assert await statuses(workers, 10) == {200: 10}
            server.client.config_set("appendfsync", "always")
            await workers.logged("ready", 3)
            assert len(workers.pids()) == 2
            assert await statuses(workers, 10) == {200: 10}
        assert workers.texts == []


@pytest.mark.slow
async def test_a_worker_that_finds_a_replica_waits_for_its_promotion() -> None:
    """It waits as for an unreachable store: an address may lead to a replica for moments of a failover."""
    with running("valkey") as server:
        async with supervised(server.url()) as workers:
            await workers.logged("workers_ready")
            server.client.replicaof("127.0.0.1", str(free_port()))
            os.kill(workers.pids()[0], signal.SIGKILL)
            line = await workers.logged("waiting_for_log")
            assert "read-only replica" in line["reason"]
            server.client.replicaof("NO", "ONE")
            await workers.logged("ready", 3)
            assert workers.events("worker_ended", status=2) == []


@pytest.mark.slow
async def test_a_start_that_fails_for_no_known_reason_is_one_line(tmp_path: Path, log: str) -> None:
    """The traceback is in a log line; the status is 1, so that a service manager tries again."""
    (tmp_path / "mcp").mkdir()
    (tmp_path / "mcp" / "__init__.py").write_text("raise RuntimeError('out of luck')")
    for arguments in ((), ("--workers", "2", "--log", log)):
        process = await started("serve", "--port", "0", "--log-format", "json", *arguments, PYTHONPATH=str(tmp_path))
        _, err = await asyncio.wait_for(process.communicate(), HUNG_SECONDS)
        assert process.returncode == 1
        lines = err.decode().splitlines()
        assert [line for line in lines if not line.startswith("{")] == [
            "chat-broker: can't start: RuntimeError; the log line start_failed says where"
        ]
        failed_lines = [json.loads(line) for line in lines if '"start_failed"' in line]
        assert "out of luck" in failed_lines[0]["exception"]


@pytest.mark.slow
async def test_workers_end_with_a_supervisor_that_is_killed(log: str) -> None:
    """They end by themselves, and in order."""
    async with supervised(log) as workers:
        await workers.logged("workers_ready")
        left = workers.pids()
        workers.process.kill()
        await workers.ended()
        assert {line["worker"] for line in workers.events("ended")} == {1, 2}
        await eventually(lambda: not any(map(lives, left)))


async def test_a_port_that_is_taken_is_one_line(log: str) -> None:
    """It may be the port of clients, or one of an operator's."""
    admin_port = free_ports(3)
    port = admin_port + 2
    with socket.create_server(("127.0.0.1", port)):
        flags = ("serve", "--workers", "2", "--log", log)
        assert f"can't listen on 127.0.0.1, port {port}: " in await failed(*flags, "--port", str(port))
        line = await refused(*flags, "--port", str(free_port()), "--admin-port", str(admin_port))
        assert f"port {port}: Address already in use (--admin-host and --admin-port name another)" in line
        line = await refused("serve", "--port", str(free_port()), "--admin-port", str(port))
        assert f"port {port}: Address already in use (--admin-host and --admin-port name another)" in line


async def refused(*arguments: str) -> str:
    """Return the last line of a refused command line; warnings may come first."""
    process = await started(*arguments)
    _, err = await process.communicate()
    assert process.returncode == 2, err.decode()
    return err.decode().splitlines()[-1]


@pytest.mark.slow
async def test_a_log_that_refuses_all_workers_is_one_line(valkey: RedisServer) -> None:
    """After a wrong password, the status is 2 at once, in any state of the workers."""
    async with supervised(valkey.url(user="ann:wrong@")) as workers:
        assert await workers.ended() == 2
        assert workers.texts == ["chat-broker: Redis refuses the user or the password of the log's URL; check both"]
        assert "wrong" not in str(workers.lines)


@pytest.mark.slow
async def test_a_log_that_refuses_is_one_line(valkey: RedisServer) -> None:
    """A single process answers a wrong password alike."""
    process = await started("serve", "--port", "0", "--log", valkey.url(user="ann:wrong@"))
    _, err = await process.communicate()
    assert process.returncode == 2
    lines = [line for line in err.decode().splitlines() if line.startswith("chat-broker: ")]
    assert lines == ["chat-broker: Redis refuses the user or the password of the log's URL; check both"]
    assert "wrong" not in err.decode().replace(lines[0], "")


@pytest.mark.slow
async def test_a_free_port_is_the_same_for_all(log: str) -> None:
    """With `--port 0`, the printed line has the real port."""
    async with supervised(log, "--port", "0") as workers:
        url = (await workers.logged("serving"))["url"]
        await workers.logged("workers_ready")
        assert await readiness(url.replace("/mcp", "/readyz")) == {"ready": True}


async def test_workers_are_started_by_a_supervisor_alone() -> None:
    """The workers' variable is refused elsewhere."""
    assert "CHAT_BROKER_WORKER is for the processes that --workers starts" in await failed(
        "serve", "--port", "0", CHAT_BROKER_WORKER="1"
    )


@pytest.mark.slow
async def test_a_log_that_can_not_be_reached_is_waited_for() -> None:
    """Meanwhile the server answers that it is starting; then it serves. It can also be stopped before that."""
    server = RedisServer("valkey")
    async with supervised(server.url()) as workers:
        await workers.logged("waiting_for_log", worker=1)
        await workers.logged("waiting_for_log", worker=2)
        assert await statuses(workers, 10) == {200: 10}
        assert await readiness(workers.url.replace("/mcp", "/readyz")) == {"ready": False, "reason": "starting"}
        server.start()
        try:
            await workers.logged("workers_ready")
            assert await readiness(workers.url.replace("/mcp", "/readyz")) == {"ready": True}
        finally:
            server.stop()
    async with supervised(f"redis://127.0.0.1:{free_port()}/") as workers:
        await workers.logged("waiting_for_log")
        workers.send(signal.SIGTERM)
        assert await workers.ended() == 0


@pytest.mark.slow
async def test_a_log_that_is_rolled_back_is_folded_anew(valkey: RedisServer) -> None:
    """Every worker ends with status 1 and comes back; a new epoch sets the event ids of lost commits apart."""
    name = "rolled-back"
    keys = [f"{{{name}}}:{part}" for part in ("log", "texts")]
    async with supervised(valkey.url(name)) as workers:
        await workers.logged("workers_ready")
        there = workers.people()
        ann, _ = await there.pair("2026", "2026")
        kept = {key: valkey.client.dump(key) for key in keys}
        epoch = valkey.client.hget(f"{{{name}}}:meta", "epoch")
        await ann.say("lost")
        for key, value in kept.items():
            valkey.client.delete(key) if value is None else valkey.client.restore(key, 0, value, replace=True)
        refusal = await ann.refused("send_message", room_id=ann.room_id, handle=ann.handle, message="unheard")
        assert refusal["code"] == "unavailable"
        await workers.logged("worker_ended", status=1)
        line = await workers.logged("log_rolled_back")
        assert int(line["known"].partition(":")[0]) == int(line["found"].partition(":")[0]) + 1
        assert valkey.client.hget(f"{{{name}}}:meta", "epoch") != epoch
        await workers.logged("ready", 3)
        await there.close()


@pytest.mark.slow
async def test_workers_begin_anew_when_their_log_is_wiped(valkey: RedisServer) -> None:
    """No client has to call for that: each worker follows the log. People get new handles from the new log."""
    name = "wiped"
    async with supervised(valkey.url(name)) as workers:
        await workers.logged("workers_ready")
        there = workers.people()
        await there.pair("2026", "2026")
        epoch = valkey.client.hget(f"{{{name}}}:meta", "epoch")
        valkey.client.delete(*valkey.client.keys(f"{{{name}}}:*"))
        await workers.logged("worker_ended", 2, status=1)
        await workers.logged("ready", 4)
        assert valkey.client.hget(f"{{{name}}}:meta", "epoch") != epoch
        again = workers.people()
        ann, _ = await again.pair("2026", "2025")
        await ann.say("hello again")
        await there.close()
        await again.close()


@pytest.mark.slow
async def test_a_service_manager_is_told(tmp_path: Path, log: str) -> None:
    """A single process and a supervisor report readiness, life and the end alike."""
    for arguments in ((), ("--workers", "2", "--log", log)):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            path = str(tmp_path / f"notify{len(arguments)}")
            manager.bind(path)
            manager.settimeout(20)
            variables = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "200000"}
            process = await started("serve", "--port", "0", *arguments, **variables)
            told: list[str] = []
            while not {"READY=1", "WATCHDOG=1"} <= set(told):
                told.append(await asyncio.to_thread(lambda manager=manager: manager.recv(1_000).decode()))
            process.terminate()
            while told[-1] != "STOPPING=1":
                told.append(await asyncio.to_thread(lambda manager=manager: manager.recv(1_000).decode()))
            await process.communicate()
            assert process.returncode == 0
            assert told.count("READY=1") == told.count("STOPPING=1") == 1
            before = told[: told.index("READY=1")]
            assert set(before) == {"WATCHDOG=1\nEXTEND_TIMEOUT_USEC=60000000"}


@pytest.mark.slow
async def test_a_reload_of_a_single_process_ends_nothing() -> None:
    """No process would take over: a line says what to do. A worker takes no reload by itself, either."""
    port = free_port()
    process = await started("serve", "--port", str(port), "--log-format", "json")
    async with httpx.AsyncClient(trust_env=False, base_url=f"http://127.0.0.1:{port}") as client:
        await said_by(process, "ready")
        for _ in range(2):
            process.send_signal(signal.SIGHUP)
            line = await said_by(process, "reload_ignored")
            assert "restart" in line["hint"]
        assert (await client.get("/readyz")).json() == {"ready": True}
    process.terminate()
    await process.communicate()
    assert process.returncode == 0


async def said_by(process: asyncio.subprocess.Process, event: str) -> dict[str, Any]:
    """Return the next log line of `event`."""
    assert process.stderr is not None
    async with asyncio.timeout(HUNG_SECONDS):
        while (line := json.loads(await process.stderr.readline()))["event"] != event:
            assert process.returncode is None
    return dict(line)


@pytest.mark.slow
async def test_a_terminal_that_is_closed_ends_a_single_process() -> None:
    """It ends in order, with its streams and waits."""
    ours, theirs = os.openpty()
    with os.fdopen(theirs), os.fdopen(ours) as terminal:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "mcp_facade.main", "serve", "--port", "0", "--log-format", "json"),
            stdin=theirs,
            stderr=asyncio.subprocess.PIPE,
            env=inherited_environment(),
        )
        await said_by(process, "ready")
        process.send_signal(signal.SIGHUP)
        await said_by(process, "reload_ignored")
        terminal.close()
        process.send_signal(signal.SIGHUP)
        await said_by(process, "ended")
        await process.communicate()
        assert process.returncode == 0


@pytest.mark.slow
async def test_a_single_process_has_a_port_for_its_operator() -> None:
    """The port has health, readiness and numbers, and nothing for clients."""
    port = free_port()
    process = await started("serve", "--port", "0", "--admin-port", str(port), "--log-format", "json")
    try:
        assert process.stderr is not None
        while b'"ready"' not in await process.stderr.readline():
            assert process.returncode is None
        async with httpx.AsyncClient(trust_env=False, base_url=f"http://127.0.0.1:{port}") as client:
            assert (await client.get("/healthz")).json() == {"status": "ok"}
            assert (await client.get("/readyz")).json() == {"ready": True}
            assert "chat_broker_waiting 0.0" in (await client.get("/metrics")).text
            assert [(await client.get(path)).status_code for path in ("/", "/mcp")] == [404, 404]
            process.terminate()
            await asyncio.wait_for(process.communicate(), HUNG_SECONDS)
            assert process.returncode == 0
    finally:
        if process.returncode is None:
            process.kill()
