"""A log in NATS on a disk without room."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from events.commit import Commit, Tip
from events.ids import CommitId
from events.log import LogUnavailableError
from events.nats import client as client_module
from events.nats.log import NatsLog
from tests.stores.nats_logs import opened, within
from tests.support.engines.nats import running
from tests.support.log_contract import all_of, conversation


async def append_all(log: NatsLog, commits: Sequence[Commit], stored: list[Tip]) -> None:
    """Append commits one by one; add the tip after each to `stored`."""
    for commit in commits:
        expected = Tip(commit.position - 1, CommitId(commit.previous_id))
        stored.append(await log.append([commit], expected=expected))


def test_a_server_without_room_stores_again_after_its_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps a failure to write in mind until then, and says nothing of it. So the text does; nothing is lost."""
    monkeypatch.setattr(client_module, "ANSWER_SECONDS", 0.5)

    async def scenario() -> None:
        commits = conversation(*(f"{number} {'x' * 1_000}" for number in range(100)))
        with running() as server:
            async with opened(server) as (log, _):
                server.limit_files(50_000)
                stored = list[Tip]()
                with pytest.raises(
                    LogUnavailableError, match=r"in time; if the disk of NATS is full, free .* restart NATS"
                ):
                    await append_all(log, commits, stored)
                assert len(stored) > 10
                await asyncio.to_thread(server.restart)
                after = len(await all_of(log))
                assert after in (len(stored), len(stored) + 1)
                await append_all(log, commits[after:], stored)
                assert await all_of(log) == commits

    within(scenario)
