"""A log in NATS without room on its disk, or in its account."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from events.codec import encode_commit
from events.commit import EMPTY_TIP, Commit, Tip
from events.ids import CommitId
from events.log import LogUnavailableError
from events.nats import client as client_module
from events.nats.log import NatsLog
from events.nats.open import open_loading
from tests.stores.nats_logs import opened, within
from tests.support.engines.nats import running
from tests.support.log_contract import PickledStates, all_of, conversation


async def append_all(log: NatsLog, commits: Sequence[Commit], stored: list[Tip]) -> None:
    """Append commits one by one; add the tip after each to `stored`."""
    for commit in commits:
        expected = Tip(commit.position - 1, CommitId(commit.previous_id))
        stored.append(await log.append([commit], expected=expected))


def test_a_server_without_room_stores_again_after_its_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps a failure to write in mind until then, and says nothing of it. So the text does; nothing is lost."""
    monkeypatch.setattr(client_module, "ANSWER_SECONDS", 2.0)

    async def scenario() -> None:
        commits = conversation(*(f"{number} {'x' * 1_000}" for number in range(100)))
        with running() as server:
            async with opened(server) as (log, _):
                server.limit_files(50_000)
                stored = list[Tip]()
                with pytest.raises(
                    LogUnavailableError, match=r"in time; if its disk or a quota .* make room, and restart NATS"
                ):
                    await append_all(log, commits, stored)
                assert len(stored) > 10
                await asyncio.to_thread(server.restart)
                after = len(await all_of(log))
                assert after in (len(stored), len(stored) + 1)
                await append_all(log, commits[after:], stored)
                assert await all_of(log) == commits

    within(scenario)


def test_a_load_beyond_a_quota_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server does not answer a batch that goes beyond it. Nothing is left, and with more room the load succeeds."""
    monkeypatch.setattr(client_module, "ANSWER_SECONDS", 2.0)

    async def scenario() -> None:
        commits = conversation(*(f"{number} {'x' * 3_000}" for number in range(400)))
        lines = [encode_commit(commit) for commit in commits]
        account = "accounts {{ A {{ jetstream: {{ max_file: {} }}\n users: [ {{ user: u, password: p }} ] }} }}"
        with running(account.format("1M")) as server:
            url = server.url(user="u:p@")
            loader = await open_loading(url, PickledStates())
            with pytest.raises(LogUnavailableError, match="a quota of the account is full, make room"):
                await loader.append_lines(lines, expected=EMPTY_TIP)
            await loader.abandon()
            await asyncio.to_thread(server.reload, account.format("100M"))
            loader = await open_loading(url, PickledStates())
            assert await loader.append_lines(lines, expected=EMPTY_TIP) == commits[-1].tip
            await loader.finish()

    within(scenario)
