"""`chat-broker serve --log sqlite:PATH`: restarts, unusable files, and a full disk."""

from __future__ import annotations

import asyncio
import json
import resource
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from broker.errors import HOW_FAR
from events.commit import EMPTY_TIP, Commit
from events.ids import RoomId
from events.log import Snapshot
from events.sqlite.file import SqliteFile
from log_debugger.reading.sources import open_source, state_at
from projections.snapshots import STATE_CODEC
from projections.state import digest, fold
from tests.facade.people import InSession, Modern, Person, texts
from tests.facade.test_command_line import failed
from tests.log_debugger.logs import run_ok
from tests.support.limits import HUNG_SECONDS
from tests.support.logs import log_of
from tests.support.people import ANN, BOB, enter, say
from tests.support.process import Process, serving

pytestmark = pytest.mark.anyio


LENIENT = ("--messages-per-10s-max", "1000000")


def file_of(tmp_path: Path) -> tuple[Path, str]:
    """Return the path of the log, and its name on the command line."""
    return tmp_path / "chat.db", f"sqlite:{tmp_path / 'chat.db'}"


def a_log() -> list[Commit]:
    """Return a log with a room in it."""
    return log_of(enter(ANN), enter(BOB), *(say(ANN, f"{number}", None, RoomId("r_2")) for number in range(15)))


def a_conversation(path: Path) -> None:
    """Write a file with that log."""
    with SqliteFile(path) as file:
        file.append(a_log(), expected=EMPTY_TIP)


async def moved(broker: Process, *people: Person) -> None:
    """Move people to a newly started broker."""
    for person in people:
        person.running = broker
        if isinstance(person, InSession):
            person.session_id = ""
            await person.start()


async def test_a_restart_forgets_nothing(tmp_path: Path) -> None:
    """The room, the handles, unread events, and the answer to a repeated message are the same."""
    _, url = file_of(tmp_path)
    async with serving("--log", url, *LENIENT) as broker:
        there = broker.people()
        ann, bob = await there.pair("2025", "2026")
        said = await ann.say("before", message_id="m1")
        assert (await broker.terminate())[0] == 0
    async with serving("--log", url, *LENIENT) as broker:
        await moved(broker, ann, bob)
        assert texts(await bob.hear()) == ["before"]
        assert await ann.say("before", message_id="m1") == said
        await bob.say("after")
        assert texts(await ann.hear()) == ["after"]
        await there.close()


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL])
async def test_a_session_goes_on_in_another_process(tmp_path: Path, sent: signal.Signals) -> None:
    """Same id, same left-out handle, and a GET with `Last-Event-ID` that has neither a gap nor a double."""
    _, url = file_of(tmp_path)
    async with serving("--log", url, *LENIENT) as broker:
        there = broker.people()
        ann, bob = await there.pair("2025", "2026")
        shower, ended = await there.session(), await there.session()
        assert isinstance(ann, InSession)
        await shower.call("get_status", handle=bob.handle)
        await shower.request("resources/subscribe", {"uri": f"chat://inbox/{bob.handle}"})
        await ended.delete()
        async with ann.stream() as frames:
            await bob.say("one")
            heard = await frames.next()
        await bob.say("two")
        broker.process.send_signal(sent)
        await broker.process.communicate()
    async with serving("--log", url, *LENIENT) as broker:
        for person in (ann, bob, shower, ended):
            person.running = broker
        async with ann.stream(heard.id) as frames, shower.stream() as shown:
            assert texts([await frames.next()]) == ["two"]
            await bob.call("send_message", room_id=bob.room_id, message="three", handle=bob.handle)
            assert texts([await frames.next()]) == ["three"]
            await ann.call("send_message", room_id=ann.room_id, message="four")
            assert [frame.method for frame in await shown.take(2)] == [
                "notifications/resources/updated",
                "message.received",
            ]
        assert (await ann.call("get_status"))["connection_id"] == ann.connection_id
        assert (await shower.call("get_status"))["connection_id"] == bob.connection_id
        assert (await ended.exchange("tools/list", {})).status_code == 404
        await there.close()


@pytest.mark.slow
async def test_a_stream_resumes_in_another_process(tmp_path: Path) -> None:
    """`Last-Event-ID` works in a new session after a call with the handle, without a gap or a double."""
    _, url = file_of(tmp_path)
    async with serving("--log", url, *LENIENT) as broker:
        there = broker.people()
        ann, bob = await there.pair("2025", "2026")
        assert isinstance(ann, InSession)
        async with ann.stream() as frames:
            await bob.say("one")
            heard = await frames.next()
        await bob.say("two")
        broker.process.send_signal(signal.SIGKILL)
        await broker.process.communicate()
    async with serving("--log", url, *LENIENT) as broker:
        await moved(broker, ann, bob)
        await ann.call("get_status", handle=ann.handle)
        async with ann.stream(heard.id) as frames:
            assert texts([await frames.next()]) == ["two"]
            await bob.say("three")
            assert texts([await frames.next()]) == ["three"]
        await there.close()


