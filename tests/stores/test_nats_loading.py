"""Loading a dump into NATS: loads that end at any moment, and the next one into the same name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from events.codec import encode_commit
from events.commit import EMPTY_TIP, Commit
from events.log import LogUnavailableError, UnusableLogError
from events.nats import streams
from events.nats.layout import Layout
from events.nats.loader import NatsLoader
from events.nats.open import open_loading, open_log, open_reader
from events.nats.requests import api
from tests.stores.nats_logs import new_name, opened, within
from tests.support.engines.nats import nats_server
from tests.support.log_contract import PickledStates, all_of, chain


async def begun(url: str, commits: Sequence[Commit]) -> NatsLoader:
    """Begin to load `commits`."""
    loader = await open_loading(url, PickledStates())
    await loader.append_lines([encode_commit(commit) for commit in commits], expected=EMPTY_TIP)
    return loader


def cut_short(after: int) -> Callable[..., Any]:
    """Return requests that fail after some deletions of streams."""
    left = after

    async def cut(nats: Any, subject: str, request: Mapping[str, Any] | None = None) -> Any:
        nonlocal left
        if subject.startswith("STREAM.DELETE."):
            if left == 0:
                raise LogUnavailableError("crash")
            left -= 1
        return await api(nats, subject, request)

    return cut


@pytest.mark.parametrize("deleted", range(len(Layout("x").streams)))
def test_a_removal_that_is_cut_short_is_finished_by_the_next_load(
    monkeypatch: pytest.MonkeyPatch, deleted: int
) -> None:
    """Until then, the name is refused as not loaded; nothing of it is taken for a log."""

    async def scenario() -> None:
        url = nats_server().url(new_name())
        with monkeypatch.context() as patched:
            patched.setattr(streams, "api", cut_short(deleted))
            await (await begun(url, chain(3))).abandon()
        for refused in (open_log(url, PickledStates()), open_reader(url)):
            with pytest.raises(UnusableLogError, match="was not loaded to its end; load it again"):
                await refused
        await (await begun(url, chain(5))).finish()
        async with opened(nats_server(), url.partition("name=")[2].partition("&")[0]) as (log,):
            assert await all_of(log) == chain(5)

    within(scenario)


def test_a_load_that_is_abandoned_leaves_nothing() -> None:
    """The name is free for a new log."""

    async def scenario() -> None:
        name = new_name()
        await (await begun(nats_server().url(name), chain(3))).abandon()
        async with opened(nats_server(), name) as (log,):
            assert await all_of(log) == []

    within(scenario)
