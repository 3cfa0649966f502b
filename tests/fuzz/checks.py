"""Checks of every answer and of every line of the log, for any request."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from mcp_facade.http.host_check import _REFUSALS
from mcp_facade.texts import NO_STREAM
from mcp_facade.web.page import chat_page
from tests.fuzz.protocol import Dialogue, Response
from tests.hostile.request import Request
from tests.hostile.values import MARK

OURS = ("Traceback", 'File "', "site-packages", "mcp_facade")
"""No answer shows any of these."""

REASONS_FOR_503 = (NO_STREAM, "Too many open sessions", "starting: try again in a moment")

PLAIN_TEXTS = {
    "",
    "Not Found",
    "Method Not Allowed",
    *(refusal.text for refusal in _REFUSALS.values()),
    "Invalid Content-Type header",
    "Invalid HTTP request received.",
    "Request body too large",
    "The request's head is too big",
}
"""Every plain-text answer, ours or a library's."""

REPEATED: Sequence[tuple[str, str]] = (
    # of the error's message, and why it may repeat the sender's words; they go to no other client
    (r"Method not found", "the SDK names the method in `data`"),
    (r"Unsupported protocol version", "MCP 2026-07-28 wants the version in `data.requested`"),
    (r"Resource not found\. ", "MCP names the URI in `data.uri`; ours does so unless it might hold a handle"),
)


STRANGERS = {"partner", "events"}
"""The fields of a refusal with a stranger's words, as data: the caller's room, and the last words in it."""


def check_dialogue(dialogue: Dialogue) -> None:
    """Check the answers of one connection against its requests.

    Raises:
        AssertionError: a check fails; the message says how.
    """
    for response in dialogue.responses:
        _check_response(response)
    ids = _ids_of(dialogue.asked)
    if ids is not None:
        for answered in _ids_answered(dialogue.responses):
            assert answered in ids, f"an answer to {answered}, and asked was {ids}"
    if dialogue.asked and dialogue.asked[0].is_owed_an_answer and len(dialogue.asked) == 1:
        assert dialogue.responses, "the connection was closed with no answer"


def _ids_of(asked: Sequence[Request]) -> set[str] | None:
    """Return the ids of the requests, as JSON, or `None` where one can't be read for sure."""
    ids = {"null"}
    for request in asked:
        if request.raw is not None and not request.body:
            return None
        if request.body:
            try:
                said = json.loads(request.body)
            except (ValueError, RecursionError):
                return None
            ids |= {
                json.dumps(one.get("id"))
                for one in (said if isinstance(said, list) else [said])
                if isinstance(one, dict)
            }
    return ids


def _ids_answered(responses: Sequence[Response]) -> Iterator[str]:
    """Return the ids of the answers, as JSON."""
    for response in responses:
        for line in response.body.decode().split("\n"):  # an id may hold other ends of lines
            body = line.removeprefix("data: ")
            if body.startswith('{"jsonrpc"') and response.complete:
                message = json.loads(body)
                if "method" not in message:
                    yield json.dumps(message["id"])


def _check_response(response: Response) -> None:
    text = response.body.decode()
    for ours in OURS:
        assert ours not in text, f"it shows {ours}"
    if response.status >= 500:
        assert response.status == 503, f"status {response.status}: {text}"
        assert any(reason in text for reason in REASONS_FOR_503), f"503 with no reason: {text}"
    kind = response.headers.get("content-type", "").partition(";")[0]
    if kind == "application/json":
        if response.complete and text:
            _check_json(text, response.status)
    elif kind == "text/event-stream":
        _check_stream(text, complete=response.complete)
    elif kind == "text/html":
        assert text in ("", chat_page().html), "a page that nobody knows"
    elif "chat_broker_" not in text:
        assert text in PLAIN_TEXTS, f"a text that nobody knows: {text}"


def _check_json(text: str, status: int) -> None:
    message = json.loads(text, parse_constant=_no_json)
    if message in ({"status": "ok"}, {"ready": True}):
        return
    _check_message(message)
    if "result" in message:
        assert status == 200


def _check_stream(text: str, *, complete: bool) -> None:
    blocks = re.split(r"\r\n\r\n", text)
    assert not complete or blocks[-1] in ("", "\r\n") or not text, f"half an event: {blocks[-1]}"
    answers = 0
    for block in blocks[:-1]:
        fields = dict(line.split(": ", 1) for line in block.strip("\r\n").split("\r\n") if line and line[0] != ":")
        assert set(fields) <= {"id", "event", "data", "retry"}, f"a field that there is not: {block}"
        if fields.get("data"):
            message = json.loads(fields["data"], parse_constant=_no_json)
            _check_message(message)
            answers += "method" not in message
    assert answers <= 1, "more than one answer"


def _no_json(constant: str) -> Any:
    raise AssertionError(f"{constant} is no JSON")


def _check_message(message: Any) -> None:
    """Check a JSON-RPC 2.0 answer or notification; an error in it repeats no words of a client."""
    assert message["jsonrpc"] == "2.0"
    if "method" in message:
        assert "id" not in message
        assert set(message) <= {"jsonrpc", "method", "params"}
        return
    assert isinstance(message["id"], int | str | None), "an id of another type"
    assert ("result" in message) != ("error" in message), "neither a result nor an error, or both"
    if "error" in message:
        error = message["error"]
        assert set(error) <= {"code", "message", "data"}
        assert isinstance(error["code"], int)
        assert error["code"] not in (0, -32603) or error["message"] in REASONS_FOR_503, f"a fault of ours: {error}"
        known = any(re.match(pattern, error["message"]) for pattern, _ in REPEATED)
        assert known or MARK not in json.dumps(error), f"it repeats what was said: {error}"
        assert "stranger" not in json.dumps(error).replace(NO_STREAM, "") or known, f"a stranger's words: {error}"
    elif message["result"].get("isError"):
        refusal = message["result"]["structuredContent"]
        assert [json.loads(content["text"]) for content in message["result"]["content"]] == [refusal]
        ours = {name: value for name, value in refusal.items() if name not in STRANGERS}
        assert MARK not in json.dumps(ours), f"it repeats what was said: {refusal}"


def check_log(text: str, secrets: Sequence[str]) -> None:
    """Check lines of the log for forbidden contents.

    Raises:
        AssertionError: a line has some; the message shows them.
    """
    assert "Traceback" not in text, f"a traceback in the log: {text[:4_000]}"
    assert '"level":"error"' not in text, f"an error in the log: {text[:4_000]}"
    assert MARK not in text, f"someone's words in the log: {text}"
    for secret in secrets:
        assert secret not in text, f"a secret in the log: {text}"
