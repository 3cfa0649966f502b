"""Blocking and reporting a stranger, during the chat and after it."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any

import pytest

from events.events import PartnerBlocked, PartnerReported
from mcp_facade.texts import REFUSALS
from tests.facade.people import Crowd, Era, Person, crowd
from tests.support.fake_clock import FakeClock, settle
from tests.support.server import GatedLog, serving

pytestmark = pytest.mark.anyio

LIMITS = {"blocks_per_connection_max": 100, "reports_per_10min_max": 3}
REMATCHING = {"rematch_after_ms": 600_000, "rematch_patience_ms": 20_000}
BOTH_TOOLS = pytest.mark.parametrize("tool", ["block_partner", "report_partner"])
SECRET_WORDS = "xyzzy plugh"


async def act(person: Person, tool: str, **more: Any) -> dict[str, Any]:
    """Call `tool` about the stranger of that person's last room."""
    reason = {"category": "spam"} if tool == "report_partner" else {}
    return await person.call(tool, room_id=person.room_id, handle=person.handle, **reason, **more)


async def events_in(there: Crowd, kind: type[Any]) -> list[Any]:
    """Return the events of that kind in the log."""
    commits = await there.running.broker.log.read(0, 1_000)
    return [event for commit in commits for event in commit.events if isinstance(event, kind)]


@BOTH_TOOLS
async def test_the_chat_ends_and_the_stranger_hears_only_that(era: Era, tool: str) -> None:
    """The partner hears `left`, on a stream and in results, as after `leave_chat`."""
    async with serving(**LIMITS) as running, crowd(running) as there:
        ann, bob = await there.pair(era, era)
        async with bob.stream() as frames:
            assert await act(ann, tool) == {"success": True}
            pushed = await frames.next()
        (event,) = await bob.hear()
        assert event["method"] == pushed.method == "partner.disconnected"
        assert event["params"] == pushed.params
        assert set(event["params"]) == {"room_id", "reason", "timestamp", "cursor"}
        assert event["params"]["reason"] == "left"
        assert (await bob.call("get_status", handle=bob.handle))["idle_reason"] == "partner_left"
        assert (await ann.call("get_status", handle=ann.handle))["idle_reason"] == "you_left"


@BOTH_TOOLS
@pytest.mark.parametrize("ended_by", ["ann", "bob"])
async def test_it_works_after_the_chat_too(era: Era, tool: str, ended_by: str) -> None:
    """A room closed by either side will do; the other hears nothing more."""
    async with serving(**LIMITS) as running, crowd(running) as there:
        ann, bob = await there.pair(era, era)
        leaving = ann if ended_by == "ann" else bob
        await leaving.call("leave_chat", room_id=leaving.room_id, handle=leaving.handle)
        await bob.hear(wait_seconds=0)
        assert await act(ann, tool) == {"success": True}
        assert await bob.hear(wait_seconds=0) == []
        assert await events_in(there, PartnerBlocked) == [PartnerBlocked(ann.connection_id, bob.connection_id)]
        assert len(await events_in(there, PartnerReported)) == (tool == "report_partner")


@BOTH_TOOLS
async def test_twice_is_as_once(era: Era, tool: str) -> None:
    """A repeat succeeds and stores nothing; it changes no report."""
    async with serving(**LIMITS) as running, crowd(running) as there:
        ann, _ = await there.pair(era, era)
        once = await act(ann, tool)
        position = running.broker.state.position
        assert await act(ann, tool) == once
        again = {"room_id": ann.room_id, "category": "threat", "note": "more", "handle": ann.handle}
        assert tool == "block_partner" or await ann.call("report_partner", **again) == once
        assert running.broker.state.position == position


@BOTH_TOOLS
async def test_a_session_needs_no_handle(tool: str) -> None:
    """The session's own handle is meant; the stranger may be of the other era."""
    async with serving(**LIMITS) as running, crowd(running) as there:
        ann, bob = await there.pair("2025", "2026")
        assert await ann.call(tool, roomId=ann.room_id, category=" Spam ") == {"success": True}
        assert [event["method"] for event in await bob.hear()] == ["partner.disconnected"]


