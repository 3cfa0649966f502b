"""The comparison can fail: each of these differences, made on purpose, is found by it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from mcp_facade.fast import lane, requests
from mcp_facade.http import encoders as answers
from mcp_facade.http import long_running as long_running
from tests.facade.lane.test_same_answers import converse
from tests.facade.lane.twins import run
from tests.hostile.messages import CLIENT, LEVEL

EXAMPLES_MAX = 1_000

Planted = Any
"""A context; the difference exists while it is open."""


def _is_error_left_out() -> Planted:
    written = answers.StatelessEncoder.result
    return patch.object(
        answers.StatelessEncoder, "result", lambda *given: written(*given).replace(b'"isError":false,', b"", 1)
    )


def _without(key: str) -> Callable[[], Planted]:
    """Return a difference: the envelope's member `key` is not checked."""

    def planted() -> Planted:
        judged = requests._envelope.__wrapped__

        def judge(raw: bytes) -> Any:
            meta = json.loads(raw)
            if isinstance(meta, dict):
                meta.pop(key, None)
            return judged(json.dumps(meta).encode())

        return patch.object(requests, "_envelope", judge)

    return planted


def _accept_ignored() -> Planted:
    return patch.object(requests, "takes_both", lambda accept: True)


def _header_twice_ignored() -> Planted:
    usual = requests.is_usual
    return patch.object(
        lane, "is_usual", lambda scope, headers, most: usual({**scope, "headers": list(headers.items())}, headers, most)
    )


class _LaxParams(msgspec.Struct):
    name: str
    arguments: dict[str, Any] | None = None
    meta: msgspec.Raw = msgspec.field(name="_meta", default=msgspec.Raw(b""))


class _LaxCall(msgspec.Struct):
    jsonrpc: str
    id: int | str
    method: str
    params: _LaxParams


def _unknown_keys_ignored() -> Planted:
    return patch.object(lane, "TOOL_CALL", msgspec.json.Decoder(_LaxCall))


def _utf_8_in_2026() -> Planted:
    return patch.object(answers, "as_ascii", lambda body: body)


def _name_header_ignored() -> Planted:
    understood = lane.FastLane._stateless_call

    def understand(self: Any, headers: Any, body: bytes) -> Any:
        call = requests.decoded(body, requests.TOOL_CALL)
        named = {lane.NAME_HEADER: call.params.name.encode()} if call is not None else {}
        return understood(self, {**headers, **named}, body)

    return patch.object(lane.FastLane, "_stateless_call", understand)


def _nobody_watched() -> Planted:
    return patch.object(lane, "_may_block", lambda name, arguments: False)


def _never_called_off() -> Planted:
    return patch.object(lane, "coerce_request_id", lambda request_id: object())


# Each with the steps, tools and changes most likely to show it.
PLANTED: dict[str, tuple[Any, ...]] = {
    "isError is left out": (_is_error_left_out,),
    "clientInfo is not looked at": (_without(CLIENT), "changed_call", "meta"),
    "logLevel is not looked at": (_without(LEVEL), "changed_call", "meta"),
    "Accept is not looked at": (_accept_ignored, "changed_call", "header"),
    "a header may come twice": (_header_twice_ignored, "changed_call", "header_twice"),
    "what else stands in the body is not looked at": (_unknown_keys_ignored, "changed_call", "value_more"),
    "2026-07-28 is written as UTF-8": (_utf_8_in_2026,),
    "Mcp-Name is not looked at": (_name_header_ignored, "changed_call", "header"),
    "nobody sees that a client has gone": (_nobody_watched, "wait_for_events", "call", "hang_up"),
    "a call that lasts can't be called off": (_never_called_off, "wait_for_events", "call", "cancel"),
}


@pytest.mark.slow
@pytest.mark.parametrize("difference", PLANTED)
def test_a_difference_is_found(difference: str) -> None:
    """The comparison fails within a bounded number of conversations with suitable steps."""
    planted, *likely = PLANTED[difference]

    @settings(
        max_examples=EXAMPLES_MAX,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(data=st.data())
    def compare(data: st.DataObject) -> None:
        run(converse(data, Counter(), likely))

    with planted(), pytest.raises(AssertionError):
        compare()
