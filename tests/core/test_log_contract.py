"""The promises of the log, kept by every backend."""

from __future__ import annotations

import pytest

from events.commit import EMPTY_TIP
from events.ids import CommitId
from events.log import Conflict, EventLog, Snapshot
from events.memory_log import MemoryLog
from projections.state import fold
from tests.support.log_contract import LogContract, chain
from tests.support.logs import FaultyLog, run


class TestMemoryLog(LogContract):
    """The log that lives and dies with its process."""

    async def make(self) -> EventLog:
        """An empty one."""
        return MemoryLog()


class TestFaultyLog(LogContract):
    """The log of the tests is one too, as long as no fault is asked for."""

    async def make(self) -> EventLog:
        """An empty one."""
        return FaultyLog()


def test_a_memory_log_may_be_given_its_epoch() -> None:
    """For tests; otherwise it is random, since nothing of the log survives."""
    assert MemoryLog("before").epoch == "before"
    assert MemoryLog().epoch != MemoryLog().epoch


def test_positions_with_a_gap_are_a_bug() -> None:
    """A writer numbers its commits from the tip that it names."""

    async def scenario() -> None:
        with pytest.raises(AssertionError):
            await MemoryLog().append(chain(2)[1:], expected=EMPTY_TIP)

    run(scenario)


def test_a_snapshot_of_another_log_is_a_bug() -> None:
    """It stands for commits that are not these, or not there yet."""

    async def scenario() -> None:
        log, commits = MemoryLog(), chain(3)
        await log.append(commits, expected=EMPTY_TIP)
        for tip in (commits[1].tip._replace(commit_id=CommitId("f" * 32)), commits[2].tip._replace(position=4)):
            with pytest.raises(AssertionError):
                await log.compact(Snapshot(tip, fold(commits)))

    run(scenario)


def test_an_append_that_was_forgotten_since_is_a_conflict() -> None:
    """Whether it landed can't be told any more; the writer folds what is there."""

    async def scenario() -> None:
        log, commits = MemoryLog(), chain(3)
        await log.append(commits, expected=EMPTY_TIP)
        await log.compact(Snapshot(commits[1].tip, fold(commits[:2])))
        with pytest.raises(Conflict):
            await log.append(commits[:2], expected=EMPTY_TIP)

    run(scenario)
