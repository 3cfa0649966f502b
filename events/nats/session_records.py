"""Session records in a bucket beside the log: one key for each record, with all of its fields.

A change is a compare-and-set of the whole record. So changes of two brokers at the same moment are both kept. The
server itself forgets a record a year after its last change.

A client chooses a part of a field's name, and a bucket's key holds few characters. So names are inside the value.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from functools import partial
from weakref import WeakValueDictionary

import msgspec
from nats.js import JetStreamContext
from nats.js.api import Header
from nats.js.errors import APIError, NotFoundError

from events.log import LogUnavailableError
from events.nats.client import Client
from events.nats.layout import Layout
from events.nats.requests import WRONG_SEQUENCE, erase, subjects
from events.session_records import Fields

ATTEMPTS = 20
"""The tries of one change, each after another broker's change of the same record."""

RECORD_BYTES_MAX = 900_000
"""The longest record; a server takes 1 MiB in a message unless it was told otherwise."""

KEPT_S_MAX = 366 * 24 * 3_600
"""The longest time of a record in the server after its last change."""

Stored = dict[bytes, tuple[int, bytes]]
"""Field to the Unix time (ms) until which it is kept, and its value."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Stored).decode


class NatsSessionRecords:
    """See `events.session_records.SessionRecords`. They are as durable as the log."""

    def __init__(self, secret: bytes, layout: Layout, client: Client) -> None:
        self.secret = secret
        self._stream = f"KV_{layout.sessions_bucket}"
        self._prefix = f"$KV.{layout.sessions_bucket}."
        self._client = client
        self._changing = WeakValueDictionary[str, asyncio.Lock]()

    async def load(self, key: str, *, now_ms: int) -> Fields:
        """See `SessionRecords.load`."""
        stored, _ = await self._client.run(lambda js: self._read(js, self._subject(key)))
        return {_text(name): value for name, (until_ms, value) in stored.items() if until_ms > now_ms}

    async def keep(self, key: str, changes: Mapping[str, bytes | None], *, until_ms: int) -> None:
        """See `SessionRecords.keep`."""
        subject = self._subject(key)
        lock = self._changing.setdefault(subject, asyncio.Lock())  # it serves callers in their order
        async with lock:
            await self._keep(subject, changes, until_ms)

    async def expire(self, *, now_ms: int) -> None:
        """See `SessionRecords.expire`. The server's own limit is for brokers without that habit."""
        for subject in await self._client.ask(lambda nats: subjects(nats, self._stream, f"{self._prefix}>")):
            if sequence := await self._client.run(partial(self._expired, subject, now_ms)):
                # A change meanwhile has another sequence, and stays.
                await self._client.ask(partial(erase, stream=self._stream, sequences=[sequence]))

    def _subject(self, key: str) -> str:
        """Return the subject of `key`, of any characters."""
        return self._prefix + hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()

    async def _keep(self, subject: str, changes: Mapping[str, bytes | None], until_ms: int) -> None:
        for _ in range(ATTEMPTS):
            if await self._client.run(partial(self._change, subject, changes, until_ms)):
                return
        raise LogUnavailableError("other brokers change the same session's record all the time")

    async def _change(
        self, subject: str, changes: Mapping[str, bytes | None], until_ms: int, js: JetStreamContext
    ) -> bool:
        """Change a record; return whether no other change came in between."""
        stored, sequence = await self._read(js, subject)
        for name, value in changes.items():
            if value is None:
                stored.pop(_bytes(name), None)
            else:
                stored[_bytes(name)] = until_ms, value
        data = _encode(stored)
        if len(data) > RECORD_BYTES_MAX:
            raise LogUnavailableError(f"a session's record is longer than {RECORD_BYTES_MAX} bytes")
        return await self._write(js, subject, data, sequence)

    async def _read(self, js: JetStreamContext, subject: str) -> tuple[Stored, int]:
        """Return the fields of a record, and the sequence to expect at the next change: 0 if there is none."""
        try:
            message = await js.get_last_msg(self._stream, subject)
        except NotFoundError:
            return {}, 0
        try:
            return _decode(message.data or b"\x80"), message.seq or 0
        except msgspec.DecodeError:  # another program wrote it
            return {}, message.seq or 0

    async def _write(self, js: JetStreamContext, subject: str, data: bytes, last: int) -> bool:
        """Write a record, unless it was changed since `last`; return whether it was written."""
        try:
            await js.publish(
                subject, data, headers={Header.EXPECTED_LAST_SUBJECT_SEQUENCE: str(last)}, msg_ttl=KEPT_S_MAX
            )
        except APIError as error:
            if error.err_code in WRONG_SEQUENCE:
                return False
            raise
        return True

    async def _expired(self, subject: str, now_ms: int, js: JetStreamContext) -> int:
        """Return the sequence of a record without a field in force; 0 if it has one."""
        stored, sequence = await self._read(js, subject)
        return 0 if any(until_ms > now_ms for until_ms, _ in stored.values()) else sequence


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass")


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogatepass")
