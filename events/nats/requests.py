"""Requests to JetStream, as its servers understand them: a subject and JSON, answered by JSON or by messages.

The library's own methods lack some of them, such as batches, and drop parts of the answers.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple
from uuid import uuid4

import msgspec
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg
from nats.errors import ConnectionClosedError, Error, NoRespondersError
from nats.js.errors import APIError, NotFoundError

from events.nats import client
from events.nats.errors import NO_STREAM

JsonObject = dict[str, Any]

PAGE_BYTES = 4 * 1_048_576
"""The size of an answer to one request. A server cuts a connection with too many bytes under way."""

BATCH_MESSAGES_MAX = 1_000
"""The most messages of an atomic batch."""

NO_CLUSTER = 10074
"""The server's code for several replicas on a single server."""

NO_PEERS = 10005
"""The server's code for more replicas than its cluster has servers now."""

WRONG_SEQUENCE = (10071, 10164)
"""The server's codes for an append after another one."""

EXPECTED_STREAM = "Nats-Expected-Stream"
EXPECTED_SEQUENCE = "Nats-Expected-Last-Sequence"
EXPECTED_SUBJECT_SEQUENCE = "Nats-Expected-Last-Subject-Sequence"
EXPECTED_SUBJECT = "Nats-Expected-Last-Subject-Sequence-Subject"

ROLLUP = {"Nats-Rollup": "sub"}
"""The headers of a message that takes the place of all others of its subject."""

_DONE, _NONE, _NO_RESPONDERS = "204", "404", "503"

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Message(NamedTuple):
    """A stored message, as a stream's leader answers it."""

    sequence: int
    headers: Mapping[str, str]
    data: bytes
    time: str


class Draft(NamedTuple):
    """A message to be published."""

    subject: str
    data: bytes
    headers: Mapping[str, str]


async def api(nats: Nats, subject: str, request: Mapping[str, Any] | None = None) -> JsonObject:
    """Return the answer of the leader to a request at `$JS.API.SUBJECT`.

    Raises:
        APIError: it is an error.
    """
    data = _encode(request) if request is not None else b""
    return _checked(await nats.request(f"$JS.API.{subject}", data, timeout=client.ANSWER_SECONDS))


async def publish(nats: Nats, message: Draft) -> JsonObject:
    """Publish a message to a stream; return the acknowledgement.

    Raises:
        APIError: the stream refuses it.
        NoRespondersError: no stream takes it.
    """
    answer = await nats.request(
        message.subject, message.data, timeout=client.ANSWER_SECONDS, headers=dict(message.headers)
    )
    return _checked(answer)


async def publish_batch(nats: Nats, messages: Sequence[Draft]) -> JsonObject:
    """Publish up to `BATCH_MESSAGES_MAX` messages to a stream, all of them or none. See ADR-50 of NATS.

    Raises: see `publish`.
    """
    assert 0 < len(messages) <= BATCH_MESSAGES_MAX
    if len(messages) == 1:
        return await publish(nats, messages[0])
    batch = {"Nats-Batch-Id": uuid4().hex}
    for number, message in enumerate(messages[:-1], 1):
        await nats.publish(
            message.subject, message.data, headers={**message.headers, **batch, "Nats-Batch-Sequence": str(number)}
        )
    last = messages[-1]
    commit = {"Nats-Batch-Sequence": str(len(messages)), "Nats-Batch-Commit": "1"}
    return await publish(nats, last._replace(headers={**last.headers, **batch, **commit}))


async def stored(nats: Nats, stream: str, request: Mapping[str, Any]) -> Message | None:
    """Return a message of `stream` by a request such as `{"seq": 7}`; `None` if there is none."""
    try:
        found = (await api(nats, f"STREAM.MSG.GET.{stream}", request))["message"]
    except NotFoundError as error:
        if error.err_code == NO_STREAM:
            raise
        return None
    headers, data = (base64.b64decode(found.get(name) or "") for name in ("hdrs", "data"))
    lines = (line.partition(":") for line in headers.decode(errors="replace").split("\r\n"))
    return Message(found["seq"], {name: value.strip() for name, _, value in lines}, data, found["time"])


async def state_of(nats: Nats, stream: str) -> JsonObject | None:
    """Return the state of `stream`, such as the number of its messages; `None` if it is missing."""
    answer = await _info(nats, stream)
    return None if answer is None else answer["state"]


async def _info(nats: Nats, stream: str, request: Mapping[str, Any] | None = None) -> JsonObject | None:
    try:
        return await api(nats, f"STREAM.INFO.{stream}", request)
    except NotFoundError as error:
        if error.err_code != NO_STREAM:
            raise
        return None


async def subjects(nats: Nats, stream: str, pattern: str) -> list[str]:
    """Return the subjects of the messages of `stream`, as far as they match; none if the stream is missing.

    A server answers with 100,000 at once.
    """
    found: list[str] = []
    while True:
        answer = await _info(nats, stream, {"subjects_filter": pattern, "offset": len(found)})
        if answer is None:
            return []
        some = answer["state"].get("subjects") or {}
        found += some
        if not some or len(found) >= answer.get("total", 0):
            return found


async def erase(nats: Nats, stream: str, sequences: Sequence[int]) -> None:
    """Delete messages of `stream`, and overwrite their bytes; missing ones are skipped."""
    for sequence in sequences:
        try:
            await api(nats, f"STREAM.MSG.DELETE.{stream}", {"seq": sequence})
        except APIError:
            if await stored(nats, stream, {"seq": sequence}) is not None:
                raise  # else it is gone, for which the server has several errors


async def page(nats: Nats, stream: str, request: Mapping[str, Any]) -> list[Msg]:
    """Return messages of `stream`, from any replica. A late replica lacks the last ones."""
    found: list[Msg] = []
    ended: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()

    async def take(message: Msg) -> None:
        if "Status" not in (message.headers or {}):
            found.append(message)
        elif not ended.done():
            ended.set_result(message)

    inbox = nats.new_inbox()
    subscription = await nats.subscribe(inbox, cb=take)
    try:
        await nats.publish(f"$JS.API.DIRECT.GET.{stream}", _encode(request), reply=inbox)
        headers = (await ended).headers or {}
    finally:
        with suppress(ConnectionClosedError):
            await subscription.unsubscribe()
    status = headers.get("Status")
    if status == _NO_RESPONDERS:
        raise NoRespondersError
    if status not in (_DONE, _NONE):
        raise Error(f"nats: {headers.get('Description')}")
    return found


def _checked(answer: Msg) -> JsonObject:
    found: JsonObject = _decode(answer.data or b"{}")
    if "error" in found:
        raise _api_error(found["error"])
    return found


def _api_error(error: Mapping[str, Any]) -> APIError:
    known = {name: error.get(name) for name in ("code", "err_code", "description")}
    kind = NotFoundError if known["code"] == 404 else APIError
    return kind(**known)
