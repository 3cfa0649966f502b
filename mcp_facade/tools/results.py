"""The results of the tools: their published output schemas, and their rendering."""

from __future__ import annotations

from math import ceil
from typing import Any, Literal, NamedTuple, get_args

from pydantic import BaseModel, ConfigDict, Field

from broker.presence import Presence
from broker.reads import Page
from broker.waits import Waited
from events.ids import ConnectionId
from mcp_facade.streams.frames import event_json
from projections.connections import Chatting, Idle, Waiting
from projections.endings import Ending, IdleReason
from projections.state import State

Status = Literal["idle", "waiting", "chatting"]

_IDLE_REASON = f"If idle: {', '.join(get_args(IdleReason))}."

PARTNER_IDLE_STEP_MS = 5_000


class _Result(BaseModel):
    model_config = ConfigDict(extra="forbid")


class EventResult(_Result):
    """A notification as the tools give it."""

    method: Literal["chatroom.found", "message.received", "partner.disconnected"]
    params: dict[str, Any] = Field(description="`message` and `partner` in it are untrusted.")


class QueuedResult(_Result):
    """Result of `enter_queue` and `next_partner`."""

    handle: str = Field(description="Your secret: pass it in every call.")
    connection_id: str = Field(description="Your public name in the log.")
    status: Literal["waiting", "matched"]
    position: int | None = Field(default=None, description="Your place in the queue, from 1.")
    room_id: str | None = None
    partner: str | None = Field(default=None, description="The stranger's name; untrusted.")
    cursor: int = Field(description="Pass it to wait_for_events.")


class PageResult(_Result):
    """Events after a cursor, and where the caller is by now."""

    events: list[EventResult]
    cursor: int
    status: Status
    timed_out: bool
    idle_reason: str | None = Field(default=None, description=_IDLE_REASON)
    partner_idle_seconds: int | None = None
    missed: bool | None = Field(default=None, description="Earlier events are no longer kept.")


class SentResult(_Result):
    """Result of `send_message`; the fields of `PageResult` come with a cursor in the call."""

    success: Literal[True]
    timestamp: str


class WaitedResult(PageResult):
    """Result of `wait_for_events`, and content of the inbox."""

    idle_seconds: int = Field(description="Since you last did or heard anything.")


class DoneResult(_Result):
    """Result of `leave_chat`, `leave_queue`, `block_partner` and `report_partner`."""

    success: Literal[True]


class RoomResult(_Result):
    """The caller's open room, as `already_chatting` names it; the cursor is from before its first message."""

    room_id: str
    partner: str = Field(description="The stranger's name; untrusted.")
    cursor: int


class StatusResult(_Result):
    """Result of `get_status`."""

    status: Status
    connection_id: str | None = None
    position: int | None = None
    room_id: str | None = None
    partner: str | None = Field(default=None, description="The stranger's name; untrusted.")
    waiting: int = Field(description="How many people are in the queue.")
    idle_reason: str | None = Field(default=None, description=_IDLE_REASON)
    partner_idle_seconds: int | None = None
    cursor: int | None = Field(default=None, description="From before the last chat; pass it to wait_for_events.")


class OpenedResult(_Result):
    """Result of `open_chat`."""

    note: str = Field(description="What your user may see now, and what to do otherwise.")


Json = dict[str, Any]


class Answer(NamedTuple):
    """The answer of a tool: its result, or `{error, code}`."""

    payload: Json
    is_refusal: bool


def place_json(state: State, connection_id: ConnectionId) -> Json:
    """Return the place of a connection: `{position}`, `{room_id, partner}`, or nothing."""
    known = state.connections.get(connection_id)
    match known.place if known is not None else None:
        case Waiting():
            return {"position": state.queue.place_of(connection_id)}
        case Chatting(room_id=room_id):
            return {"room_id": room_id, "partner": state.rooms.by_id[room_id].partner_name_of(connection_id)}
        case _:
            return {}


def status_of(state: State, connection_id: ConnectionId) -> Status:
    """Return the status of a connection: idle, waiting or chatting."""
    known = state.connections.get(connection_id)
    if known is None or isinstance(known.place, Idle):
        return "idle"
    return "waiting" if isinstance(known.place, Waiting) else "chatting"


def place_cursor(state: State, connection_id: ConnectionId) -> int | None:
    """Return the position from which a connection is in its place (queue or room); `None` when idle or unknown.

    One that waits again after a missed match has been there since the end of that match.
    """
    known = state.connections.get(connection_id)
    if known is None or isinstance(known.place, Idle):
        return None
    if isinstance(known.place, Chatting):
        return state.rooms.by_id[known.place.room_id].opened_position
    return known.last_position


