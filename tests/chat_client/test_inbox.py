"""Possible pages of a broker: each event is told once and in order, on any page."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from chat_client import HistoryMissed, MessageReceived, RefusedError
from chat_client.errors import refusal
from chat_client.inbox import Inbox
from tests.chat_client.pauses import Pauses
from tests.support.limits import HUNG_SECONDS
from tests.support.server import eventually

pytestmark = pytest.mark.anyio

Json = dict[str, Any]


def message(cursor: int) -> Json:
    """Return the event of a message at that position."""
    params = {"room_id": "r_1", "message": str(cursor), "timestamp": "2026-11-29T12:00:00.000Z", "cursor": cursor}
    return {"method": "message.received", "params": params | {"sender": "stranger"}}


def page(*cursors: int, status: str = "chatting", **more: Any) -> Json:
    """Return a page with messages at those positions."""
    cursor = more.pop("cursor", cursors[-1] if cursors else 0)
    return {
        "events": [message(one) for one in cursors],
        "cursor": cursor,
        "status": status,
        "timed_out": not cursors,
    } | more


class Script:
    """A broker with prepared answers to calls, one after the other."""

    def __init__(self, *answers: Json | RefusedError) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int | None]] = []

    async def tool(self, name: str, arguments: Json, wait_seconds: float = 0) -> Json:
        """Return the next answer; after the last one, none."""
        self.asked.append((name, arguments.get("cursor")))
        if not self.answers:
            await asyncio.Event().wait()
        answer = self.answers.pop(0)
        if isinstance(answer, RefusedError):
            raise answer
        return answer


async def told(script: Script) -> list[Any]:
    """Return all events of a client, from a first cursor of 10 until it is idle."""
    inbox = Inbox(None, script, Pauses())
    inbox.start("cb_x", 10, None)
    reading = asyncio.create_task(inbox.read())
    events = []
    async with asyncio.timeout(HUNG_SECONDS):
        while (event := await inbox.take()) is not None:
            events.append(event.text if isinstance(event, MessageReceived) else type(event).__name__)
    reading.cancel()
    return events


IDLE = page(status="idle")


async def test_events_that_come_again_are_told_once() -> None:
    """Overlapping and repeated pages add nothing; the newest cursor is asked for."""
    script = Script(page(11, 12), page(12, 13), page(11, 12, 13), page(13, 14), IDLE)
    assert await told(script) == ["11", "12", "13", "14"]
    assert [cursor for _, cursor in script.asked] == [10, 12, 13, 13, 14]


async def test_events_of_an_unknown_kind_are_passed_over() -> None:
    """A newer broker may have more kinds of events; this client skips them."""
    newer = page(11)
    newer["events"].insert(0, message(11) | {"method": "partner.typing"})
    assert await told(Script(newer, IDLE)) == ["11"]


async def test_a_page_that_only_moves_on_ends_nothing() -> None:
    """Such a page says idle, but more events come before that."""
    assert await told(Script(page(cursor=500, status="idle"), page(501), IDLE)) == ["501"]


async def test_what_is_missed_is_told_once() -> None:
    """The client tells a gap once, even if the broker repeats it for the same cursor."""
    script = Script(page(missed=True), page(missed=True), page(90, missed=True), IDLE)
    assert await told(script) == [HistoryMissed.__name__, "90"]


async def test_a_cursor_that_the_broker_has_lost_is_replaced() -> None:
    """After a restore of an older copy of the log, the client takes a new cursor; events may have been missed."""
    unknown = refusal({"code": "invalid_arguments", "error": "cursor is not one that you were given."})
    script = Script(unknown, {"cursor": 4, "status": "chatting"}, page(5), IDLE)
    assert await told(script) == [HistoryMissed.__name__, "5"]
    assert script.asked[1][0] == "get_status"


async def test_another_refusal_ends_the_events() -> None:
    """The error has the broker's words, instead of an endless loop without events."""
    with pytest.raises(RefusedError, match="no more"):
        await told(Script(refusal({"code": "gone", "error": "no more"})))


async def test_a_rate_limit_that_a_call_does_not_wait_out_is_no_end() -> None:
    """Reading pauses for as long as the broker asks, and goes on."""
    limit = refusal({"code": "rate_limited", "retry_after_ms": 40_000})
    script, pauses = Script(page(11), limit, page(12), IDLE), Pauses()
    inbox = Inbox(None, script, pauses)
    inbox.start("cb_x", 10, None)
    reading = asyncio.create_task(inbox.read())
    await eventually(lambda: pauses.asked == [40.0])
    pauses.end()
    async with asyncio.timeout(HUNG_SECONDS):
        events = [await inbox.take() for _ in range(3)]
    reading.cancel()
    assert [getattr(event, "text", None) for event in events] == ["11", "12", None]
