"""Pseudonyms for all ids, names and texts of a scenario: short, readable, and invented."""

from __future__ import annotations

from typing import Any

import msgspec

from broker.verification.reduction import rewrite_scenario
from broker.verification.scenario import CONNECTION_FIELDS, LoggedCommand, Scenario
from events.commands import ForgetNames
from events.ids import RoomId
from events.text import ANONYMOUS, Text, known_interests

PEOPLE = (
    "ann",
    "bob",
    "cat",
    "dan",
    "eve",
    "fay",
    "gus",
    "hal",
    "ivy",
    "jon",
    "kim",
    "leo",
    "mia",
    "ned",
    "oda",
    "pia",
)
INTERESTS = ("chess", "film", "go", "jazz", "maps", "rain", "rivers", "ships", "tea", "trains")
TEXTS = ("hello", "how are you", "fine, and you", "me too", "bye")
SALT = "salt"

_SALTS = frozenset({"salt", "first_salt", "second_salt"})
_NAMES = {"display_name": "connection_id", "first_name": "first", "second_name": "second"}


def with_pseudonyms(scenario: Scenario) -> Scenario:
    """Return `scenario` with pseudonyms, given in the order of first use."""
    forgets = any(isinstance(one.command, ForgetNames) for one in (*scenario.past, scenario.target))
    pseudonyms = _Pseudonyms(keeps_anonymous=forgets)
    past = []
    for logged in scenario.past:  # in log order, so that the first two are Ann and Bob, in the first room
        pseudonyms.rename(logged.command)
        past.append(pseudonyms.rename_facts(logged, has_room=logged.opened is not None))
    renamed = rewrite_scenario(scenario, pseudonyms.rename)
    return renamed._replace(
        past=tuple(logged._replace(facts=facts) for logged, facts in zip(renamed.past, past, strict=True)),
        target=renamed.target._replace(facts=pseudonyms.rename_facts(scenario.target, has_room=True)),
    )


class _Pseudonyms:
    """Gives each value one pseudonym, the first time that it comes up."""

    def __init__(self, *, keeps_anonymous: bool) -> None:
        """`keeps_anonymous`: a forgotten name becomes `ANONYMOUS`, which has no pseudonym then."""
        self._keeps_anonymous = keeps_anonymous
        self._pseudonyms: dict[tuple[str, object], str] = {}
        self._counts: dict[str, int] = {}

    def rename(self, value: Any) -> Any:
        """Return a command or an event with pseudonyms in all its fields."""
        fields = {name: getattr(value, name) for name in value.__struct_fields__}
        return msgspec.structs.replace(
            value, **{name: self._field(name, field, value) for name, field in fields.items()}
        )

    def rename_facts(self, logged: LoggedCommand, *, has_room: bool) -> Any:
        """Return the facts of `logged` with pseudonyms."""
        room_id, salt = logged.facts.room_id, logged.facts.salt
        room = RoomId(self._room(room_id)) if has_room and room_id is not None else None
        avoid = tuple(map(self._connection, logged.facts.avoid))
        return msgspec.structs.replace(logged.facts, room_id=room, salt=SALT if salt is not None else None, avoid=avoid)

    def _field(self, name: str, field: Any, value: Any) -> Any:
        if field is None:
            return None
        if name in CONNECTION_FIELDS and not isinstance(field, int):
            return tuple(map(self._connection, field)) if isinstance(field, tuple) else self._connection(field)
        if name in _SALTS:
            return SALT
        if name in _NAMES:
            return self._name(getattr(value, _NAMES[name]), field)
        if name == "room_id":
            return self._room(field)
        if name == "interests":
            return tuple(sorted(self._numbered("interest", one, INTERESTS) for one in known_interests(field)))
        if name == "client_message_id":
            return self._numbered("m", field, ())
        return self._numbered("text", field, TEXTS) if name in ("text", "note") else field

    def _connection(self, connection_id: str) -> str:
        return self._numbered("p", connection_id, PEOPLE)

    def _room(self, room_id: str) -> str:
        return self._numbered("r", room_id, ())

    def _name(self, connection_id: str, name: Text) -> str:
        """Return a display name; a connection's second name differs from its first."""
        if name == ANONYMOUS and self._keeps_anonymous:
            return ANONYMOUS
        person = self._connection(connection_id).capitalize()
        return self._numbered(person, name, (person,))

    def _numbered(self, kind: str, one: object, words: tuple[str, ...]) -> str:
        if (kind, one) not in self._pseudonyms:
            number = self._counts[kind] = self._counts.get(kind, 0) + 1
            self._pseudonyms[kind, one] = words[number - 1] if number <= len(words) else f"{kind}_{number}"
        return self._pseudonyms[kind, one]
