"""No handle, no session id and no person's word in a wrong place."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from broker.config import LogFormat
from broker.logging import SECRETS, configure_logs
from events.codec import encode_commit
from tests.facade.people import Crowd, InSession, Modern, crowd, texts
from tests.support.server import eventually, serving

pytestmark = pytest.mark.anyio

WORDS = ["the-first-secret-word", "das zweite Geheimwort", "третье слово"]
NAMES = ["Annabella", "Bobadilla", "Catalina"]
INTERESTS = ["obscurantism", "philately"]


@pytest.fixture(params=["console", "json"])
def log_format(request: pytest.FixtureRequest) -> LogFormat:
    """Each way of writing a log."""
    given: LogFormat = request.param
    return given


@pytest.fixture
def everything_logged(log_format: LogFormat, log_text: io.StringIO) -> Iterator[io.StringIO]:
    """Collect all log lines of the lowest level, ours and every library's."""
    configure_logs(log_format, "debug", log_text)
    root = logging.getLogger()
    handler, level = logging.StreamHandler(log_text), root.level
    # Our own clients in these tests are httpx; their lines are no server's.
    handler.addFilter(lambda record: not record.name.startswith(("http", "hpack")))
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield log_text
    root.removeHandler(handler)
    root.setLevel(level)


class Scenario:
    """All kinds of acts, with each person's view of them."""

    def __init__(self) -> None:
        self.secrets: dict[str, list[str]] = {}
        self.seen: dict[str, list[Any]] = {}
        self.metrics = ""
        self.commits = b""

    async def run(self, there: Crowd) -> None:
        """Talk, misbehave, hang up, resume, subscribe, and stop."""
        ann, bob, cat = await there.session(), await there.modern(), await there.session()
        await self._talk(ann, bob, cat)
        await self._misbehave(ann, bob)
        self.secrets = {"Ann": [ann.handle, ann.session_id], "Bob": [bob.handle], "Cat": [cat.handle, cat.session_id]}
        log = there.running.broker.log
        self.metrics = there.running.broker.metrics.render().decode()
        self.commits = b"\n".join([encode_commit(commit) for commit in await log.read(0, 1_000)])

    async def _talk(self, ann: InSession, bob: Modern, cat: InSession) -> None:
        self.seen = {"Ann": [], "Bob": [], "Cat": []}
        await ann.enter(NAMES[0], interests=INTERESTS)
        async with ann.stream() as anns:
            self.seen["Bob"].append(await bob.enter(NAMES[1]))
            await ann.request("resources/subscribe", {"uri": f"chat://inbox/{ann.handle}"})
            async with bob.stream() as bobs:
                for number, word in enumerate(WORDS):
                    await bob.say(word, message_id=f"id-{number}")
                    await ann.call("send_message", room_id=bob.room_id, message=word)
                self.seen["Bob"] += [event.data for event in await bobs.take(3)]
            frames = await anns.take(7)
            self.seen["Ann"] += [event.data for event in frames]
        async with ann.stream(frames[0].id) as anns:
            self.seen["Ann"] += [event.data for event in await anns.take(6)]
        self.seen["Bob"].append(await bob.read(f"chat://inbox/{bob.handle}"))
        self.seen["Cat"].append(await cat.enter(NAMES[2]))
        await ann.call("next_partner", room_id=bob.room_id)
        self.seen["Bob"].append(await bob.hear())
        self.seen["Cat"].append(await cat.call("wait_for_events", cursor=0))
        self.seen["Ann"].append(await ann.call("get_status"))
        await ann.delete()

    async def _misbehave(self, ann: InSession, bob: Modern) -> None:
        await bob.refused("get_status", handle=ann.handle + "x")
        await bob.refused("send_message", room_id=WORDS[0], message=WORDS[0], handle=bob.handle)
        await bob.request("resources/read", {"uri": f"chat://inbox/{ann.handle}?cursor=9999"})
        await bob.request("resources/read", {"uri": f"chat://nowhere/{ann.handle}"})
        await bob.request(WORDS[0], {WORDS[1]: WORDS[2]})
        await bob.post(f'{{"jsonrpc": "2.0", "id": "{ann.handle}", "method": {WORDS[0]}'.encode())
        headers = {"mcp-session-id": ann.session_id, "mcp-protocol-version": "2025-11-25"}
        await bob.post(b"{}", headers)
        await bob.post(b"{}", headers | {"host": "evil.example"})
        await bob.post(b"{}", headers | {"origin": f"https://{WORDS[0]}.example"})
        wait = bob.calling("wait_for_events", handle=bob.handle, cursor=bob.cursor, wait_seconds=1)
        await asyncio.wait({wait}, timeout=0.05)
        wait.cancel()


