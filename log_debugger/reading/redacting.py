"""A log that can be given away: who did what when, without a word of what was said and without a name.

Texts are replaced by their lengths and salted hashes, and the salts go; names become `Anonymous`; interests, and the
ids that clients give to their messages, become pseudonyms under a key that is drawn for the occasion and kept nowhere,
so one can see that two people share something, or that a message is a repeat, and not what. All of that is under the
commits' hashes, so the commits get ids of their own: what comes out is a log in its own right, in which the same
decisions lead to the same events.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Iterator
from typing import Any

import immutables
import msgspec

from events.codec import decode_commit, encode_commit
from events.commit import EMPTY_TIP, SCHEMA_VERSION, Commit, Tip, check_link, commit_id_of, redact
from events.ids import NO_COMMIT, ClientMessageId, CommitId
from projections.connections import Connections
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
        """The base as it is to be written; its queue is none, since a written state has none of its own."""
        base = self._base
        connections = {who: self._plain(one) for who, one in base.connections.by_id.items()}
        rooms = {room_id: self._plain(room) for room_id, room in base.rooms.by_id.items()}
        return msgspec.structs.replace(
            base,
            tip=self._written,
            connections=Connections(immutables.Map(connections), base.connections.idle),
            rooms=Rooms(immutables.Map(rooms), base.rooms.closed),
        )

    def lines(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        """The commits behind the base as they are to be written.

        Raises:
            BrokenChainError: what is read is not what was stored.
            UnreadableCommitError: likewise.
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
        """A command, an event, a connection or a room without what somebody typed or chose."""
        fields = value.__struct_fields__
        changes: dict[str, Any] = {name: NAME for name in _NAMES if name in fields}
        if "interests" in fields:
            changes["interests"] = tuple(sorted(self._pseudonym(interest) for interest in value.interests))
        if getattr(value, "client_message_id", None) is not None:
            changes["client_message_id"] = self._pseudonym(value.client_message_id)
        changes |= {field: self._ids(getattr(value, field)) for field in _IDS if field in fields}
        return msgspec.structs.replace(value, **changes) if changes else value

    def _ids(self, ids: MessageIds) -> MessageIds:
        return immutables.Map(
            {(who, ClientMessageId(self._pseudonym(name))): at_ms for (who, name), at_ms in ids.items()}
        )

    def _tip(self, tip: Tip) -> Tip:
        """A base's id is the hash of a commit that is gone, with a name in it perhaps."""
        return EMPTY_TIP if tip == EMPTY_TIP else Tip(tip.position, CommitId(self._pseudonym(tip.commit_id)))

    def _pseudonym(self, text: str) -> str:
        return hmac.digest(self._key, text.encode(), hashlib.sha256).hex()[:_DIGITS]
