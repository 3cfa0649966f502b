"""Rights in NATS that an operator takes away while a broker runs, and gives back."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import pytest

from events.commit import EMPTY_TIP
from events.log import LogUnavailableError
from events.nats import client as client_module
from events.nats.open import open_log
from tests.stores.nats_logs import users, within
from tests.support.engines.nats import running
from tests.support.fake_clock import settle
from tests.support.limits import HUNG_SECONDS, limited
from tests.support.log_contract import PickledStates, all_of, chain

ALL = ["chat.>", "$JS.>", "$KV.>", "$O.>"]
RIGHTS = users(ALL, ["chat.>", "_INBOX_chat.>"])


@pytest.mark.parametrize(
    ("less", "told"),
    [
        (users(ALL, ["chat.>"]), "subscribe"),
        (users(["$JS.>", "$KV.>", "$O.>"], ["chat.>", "_INBOX_chat.>"]), "publish"),
    ],
)
def test_a_log_goes_on_once_its_rights_are_back(less: str, told: str) -> None:
    """The same broker goes on; meanwhile its errors name the rights. A server has dropped what it did not permit."""

    async def scenario() -> None:
        with running(RIGHTS) as server:
            log = await open_log(server.url(user="u:p@"), PickledStates())
            commits = chain(3)
            await log.append(commits[:1], expected=EMPTY_TIP)
            await asyncio.to_thread(server.reload, less)
            for call in (lambda: log.append(commits[1:2], expected=commits[0].tip), log.probe):
                with (
                    limited(client_module, ANSWER_SECONDS=0.5),
                    pytest.raises(LogUnavailableError, match=f"a right to {told} is missing; give the log's user"),
                ):
                    await call()
            await asyncio.to_thread(server.reload, RIGHTS)
            assert await log.append(commits[1:2], expected=commits[0].tip) == commits[1].tip
            assert await all_of(log) == commits[:2]
            await log.probe()
            async with log.turn(1) as missed:
                assert list(missed) == commits[1:2]
            await log.close()

    within(scenario)


@pytest.mark.parametrize("less", [["_INBOX_chat.>"], ["chat.>"]])
def test_listeners_are_told_that_a_right_is_gone(less: list[str]) -> None:
    """A follower and a listener for notes end, with the rights, and can begin anew once they are back."""

    async def scenario() -> None:
        with running(RIGHTS) as server:
            log = await open_log(server.url(user="u:p@"), PickledStates())
            commits = chain(2)
            await log.append(commits[:1], expected=EMPTY_TIP)
            async with aclosing(log.follow(0)) as followed, aclosing(log.coordination.subscribe()) as notes:
                assert await anext(followed) == commits[0]
                hearing: dict[str, asyncio.Future[Any]] = {
                    "_INBOX_chat.>": asyncio.ensure_future(anext(followed)),
                    "chat.>": asyncio.ensure_future(anext(notes)),
                }
                await settle(1)
                await log.coordination.publish(b"note")
                assert await hearing["chat.>"] == b"note"
                hearing["chat.>"] = asyncio.ensure_future(anext(notes))
                await settle(1)
                await asyncio.to_thread(server.reload, users(ALL, less))
                (gone,) = set(hearing) - set(less)
                with pytest.raises(LogUnavailableError, match="a right to subscribe is missing; give the log's user"):
                    await asyncio.wait_for(hearing.pop(gone), HUNG_SECONDS)
                for task in hearing.values():
                    task.cancel()
                await asyncio.wait(hearing.values())
            await asyncio.to_thread(server.reload, RIGHTS)
            await log.append(commits[1:], expected=commits[0].tip)
            async with aclosing(log.follow(1)) as followed, aclosing(log.coordination.subscribe()) as notes:
                assert await anext(followed) == commits[1]
                note = asyncio.ensure_future(anext(notes))
                await settle(1)
                await log.coordination.publish(b"again")
                assert await note == b"again"
            await log.close()

    within(scenario)