@pytest.mark.slow
async def test_a_start_from_a_snapshot_is_a_start(tmp_path: Path) -> None:
    """The start is the same with snapshots, without them, and with a damaged one."""
    path, url = file_of(tmp_path)
    often = ("--log", url, *LENIENT, "--snapshot-every-commits", "5")
    async with serving(*often) as broker:
        there = broker.people()
        ann, bob = await there.pair()
        for number in range(30):
            await ann.say(f"{number}")
        assert (await broker.terminate())[0] == 0
    for spoil in ("", "UPDATE snapshot_parts SET lines = lines || ' '", "DELETE FROM snapshots"):
        with sqlite3.connect(path) as db:
            assert db.execute("SELECT count(*) FROM snapshots").fetchone()[0] > 0
            db.execute(spoil)
        db.close()
        async with serving(*often) as broker:
            await moved(broker, ann, bob)
            assert (await bob.call("get_status", handle=bob.handle))["room_id"] == bob.room_id
            await ann.say("again")
            assert texts(await bob.hear())[-1] == "again"
            assert (await broker.terminate())[0] == 0
    await there.close()


def test_snapshots_above_the_base_are_discardable(tmp_path: Path) -> None:
    """A trimmed log without them comes to the same state; its base's is a part of it."""
    path, url = file_of(tmp_path)
    a_conversation(path)
    run_ok("log", "trim", url, "--before", "6")
    state = fold(a_log())
    with SqliteFile(path) as file:
        file.save(Snapshot(state.tip, state), STATE_CODEC)
    verdict = run_ok("verify", url).out
    assert verdict.endswith(f" digest {digest(state)}\n")
    _sql(path, "DELETE FROM snapshots WHERE position > 5")
    assert run_ok("verify", url).out == verdict
    with closing(open_source(url)) as source:
        assert source.snapshots() == [5]
        assert state_at(source, state.position) == state


async def test_one_broker_a_file(tmp_path: Path) -> None:
    """The second is refused in one line, and the first notices nothing."""
    path, url = file_of(tmp_path)
    async with serving("--log", url, *LENIENT) as broker:
        line = await failed("serve", "--port", "0", "--log", url)
        assert str(path) in line
        assert "another broker" in line
        there = broker.people()
        ann, bob = await there.pair()
        await ann.say("still here")
        assert texts(await bob.hear())[-1] == "still here"
        await there.close()


SPOILT = {
    "no database": lambda path: path.write_text("hello\n" * 1_000),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-5_000]),
    "of another program": lambda path: _sql(path, "PRAGMA application_id = 7"),
    "of a newer program": lambda path: _sql(path, "PRAGMA user_version = 99"),
    "holding a newer commit": lambda path: _sql(path, "UPDATE commits SET body = json_set(body, '$.schema', 99)"),
    "altered": lambda path: _sql(path, "UPDATE commits SET body = json_set(body, '$.at_ms', 1) WHERE position = 3"),
    "missing a commit": lambda path: _sql(path, "DELETE FROM commits WHERE position = 4"),
}


def _sql(path: Path, statement: str) -> None:
    with sqlite3.connect(path) as db:
        db.execute(statement)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()


@pytest.mark.parametrize("how", SPOILT)
async def test_a_file_that_cannot_be_used_is_one_line(how: str, tmp_path: Path) -> None:
    """Status 2, no traceback, unchanged contents, and no lock left beside it."""
    path, url = file_of(tmp_path)
    a_conversation(path)
    SPOILT[how](path)
    spoilt = path.read_bytes()
    line = await failed("serve", "--port", "0", "--log-level", "error", "--log", url)
    assert str(path) in line
    if how == "altered":
        assert line.endswith("the commit at position 3 was altered; " + HOW_FAR)
    # SQLite's own header may count one opening more in a file that looked sound at first.
    assert path.stat().st_size == len(spoilt)
    if how in ("no database", "cut off", "of another program", "of a newer program"):
        assert path.read_bytes() == spoilt
    assert not path.with_name("chat.db.lock").exists()


async def test_a_directory_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    """The line says what to do."""
    line = await failed("serve", "--port", "0", "--log", f"sqlite:{tmp_path}/nowhere/chat.db")
    assert "nowhere" in line


