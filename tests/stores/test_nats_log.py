"""A log in NATS: batches, erasure, snapshots, followers, and interference by other programs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta
from typing import Any

import msgspec
import nats
import pytest
from nats.js import JetStreamContext

from events.commit import EMPTY_TIP, Commit, redact
from events.ids import ConnectionId, RoomId
from events.log import (
    Conflict,
    DeliveryRecord,
    LogRolledBackError,
    LogUnavailableError,
    OperationRecord,
    Snapshot,
    UnusableLogError,
)
from events.nats import entries, following, layout, redaction, requests, snapshots, turns
from events.nats import log as log_module
from events.nats.client import Client
from events.nats.layout import Layout
from events.nats.log import NatsLog
from events.nats.open import open_reader
from events.nats.snapshots import Snapshots
from projections.state import fold
from tests.stores.nats_logs import new_name, opened, within
from tests.support.engines.nats import NatsServer, nats_server, running
from tests.support.fake_clock import settle
from tests.support.limits import HUNG_SECONDS, SOON_SECONDS
from tests.support.log_contract import PickledStates, all_of, another_after, chain, conversation
from tests.support.logs import log_of
from tests.support.people import ANN, BOB, enter, say


@asynccontextmanager
async def jetstream(server: NatsServer | None = None) -> AsyncIterator[JetStreamContext]:
    """Another client of the server."""
    client = await nats.connect(f"nats://127.0.0.1:{(server or nats_server()).port}")
    try:
        yield client.jetstream()
    finally:
        await client.close()


def is_on_disk(server: NatsServer, text: bytes) -> bool:
    """Return whether a file of the server has `text` in it."""
    return any(text in path.read_bytes() for path in server.path.rglob("*") if path.is_file())


async def next_of(followed: Any) -> Commit:
    """Return the next followed commit."""
    commit: Commit = await asyncio.wait_for(anext(followed), HUNG_SECONDS)
    return commit


def large(count: int) -> list[Commit]:
    """Return a conversation of `count` long messages."""
    return conversation(*(f"{number} {'x' * 4_000}" for number in range(count)))


class TestAppends:
    """One message, or an atomic batch."""

    def test_a_batch_of_a_thousand_is_stored_as_a_whole(self) -> None:
        """It is a server's largest batch; together its messages are larger than one message may be."""

        async def scenario() -> None:
            commits = large(998)
            async with opened(nats_server()) as (here, there):
                assert await here.append(commits, expected=EMPTY_TIP) == commits[-1].tip
                assert list(await there.read(0, 5_000)) == commits
                with pytest.raises(AssertionError):
                    await here.append(chain(1_001), expected=EMPTY_TIP)

        within(scenario)

    def test_a_batch_that_loses_a_race_stores_nothing(self) -> None:
        """A batch without its last message stores nothing either."""

        async def scenario() -> None:
            name, commits = new_name(), chain(300)
            async with opened(nats_server(), name, name) as (here, there), jetstream() as js:
                await js._nc.publish(
                    Layout(name).log_subject(commits[0].commit_id),
                    b"never",
                    headers={"Nats-Batch-Id": "abandoned", "Nats-Batch-Sequence": "1"},
                )
                await there.append(commits[:1], expected=EMPTY_TIP)
                with pytest.raises(Conflict) as conflict:
                    await here.append([another_after([])], expected=EMPTY_TIP)
                assert list(conflict.value.missed) == commits[:1]
                rivals = [commits[1:], log_of(enter(BOB), state=fold(commits[:1]))]
                answers = await asyncio.gather(
                    *(
                        log.append(rival, expected=commits[0].tip)
                        for log, rival in zip((here, there), rivals, strict=True)
                    ),
                    return_exceptions=True,
                )
                (winner,) = [rival for rival, answer in zip(rivals, answers, strict=True) if answer == rival[-1].tip]
                assert await all_of(here) == [*commits[:1], *winner]

        within(scenario)

    def test_an_append_whose_answer_was_lost_is_answered_as_done(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The caller repeats it, also after another broker's."""

        async def scenario() -> None:
            commits = chain(5)
            async with opened(nats_server()) as (here, there):
                ask = here._writing.ask

                async def stored_in_vain(call: Any) -> Any:
                    await ask(call)
                    raise LogUnavailableError("NATS does not answer in time")

                for batch, before in ((commits[:1], EMPTY_TIP), (commits[1:4], commits[0].tip)):
                    monkeypatch.setattr(here._writing, "ask", stored_in_vain)
                    with pytest.raises(LogUnavailableError):
                        await here.append(batch, expected=before)
                    monkeypatch.setattr(here._writing, "ask", ask)
                    assert await here.append(batch, expected=before) == batch[-1].tip
                await there.append(commits[4:], expected=commits[3].tip)
                assert await here.append(commits[1:4], expected=commits[0].tip) == commits[4].tip
                assert await all_of(there) == commits

        within(scenario)

    def test_two_brokers_that_write_at_once_make_one_chain(self) -> None:
        """Each takes turns once it has lost a race, and none is starved."""

        async def scenario() -> None:
            async with opened(nats_server()) as logs:
                done = await asyncio.gather(*(written(log, number) for number, log in enumerate(logs)))
                commits = await all_of(logs[0])
                fold(commits)
                assert len(commits) == sum(done) == 60

        async def written(log: NatsLog, number: int) -> int:
            state, count = fold([]), 0
            while count < 30:
                async with log.turn(state.position) as missed:
                    state = fold(missed, state) if missed else fold(await log.read(state.position, 1_000), state)
                    try:
                        await log.append(
                            log_of(enter(ConnectionId(f"c_{number}_{count}")), state=state), expected=state.tip
                        )
                        count += 1
                    except Conflict:
                        continue
            return count

        within(scenario)

    def test_an_append_is_refused_while_no_room_is_left(self) -> None:
        """The probe says so too, and the reason is the server's."""

        async def fill(log: NatsLog) -> None:
            commits = large(200)
            for number, commit in enumerate(commits):
                await log.append([commit], expected=commits[number - 1].tip if number else EMPTY_TIP)

        async def scenario() -> None:
            with running(sync="sync_interval: always, max_file_store: 300KB") as server:
                async with opened(server) as (log, _):
                    with pytest.raises(LogUnavailableError, match=r"NATS refuses: .*resource"):
                        await fill(log)
                    with pytest.raises(LogUnavailableError, match=r"NATS refuses: .*resource"):
                        await log.probe()

        within(scenario)


class TestReading:
    """Pages, also with missing messages."""

    def test_many_commits_are_read_in_pages(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The pages fit the limits of the server and of this program."""
        monkeypatch.setattr(log_module, "READ_AT_ONCE", 7)
        monkeypatch.setattr(entries, "PAGE_BYTES", 2_000)

        async def scenario() -> None:
            commits = chain(40)
            async with opened(nats_server()) as (here, there):
                await here.append(commits, expected=EMPTY_TIP)
                assert list(await there.read(0, 100)) == commits
                assert list(await there.read(3, 20)) == commits[3:23]

        within(scenario)

    def test_what_a_late_replica_lacks_is_asked_of_the_leader(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The pages of a late replica end too early, and it has no stand-ins yet."""
        page = requests.page

        async def late(nats: Any, stream: str, request: Any) -> Any:
            found = await page(nats, stream, request)
            return found[:2] if stream.endswith("_LOG") else []

        async def scenario() -> None:
            commits = conversation("one", "two", "three")
            async with opened(nats_server()) as (here, there):
                await here.append(commits, expected=EMPTY_TIP)
                await here.redact([4], done_to=4)
                monkeypatch.setattr(entries, "page", late)
                assert await all_of(there) == [*commits[:3], redact(commits[3]), commits[4]]

        within(scenario)

    def test_a_lost_commit_is_damage(self) -> None:
        """A message deleted by another program is not skipped, in the middle or at the end."""

        async def scenario() -> None:
            for lost, told in ((2, "position 2"), (3, "position 3")):
                name, commits = new_name(), chain(3)
                async with opened(nats_server(), name) as (log,), jetstream() as js:
                    await log.append(commits, expected=EMPTY_TIP)
                    await js.delete_msg(Layout(name).log_stream, lost)
                    calls = [lambda: log.read(0, 10), lambda: drained(log)]
                    for call in [*calls, log.tip] if lost == 3 else calls:
                        with pytest.raises(UnusableLogError, match=told):
                            await call()

        within(scenario)

    def test_a_foreign_message_is_damage(self) -> None:
        """A foreign message lacks a commit's id, or its line is no commit."""

        async def scenario() -> None:
            for headers, told in (({}, "is no commit"), ({layout.COMMIT_HEADER: "f" * 32}, "can't be read")):
                name = new_name()
                async with opened(nats_server(), name) as (log,), jetstream() as js:
                    async with aclosing(log.follow(0)) as followed:
                        hearing = asyncio.ensure_future(anext(followed))
                        await settle(10)
                        await js.publish(f"{name}.log.abc", b"{}", headers=headers)
                        with pytest.raises(UnusableLogError, match=told):
                            await asyncio.wait_for(hearing, HUNG_SECONDS)
                    for call in (lambda: log.read(0, 10), lambda: log.redact([1], done_to=1)):
                        with pytest.raises(UnusableLogError, match=told):
                            await call()
                    async with log.turn(0) as missed:
                        assert list(missed) == []

        within(scenario)


async def drained(log: NatsLog) -> None:
    """Follow a log without an end."""
    async with aclosing(log.follow(0)) as followed:
        async for _ in followed:
            pass


class TestRedaction:
    """The stand-in is stored first, then the message is erased."""

    def test_redacted_texts_are_not_in_the_servers_files(self) -> None:
        """This holds for erased snapshots and batches too."""

        async def scenario() -> None:
            with running() as server:
                commits = conversation("the first whisper", "the second whisper", "the third whisper")
                async with opened(server) as (log, _):
                    await log.append(commits[:3], expected=EMPTY_TIP)
                    await log.append(commits[3:], expected=commits[2].tip)
                    state = {"said": "the first whisper"}
                    await log.save(Snapshot(commits[3].tip, state))
                    in_snapshot = state["said"].encode().hex().encode()
                    assert is_on_disk(server, b"whisper")
                    assert is_on_disk(server, in_snapshot)
                    await log.redact([1, 2, 3, 4, 5], done_to=5, snapshots_before=5)
                    assert not is_on_disk(server, b"whisper")
                    assert not is_on_disk(server, in_snapshot)
                    assert await all_of(log) == [redact(commit) for commit in commits]
                    await asyncio.to_thread(server.restart)
                    assert not is_on_disk(server, b"whisper")

        within(scenario)

    def test_one_that_was_cut_short_is_finished_by_the_next(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Between the stand-in and the erasure, the commit is read as it was."""

        async def crash(*_: Any) -> None:
            raise LogUnavailableError("crash")

        async def scenario() -> None:
            commits = conversation("one", "two")
            async with opened(nats_server()) as (here, there):
                await here.append(commits, expected=EMPTY_TIP)
                with monkeypatch.context() as patched:
                    patched.setattr(redaction, "erase", crash)
                    with pytest.raises(LogUnavailableError):
                        await here.redact([3], done_to=3)
                assert (await all_of(there), here.redacted_to) == (commits, 0)
                await there.redact([3], done_to=3)
                assert await all_of(here) == [*commits[:2], redact(commits[2]), commits[3]]

        within(scenario)

    def test_stand_ins_are_trimmed_with_their_commits(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A group is trimmed once all of its commits are."""
        for module in (layout, redaction):
            monkeypatch.setattr(module, "STAND_INS_PER_GROUP", 2)

        async def scenario() -> None:
            name, commits = new_name(), conversation("one", "two", "three", "four", "five")
            async with opened(nats_server(), name) as (log,), jetstream() as js:
                await log.append(commits, expected=EMPTY_TIP)
                await log.redact([3, 4, 5, 6], done_to=6)
                await log.compact(Snapshot(commits[4].tip, fold(commits[:5])))
                found = await js.stream_info(f"KV_{name}_REDACTED", subjects_filter=">")
                assert set(found.state.subjects or ()) == {f"$KV.{name}_REDACTED.{n // 2}.{n}" for n in (6,)}
                assert await all_of(log) == [redact(commits[5]), commits[6]]

        within(scenario)

    def test_many_are_redacted_some_at_a_time(self) -> None:
        """One batch can't remove them all."""

        async def scenario() -> None:
            commits = conversation(*(f"text {number}" for number in range(70)))
            async with opened(nats_server()) as (log, _):
                await log.append(commits, expected=EMPTY_TIP)
                await log.redact(range(1, 73), done_to=72)
                assert await all_of(log) == [redact(commit) for commit in commits]

        within(scenario)


class TestTrimming:
    """The base is stored first, then the commits are purged."""

    def test_one_that_was_cut_short_is_finished_at_the_next_start(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The snapshot is there before a commit is gone."""

        async def crash(*_: Any) -> None:
            raise LogUnavailableError("crash")

        async def scenario() -> None:
            name, commits = new_name(), chain(6)
            base = Snapshot(commits[3].tip, fold(commits[:4]))
            async with opened(nats_server(), name) as (log,):
                await log.append(commits, expected=EMPTY_TIP)
                with monkeypatch.context() as patched:
                    patched.setattr(redaction, "trim", crash)
                    with pytest.raises(LogUnavailableError):
                        await log.compact(base)
                assert await log.newest_snapshot() == base
            async with opened(nats_server(), name) as (log,), jetstream() as js:
                assert (await js.stream_info(Layout(name).log_stream)).state.first_seq == 5
                assert (await all_of(log), log.base) == (commits[4:], base.tip)

        within(scenario)

    def test_a_trimmed_log_is_trimmed_for_all(self) -> None:
        """Another broker reads, appends and follows from the new base on."""

        async def scenario() -> None:
            commits = chain(8)
            async with opened(nats_server()) as (here, there):
                await here.append(commits[:6], expected=EMPTY_TIP)
                async with aclosing(there.follow(0)) as followed:
                    assert await next_of(followed) == commits[0]
                    await here.compact(Snapshot(commits[5].tip, fold(commits[:6])))
                    with pytest.raises(Conflict) as conflict:
                        await there.append([another_after(commits[:2])], expected=commits[1].tip)
                    assert list(conflict.value.missed) == []
                    async with there.turn(2) as missed:
                        assert list(missed) == []
                    assert await all_of(there) == []
                    assert there.base == commits[5].tip
                    await there.append(commits[6:], expected=commits[5].tip)
                    heard = [await next_of(followed)]
                    while heard[-1] != commits[7]:
                        heard.append(await next_of(followed))
                    assert heard == commits[8 - len(heard) :]
                async with aclosing(there.follow(0)) as followed:
                    assert [await next_of(followed) for _ in range(2)] == commits[6:]

        within(scenario)

    def test_two_brokers_trim_at_once(self) -> None:
        """The later base remains."""

        async def scenario() -> None:
            commits = chain(8)
            async with opened(nats_server()) as (here, there):
                await here.append(commits, expected=EMPTY_TIP)
                earlier, later = (Snapshot(commits[n].tip, fold(commits[: n + 1])) for n in (3, 5))
                await asyncio.gather(here.compact(later), there.compact(earlier), here.compact(earlier))
                for log in (here, there):
                    assert await log.newest_snapshot() == later
                    assert (log.base, await all_of(log)) == (later.tip, commits[6:])

        within(scenario)


class TestSnapshots:
    """Snapshots are objects of parts, listed last."""

    def test_a_large_one_is_kept_in_parts_which_the_tools_of_nats_read(self) -> None:
        """It is longer than a message's limit."""

        async def scenario() -> None:
            name, commits = new_name(), chain(3)
            async with opened(nats_server(), name) as (log,), jetstream() as js:
                await log.append(commits, expected=EMPTY_TIP)
                large = Snapshot(commits[1].tip, {"text": "x" * 3_000_000})
                await log.save(large)
                assert await log.newest_snapshot() == large
                store = await js.object_store(Layout(name).snapshots_store)
                (listed,) = await store.list()
                assert listed.name.startswith("2-")
                assert (listed.chunks or 0) > 5
                found = await store.get(listed.name)
                assert found.data == b"".join(line + b"\n" for line in PickledStates().encode(large.state))

        within(scenario)

    def test_one_that_is_cut_short_does_not_count(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Its parts are deleted after an hour; those of the others stay."""

        async def crash(*_: Any) -> None:
            raise LogUnavailableError("crash")

        async def scenario() -> None:
            name, commits = new_name(), chain(4)
            stream = f"OBJ_{Layout(name).snapshots_store}"
            async with opened(nats_server(), name) as (log,), jetstream() as js:
                await log.append(commits, expected=EMPTY_TIP)
                kept, cut, later = (Snapshot(commits[n].tip, fold(commits[: n + 1])) for n in range(3))
                await log.save(kept)
                with monkeypatch.context() as patched:
                    patched.setattr(Snapshots, "_put_entry", crash)
                    await log.save(cut)
                assert await log.newest_snapshot() == kept
                assert (await js.stream_info(stream)).state.messages == 3
                await log.save(later)
                assert (await js.stream_info(stream)).state.messages == 5
                monkeypatch.setattr(snapshots, "UNFINISHED", timedelta(seconds=-1))
                await log.save(later)
                assert (await js.stream_info(stream)).state.messages == 6
                assert await log.newest_snapshot() == later

        within(scenario)

    def test_a_damaged_one_is_passed_over(self) -> None:
        """A damaged base makes the log unusable."""

        async def scenario() -> None:
            name, commits = new_name(), chain(6)
            stream = f"OBJ_{Layout(name).snapshots_store}"
            async with opened(nats_server(), name) as (log,), jetstream() as js:
                await log.append(commits, expected=EMPTY_TIP)
                base, newer = (Snapshot(commits[n].tip, fold(commits[: n + 1])) for n in (2, 4))
                await log.compact(base)
                await log.save(newer)
                assert await log.newest_snapshot() == newer
                parts = [seq for row in await log._aside.ask(log._snapshots.finished) for seq in row.parts]
                await js.delete_msg(stream, parts[0])
                assert await log.newest_snapshot() == base
                store = await js.object_store(Layout(name).snapshots_store)
                await store.put("of another program", b"data")
                assert await log.newest_snapshot() == base
                await js.delete_msg(stream, parts[1])
                with pytest.raises(UnusableLogError, match="up to position 3 were trimmed"):
                    await log.newest_snapshot()

        within(scenario)

    def test_old_ones_are_thinned_out(self) -> None:
        """The base and the newest stay."""

        async def scenario() -> None:
            commits = chain(40)
            async with opened(nats_server()) as (log, _):
                await log.append(commits, expected=EMPTY_TIP)
                await log.compact(Snapshot(commits[0].tip, fold(commits[:1])))
                for commit in commits[1:]:
                    await log.save(Snapshot(commit.tip, commit.position))
                rows = await log._aside.ask(log._snapshots.finished)
                assert len(rows) < snapshots.SNAPSHOTS_MAX
                assert (rows[0].tip, rows[-1].tip) == (commits[-1].tip, commits[0].tip)
                assert await log.newest_snapshot() == Snapshot(commits[-1].tip, 40)

        within(scenario)

    def test_one_that_a_redaction_overtakes_does_not_count(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It may hold removed names. A snapshot begun afterwards counts."""

        async def scenario() -> None:
            commits = conversation("one", "two", "three")
            async with opened(nats_server()) as (here, there):
                await here.append(commits, expected=EMPTY_TIP)
                snapshot = Snapshot(commits[3].tip, fold(commits[:4]))
                put_entry = Snapshots._put_entry

                async def overtaken(self: Snapshots, *arguments: Any) -> int:
                    await there.redact([3], done_to=3, snapshots_before=5)
                    return await put_entry(self, *arguments)

                with monkeypatch.context() as patched:
                    patched.setattr(Snapshots, "_put_entry", overtaken)
                    with pytest.raises(LogUnavailableError, match="dropped while it was written"):
                        await here.compact(snapshot)
                assert (await here.newest_snapshot(), here.base) == (None, EMPTY_TIP)
                await here.compact(snapshot)
                assert await there.newest_snapshot() == snapshot

        within(scenario)

    def test_one_of_commits_that_were_lost_is_passed_over(self) -> None:
        """It was kept before a restored backup took its commit."""

        async def scenario() -> None:
            name, commits = new_name(), chain(6)
            async with opened(nats_server(), name) as (log,), jetstream() as js:
                await log.append(commits, expected=EMPTY_TIP)
                kept, lost = (Snapshot(commits[n].tip, fold(commits[: n + 1])) for n in (1, 4))
                await log.save(kept)
                await log.save(lost)
                stream = Layout(name).log_stream
                config = (await js.stream_info(stream)).config
                await js.delete_stream(stream)
                await js.add_stream(config)
                for commit in commits[:3]:
                    await js.publish(
                        Layout(name).log_subject(commit.commit_id),
                        msgspec.json.encode(commit),
                        headers={layout.COMMIT_HEADER: commit.commit_id},
                    )
                assert await log.newest_snapshot() == kept
                with pytest.raises(LogRolledBackError):
                    await log.compact(lost)

        within(scenario)


class TestFollowing:
    """A follower hears each commit once, under any fault on the way."""

    def test_messages_that_are_lost_on_the_way_are_read(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The next message reveals a gap in the middle, and a heartbeat one at the end."""
        hear, lost = following._Hearing._hear, 0

        async def half(self: Any, message: Any) -> None:
            nonlocal lost
            if "Status" not in (message.headers or {}) and message.metadata.sequence.stream % 2 == 0:
                lost += 1
                return
            await hear(self, message)

        monkeypatch.setattr(following._Hearing, "_hear", half)
        monkeypatch.setattr(following, "HEARTBEAT_SECONDS", 0.1)

        async def scenario() -> None:
            commits = chain(20)
            async with opened(nats_server()) as (here, there), aclosing(there.follow(0)) as followed:
                hearing = asyncio.ensure_future(anext(followed))
                await settle(20)
                await here.append(commits[:1], expected=EMPTY_TIP)
                assert await hearing == commits[0]
                for number in range(1, 20):
                    await here.append([commits[number]], expected=commits[number - 1].tip)
                assert [await next_of(followed) for _ in range(19)] == commits[1:]
                assert lost

        within(scenario)

    def test_a_long_backlog_of_long_commits_is_heard(self) -> None:
        """The server waits for the follower in between."""

        async def scenario() -> None:
            commits = large(2_500)
            async with opened(nats_server()) as (here, there), aclosing(there.follow(0)) as followed:
                hearing = asyncio.ensure_future(anext(followed))
                await settle(20)
                for start in range(0, len(commits), 500):
                    expected = commits[start - 1].tip if start else EMPTY_TIP
                    await here.append(commits[start : start + 500], expected=expected)
                heard = [await hearing]
                while len(heard) < len(commits):
                    heard.append(await next_of(followed))
                assert heard == commits

        within(scenario)

    def test_what_is_redacted_before_it_comes_is_not_heard(self) -> None:
        """This holds for another broker's commit, and for one appended by this broker."""

        async def scenario() -> None:
            commits = conversation("one", "two")
            async with opened(nats_server()) as (here, there):
                await here.append(commits, expected=EMPTY_TIP)
                for log in (here, there):
                    async with aclosing(log.follow(0)) as followed:
                        assert [await next_of(followed) for _ in commits] == commits
                await here.redact([3, 4], done_to=4)
                for log in (here, there):
                    async with aclosing(log.follow(2)) as followed:
                        assert [await next_of(followed) for _ in commits[2:]] == [redact(c) for c in commits[2:]]

        within(scenario)

    def test_own_commits_are_not_decoded(self) -> None:
        """The follower gets the very objects of the append; equal ones of another broker are decoded."""

        async def scenario() -> None:
            commits = conversation("one")
            async with (
                opened(nats_server()) as (here, there),
                aclosing(here.follow(0)) as own,
                aclosing(there.follow(0)) as other,
            ):
                hearing = [asyncio.ensure_future(anext(followed)) for followed in (own, other)]
                await settle(20)
                await here.append(commits, expected=EMPTY_TIP)
                heard = await asyncio.gather(*hearing)
                assert heard == [commits[0]] * 2
                assert heard[0] is commits[0]
                assert heard[1] is not commits[0]
                for commit in commits[1:]:
                    assert await next_of(own) is commit
                    assert await next_of(other) == commit

        within(scenario)

    def test_what_came_with_a_turn_or_a_conflict_is_not_decoded_again(self) -> None:
        """The follower hears the very objects."""

        async def scenario() -> None:
            commits = conversation("one", "two")
            async with opened(nats_server()) as (here, there):
                await there.append(commits[:2], expected=EMPTY_TIP)
                async with here.turn(0) as came:
                    assert list(came) == commits[:2]
                await there.append(commits[2:], expected=commits[1].tip)
                with pytest.raises(Conflict) as late:
                    await here.append([another_after(commits[:2])], expected=commits[1].tip)
                async with aclosing(here.follow(0)) as followed:
                    for known in (*came, *late.value.missed):
                        assert await next_of(followed) is known

        within(scenario)


class TestTurns:
    """The stream of one message."""

    def test_a_line_that_is_gone_is_made_anew(self) -> None:
        """The first request goes without a turn."""

        async def scenario() -> None:
            name, commits = new_name(), chain(2)
            async with opened(nats_server(), name) as (log,), jetstream() as js:
                await log.append(commits, expected=EMPTY_TIP)
                await js.delete_consumer(Layout(name).turns_stream, "line")
                async with log.turn(0) as missed:
                    assert list(missed) == []
                async with log.turn(0) as missed:
                    assert list(missed) == commits

        within(scenario)

    def test_a_holder_passes_its_turn_on_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The turn ends with its append or its context: the next one waits for no limit of time."""
        monkeypatch.setattr(turns, "TURN_MS", 15_000)

        async def scenario() -> None:
            commits = chain(2)
            async with opened(nats_server()) as (here, there), asyncio.timeout(SOON_SECONDS):
                for commit, before in zip(commits, (EMPTY_TIP, commits[0].tip), strict=True):
                    async with here.turn(before.position):
                        await here.append([commit], expected=before)
                        async with there.turn(before.position) as missed:
                            assert list(missed) == [commit]
                async with here.turn(2) as missed:  # the turn before ended with its context
                    assert list(missed) == []
                    assert here._turns.has_one

        within(scenario)

    def test_a_turn_that_comes_too_late_is_passed_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Its broker has given up, and another gets it."""

        async def scenario() -> None:
            commits = chain(2)
            async with opened(nats_server()) as (here, there):
                await here.append(commits, expected=EMPTY_TIP)
                ask, may_come = Client.ask, asyncio.Event()

                async def late(self: Client, call: Any) -> Any:
                    turn = await ask(self, call)
                    await may_come.wait()
                    return turn

                with monkeypatch.context() as patched:
                    patched.setattr(Client, "ask", late)
                    waiting = asyncio.ensure_future(here.turn(0).__aenter__())
                    await settle(3)
                    waiting.cancel()
                    await asyncio.gather(waiting, return_exceptions=True)
                may_come.set()
                async with there.turn(0) as missed:
                    assert list(missed) == commits

        within(scenario)


class TestDeliveryRecords:
    """Messages of many records each."""

    def test_they_are_kept_in_a_bounded_stream(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Records of one call go together, up to a message's capacity."""
        monkeypatch.setattr(log_module, "RECORDS_PER_MESSAGE", 2)

        async def scenario() -> None:
            name = new_name()
            records = [DeliveryRecord(number, ANN, "get", number) for number in range(1, 6)]
            async with opened(nats_server(), name) as (log,), jetstream() as js:
                await log.record(records)
                await log.record([])
                stream = Layout(name).deliveries_stream
                info = await js.stream_info(stream)
                assert info.state.messages == 3
                assert info.config.max_msgs == 100_000
                packed = [(await js.get_msg(stream, number)).data or b"" for number in (1, 2, 3)]
                found = [record for data in packed for record in msgspec.json.decode(data, type=list[DeliveryRecord])]
                assert found == records

        within(scenario)

    def test_the_end_of_a_broker_is_stored_last(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It says that nothing before is missing, so it is not stored without the rest of its call."""
        publish = requests.publish

        async def scenario() -> None:
            name = new_name()
            operations = [OperationRecord("stopped", 2, 0), OperationRecord("refused", 1, 0)]
            async with opened(nats_server(), name) as (log,):

                async def cut(nats: Any, message: Any) -> Any:
                    if message.subject.endswith(".refused"):
                        raise TimeoutError
                    return await publish(nats, message)

                with monkeypatch.context() as patched:
                    patched.setattr(log_module, "publish", cut)
                    await log.record([DeliveryRecord(1, ANN, "get", 1)], operations)
                reader = await open_reader(nats_server().url(name))
                assert await reader.operation_records() == []
                await log.record([], operations)
                assert await reader.operation_records() == operations[::-1]
                await reader.close()

        within(scenario)


@pytest.mark.slow
def test_more_subjects_than_a_server_tells_at_once_are_all_found() -> None:
    """Of stand-ins and sessions, there may be more than 100,000."""

    async def scenario() -> None:
        with running(sync="sync_interval: 1m") as server:
            async with jetstream(server) as js:
                await js.add_stream(name="MANY", subjects=["many.>"])
                for number in range(100_100):
                    await js._nc.publish(f"many.{number}", b"")
                await js._nc.flush(10)
                found: list[str] = []
                while len(found) < 100_100:
                    found = await requests.subjects(js._nc, "MANY", "many.>")
                assert set(found) == {f"many.{number}" for number in range(100_100)}

    within(scenario)


def test_a_conversation_is_small() -> None:
    """A message takes about a kilobyte in the stream."""

    async def scenario() -> None:
        name = new_name()
        commits = log_of(enter(ANN), enter(BOB), *(say(ANN, "x" * 100, room=RoomId("r_2")) for _ in range(50)))
        async with opened(nats_server(), name) as (log,), jetstream() as js:
            await log.append(commits, expected=EMPTY_TIP)
            info = await js.stream_info(Layout(name).log_stream)
            assert info.state.bytes / len(commits) < 1_500

    within(scenario)
