"""Changes to a well-formed request, each with a name; one to three of them make it hostile."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar

from hypothesis import strategies as st

from mcp_facade.streams.frames import EXTENSION
from tests.hostile.heads import HEADER_VALUES, METHODS, TARGETS
from tests.hostile.messages import ARGUMENTS, CAPABILITIES, CLIENT, LEVEL, Draft, Json
from tests.hostile.request import FRAMINGS
from tests.hostile.values import MARK, ODD_IDS, ODD_VALUES, TEXTS, VALUES, to_json

BODY_BYTES_OVER = 1_048_577

Change = Callable[[Any, Draft], None]

LEVELS = st.sampled_from(["debug", "info", "loud", 7, None])
INFOS = st.sampled_from(
    [None, {}, "me", 7, {"name": "a"}, {"name": 1, "version": "1"}, {"name": "a", "version": "1", "title": "t", "x": 1}]
).map(copy.deepcopy)
CAPABILITY_SETS = st.sampled_from(
    [{}, None, [], {"roots": {}}, {"roots": {"listChanged": True}}, {"sampling": 1}, {"elicitation": {"form": {}}}]
    + [{"extensions": value} for value in ({}, None, [], {EXTENSION: {}}, {EXTENSION: None}, {EXTENSION: {"a": 1}})]
    + [{"experimental": {"a": 1}}, {"made up": 1}]
).map(copy.deepcopy)
OTHER_META = st.sampled_from(
    [("progressToken", 1), ("progressToken", [1]), ("progress_token", [1]), ("traceparent", "00-0"), ("", None)]
).map(copy.deepcopy)

T = TypeVar("T")


def weighed(choices: Sequence[T], likely: Collection[str]) -> list[T]:
    """Return `choices`, mostly those with a name in `likely`."""
    favoured = [choice for choice in choices if getattr(choice, "__name__", choice) in likely]
    return [*choices, *favoured * (2 * len(choices) // len(favoured))] if favoured else list(choices)


@st.composite
def changed(draw: Any, draft: Draft, changes: Sequence[Change], likely: Collection[str] = ()) -> Draft:
    """Draw `draft` with one to three of `changes` made to it, preferably those named in `likely`."""
    changes = weighed(changes, likely)
    draft = copy.deepcopy(draft)
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
        change = draw(st.sampled_from(changes))
        draft.changes.append(change.__name__)
        change(draw, draft)
    return draft


def header(draw: Any, draft: Draft) -> None:
    """Another value, in the place of a header or beside it."""
    there = sorted({name for name, _ in draft.headers} & HEADER_VALUES.keys())
    name = draw(st.sampled_from([*there, *there, *there, *sorted(HEADER_VALUES)]))
    value = draw(st.sampled_from(HEADER_VALUES[name]))
    if draw(st.booleans()):
        draft.without_header(name)
    draft.headers.insert(draw(st.integers(0, len(draft.headers))), (name, value))


def header_gone(draw: Any, draft: Draft) -> None:
    """All headers of one name are gone."""
    if draft.headers:
        draft.without_header(draw(st.sampled_from([name for name, _ in draft.headers])))


def header_twice(draw: Any, draft: Draft) -> None:
    """One header comes twice."""
    if draft.headers:
        draft.headers.append(draw(st.sampled_from(draft.headers)))


def header_spaced(draw: Any, draft: Draft) -> None:
    """White space is added to a header's value."""
    if draft.headers:
        at = draw(st.integers(0, len(draft.headers) - 1))
        name, value = draft.headers[at]
        draft.headers[at] = (name, draw(st.sampled_from([b" %b", b"%b\t", b" %b ", b"\t %b \t"])) % value)


def name_encoded(draw: Any, draft: Draft) -> None:
    """`Mcp-Name` is written in base64."""
    draft.headers = [
        (name, b"=?base64?%b?=" % base64.b64encode(value) if name == b"mcp-name" else value)
        for name, value in draft.headers
    ]


def _members(node: Any) -> list[tuple[Json, str]]:
    if not isinstance(node, dict):
        return []
    return [(node, key) for key in node] + [found for value in node.values() for found in _members(value)]


def value(draw: Any, draft: Draft) -> None:
    """A member of the body has another value."""
    if members := _members(draft.body):
        holder, key = draw(st.sampled_from(members))
        holder[key] = draw(VALUES)


def value_gone(draw: Any, draft: Draft) -> None:
    """A member of the body is gone."""
    if members := _members(draft.body):
        holder, key = draw(st.sampled_from(members))
        del holder[key]


