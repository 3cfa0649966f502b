"""Refusals that the facade decides by itself are recorded beside the log, as those of commands are."""

from __future__ import annotations

from typing import Any

import pytest

from tests.facade.people import Era, crowd
from tests.support.fake_clock import FakeClock
from tests.support.logs import FaultyLog
from tests.support.server import serving

pytestmark = pytest.mark.anyio

NO_HANDLE = "cb_" + "x" * 32
SECRET_WORDS = "xyzzy plugh"


def refusals(log: FaultyLog) -> list[tuple[Any, ...]]:
    """Return the connection, the command and the code of each recorded refusal."""
    records = [record for record in log.operation_records if record.kind == "refused"]
    return [(record.connection_id, record.command, record.code) for record in records]


async def test_a_refusal_without_a_command_is_recorded_with_its_tool(era: Era) -> None:
    """Who was refused is found by the handle, also where the arguments are wrong; a text is in no record."""
    log = FaultyLog()
    async with serving(log=log, message_bytes_max=100) as running, crowd(running) as there:
        ann, bob = await there.pair(era, era)
        mine = {"handle": ann.handle, "room_id": ann.room_id}
        await ann.refused("send_message", **mine, message="\u200b")
        await ann.refused("send_message", **mine, message=SECRET_WORDS * 10)
        await ann.refused("send_message", **mine, mesage=SECRET_WORDS)
        await ann.refused("leave_chat", handle=ann.handle)
        await bob.refused("wait_for_events", handle=bob.handle, cursor=9_999)
        await bob.refused("get_status", handle=NO_HANDLE)
        assert running.metric('chat_broker_rejections_total{code="message_empty"}') == 1
    assert refusals(log) == [
        (ann.connection_id, "send_message", "message_empty"),
        (ann.connection_id, "send_message", "message_too_large"),
        (ann.connection_id, "send_message", "invalid_arguments"),
        (ann.connection_id, "leave_chat", "invalid_arguments"),
        (bob.connection_id, "wait_for_events", "invalid_arguments"),
        (None, "get_status", "unknown_handle"),
    ]
    assert not any(SECRET_WORDS in f"{record}" for record in log.operation_records)


async def test_a_left_out_handle_means_the_session_s_connection() -> None:
    """The caller of a tool without a handle is found by the session."""
    log = FaultyLog()
    async with serving(log=log) as running, crowd(running) as there:
        ann = await there.session()
        await ann.enter()
        await ann.refused("wait_for_events", cursor="soon")
    assert refusals(log) == [(ann.connection_id, "wait_for_events", "invalid_arguments")]


async def test_a_command_s_refusal_is_recorded_once(era: Era) -> None:
    """By the writer, which decides it; the facade adds nothing."""
    log = FaultyLog()
    async with serving(log=log) as running, crowd(running) as there:
        ann, _ = await there.pair(era, era)
        await ann.refused("enter_queue", handle=ann.handle)
        assert running.metric('chat_broker_rejections_total{code="already_chatting"}') == 1
    assert refusals(log) == [(ann.connection_id, "enter_queue", "already_chatting")]


@pytest.mark.parametrize(
    ("limits", "calls", "code"),
    [
        ({"reads_per_10s_max": 1}, ("get_status", "get_status"), "rate_limited"),
        ({"connections_per_peer_max": 1}, ("enter_queue",), "too_many_connections"),
        ({"handles_minted_per_10s_max": 1}, ("enter_queue",), "rate_limited"),
    ],
    ids=["too many reads", "too many connections", "too many handles"],
)
async def test_a_limit_of_reads_or_of_a_peer_is_recorded(
    limits: dict[str, int], calls: tuple[str, ...], code: str, era: Era
) -> None:
    """Each is counted and recorded once."""
    log = FaultyLog()
    async with serving(log=log, clock=FakeClock(), exempt_peers=(), **limits) as running, crowd(running) as there:
        ann, bob = await there.person(era), await there.person(era)
        await ann.enter()
        for tool in calls[:-1]:
            await ann.call(tool, handle=ann.handle)
        if calls[-1] == "enter_queue":
            await bob.refused(calls[-1])
        else:
            await ann.refused(calls[-1], handle=ann.handle)
        assert running.metric(f'chat_broker_rejections_total{{code="{code}"}}') == 1
    ((_, tool, recorded),) = refusals(log)
    assert (tool, recorded) == (calls[-1], code)
