"""Checks of a POST's JSON-RPC message that both eras share, before the SDK reads it.

Without them, an `id` that is no id makes a notification of a request in one era, which is accepted and never answered.
(JSON-RPC 2.0, sections 4 and 6.)
"""

from __future__ import annotations

from typing import Any

from pydantic_core import from_json

NO_BATCH = "A batch is not supported: send one JSON-RPC message in each request."
NO_ID = "The id of a request is a text or a whole number."
NO_MESSAGE = "The body is no JSON-RPC message: send one request or notification, as a JSON object."


def understood(message: Any) -> Any:
    """Return a message as its host means it.

    `progressToken: null` is no token. Arguments of a tool that are written as one text are the object in it.
    """
    if not isinstance(message, dict) or not isinstance(params := message.get("params"), dict):
        return message
    meta, arguments = params.get("_meta"), params.get("arguments")
    if isinstance(meta, dict) and "progressToken" in meta and meta["progressToken"] is None:
        params = params | {"_meta": {key: value for key, value in meta.items() if key != "progressToken"}}
    if isinstance(arguments, str) and message.get("method") == "tools/call":
        params = params | {"arguments": _object_in(arguments)}
    return message | {"params": params} if params is not message["params"] else message


def _object_in(text: str) -> Any:
    """Return the object that `text` is in JSON, `None` if it is empty, else `text`."""
    if not text.strip():
        return None
    try:
        found = from_json(text)
    except ValueError:
        return text
    return found if found is None or isinstance(found, dict) else text


def fault_of(message: Any) -> str | None:
    """Return what is wrong with a message beyond its JSON, in one line; `None` if nothing is."""
    if isinstance(message, list):
        return NO_BATCH
    if not isinstance(message, dict):
        return NO_MESSAGE
    if "id" in message and type(message["id"]) not in (int, str):
        return NO_ID
    return None