async def test_a_log_holds_no_secret_and_no_word(everything_logged: io.StringIO, log_format: LogFormat) -> None:
    """At level debug, in both formats: no handle, session id, message, name, interest or header."""
    scenario = Scenario()
    async with serving() as running:
        async with crowd(running) as there:
            await scenario.run(there)
        running.stop()
    logged = everything_logged.getvalue()
    assert logged.count("commit") >= 10
    if log_format == "json":
        assert [json.loads(line)["event"] for line in logged.splitlines() if line.startswith("{")]
    secrets = [secret for secrets in scenario.secrets.values() for secret in secrets]
    found = {secret for secret in [*secrets, *NAMES, *INTERESTS, *WORDS] if secret in logged}
    assert found == set()


async def test_no_metric_and_no_commit_holds_a_secret(there: Crowd) -> None:
    """Handles and session ids are in neither; metrics hold no word and no name either."""
    scenario = Scenario()
    await scenario.run(there)
    assert "chat_broker_commits_total" in scenario.metrics
    assert WORDS[0].encode() in scenario.commits
    for secrets in scenario.secrets.values():
        for secret in secrets:
            assert secret not in scenario.metrics
            assert secret.encode() not in scenario.commits
    for word in (*WORDS, *NAMES, *INTERESTS):
        assert word not in scenario.metrics
    assert not SECRETS.search(scenario.metrics)


async def test_nobody_is_shown_anybody_elses_secret(there: Crowd) -> None:
    """No person receives, on streams or in results, a handle, session or public name of another."""
    scenario = Scenario()
    await scenario.run(there)
    for person, seen in scenario.seen.items():
        received = json.dumps(seen, ensure_ascii=False)
        assert len(received) > 100
        for other, secrets in scenario.secrets.items():
            if other != person:
                for secret in secrets:
                    assert secret not in received, (person, other)
    anns = json.dumps(scenario.seen["Ann"])
    assert NAMES[1] in anns
    assert "id-" not in anns, "a sender's own name for a message is nobody's business"
    assert INTERESTS[0] not in json.dumps(scenario.seen["Bob"])


async def test_a_partner_is_not_shown_who_one_is(there: Crowd) -> None:
    """Neither receives the connection id or the handle of the other."""
    ann, bob = await there.pair()
    async with bob.stream() as frames:
        await ann.say("hello")
        await ann.call("leave_chat", room_id=ann.room_id, handle=ann.handle)
        got = json.dumps([event.data for event in await frames.take(2)])
    got += json.dumps(await bob.hear()) + json.dumps(await bob.call("get_status", handle=bob.handle))
    assert ann.connection_id not in got
    assert ann.handle not in got


async def test_a_fault_of_ours_is_logged_without_secrets_and_answered_calmly(
    there: Crowd, log_text: io.StringIO
) -> None:
    """If a tool fails, the caller gets `unavailable`, and the traceback in the log is masked."""
    ann = await there.session()
    await ann.enter()
    hub = there.running.broker.hub
    original = hub.waits_of

    def broken(connection_id: str) -> int:
        raise RuntimeError(f"while looking at {ann.handle} of {ann.session_id}")

    hub.waits_of = broken
    refusal = await ann.refused("wait_for_events", cursor=0)
    hub.waits_of = original
    assert refusal["code"] == "unavailable"
    assert "RuntimeError" not in str(refusal)
    logged = log_text.getvalue()
    assert "tool_failed" in logged
    assert "[masked]" in logged
    assert ann.handle not in logged
    assert ann.session_id not in logged
    log_text.truncate(0)  # this fault was ours


async def test_a_resumed_stream_is_as_private_as_a_live_one(there: Crowd) -> None:
    """Another person's `Last-Event-ID` and a guessed session id open nothing."""
    ann, bob = await there.pair("2025", "2025")
    async with ann.stream() as frames:
        await bob.say("for Ann")
        last = (await frames.next()).id
    eve = await there.session()
    async with eve.stream(f"{str(last).partition('.')[0]}.1.0") as frames:
        await bob.say("for Ann as well")
        await eve.enter("Eve")
        fay = await there.modern()
        await fay.enter("Fay")
        assert texts([await frames.next()]) == []
    await eventually(lambda: there.running.metric('chat_broker_streams{kind="get"}') == 0)
