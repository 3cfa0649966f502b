"""The record of a 2025 session: the names and values of its fields.

default              the connection of the last `enter_queue`
handle <id>          a handle that was shown, of that connection: `Shown.order` and `Shown.since`, 8 bytes each,
then the handle, locked with the session's id
subscription <id> <uri>   an inbox of that connection, with {handle} in the handle's place
stream               a random id of the newest GET stream, in a shared log
ended                the session was ended by its client
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import NamedTuple

from events.ids import HANDLE_BYTES, ConnectionId, Handle, Position
from events.session_records import Fields
from mcp_facade.session_tokens import SessionToken

DEFAULT = "default"
STREAM = "stream"
ENDED = "ended"

_HANDLE = "handle "
_SUBSCRIPTION = "subscription "
_PLACEHOLDER = "{handle}"
_NUMBER_BYTES = 8


class Shown(NamedTuple):
    """A handle that was shown in a session."""

    handle: Handle
    order: int
    """The later it was shown last, the greater."""
    since: Position
    """The position of the log, as far as known, when it was shown first."""


def handle_field(connection_id: ConnectionId) -> str:
    """Return the name of the field of a shown handle."""
    return _HANDLE + connection_id


def locked(token: SessionToken, connection_id: ConnectionId, shown: Shown) -> bytes:
    """Return the value of the field of a shown handle."""
    numbers = shown.order.to_bytes(_NUMBER_BYTES, "big") + shown.since.to_bytes(_NUMBER_BYTES, "big")
    return numbers + token.lock(connection_id, shown.handle)


def shown_handles(token: SessionToken, record: Fields) -> OrderedDict[ConnectionId, Shown]:
    """Return the readable handles of `record`, the latest shown last."""
    handles = []
    for name, value in record.items():
        if name.startswith(_HANDLE) and len(value) == 2 * _NUMBER_BYTES + HANDLE_BYTES:
            connection_id = ConnectionId(name.removeprefix(_HANDLE))
            handle = token.unlock(connection_id, value[2 * _NUMBER_BYTES :])
            if handle is not None:
                order, since = value[:_NUMBER_BYTES], value[_NUMBER_BYTES : 2 * _NUMBER_BYTES]
                shown = Shown(handle, int.from_bytes(order, "big"), int.from_bytes(since, "big"))
                handles.append((connection_id, shown))
    return OrderedDict(sorted(handles, key=lambda item: (item[1].order, item[0])))


def subscription_field(uri: str, connection_id: ConnectionId, handle: Handle) -> str:
    """Return the name of the field of a subscription; its value is empty."""
    return f"{_SUBSCRIPTION}{connection_id} {uri.replace(handle, _PLACEHOLDER)}"


def subscriptions(record: Fields) -> Iterator[tuple[ConnectionId, str]]:
    """Yield the subscriptions of `record`; the handle is missing in each URI (`uri_of`)."""
    for name in record:
        if name.startswith(_SUBSCRIPTION):
            subscriber, _, uri = name.removeprefix(_SUBSCRIPTION).partition(" ")
            yield ConnectionId(subscriber), uri


def uri_of(template: str, handle: Handle) -> str:
    """Return the URI of a subscription."""
    return template.replace(_PLACEHOLDER, handle)
