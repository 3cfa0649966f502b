"""Checks of a POST's JSON-RPC message that both eras share, before the SDK reads it.

Without them, an `id` that is no id makes a notification of a request in one era, which is accepted and never answered.
(JSON-RPC 2.0, sections 4 and 6.)
"""

from __future__ import annotations

from typing import Any

from pydantic_core import from_json, to_json

NO_BATCH = "A batch is not supported: send one JSON-RPC message in each request."
NO_ID = "The id of a request is a text or a whole number."
NO_MESSAGE = "The body is no JSON-RPC message: send one request or notification, as a JSON object."


def decoded(body: bytes) -> Any:
    """Return the JSON of a body, with `progressToken: null` left out, as no token.

    Raises:
        ValueError: it is no JSON; the text says where.
    """
    message = from_json(body)
    if isinstance(message, dict) and isinstance(params := message.get("params"), dict):
        meta = params.get("_meta")
        if isinstance(meta, dict) and "progressToken" in meta and meta["progressToken"] is None:
            meta = {key: value for key, value in meta.items() if key != "progressToken"}
            return message | {"params": params | {"_meta": meta}}
    return message


def fault_of(message: Any) -> str | None:
    """Return what is wrong with a message beyond its JSON, in one line; `None` if nothing is."""
    if isinstance(message, list):
        return NO_BATCH
    if not isinstance(message, dict):
        return NO_MESSAGE
    if "id" in message and type(message["id"]) not in (int, str):
        return NO_ID
    return None


def encoded(message: Any) -> bytes:
    """Return `message` as JSON."""
    return to_json(message, inf_nan_mode="constants")
