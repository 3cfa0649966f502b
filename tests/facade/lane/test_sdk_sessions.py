"""Our answers in 2025 sessions are those of the SDK's own stateful manager, byte for byte.

A version of the SDK with other answers shows here. Not compared are the session ids (ours names one at the opening of
a session, and nowhere else), pings, and deliberate differences: the text of a refused message, an id in flight twice,
the end of a session with calls in flight, a repeated `initialize` in a session (with another version, it opens
another), an `initialize` with an unknown session (it opens one), and arguments in the form of a text.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from events.policy import Policy
from mcp_facade.http.headers import SESSION_HEADER
from mcp_facade.session_tokens import VERSIONS
from tests.facade.lane.sdk_manager import SdkManager
from tests.facade.lane.twins import AsgiExchange, Twin, idle, run
from tests.facade.people import SESSIONS
from tests.hostile.changes import CHANGES, changed
from tests.hostile.messages import OTHER_METHODS, TOOLS, Draft, Json, in_session, messages, opening, posted
from tests.support.fake_clock import settle

EXAMPLES = int(os.environ.get("LANE_EXAMPLES", "40"))
REQUESTS = 12

SKIPPED = {"method", "no_length"}
"""After these changes the endpoint answers by itself, or the request has no end."""


class Pair:
    """Two brokers alike: one as it is but without the lane, one with the SDK's manager."""

    def __init__(self) -> None:
        generous = Policy(
            messages_per_10s_max=10**6, queue_commands_per_10s_max=10**6, handles_minted_per_10s_max=10**6
        )
        self.ours, self.theirs = (Twin(generous, 1, fast_lane=False) for _ in range(2))
        self.compared: Counter[int] = Counter()

    async def ask(self, draft: Draft) -> AsgiExchange:
        """Send a request to both; their responses must be equal. A lasting one is hung up."""
        both = []
        for twin in (self.ours, self.theirs):
            with twin.drawing():
                both.append(AsgiExchange(twin.app, draft.request()))
                await idle(both[-1])
        ours, theirs = both
        if ours.status == 400:  # in one line, and also where the SDK takes a request without an id for a notification
            is_unknown = theirs.status == 404 and "header" in draft.changes  # the SDK looks for the session first
            assert is_unknown or theirs.status in (400, 202), (draft, ours.answer, theirs.answer)
        elif ours.status == 404:  # for an unknown session, with a code and words of our own
            assert theirs.status == 404, (draft, ours.answer, theirs.answer)
        else:
            assert ours.answer == theirs.answer, (draft, ours.answer, theirs.answer)
        self.compared[ours.status] += 1
        for twin, exchanged in zip((self.ours, self.theirs), both, strict=True):
            if not exchanged.is_over:
                with twin.drawing():
                    exchanged.hang_up()
                    await settle(60)
        return ours

    async def session(self, version: str = SESSIONS) -> str:
        """Open a session at both, and return its id."""
        return (await self.ask(opening(version))).header(b"mcp-session-id")


async def compare(pair: Pair, conversation: Callable[[Pair], Awaitable[None]]) -> None:
    """Carry out `conversation`, a function of the pair, at both."""
    ours, theirs = pair.ours, pair.theirs
    async with ours.app.endpoint.run(), theirs.app.endpoint.run():
        for twin in (ours, theirs):
            with twin.drawing():
                await twin.broker.start(twin.policy)
        async with SdkManager(theirs.app.endpoint).serving():
            await conversation(pair)
        for twin in (ours, theirs):
            with twin.drawing():
                twin.app.drain()
                await settle(60)
                await twin.broker.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_every_method_is_answered_as_in_the_sdks_session(version: str) -> None:
    """Checked in each version: every tool, every other method, and a few unknown ones."""

    async def conversation(pair: Pair) -> None:
        session_id = await pair.session(version)
        number = 10
        for tool in TOOLS:
            number += 1
            await pair.ask(in_session("tools/call", {"name": tool, "arguments": {}}, session_id, number, version))
        for method in [*OTHER_METHODS, "nothing", "notifications/initialized", "notifications/made_up"]:
            number += 1
            await pair.ask(in_session(method, {}, session_id, number, version))
        params = {"name": "enter_queue", "arguments": {"display_name": "Ann"}, "_meta": {"progressToken": 7}}
        entered = await pair.ask(in_session("tools/call", params, session_id, "enter", version))
        assert entered.results[0]["result"]["isError"] is False
        await pair.ask(in_session("resources/read", {"uri": "chat://lobby"}, session_id, "lobby", version))

    pair = Pair()
    run(compare(pair, conversation))
    assert pair.compared[200] > len(TOOLS)


@pytest.mark.slow
def test_whatever_is_asked_in_a_session_is_answered_as_in_the_sdks() -> None:
    """Drawn are messages of every kind, and calls with changes in their headers and bodies."""
    compared: Counter[int] = Counter()

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
        derandomize=True,
        phases=[Phase.generate],
    )
    @given(data=st.data())
    def converse(data: st.DataObject) -> None:
        async def conversation(pair: Pair) -> None:
            session_id = await pair.session(data.draw(st.sampled_from(VERSIONS)))
            for number in range(REQUESTS):
                draft = data.draw(drafts(session_id, number))
                if not SKIPPED & {*draft.changes} and not _is_read_otherwise(draft):
                    await pair.ask(draft)

        pair = Pair()
        run(compare(pair, conversation))
        compared.update(pair.compared)

    converse()
    assert compared[200] > 3 * EXAMPLES
    assert compared[400] > EXAMPLES / 4


@st.composite
def drafts(draw: st.DrawFn, session_id: str, number: int) -> Draft:
    """Draw a request of that session, or one to open another."""
    kind = draw(st.sampled_from(["message", "message", "call", "opening"]))
    if kind == "message":
        return posted(draw(messages(is_modern=False).filter(_is_no_opening)), session_id, SESSIONS)
    if kind == "opening":
        return draw(changed(opening(draw(st.sampled_from(VERSIONS))), CHANGES))
    params = {"name": draw(st.sampled_from(TOOLS)), "arguments": {}}
    return draw(changed(in_session("tools/call", params, session_id, number), CHANGES))


def _is_read_otherwise(draft: Draft) -> bool:
    """Tell an opening with a session id, or arguments in the form of a text: we take both, as hosts mean them."""
    body = draft.body if isinstance(draft.body, dict) else {}
    is_opening = body.get("method") == "initialize"
    params = body.get("params")
    has_text = isinstance(params, dict) and any(isinstance(params.get(name), str) for name in ("arguments", "_meta"))
    return has_text or (is_opening and any(name.lower() == SESSION_HEADER for name, _ in draft.headers))


def _is_no_opening(message: Json) -> bool:
    return message["method"] != "initialize" if "method" in message else True