async def test_a_disk_that_fills_up_costs_refusals_and_nothing_else(tmp_path: Path) -> None:
    """Commands are `unavailable` while it is full, answered ones are kept, and later there is space again."""
    path, url = file_of(tmp_path)
    async with serving("--log", url, "--log-level", "error", "--command-timeout-ms", "300") as broker:
        there = broker.people()
        ann, bob = await there.pair()
        assert isinstance(bob, Modern)
        await ann.say("before")
        pid, wal_bytes = broker.process.pid, Path(f"{path}-wal").stat().st_size  # noqa: ASYNC240 - no disk is waited for
        room_left = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (wal_bytes, room_left[1]))
        refusal = await ann.refused("send_message", room_id=ann.room_id, handle=ann.handle, message="during")
        assert refusal["code"] == "unavailable"
        assert (await bob.call("get_status", handle=bob.handle))["status"] == "chatting"
        assert texts(await bob.hear()) == ["before"]
        resource.prlimit(pid, resource.RLIMIT_FSIZE, room_left)
        await ann.say("after")
        assert texts(await bob.hear())[-1] == "after"
        status, _, logged = await broker.terminate()
        assert status == 0
        await there.close()
    assert logged.count("Traceback") == 0


async def readiness(broker: Process) -> tuple[int, dict[str, object]]:
    """Return the answer of `/readyz`."""
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"http://127.0.0.1:{broker.port}/readyz")
        return answer.status_code, answer.json()


async def until_it_is(broker: Process, *, ready: bool) -> dict[str, object]:
    """Wait until `/readyz` has that state; return its answer."""
    async with asyncio.timeout(HUNG_SECONDS):
        while True:
            status, said = await readiness(broker)
            if (status == 200) is ready:
                assert said["ready"] is ready
                return said
            await asyncio.sleep(0.1)  # another process has no event to wait for


@pytest.mark.slow
async def test_a_broker_that_can_store_nothing_is_not_ready(tmp_path: Path) -> None:
    """It notices by itself, gives the reason, and recovers by itself; no call is needed for either."""
    path, url = file_of(tmp_path)
    elsewhere = tmp_path / "elsewhere.db"
    async with serving("--log", url, "--log-format", "json") as broker:
        there = broker.people()
        ann, bob = await there.pair()
        assert await until_it_is(broker, ready=True) == {"ready": True}

        path.rename(elsewhere)
        said = await until_it_is(broker, ready=False)
        assert said == {
            "ready": False,
            "reason": "log",
            "detail": "the log was moved or removed; put it back, or start again",
        }
        assert (await ann.refused("send_message", room_id=ann.room_id, handle=ann.handle, message="1"))[
            "code"
        ] == "unavailable"
        assert (await bob.call("get_status", handle=bob.handle))["status"] == "chatting"
        elsewhere.rename(path)
        await until_it_is(broker, ready=True)

        wal_bytes = Path(f"{path}-wal").stat().st_size  # noqa: ASYNC240 - no disk is waited for
        room_left = resource.prlimit(broker.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(broker.process.pid, resource.RLIMIT_FSIZE, (wal_bytes, room_left[1]))
        said = await until_it_is(broker, ready=False)
        assert str(said["detail"]).startswith("the log: the disk ")
        assert str(tmp_path) not in str(said)
        resource.prlimit(broker.process.pid, resource.RLIMIT_FSIZE, room_left)
        await until_it_is(broker, ready=True)

        await ann.say("after")
        assert "after" in texts(await bob.hear())
        status, _, logged = await broker.terminate()
        await there.close()
    assert status == 0
    changes = [json.loads(line)["event"] for line in logged.splitlines() if '"store_' in line]
    assert changes == ["store_lost", "store_back"] * 2
    assert logged.count("Traceback") == 0


@pytest.mark.slow
async def test_what_was_said_is_forgotten_in_time(tmp_path: Path) -> None:
    """With `--redact-after`, no byte of a text is left in the files; the message stays, and the chain is whole."""
    path, url = file_of(tmp_path)
    async with serving("--log", url, *LENIENT, "--rematch-after-ms", "0") as broker:
        there = broker.people()
        ann, bob = await there.pair()
        await ann.say("a secret between the two of us")
        await ann.call("leave_chat", room_id=ann.room_id, handle=ann.handle)
        await ann.enter("Ann", handle=ann.handle)
        await bob.enter("Bob", handle=bob.handle)
        await ann.call("get_status", handle=ann.handle)
        await ann.say("a conversation that goes on")
        assert (await broker.terminate())[0] == 0
    files = [path, Path(f"{path}-wal")]
    assert any(b"a secret" in file.read_bytes() for file in files if file.exists())
    async with serving("--log", url, "--redact-after", "1s", "--log-format", "json") as broker:
        redacted = b""
        while b'"redacted"' not in redacted:
            assert broker.process.stderr is not None
            redacted = await broker.process.stderr.readline()
            assert redacted, "it ended without having redacted anything"
        held = b"".join(file.read_bytes() for file in files if file.exists())
        assert b"a secret" not in held
        assert b"a conversation that goes on" in held
        assert run_ok("verify", url).out.startswith("every promise holds: ")
        await there.close()