def value_more(draw: Any, draft: Draft) -> None:
    """An object in the body has one member more."""
    if members := _members(draft.body):
        holder, _ = draw(st.sampled_from(members))
        keys = ["x", "task", "inputResponses", "requestState", "result", "error", "é", "meta"]
        holder[draw(st.sampled_from(keys) | TEXTS)] = draw(VALUES)


def argument(draw: Any, draft: Draft) -> None:
    """An argument of a tool call has an odd value, or the tool does not know it."""
    params = draft.body.get("params") if isinstance(draft.body, dict) else None
    arguments = params.get("arguments") if isinstance(params, dict) else None
    if isinstance(arguments, dict):
        arguments[draw(st.sampled_from([*ARGUMENTS, *arguments, MARK]))] = draw(ODD_VALUES)


def other_body(draw: Any, draft: Draft) -> None:
    """The body is another JSON value."""
    if draft.body is not None:
        draft.body, draft.written = draw(VALUES.filter(lambda body: body is not None)), None


def request_id(draw: Any, draft: Draft) -> None:
    """An odd id."""
    if isinstance(draft.body, dict):
        draft.body["id"] = draw(ODD_IDS)


def meta(draw: Any, draft: Draft) -> None:
    """A member of `_meta` has another value, or there is one more."""
    params = draft.body.get("params") if isinstance(draft.body, dict) else None
    if not isinstance(params, dict):
        return
    there = params.setdefault("_meta", {})
    if isinstance(there, dict):
        key, values = draw(
            st.sampled_from([(LEVEL, LEVELS), (CLIENT, INFOS), (CAPABILITIES, CAPABILITY_SETS), ("", None)])
        )
        key, other = draw(OTHER_META) if values is None else (key, draw(values))
        there[key] = other


def style(draw: Any, draft: Draft) -> None:
    """The same JSON is written in another way: order, white space, escapes."""
    body = draft.body
    if isinstance(body, dict):
        body = {key: body[key] for key in draw(st.permutations(list(body)))}
    if body is not None:
        styles = [
            {"indent": 2},
            {"ensure_ascii": False},
            {"separators": (" ,\r\n", "\t: ")},
            {"separators": (",", ":")},
        ]
        draft.written = to_json(body, **draw(st.sampled_from(styles)))


def member_twice(draw: Any, draft: Draft) -> None:
    """A member comes twice in an object of the body."""
    keys = sorted({key for _, key in _members(draft.body)})
    if keys:
        key = json.dumps(draw(st.sampled_from(keys)))
        other = draw(st.sampled_from(["1", '"a"', "{}", "null"]))
        draft.written = draft.text.replace(f"{key}: ".encode(), f"{key}: {other}, {key}: ".encode(), 1)


def body_bytes(draw: Any, draft: Draft) -> None:
    """The body is cut, padded, repeated, encoded in another way, or no JSON."""
    text = draft.text
    bodies = [b"", b"null", b"[]", b"[%b]" % text, b"[%b,%b,%b]" % (text, text, text), b"[" * 3_000 + b"]" * 3_000]
    bodies += [text[:-1], text + b" \n", text + b"x", text + b"\x00", text + b"zqx", text * 2]
    bodies += [b"\xef\xbb\xbf" + text, b"\x0c" + text, text.replace(b"a", b"\xff", 1)]
    bodies += [text.decode(errors="replace").encode(encoding) for encoding in ("utf-16", "utf-32")]
    bodies += [text.replace(b'"2.0"', b'"\\u0032.0"')]
    how = draw(st.integers(0, len(bodies) + 2))
    if how < len(bodies):
        draft.written = bodies[how]
    elif how == len(bodies):
        draft.written = text[: draw(st.integers(0, len(text)))]
    elif how == len(bodies) + 1:
        draft.written = draw(st.binary(max_size=60))
    else:
        draft.written = text.ljust(BODY_BYTES_OVER)


def no_length(draw: Any, draft: Draft) -> None:
    """No header gives the length of the body."""
    draft.framing = "none"


def method(draw: Any, draft: Draft) -> None:
    """Another HTTP method."""
    draft.method = draw(METHODS)


def target(draw: Any, draft: Draft) -> None:
    """Another path, or no path at all."""
    draft.target = draw(TARGETS)


def framing(draw: Any, draft: Draft) -> None:
    """The end of the body is given in another way, or wrongly."""
    draft.framing = draw(st.sampled_from(FRAMINGS))


CHANGES: list[Change] = [
    *(header, header, header_gone, header_twice, header_spaced, name_encoded),
    *(value, value, value_gone, value_more, argument, request_id, meta, meta),
    *(style, member_twice, body_bytes, other_body, no_length, method),
]
"""The changes an application sees, after an HTTP server has read the request."""

WIRE_CHANGES: list[Change] = [*CHANGES, argument, argument, target, framing, framing]
"""The changes on the wire: all of them."""
