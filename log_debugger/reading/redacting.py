"""Redaction of a whole log: the events stay, without texts, names or interests.

Texts are replaced by their lengths and salted hashes, and their salts are dropped. Names become `Anonymous`, and a salt
of theirs becomes the same mark everywhere: it tells a name from a forgotten one. Interests, and clients' message ids,
become pseudonyms under a random key; the key is stored nowhere. So shared interests and repeated messages stay visible,
but not their contents. Interests that were redacted in the log stay as they are. Since the commits' hashes cover these
fields, the commits get new ids: the result is a valid log of its own, with the same decisions and events.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from events.codec import decode_commit, encode_commit
from events.commands import Command, EnterQueue
from events.commit import EMPTY_TIP, SCHEMA_VERSION, Commit, Facts, Tip, check_link, commit_id_of
from events.events import NamesForgotten, QueueEntered
from events.ids import NO_COMMIT, ClientMessageId, CommitId, ConnectionId
from events.text import ANONYMOUS, Interests, RedactedText, Text, redacted, redacted_interests
from projections.connections import Connections
from projections.persistent_map import Map
from projections.rooms import MessageIds, Rooms
from projections.state import State

SALT = "-"
"""The mark in the place of a name's salt."""
KEY_BYTES = 32
_DIGITS = 32

_NAMES = {"display_name": "salt", "first_name": "first_salt", "second_name": "second_salt"}
"""The fields of names, with those of their salts."""
_TEXTS = ("text", "note")
_NO_INTERESTS_BYTES = len("[]")
_IDS = ("newest_ids", "older_ids")


class Redactor:
    """Redacts one log, from its base on."""

    def __init__(self, key: bytes, base: State) -> None:
        self._key = key
        self._read = base.tip
        self._written = self._tip(base.tip)
        self._base = base
        self._interests_of: dict[ConnectionId, tuple[RedactedText, Interests]] = {}  # salted, and as written

    def base(self) -> State:
        """Return the redacted base. Its queue is empty, since a stored state has none."""
        base = self._base
        connections = {
            who: msgspec.structs.replace(self._plain(one), interests=self._interests(who, one.interests, one.salt))
            for who, one in base.connections.by_id.items()
        }
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
        command, salt = commit.command, commit.facts.salt
        unsigned = Commit(
            SCHEMA_VERSION,
            commit.position,
            NO_COMMIT,
            self._written.commit_id,
            commit.at_ms,
            self._command(command, salt),
            _facts(command, commit.facts),
            tuple(self._event(event, salt) for event in commit.events),
        )
        return msgspec.structs.replace(unsigned, commit_id=commit_id_of(unsigned))

    def _command(self, command: Command, salt: str | None) -> Command:
        plain: Command = self._plain(command, salt)
        if isinstance(command, EnterQueue):
            interests = self._interests(command.connection_id, command.interests, salt)
            return msgspec.structs.replace(plain, interests=interests)
        return plain

    def _event(self, event: Any, salt: str | None) -> Any:
        plain = self._plain(event, salt)
        if isinstance(event, QueueEntered):
            interests = self._interests(event.connection_id, event.interests, event.salt)
            return msgspec.structs.replace(plain, interests=interests)
        if isinstance(event, NamesForgotten):
            for who in event.connection_ids:
                self._interests_of.pop(who, None)
        return plain

    def _interests(self, who: ConnectionId, interests: Interests, salt: str | None) -> Interests:
        """Return pseudonyms of interests, or what is left of them if they were redacted.

        Commits that repeat an entry's interests say the same as the entry, even if only some of them were redacted.
        """
        stand_in = redacted_interests(interests, salt)
        if stand_in.length_bytes == _NO_INTERESTS_BYTES:
            return ()
        first, written = self._interests_of.get(who, (None, ()))
        if first != stand_in:
            written = interests
            if isinstance(interests, tuple):
                written = tuple(sorted(self._pseudonym(interest) for interest in interests))
            self._interests_of[who] = stand_in, written
        return written

    def _plain(self, value: Any, salt: str | None = None) -> Any:
        """Return a command, event, connection or room without texts typed or chosen by people, except interests.

        `salt` is that of its texts.
        """
        fields = value.__struct_fields__
        changes: dict[str, Any] = {}
        for name, salt_name in _NAMES.items():
            if name in fields:
                changes[name] = ANONYMOUS
            if salt_name in fields:
                changes[salt_name] = _mark(getattr(value, name), getattr(value, salt_name))
        for name in _TEXTS:
            if (text := getattr(value, name, None)) is not None:
                changes[name] = redacted(text, salt)
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


def _facts(command: Command, facts: Facts) -> Facts:
    salt = _mark(command.display_name, facts.salt) if isinstance(command, EnterQueue) else None
    return msgspec.structs.replace(facts, salt=salt)


def _mark(name: Text, salt: str | None) -> str | None:
    """Return the mark for the salt of a name; `None` for one that can't be told from a forgotten name."""
    return SALT if salt is not None or name != ANONYMOUS else None
