"""The arguments of the tools: published strictly, parsed leniently, refused with an instruction for the caller.

Well-formed arguments are taken as they are. Others are read once more as hosts in good faith mean them
(`lenient.understood`): numbers and lists written as text, empty values for left-out ones, keys that a host adds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError

from events.commands import ReportCategory
from events.ids import POSITION_MAX, ClientMessageId
from events.policy import Policy
from mcp_facade.tools.lenient import UnclearKeysError, understood
from mcp_facade.tools.sanitise import LoneSurrogate, clean_interests, clean_message, clean_name, is_blank

INTERESTS_MAX = 10
WAIT_SECONDS_MAX = 300
WAIT_SECONDS_DEFAULT = 45
MESSAGE_BYTES_DEFAULT = Policy().message_bytes_max
NAME_CHARS_LOOKED_AT = 1_000
RAW_CHARS_PER_BYTE = 8
"""A text with more characters per allowed byte is refused before cleaning."""

LONE_SURROGATE_TEXT = "The text holds half a character (a lone surrogate). Send whole characters."


class InvalidArgumentsError(Exception):
    """Its text names the wrong argument and the right form, and repeats no input."""


class TextTooLargeError(Exception):
    """A text has more bytes than are allowed."""


def _integral(value: Any) -> Any:
    return int(value) if type(value) is float and value.is_integer() else value


def _shortened(value: Any) -> Any:
    return min(value, WAIT_SECONDS_MAX) if type(value) is int or type(value) is float else value


def _cut(value: str) -> str:
    """Cut a raw name: at most 40 characters of it are kept, and cleaning takes time in its length."""
    return value[:NAME_CHARS_LOOKED_AT]


_RawName = Annotated[str, AfterValidator(_cut)]
_Cursor = Annotated[int, Field(ge=0, le=POSITION_MAX), BeforeValidator(_integral)]
_Handle = Annotated[
    str | None,
    StringConstraints(strip_whitespace=True),
    Field(max_length=200, description="The secret that enter_queue gave you."),
]
_RoomId = Annotated[
    str,
    StringConstraints(strip_whitespace=True),
    Field(max_length=200, description="The room_id that enter_queue or chatroom.found gave you."),
]
_WaitSeconds = Annotated[float, Field(ge=0, le=WAIT_SECONDS_MAX, allow_inf_nan=False), BeforeValidator(_shortened)]


class _Arguments(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class OpenChatArguments(_Arguments):
    """Arguments of `open_chat`: what the window's form holds at first."""

    display_name: Annotated[
        _RawName,
        AfterValidator(clean_name),
        Field(
            description="What the stranger sees: 1 to 40 letters, digits, spaces, -_.' and signs as in C++ or AC/DC; "
            "Anonymous by default."
        ),
    ] = "Anonymous"
    interests: Annotated[
        list[_RawName],
        Field(max_length=INTERESTS_MAX, description="What you would like to talk about, at most 10 short words."),
        AfterValidator(clean_interests),
    ] = []


class EnterQueueArguments(OpenChatArguments):
    """Arguments of `enter_queue`."""

    handle: _Handle = None


class SendMessageArguments(_Arguments):
    """Arguments of `send_message`; the tool cleans the text, since it knows the limits in force."""

    room_id: _RoomId
    message: Annotated[str, Field(description=f"Plain text, at most {MESSAGE_BYTES_DEFAULT} bytes by default.")]
    handle: _Handle = None
    message_id: Annotated[
        ClientMessageId | None,
        Field(
            pattern=r"^[A-Za-z0-9_-]{1,64}$",
            description="Your own name for it: 1 to 64 of A-Z a-z 0-9 _ -; a repeat is said once.",
        ),
    ] = None
    cursor: Annotated[_Cursor | None, Field(description="The newest cursor: also return what came after it.")] = None
    wait_seconds: Annotated[
        _WaitSeconds, Field(description=f"Seconds to wait for a reply: 0 by default, {WAIT_SECONDS_MAX} at most.")
    ] = 0


class WaitForEventsArguments(_Arguments):
    """Arguments of `wait_for_events`."""

    cursor: Annotated[_Cursor, Field(description="The newest cursor that any call has given you.")]
    handle: _Handle = None
    wait_seconds: Annotated[
        _WaitSeconds,
        Field(description=f"Seconds to wait: {WAIT_SECONDS_DEFAULT} by default, {WAIT_SECONDS_MAX} at most."),
    ] = WAIT_SECONDS_DEFAULT


