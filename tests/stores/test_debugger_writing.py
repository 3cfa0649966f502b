"""`log load` and `log trim` over the URLs of shared stores, and logs copied from store to store."""

from __future__ import annotations

import asyncio
import fcntl
import itertools
import os
import signal
import subprocess
import sys
import termios
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest

from events.log import EventLog, LogRolledBackError
from log_debugger.commands import load
from projections.state import fold
from tests.core.test_codec import GOLDEN
from tests.log_debugger.crowds import crowd
from tests.log_debugger.logs import conversation, fair_company, filed, run_command, run_ok
from tests.stores.debugger_logs import (
    PASSWORD,
    PostgresqlStore,
    RedisStore,
    Store,
    dump_of,
    dumped,
    filled,
    loaded,
    on_log,
    snapshot_of,
)
from tests.support.limits import HUNG_SECONDS

SOME = crowd(7, 600)


async def _as_it_is(log: EventLog) -> None:
    """Change nothing."""


async def _trim(log: EventLog) -> None:
    await log.compact(snapshot_of(fold(SOME[:250])))


async def _redact(log: EventLog) -> None:
    await log.redact(range(1, 300), done_to=300)


async def _save(log: EventLog) -> None:
    for at in (100, 300):
        await log.save(snapshot_of(fold(SOME[:at])))


@pytest.mark.parametrize("change", [_as_it_is, _trim, _redact, _save])
def test_a_log_goes_around_through_all_stores(
    change: Callable[[EventLog], object], valkey: RedisStore, tmp_path: Path
) -> None:
    """A log goes from a file to Redis, to PostgreSQL, to a file: the dumps are equal, and each log verifies alike."""
    first = filed(tmp_path / "first.db", SOME)
    on_log(first, change)
    stops = [first, valkey.url(), PostgresqlStore().url(), f"sqlite:{tmp_path / 'last.db'}"]
    verdict, counted = run_ok("verify", first).out, None
    for here, there in itertools.pairwise(stops):
        result = loaded(there, dump_of(here))
        assert (result.status, result.err) == (0, "")
        assert counted in (None, result.out)
        counted = result.out
        assert run_ok("verify", there).out == verdict
        assert dump_of(there) == dump_of(first)


@pytest.mark.parametrize("file", sorted(GOLDEN.glob("commits*.jsonl")), ids=lambda file: file.stem)
def test_a_dump_of_any_schema_comes_back(store: Store, file: Path) -> None:
    """The dump of the loaded log is the same, byte by byte."""
    url = store.url()
    if loaded(url, file.read_bytes()).status == 0:
        assert dump_of(url) == file.read_bytes()
    else:  # # commits without a whole chain
        assert not store.stored(url)


class TestLoading:
    """A dump becomes a log, whole or not at all."""

    def test_a_loaded_log_has_snapshots_and_an_epoch_of_its_own(self, store: Store) -> None:
        """A broker goes on with it."""
        url, epochs, tips = store.url(), list[str](), list[int]()

        async def look(log: EventLog) -> None:
            epochs.append(log.epoch)
            tips.append((await log.tip()).position)

        on_log(url, look)
        assert loaded(url, dumped(SOME)).out == f"loaded {len(SOME)} commits, from position 1 to {len(SOME)}\n"
        on_log(url, look)
        assert epochs[0] != epochs[1]
        assert tips == [0, len(SOME)]

    def test_a_log_that_is_not_empty_is_left_alone(self, store: Store) -> None:
        """The line says how to name another log."""
        url = filled(store.url(), conversation().commits)
        before = dump_of(url)
        result = loaded(url, dumped(SOME))
        assert (result.status, result.out) == (2, "")
        assert "is not empty" in result.err
        assert "?name=" in result.err
        assert dump_of(url) == before

    @pytest.mark.parametrize("damage", ["no dump", "cut", "altered", "nothing"])
    def test_a_dump_that_is_no_log_leaves_nothing(self, store: Store, damage: str) -> None:
        """The error names the line, and another load of the same name succeeds."""
        url, dump = store.url(), dumped(SOME)
        wrong = {
            "no dump": b"hello\n",
            "cut": dump[:-40],
            "altered": dump.replace(b'"position":500,', b'"position":501,'),
            "nothing": b"",
        }[damage]
        result = loaded(url, wrong)
        assert (result.status, result.out) == (2, "")
        assert "nothing was loaded" in result.err
        assert result.err.count("\n") == 1
        assert store.stored(url) == 0
        assert loaded(url, dump).status == 0

    def test_a_reader_can_not_load(self, store: Store) -> None:
        """Nothing is changed; the password is not shown."""
        url = store.url()
        on_log(url, _as_it_is)
        result = loaded(store.reader_url(url), dumped(SOME))
        assert (result.status, result.out) == (2, "")
        assert result.err.count("\n") == 1
        assert PASSWORD not in result.err
        assert dump_of(url) == b""

    @pytest.mark.slow
    @pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
    def test_a_load_that_is_cut_short_makes_no_log(self, store: Store, how: signal.Signals) -> None:
        """Brokers and readers find none; the next load begins anew."""
        url = store.url()
        command = [sys.executable, "-m", "mcp_facade.main", "log", "load", url]
        long = crowd(8, 4_000)
        lines = dumped(long).splitlines(keepends=True)
        assert len(lines) > load.LINES_AT_ONCE + 200
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True) as loading:
            assert loading.stdin is not None
            loading.stdin.write(b"".join(lines[:-1]))
            loading.stdin.flush()
            _until_read(loading.stdin)
            loading.send_signal(how)
            out, err = loading.communicate(timeout=HUNG_SECONDS)
        assert loading.returncode == (130 if how == signal.SIGINT else -how)
        assert (out, err) == (b"", b"")
        if how == signal.SIGINT:
            assert store.stored(url) == 0
        result = run_command("verify", url)
        assert "0 commits" in result.out or result.status == 2
        assert loaded(url, dumped(long)).status == 0
        assert dump_of(url) == dumped(long)