async def test_a_blocked_stranger_can_still_be_reported(era: Era) -> None:
    """The report is filed, and no second block is stored."""
    async with serving(**LIMITS) as running, crowd(running) as there:
        ann, _ = await there.pair(era, era)
        await act(ann, "block_partner")
        await act(ann, "report_partner")
        assert len(await events_in(there, PartnerReported)) == 1
        assert len(await events_in(there, PartnerBlocked)) == 1


async def test_both_may_report_each_other(era: Era) -> None:
    """There is one report a person and room."""
    async with serving(**LIMITS) as running, crowd(running) as there:
        ann, bob = await there.pair(era, era)
        await act(ann, "report_partner")
        await act(bob, "report_partner")
        reporters = [report.reporter for report in await events_in(there, PartnerReported)]
        assert reporters == [ann.connection_id, bob.connection_id]


@BOTH_TOOLS
async def test_a_forgotten_room_is_not_found(era: Era, tool: str) -> None:
    """The refusal says that rooms are forgotten, and gives an alternative."""
    async with serving(closed_rooms_kept=1, **LIMITS) as running, crowd(running) as there:
        ann, bob = await there.pair(era, era)
        room_id = ann.room_id
        await ann.call("leave_chat", room_id=room_id, handle=ann.handle)
        await ann.enter(handle=ann.handle)
        await bob.enter(handle=bob.handle)
        await bob.call("leave_chat", room_id=bob.room_id, handle=bob.handle)
        refusal = await ann.refused(tool, room_id=room_id, handle=ann.handle, category="spam")
        assert refusal == {"error": REFUSALS["no_such_partner"], "code": "room_not_found"}


async def test_the_fourth_report_in_ten_minutes_has_to_wait(era: Era) -> None:
    """The refusal gives the wait, and names `block_partner`; after just that wait the report is filed."""
    clock = FakeClock()
    async with serving(clock=clock, **LIMITS) as running, crowd(running) as there:
        ann = await there.person(era)
        for _ in range(4):
            await ann.enter(**({"handle": ann.handle} if ann.handle else {}))
            bob = await there.person(era)
            ann.room_id = (await bob.enter())["room_id"]
            if len(await events_in(there, PartnerReported)) < 3:
                await act(ann, "report_partner")
        asked = {"room_id": ann.room_id, "category": "other", "handle": ann.handle}
        refusal = await ann.refused("report_partner", **asked)
        assert (refusal["code"], refusal["retry_after_ms"]) == ("rate_limited", 200_000)
        assert "Wait 200000 ms" in refusal["error"]
        assert "block_partner works now" in refusal["error"]
        assert await bob.hear(wait_seconds=0) == []
        await act(ann, "block_partner")
        await clock.advance(199_999)
        assert (await ann.refused("report_partner", **asked))["retry_after_ms"] == 1
        await clock.advance(1)
        await ann.call("report_partner", **asked)
        assert len(await events_in(there, PartnerReported)) == 4


@pytest.mark.parametrize(
    ("tool", "meet_again"), [("leave_chat", True), ("block_partner", False), ("report_partner", False)]
)
async def test_a_block_outlasts_all_patience(era: Era, tool: str, meet_again: bool) -> None:
    """A former pair meets again once both have waited; after a block or a report they wait on, for others."""
    clock = FakeClock()
    async with serving(clock=clock, **LIMITS, **REMATCHING) as running, crowd(running) as there:
        ann, bob = await there.pair(era, era)
        await act(ann, tool)
        await ann.enter("Ann", handle=ann.handle)
        await bob.enter("Bob", handle=bob.handle)
        for _ in range(15):
            await clock.advance(60_000)
            statuses = {(await one.call("get_status", handle=one.handle))["status"] for one in (ann, bob)}
        assert statuses == ({"chatting"} if meet_again else {"waiting"})
        if not meet_again:
            cat, dan = await there.person(era), await there.person(era)
            assert [(await one.enter())["partner"] for one in (cat, dan)] == ["Ann", "Bob"]


async def test_without_kept_blocks_it_is_leaving(there: Crowd, era: Era) -> None:
    """If the operator turned blocks off, the log has no block; the chat ends all the same."""
    ann, bob = await there.pair(era, era)
    assert await act(ann, "block_partner") == {"success": True}
    assert [event["method"] for event in await bob.hear()] == ["partner.disconnected"]
    assert await events_in(there, PartnerBlocked) == []