class RoomArguments(_Arguments):
    """Arguments of `leave_chat`, `next_partner` and `block_partner`."""

    room_id: _RoomId
    handle: _Handle = None


class ReportArguments(_Arguments):
    """Arguments of `report_partner`; the tool cleans the note, since it knows the limits in force."""

    room_id: _RoomId
    category: Annotated[
        ReportCategory,
        Field(description="One of spam, harassment, sexual, minor (a child may be in danger), threat, other."),
    ]
    note: Annotated[
        str | None,
        Field(
            description="What the operator should know beyond the conversation; plain text, at most "
            f"{MESSAGE_BYTES_DEFAULT} bytes by default."
        ),
    ] = None
    handle: _Handle = None


class HandleArguments(_Arguments):
    """Arguments of `leave_queue` and `get_status`."""

    handle: _Handle = None


A = TypeVar("A", bound=_Arguments)


def parse(model: type[A], arguments: Mapping[str, Any] | None) -> A:
    """Parse `arguments` as `model`: strictly if they fit, else as their host means them.

    Raises:
        InvalidArgumentsError: an argument is wrong; the text names it and the fault.
    """
    given = arguments or {}
    validated: Callable[[object], A] = model.__pydantic_validator__.validate_python  # `model_validate`, with less
    values = given.values()
    if not ("" in values or "null" in values or "None" in values or "undefined" in values):  # see `lenient.NOTHING`
        try:
            return validated(given)
        except ValidationError:
            pass
    try:
        return validated(understood(_schema(model), given))
    except UnclearKeysError as error:
        raise InvalidArgumentsError(_explain_keys(model, error.name)) from None
    except ValidationError as error:
        raise InvalidArgumentsError(_explain(model, error)) from None


def clean_text(text: str, bytes_max: int) -> str:
    """Return `text` as `clean_message` does; empty if nothing in it can be seen.

    Raises:
        InvalidArgumentsError: it holds a lone surrogate.
        TextTooLargeError: it has more than `bytes_max` bytes of UTF-8.
    """
    if len(text) > bytes_max * RAW_CHARS_PER_BYTE:
        raise TextTooLargeError
    try:
        clean = clean_message(text)
    except LoneSurrogate:
        raise InvalidArgumentsError(LONE_SURROGATE_TEXT) from None
    if is_blank(clean):
        return ""
    if len(clean.encode()) > bytes_max:
        raise TextTooLargeError
    return clean


@lru_cache
def _schema(model: type[BaseModel]) -> Mapping[str, Any]:
    return input_schema(model)


def _explain(model: type[BaseModel], error: ValidationError) -> str:
    properties = _schema(model)["properties"]
    problems = dict.fromkeys(
        _explain_one(detail["type"], detail["loc"], detail["msg"], properties.get(detail["loc"][0], {}).get("enum"))
        for detail in error.errors(include_url=False)
    )
    return " ".join([*problems, "Correct that and call again."])


def _explain_one(kind: str, where: tuple[int | str, ...], message: str, choices: Sequence[str] | None) -> str:
    if "surrogate" in message or kind == "string_unicode":
        return f"{where[0]} holds half a character (a lone surrogate); send whole characters."
    if choices is not None:
        return f"{where[0]}: write one of {', '.join(choices)}."
    if kind == "missing":
        return f"{where[0]} is missing."
    message = message.removeprefix("Value error, ")
    return f"{where[0]}: {message[0].lower()}{message[1:]}."


def _explain_keys(model: type[BaseModel], name: str | None) -> str:
    names = ", ".join(model.model_fields)
    if name is None:
        return f"There are too many arguments; this tool takes {names}. Correct that and call again."
    return f"The name of an argument is almost {name}: write {name}. This tool takes {names}. Call again so."


def input_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON Schema of `model`, without titles, which only cost tokens."""
    schema = model.model_json_schema()
    return _plain(schema)


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    properties = {name: _without_null(described) for name, described in schema["properties"].items()}
    return {
        "type": "object",
        "properties": properties,
        "required": schema.get("required", []),
        "additionalProperties": False,
    }


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Describe an optional argument by its type when present, without `null`."""
    schema = {key: value for key, value in schema.items() if key != "title"}
    variants = [variant for variant in schema.pop("anyOf", ()) if variant != {"type": "null"}]
    if variants:
        assert len(variants) == 1
        schema = variants[0] | schema
        schema.pop("default", None)
    return schema