def _until_read(pipe: IO[bytes]) -> None:
    """Return once the other end has read all of `pipe`, and so has stored a part."""
    deadline, unread = time.monotonic() + HUNG_SECONDS, array("i", [1])
    while unread[0]:
        assert time.monotonic() < deadline
        os.sched_yield()
        fcntl.ioctl(pipe, termios.FIONREAD, unread)


class TestTrimming:
    """The oldest commits of a shared log are forgotten, at an operator's word."""

    def test_it_says_and_does_what_it_does_to_a_file(self, store: Store, tmp_path: Path) -> None:
        """Evidence lost with the commits is counted; a line says where a store may keep trimmed commits."""
        script = fair_company()
        last = len(script.commits) - 2
        file, url = filed(tmp_path / "log.db", script.commits), filled(store.url(), script.commits)
        of_a_file = run_ok("log", "trim", file, "--before", f"{last}").lines
        *of_a_store, what_stays = run_ok("log", "trim", url, "--before", f"{last}").lines
        assert of_a_store == of_a_file
        assert what_stays.startswith("what went may stand in")
        assert dump_of(url) == dump_of(file)
        assert run_ok("verify", url).out == run_ok("verify", file).out
        assert run_ok("log", "trim", url, "--before", "2").out == run_ok("log", "trim", file, "--before", "2").out
        too_far = run_command("log", "trim", url, "--before", "9999")
        assert too_far.status == 2
        assert "ends at position" in too_far.err

    def test_what_is_older_than_a_time_goes(self, store: Store) -> None:
        """The times are those stamped by the broker."""
        url = filled(store.url(), conversation().commits)
        assert run_ok("log", "trim", url, "--older-than", "9999d").out.startswith(
            ("nothing to trim", "the last commit")
        )

    def test_a_broker_goes_on(self, store: Store) -> None:
        """It appends after a trim of its open log."""
        url, commits = filled(store.url(), SOME[:-1]), SOME

        async def scenario(log: EventLog) -> None:
            await asyncio.to_thread(run_ok, "log", "trim", url, "--before", "100")
            await log.append(commits[-1:], expected=commits[-2].tip)

        on_log(url, scenario)
        assert run_ok("verify", url).out.startswith(f"every promise holds: {len(SOME) - 99} commits")

    def test_a_log_that_was_put_back_meanwhile_is_not_trimmed(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The snapshot is of another past."""

        class Other:
            async def compact(self, snapshot: object) -> None:
                raise LogRolledBackError("the log has no commit 1")

            async def close(self) -> None:
                """Nothing is open."""

        async def opened(*arguments: object) -> Other:
            return Other()

        url = filled(store.url(), conversation().commits)
        monkeypatch.setattr("log_debugger.commands.trim.open_log", opened)
        result = run_command("log", "trim", url, "--before", "3")
        assert result.status == 2
        assert "has no commit 1; start again" in result.err
