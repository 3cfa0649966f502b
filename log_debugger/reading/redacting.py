"""Redaction of a whole log: the events stay, without texts, names or interests.

Texts are replaced by their lengths and salted hashes, and the salts are dropped. Names become `Anonymous`. Interests,
and clients' message ids, become pseudonyms under a random key; the key is stored nowhere. So shared interests and
repeated messages stay visible, but not their contents. Since the commits' hashes cover these fields, the commits get
new ids: the result is a valid log of its own, with the same decisions and events.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from events.codec import decode_commit, encode_commit
from events.commit import EMPTY_TIP, SCHEMA_VERSION, Commit, Tip, check_link, commit_id_of, redact
from events.ids import NO_COMMIT, ClientMessageId, CommitId
from projections.connections import Connections
from projections.persistent_map import Map
from projections.rooms import MessageIds, Rooms
from projections.state import State

NAME = "Anonymous"
KEY_BYTES = 32
_DIGITS = 32

_NAMES = ("display_name", "first_name", "second_name")
_IDS = ("newest_ids", "older_ids")


class Redactor:
    """Redacts one log, from its base on."""

    def __init__(self, key: bytes, base: State) -> None:
        self._key = key
        self._read = base.tip
        self._written = self._tip(base.tip)
        self._base = base

    def base(self) -> State:
        """Return the redacted base. Its queue is empty, since a stored state has none."""
        base = self._base
        connections = {who: self._plain(one) for who, one in base.connections.by_id.items()}
        rooms = {room_id: self._plain(room) for room_id, room in base.rooms.by_id.items()}
        return msgspec.structs.replace(
            base,
            tip=self._written,
            connections=Connections(Map(connections), base.connections.idle),
            rooms=Rooms(Map(rooms), base.rooms.closed),
        )

    def lines(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the redacted commits after the base.

        Raises:
            BrokenChainError: a commit was altered, or does not follow the one before.
            UnreadableCommitError: a commit can't be decoded.
        """
        for line in lines:
            commit = decode_commit(line)
            check_link(self._read, commit)
            self._read = commit.tip
            redacted = self._redacted(commit)
            self._written = redacted.tip
            yield encode_commit(redacted)

    def _redacted(self, commit: Commit) -> Commit:
        redacted = redact(commit)
        unsigned = Commit(
            SCHEMA_VERSION,
            redacted.position,
            NO_COMMIT,
            self._written.commit_id,
            redacted.at_ms,
            self._plain(redacted.command),
            redacted.facts,
            tuple(self._plain(event) for event in redacted.events),
        )
        return msgspec.structs.replace(unsigned, commit_id=commit_id_of(unsigned))

    def _plain(self, value: Any) -> Any:
        """Return a command, event, connection or room without texts typed or chosen by people."""
        fields = value.__struct_fields__
        changes: dict[str, Any] = {name: NAME for name in _NAMES if name in fields}
        if "interests" in fields:
            changes["interests"] = tuple(sorted(self._pseudonym(interest) for interest in value.interests))
        if getattr(value, "client_message_id", None) is not None:
            changes["client_message_id"] = self._pseudonym(value.client_message_id)
        changes |= {field: self._ids(getattr(value, field)) for field in _IDS if field in fields}
        return msgspec.structs.replace(value, **changes) if changes else value

    def _ids(self, ids: MessageIds) -> MessageIds:
        return Map({(who, ClientMessageId(self._pseudonym(name))): at_ms for (who, name), at_ms in ids.items()})

    def _tip(self, tip: Tip) -> Tip:
        """Return the base's tip with a pseudonym for its id: the id is a hash over a removed commit's names."""
        return EMPTY_TIP if tip == EMPTY_TIP else Tip(tip.position, CommitId(self._pseudonym(tip.commit_id)))

    def _pseudonym(self, text: str) -> str:
        return hmac.digest(self._key, text.encode(), hashlib.sha256).hex()[:_DIGITS]
