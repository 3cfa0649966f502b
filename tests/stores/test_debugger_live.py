"""Following a log in a shared store: `tail`, the stepper and `top`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from events.commit import Commit
from events.log import EventLog, OperationRecord
from log_debugger.reading.filters import MATCH_ALL
from log_debugger.reading.history_cache import HistoryCache
from log_debugger.reading.sources import open_source
from log_debugger.telling.stepper import Stepper
from projections.state import fold
from tests.log_debugger.logs import BOB, START_MS, conversation, fair_company, filed, run_ok
from tests.log_debugger.screens import Clock, Shows, on_screen, printed, squeezed
from tests.log_debugger.tails import running_tail, tailed
from tests.stores.debugger_logs import PostgresqlStore, RedisStore, Store, filled, name_of, on_log
from tests.support.engines import postgresql
from tests.support.engines.redis import RedisServer, running

COMMITS = conversation().commits
SECONDS_MAX = 30


def appends(url: str, commits: Sequence[Commit]) -> Callable[[], None]:
    """Return a function for appending `commits` as a broker does."""

    async def append(log: EventLog) -> None:
        await log.append(commits, expected=fold(COMMITS[: commits[0].position - 1]).tip)

    return lambda: on_log(url, append)


def test_tail_tells_what_it_tells_of_a_file(store: Store, tmp_path: Path) -> None:
    """The right to read is enough; lines and objects are the same."""
    for more in ((), ("--json",), ("--when", "person == Bob and messages > 1")):
        url = filled(store.url(), COMMITS[:5])
        told = tailed(store.reader_url(url), *more, meanwhile=[appends(url, COMMITS[5:])])
        replayed = run_ok("replay", filed(tmp_path / f"{len(more)}{more[:1] == ('--json',)}.db", COMMITS), *more)
        assert (told.status, told.err) == (0, "")
        assert told.lines[1:] == replayed.lines[6:9] or more[:1] == ("--when",)
        assert len(told.lines) == 4
        assert told.lines[-1] in replayed.lines


def test_an_interrupt_ends_it_in_order(store: Store) -> None:
    """Ctrl-C is no failure and prints nothing."""
    url = filled(store.url(), COMMITS[:5])
    with running_tail(url, "--from", "5") as tail:
        assert tail.line().startswith("      5  00:00:45.000  Anonymous")
        appends(url, COMMITS[5:6])()
        assert tail.line().startswith("      6  00:01:00.000  Bob")
        assert tail.interrupt() == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["valkey", "redis", "postgresql"])
def test_a_server_that_is_killed_and_comes_back_is_gone_on_with(kind: str) -> None:
    """The outage is told once, and each commit comes once."""
    with server_of(kind) as (store, server):
        url = filled(store.url(), COMMITS[:5])
        meanwhile = [server.kill, lambda: None, lambda: None, server.start, appends(url, COMMITS[5:])]
        answer = tailed(url, "--from", "5", meanwhile=meanwhile, lines=5)
    assert [line[:7].strip() for line in answer.lines] == ["5", "6", "7", "8", "9"]
    assert answer.err.count("\n") == 1
    assert answer.err.startswith(f"chat-broker: {url}: ")
    assert answer.err.endswith("; waiting for it\n")
    assert answer.status == 0


@contextmanager
def server_of(kind: str) -> Iterator[tuple[Store, RedisServer | postgresql.Server]]:
    """Run a server for a test to kill, or take the one of this process, and start it again in the end."""
    if kind == "postgresql":
        yield PostgresqlStore(), postgresql.server()
    else:
        with running("valkey" if kind == "valkey" else "redis") as server:
            yield RedisStore(server), server


def test_a_log_that_was_wiped_is_not_taken_for_the_same(valkey: RedisStore) -> None:
    """The lines of the new log do not continue those of the old one."""
    url = filled(valkey.url(), COMMITS[:5])

    def begin_anew() -> None:
        keys = valkey.client.keys(f"{{{name_of(url)}}}:*")
        valkey.client.delete(*keys)
        filled(url, fair_company().commits)

    answer = tailed(url, "--from", "5", meanwhile=[begin_anew])
    assert [line[:7].strip() for line in answer.lines] == ["5"]
    assert answer.status == 2
    assert "the commit at position 6 does not follow" in answer.err


def test_the_stepper_steps_and_follows(store: Store) -> None:
    """`t` goes to each new commit, until another key is pressed."""
    url = filled(store.url(), COMMITS[:5])
    with closing(open_source(url)) as source:
        app = Stepper(HistoryCache(source), MATCH_ALL, "", None, START_MS)

        async def followed() -> list[int]:
            async with app.run_test() as pilot:
                await pilot.press("right")
                seen = [app.position]
                await pilot.press("t")
                seen.append(app.position)
                await asyncio.to_thread(appends(url, COMMITS[5:8]))
                deadline = time.monotonic() + SECONDS_MAX
                while app.position < 8 and time.monotonic() < deadline:
                    await pilot.pause(0.05)
                seen.append(app.position)
                await pilot.press("left")
                assert not app.is_following
                return [*seen, app.position]

        assert asyncio.run(followed()) == [2, 5, 8, 7]


def test_top_shows_what_it_shows_of_a_file(store: Store, tmp_path: Path) -> None:
    """The right to read is enough; what comes is taken in, and a line leads to its trace."""
    url = filled(store.url(), COMMITS[:5])
    refused = OperationRecord("refused", START_MS + 44_000, 5, BOB, "send_message", "rate_limited", broker="aa11")

    async def record(log: EventLog) -> None:
        await log.record((), [refused])

    on_log(url, record)
    readers, clock = store.reader_url(url), Clock(50_000)
    of_file = printed(filed(tmp_path / "log.db", COMMITS[:5], (), [refused]), 50_000)
    assert printed(readers, 50_000)[1:] == of_file[1:]

    async def work(shows: Shows) -> None:
        assert {line.strip() for line in of_file[1:]} <= set(await shows.press("r"))
        await asyncio.to_thread(appends(url, COMMITS[5:6]))
        clock.since_ms = 61_000
        await shows.press("r")
        assert "> r_91aa Anonymous·0a1b and Bob·b6cd: 0 messages in 1.0 s" in await shows.press("down")
        of_trace = await asyncio.to_thread(run_ok, "trace", url, "--room", "91")
        assert await shows.trace() == squeezed(of_trace.out)

    assert on_screen(readers, work, clock) is None


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["valkey", "redis", "postgresql"])
def test_top_waits_for_a_server_that_is_killed(kind: str) -> None:
    """It says so, also where a trace is asked for, and comes back with all that was stored since."""
    with server_of(kind) as (store, server):
        url = filled(store.url(), COMMITS[:5])

        async def work(shows: Shows) -> None:
            server.kill()
            away = await shows.press("r")
            assert away[0].startswith("AWAY since 2026-09-21T14:14:10.000Z:")
            assert "1 waiting, 1 room open, 0.1 commits a second in the last minute" in away
            await shows.press("down")
            assert (await shows.trace()).startswith(f"{url}:")
            server.start()
            await asyncio.to_thread(appends(url, COMMITS[5:]))
            assert "0 waiting, 0 rooms open, 0.1 commits a second in the last minute" in await shows.press(
                "r", "escape"
            )

        assert on_screen(url, work) is None
