"""The log contract, for the backends in memory."""

from __future__ import annotations

import re

import pytest

from events.commit import EMPTY_TIP, redact
from events.ids import CommitId
from events.log import Conflict, EventLog, Snapshot
from events.memory import MemoryLog
from projections.state import fold
from tests.support.log_contract import LogContract, chain, conversation
from tests.support.logs import FaultyLog, run
from tests.support.shared_log_contract import SharedLogContract


class TestMemoryLog(LogContract):
    """The contract for the log in memory."""

    async def make(self) -> EventLog:
        """Return an empty log."""
        return MemoryLog()


class TestFaultyLog(LogContract):
    """The contract for the log with faults of the tests, without any fault."""

    async def make(self) -> EventLog:
        """Return an empty log."""
        return FaultyLog()


class TestSharedLog(SharedLogContract):
    """So are several ways to one log."""

    async def make(self) -> EventLog:
        """The way to an empty one."""
        return FaultyLog.shared(1)[0]

    async def make_another(self, log: EventLog) -> EventLog:
        """Another way to it."""
        assert isinstance(log, FaultyLog)
        return FaultyLog(log.inner, log.turns)


def test_a_memory_log_may_be_given_its_epoch() -> None:
    """The epoch is random unless it is given."""
    assert MemoryLog("before").epoch == "before"
    assert MemoryLog().epoch != MemoryLog().epoch


def test_an_epoch_is_short() -> None:
    """An epoch is 64 random bits in hexadecimal."""
    assert re.fullmatch("[0-9a-f]{16}", MemoryLog().epoch)


def test_the_first_commit_alone_can_be_forgotten() -> None:
    """A log can be compacted to its first commit."""

    async def scenario() -> None:
        log, commits = MemoryLog(), chain(3)
        await log.append(commits, expected=EMPTY_TIP)
        await log.compact(Snapshot(commits[0].tip, fold(commits[:1])))
        assert log.base == commits[0].tip
        assert await log.read(0, 10) == commits[1:]

    run(scenario)


def test_behind_a_base_an_append_that_had_landed_is_still_known() -> None:
    """A repeated append after the base is done already, and one before it is a conflict."""

    async def scenario() -> None:
        log, commits = MemoryLog(), chain(5)
        await log.append(commits, expected=EMPTY_TIP)
        await log.compact(Snapshot(commits[1].tip, fold(commits[:2])))
        assert await log.append(commits[2:4], expected=commits[1].tip) == commits[-1].tip
        for gone in (commits[:1], commits[1:2], commits[1:3], commits[:5]):
            with pytest.raises(Conflict):
                await log.append(gone, expected=EMPTY_TIP)

    run(scenario)


@pytest.mark.parametrize("base", [0, 2])
def test_every_commit_that_is_there_can_be_redacted(base: int) -> None:
    """The first and the last stored commit can be redacted; positions before and after are skipped."""

    async def scenario() -> None:
        log, commits = MemoryLog(), conversation("a", "b", "c")
        await log.append(commits, expected=EMPTY_TIP)
        if base:
            await log.compact(Snapshot(commits[base - 1].tip, fold(commits[:base])))
        for position in range(len(commits) + 2):
            await log.redact([position], done_to=position)
        assert await log.read(0, 100) == [redact(commit) for commit in commits[base:]]

    run(scenario)


def test_positions_with_a_gap_are_a_bug() -> None:
    """Appending positions with a gap fails an assertion."""

    async def scenario() -> None:
        with pytest.raises(AssertionError):
            await MemoryLog().append(chain(2)[1:], expected=EMPTY_TIP)

    run(scenario)


def test_a_snapshot_of_another_log_is_a_bug() -> None:
    """Compacting with a snapshot of another log fails an assertion."""

    async def scenario() -> None:
        log, commits = MemoryLog(), chain(3)
        await log.append(commits, expected=EMPTY_TIP)
        for tip in (commits[1].tip._replace(commit_id=CommitId("f" * 32)), commits[2].tip._replace(position=4)):
            with pytest.raises(AssertionError):
                await log.compact(Snapshot(tip, fold(commits)))

    run(scenario)


def test_an_append_that_was_forgotten_since_is_a_conflict() -> None:
    """A repeated append of forgotten commits is a conflict."""

    async def scenario() -> None:
        log, commits = MemoryLog(), chain(3)
        await log.append(commits, expected=EMPTY_TIP)
        await log.compact(Snapshot(commits[1].tip, fold(commits[:2])))
        with pytest.raises(Conflict):
            await log.append(commits[:2], expected=EMPTY_TIP)

    run(scenario)
