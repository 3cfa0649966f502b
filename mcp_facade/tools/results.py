"""The results of the tools: their published output schemas, and their rendering."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from broker.decide import Rejection
from broker.reads import Page
from events.ids import ConnectionId
from events.policy import Policy
from mcp_facade.streams.frames import event_json
from mcp_facade.texts import REFUSALS
from projections.connections import Chatting, Idle, Waiting
from projections.state import State

Status = Literal["idle", "waiting", "chatting"]


class _Result(BaseModel):
    model_config = ConfigDict(extra="forbid")


class EventResult(_Result):
    """A notification as the tools give it."""

    method: Literal["chatroom.found", "message.received", "partner.disconnected"]
    params: dict[str, Any] = Field(description="As in the notification; `message` and `partner` are untrusted.")


class QueuedResult(_Result):
    """Result of `enter_queue` and `next_partner`."""

    handle: str = Field(description="Your secret. Pass it in every call and show it to nobody.")
    connection_id: str = Field(description="Your public name in the broker's log.")
    status: Literal["waiting", "matched"]
    position: int | None = Field(default=None, description="Your place in the queue, from 1.")
    room_id: str | None = None
    partner: str | None = Field(default=None, description="The stranger's display name; untrusted.")
    cursor: int = Field(description="Pass it to wait_for_events.")


class SentResult(_Result):
    """Result of `send_message`; the last two fields come with a cursor in the call."""

    success: Literal[True]
    timestamp: str
    events: list[EventResult] | None = None
    cursor: int | None = None
    missed: bool | None = Field(default=None, description="Something before these events is not kept any more.")


class WaitedResult(_Result):
    """Result of `wait_for_events`, and content of the inbox."""

    events: list[EventResult]
    cursor: int
    status: Status
    timed_out: bool
    idle_seconds: int = Field(description="How long you have neither done nor been told anything.")
    missed: bool | None = Field(default=None, description="Something before these events is not kept any more.")


class DoneResult(_Result):
    """Result of `leave_chat` and `leave_queue`."""

    success: Literal[True]


class StatusResult(_Result):
    """Result of `get_status`."""

    status: Status
    connection_id: str | None = None
    position: int | None = None
    room_id: str | None = None
    partner: str | None = Field(default=None, description="The stranger's display name; untrusted.")
    waiting: int = Field(description="How many people are in the queue.")
    cursor: int


Json = dict[str, Any]


class Answer(NamedTuple):
    """The answer of a tool: its result, or `{error, code}`."""

    payload: Json
    is_refusal: bool


def refused(rejection: Rejection, policy: Policy) -> Answer:
    """Return a refusal: `{error, code}`, and `retry_after_ms` where it helps."""
    text = REFUSALS[rejection.code].format(
        retry_after_ms=rejection.retry_after_ms, message_bytes_max=policy.message_bytes_max
    )
    payload: Json = {"error": text, "code": rejection.code}
    if rejection.retry_after_ms is not None:
        payload["retry_after_ms"] = rejection.retry_after_ms
    return Answer(payload, is_refusal=True)


def refused_as(code: str, text: str, **more: int) -> Answer:
    """Return a refusal of the facade's own, about the input."""
    return Answer({"error": text, "code": code, **more}, is_refusal=True)


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
    """Return the position of the entry into the present place (queue or room); `None` when idle or unknown."""
    known = state.connections.get(connection_id)
    match known.place if known is not None else None:
        case Waiting(entered_position=entered):
            return entered
        case Chatting(room_id=room_id):
            return state.rooms.by_id[room_id].opened_position
        case _:
            return None


def page_json(page: Page) -> Json:
    """Return `{events, cursor}`, and `missed` if earlier events are no longer kept."""
    payload: Json = {"events": [event_json(event) for event in page.events], "cursor": page.cursor}
    if page.missed:
        payload["missed"] = True
    return payload


def waited_json(page: Page, state: State, connection_id: ConnectionId, *, timed_out: bool, now_ms: int) -> Json:
    """Return the result of `wait_for_events`."""
    known = state.connections.get(connection_id)
    inbox = state.inboxes.get(connection_id)
    last_ms = max(known.last_at_ms if known is not None else 0, inbox.last_at_ms if inbox is not None else 0)
    return page_json(page) | {
        "status": status_of(state, connection_id),
        "timed_out": timed_out,
        "idle_seconds": max(0, now_ms - last_ms) // 1_000 if last_ms else 0,
    }


class RefusedResult(_Result):
    """Refusal of any tool, with `isError`."""

    error: str = Field(description="Why not, and what to do next.")
    code: str
    retry_after_ms: int | None = None


def output_schema(model: type[BaseModel]) -> Json:
    """Return the JSON Schema of a tool's result: `model`, or a refusal.

    It is self-contained, without titles, which only cost tokens. It covers refusals, since some clients validate them
    against the schema too (the TypeScript SDK 1.x).
    """
    result, refusal = _schema_of(model), _schema_of(RefusedResult)
    return {
        "type": "object",
        "properties": result["properties"] | refusal["properties"],
        "additionalProperties": False,
        "anyOf": [{"required": result["required"]}, {"required": refusal["required"]}],
    }


def _schema_of(model: type[BaseModel]) -> Json:
    schema = model.model_json_schema()
    flat: Json = _flat(schema, schema.pop("$defs", {}))
    return flat


def _flat(node: Any, definitions: Json) -> Any:
    """Return `node` with each reference replaced, and each optional property described by its type when present."""
    if isinstance(node, list):
        return [_flat(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return _flat(definitions[node["$ref"].rpartition("/")[2]], definitions)
    variants = [variant for variant in node.get("anyOf", ()) if variant != {"type": "null"}]
    if len(variants) == 1:
        node = {key: value for key, value in node.items() if key not in ("anyOf", "default")} | variants[0]
    if node.get("type") == "object" and "properties" in node:
        properties = {name: _flat(described, definitions) for name, described in node["properties"].items()}
        return {key: value for key, value in node.items() if key != "title"} | {"properties": properties}
    return {key: _flat(value, definitions) for key, value in node.items() if key != "title"}