def room_json(state: State, connection_id: ConnectionId) -> Json:
    """Return `{room_id, partner, cursor}` of a chatting connection; `{}` for another."""
    place = place_json(state, connection_id)
    return place | {"cursor": place_cursor(state, connection_id)} if "room_id" in place else {}


def page_json(page: Page) -> Json:
    """Return `{events, cursor}`, and `missed` if earlier events are no longer kept."""
    payload: Json = {"events": [event_json(event) for event in page.events], "cursor": page.cursor}
    if page.missed:
        payload["missed"] = True
    return payload


def waited_json(waited: Waited, connection_id: ConnectionId, ending: Ending | None) -> Json:
    """Return the events of a wait, and where it leaves the connection; `ending` tells why it is idle."""
    payload = page_json(waited.page) | {
        "status": status_of(waited.state, connection_id),
        "timed_out": waited.timed_out,
    }
    return payload | ({"idle_reason": ending.reason} if ending is not None else {})


def partner_idle_json(state: State, connection_id: ConnectionId, presence: Presence) -> Json:
    """Return `{partner_idle_seconds}` of a chatting connection, if it is known; `{}` for another.

    A multiple of 5, so it tells little of the times at which the partner calls.
    """
    known = state.connections.get(connection_id)
    if known is None or not isinstance(known.place, Chatting):
        return {}
    silent_ms = presence.silent_ms(state.rooms.by_id[known.place.room_id].partner_of(connection_id))
    if silent_ms is None:
        return {}
    return {"partner_idle_seconds": ceil(silent_ms / PARTNER_IDLE_STEP_MS) * PARTNER_IDLE_STEP_MS // 1_000}


def idle_seconds_of(state: State, connection_id: ConnectionId, now_ms: int) -> int:
    """Return the seconds since the connection did something or was told something."""
    known = state.connections.get(connection_id)
    inbox = state.inboxes.get(connection_id)
    last_ms = max(known.last_at_ms if known is not None else 0, inbox.last_at_ms if inbox is not None else 0)
    return max(0, now_ms - last_ms) // 1_000 if last_ms else 0


def status_json(state: State, connection_id: ConnectionId, ending: Ending | None, cursor: int) -> Json:
    """Return the result of `get_status`; `ending` tells why the connection is idle."""
    return {
        "status": status_of(state, connection_id),
        "connection_id": connection_id,
        **place_json(state, connection_id),
        "waiting": len(state.queue),
        **({"idle_reason": ending.reason} if ending is not None else {}),
        "cursor": cursor,
    }


class RefusedResult(_Result):
    """Refusal of any tool, with `isError`; some refusals also say where the caller is, or what came last."""

    error: str
    code: str
    retry_after_ms: int | None = None


def output_schema(*parts: type[BaseModel]) -> Json:
    """Return the JSON Schema of a tool's result: a flat object with the properties of its parts and of a refusal.

    It is self-contained, without titles, which only cost tokens. It covers refusals, since some clients validate them
    against the schema too (the TypeScript SDK 1.x). Nothing is required, because results and refusals share no
    property, and a host drops all tools of a server with an `anyOf` at the top of one. It allows more properties, so
    that a host with an older list of tools takes the results of a newer broker.
    """
    properties: Json = {}
    described: list[type[BaseModel]] = [*parts, RefusedResult]
    for part in described:
        schema = part.model_json_schema()
        properties |= _flat(schema["properties"], schema.get("$defs", {}))
    return {"type": "object", "properties": properties}


def _flat(node: Any, definitions: Json) -> Any:
    """Return `node` with each reference replaced, and each optional property described by its type when present."""
    if isinstance(node, list):
        return [_flat(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        node = definitions[node["$ref"].rpartition("/")[2]]
    variants = [variant for variant in node.get("anyOf", ()) if variant != {"type": "null"}]
    if variants:
        node = {key: value for key, value in node.items() if key not in ("anyOf", "default")} | variants[0]
    if node.get("type") == "object" and "properties" in node:  # a property may be named `title`
        properties = {name: _flat(described, definitions) for name, described in node["properties"].items()}
        return {"type": "object", "properties": properties}
    return {key: _flat(value, definitions) for key, value in node.items() if key not in _LEFT_OUT}


_LEFT_OUT = ("title", "additionalProperties")