@pytest.mark.parametrize(
    ("note", "kept"),
    [
        (None, None),
        ("", None),
        (" \n\u200b", None),
        ("null", None),
        ("a\u202eb\r\nc", "ab\nc"),
        (42, "42"),
        ("x" * 4_096,) * 2,
    ],
)
async def test_a_note_is_a_text_like_a_message(era: Era, note: Any, kept: str | None) -> None:
    """It is cleaned like a message; a blank one is none."""
    async with serving(**LIMITS) as running, crowd(running) as there:
        ann, _ = await there.pair(era, era)
        await act(ann, "report_partner", note=note)
        assert [report.note for report in await events_in(there, PartnerReported)] == [kept]


async def test_a_note_that_is_too_large_is_refused(there: Crowd, era: Era) -> None:
    """Nothing is reported, and the chat goes on."""
    ann, _ = await there.pair(era, era)
    for note in ("é" * 2_048 + "a", "a" * 40_970):
        refusal = await ann.refused(
            "report_partner", room_id=ann.room_id, category="spam", note=note, handle=ann.handle
        )
        assert refusal["code"] == "message_too_large"
        assert refusal["error"].startswith("The note is too large. Send 4096 bytes")
    assert (await ann.call("get_status", handle=ann.handle))["status"] == "chatting"


async def test_the_position_of_a_report_is_shown_to_nobody(era: Era) -> None:
    """It is the report's id. After a chat, neither of the two gets it, or may read on from it."""
    async with serving(**LIMITS) as running, crowd(running) as there:
        ann, bob = await there.pair(era, era)
        await ann.call("leave_chat", room_id=ann.room_id, handle=ann.handle)
        before = [await one.call("get_status", handle=one.handle) for one in (ann, bob)]
        assert await act(ann, "report_partner") == {"success": True}
        assert [await one.call("get_status", handle=one.handle) for one in (ann, bob)] == before
        for one in (ann, bob):
            refusal = await one.refused("wait_for_events", cursor=running.broker.state.position, handle=one.handle)
            assert refusal["code"] == "invalid_arguments"


async def test_a_report_has_a_line_in_the_log(era: Era, log_text: io.StringIO) -> None:
    """The line says where the report is and its category: no note, no name, no handle."""
    async with serving(**LIMITS) as running, crowd(running) as there:
        ann, bob = await there.pair(era, era)
        await act(ann, "report_partner", note=SECRET_WORDS)
        await act(ann, "report_partner", note=SECRET_WORDS)
        position = running.broker.state.position
    lines = [json.loads(line) for line in log_text.getvalue().splitlines()]
    (line,) = [line for line in lines if line["event"] == "report"]
    assert line.pop("timestamp")
    expected = {"level": "info", "position": position, "room": ann.room_id, "category": "spam"}
    assert line == {"event": "report"} | expected
    (commit,) = [line for line in lines if line.get("command") == "ReportPartner"]
    assert commit["rooms"] == [ann.room_id]
    for secret in (SECRET_WORDS, ann.handle, bob.handle, "Ann", "Bob"):
        assert secret not in log_text.getvalue()


@BOTH_TOOLS
async def test_a_log_that_does_not_answer_puts_it_off(era: Era, tool: str) -> None:
    """The caller gets `unavailable`: the act may have happened, and calling again is safe."""
    log, clock = GatedLog(), FakeClock()
    async with serving(log=log, clock=clock, **LIMITS) as running, crowd(running) as there:
        ann, bob = await there.pair(era, era)
        log.gate.clear()
        refused = asyncio.create_task(ann.refused(tool, room_id=ann.room_id, handle=ann.handle, category="spam"))
        while not log.standing:
            await settle(1)
        await clock.advance(5_000)
        assert await refused == {"error": REFUSALS["unavailable"], "code": "unavailable"}
        log.gate.set()
        assert await act(ann, tool) == {"success": True}
        assert len(await events_in(there, PartnerBlocked)) == 1
        assert [event["method"] for event in await bob.hear()] == ["partner.disconnected"]
