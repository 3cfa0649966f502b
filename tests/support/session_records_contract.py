"""The guarantees of the session records of every log."""

from __future__ import annotations

from events.log import EventLog
from tests.support.logs import run

KEY, OTHER = "k" * 32, "o" * 32
LONG = "".join(f"{number} \xe9 " for number in range(20_000))
"""A text of 180 kB that can't be compressed to some kilobytes."""


class SessionRecordsContract:
    """Tests of a log's `session_records`; a subclass says how to make the log."""

    async def make(self) -> EventLog:
        """Return a new log."""
        raise NotImplementedError

    def test_a_record_is_what_was_kept_last(self) -> None:
        """Fields are set, changed and removed one by one, of each key by itself."""

        async def scenario() -> None:
            records = (await self.make()).session_records
            await records.keep(KEY, {"a": b"1", "b": b"2"}, until_ms=100)
            await records.keep(KEY, {"a": None, "c": b"", "none": None}, until_ms=100)
            await records.keep(OTHER, {"a": b"\x00\xff"}, until_ms=100)
            assert await records.load(KEY, now_ms=0) == {"b": b"2", "c": b""}
            assert await records.load(OTHER, now_ms=0) == {"a": b"\x00\xff"}
            assert await records.load("nothing", now_ms=0) == {}

        run(scenario)

    def test_a_field_may_have_any_name_and_value(self) -> None:
        """A client chooses a part of both, so none may be more than the store can hold."""

        async def scenario() -> None:
            records = (await self.make()).session_records
            names = ("", "\0", "a\0b", "a\0c", "{}:*'\"\\\n", "\U0001f600" * 3, LONG, f"{LONG}\0")
            fields = {name: f"of {name}".encode() for name in names}
            await records.keep(KEY, fields, until_ms=100)
            assert await records.load(KEY, now_ms=0) == fields
            await records.keep(KEY, dict.fromkeys(names[1:]) | {"": LONG.encode()}, until_ms=100)
            assert await records.load(KEY, now_ms=0) == {"": LONG.encode()}

        run(scenario)

    def test_a_record_without_fields_is_empty(self) -> None:
        """Removing the last field leaves nothing, and fields may be kept again."""

        async def scenario() -> None:
            records = (await self.make()).session_records
            await records.keep(KEY, {"a": b"1"}, until_ms=100)
            await records.keep(KEY, {"a": None}, until_ms=100)
            assert await records.load(KEY, now_ms=0) == {}
            await records.keep(KEY, {"b": b"2"}, until_ms=100)
            assert await records.load(KEY, now_ms=0) == {"b": b"2"}

        run(scenario)

    def test_a_record_is_gone_when_its_time_is_over(self) -> None:
        """Each field expires by itself."""

        async def scenario() -> None:
            records = (await self.make()).session_records
            await records.keep(KEY, {"a": b"1"}, until_ms=100)
            assert await records.load(KEY, now_ms=99) == {"a": b"1"}
            assert await records.load(KEY, now_ms=100) == {}
            await records.keep(KEY, {"b": b"2"}, until_ms=200)
            await records.keep(KEY, {"a": b"3"}, until_ms=300)
            assert await records.load(KEY, now_ms=199) == {"a": b"3", "b": b"2"}
            assert await records.load(KEY, now_ms=299) == {"a": b"3"}

        run(scenario)

    def test_what_has_expired_is_forgotten(self) -> None:
        """Records within their time are kept."""

        async def scenario() -> None:
            records = (await self.make()).session_records
            await records.keep(KEY, {"a": b"1"}, until_ms=100)
            await records.keep(OTHER, {"a": b"1"}, until_ms=101)
            await records.expire(now_ms=100)
            assert await records.load(KEY, now_ms=0) == {}
            assert await records.load(OTHER, now_ms=0) == {"a": b"1"}

        run(scenario)

    def test_a_log_has_a_secret_of_its_own(self) -> None:
        """The secret has 32 random bytes."""

        async def scenario() -> None:
            secrets = {(await self.make()).session_records.secret for _ in range(2)}
            assert len(secrets) == 2
            assert {len(secret) for secret in secrets} == {32}

        run(scenario)
