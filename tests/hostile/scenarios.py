"""Scenarios: requests on up to three connections, mostly right ones of both eras, each wrong in a place or two.

A scenario can be written to a file and read back, byte for byte.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeVar

import hypothesis
import msgspec
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.facade.people import SESSIONS
from tests.hostile.cases import CASES, END, Case, ChatRequests, chat_requests
from tests.hostile.changes import WIRE_CHANGES, changed
from tests.hostile.heads import HARDLY_HTTP
from tests.hostile.messages import Draft, end_session, get_stream, messages, posted
from tests.hostile.request import Request
from tests.hostile.shapes import SHAPES
from tests.hostile.values import SESSION_IDS, VERSIONS, Raw, mostly, rarely

T = TypeVar("T")

Then = Literal["go on", "listen", "hang up"]


class Act(NamedTuple):
    """An act of a client on its `connection`: it sends a request, or the first `cut` hundredths of it.

    `then` is its next step after a cut request: the rest is sent after all other acts, or the client hangs up. A whole
    request may be hung up on too, or the client listens for a moment, so that its next act on this connection comes
    during the answer.
    """

    connection: int
    request: Request
    cut: int = 100
    then: Then = "go on"


Scenario = tuple[Act, ...]


@st.composite
def _posts(draw: st.DrawFn) -> Draft:
    if draw(st.booleans()):
        return posted(draw(messages(is_modern=True)))
    message = draw(messages(is_modern=False))
    draft = posted(message, draw(SESSION_IDS), SESSIONS)
    if draw(rarely(12)):
        draft.without_header(b"mcp-session-id", b"mcp-protocol-version")
    return draft


@st.composite
def _bodiless(draw: st.DrawFn) -> Draft:
    """Draw a GET or a DELETE, sometimes with a body after all."""
    session_id = draw(SESSION_IDS)
    if draw(rarely(6)):
        return end_session(session_id)
    draft = get_stream(session_id, draw(mostly(st.just(SESSIONS), VERSIONS)))
    if draw(rarely(4)):
        draft.written, draft.framing = draw(st.sampled_from([b"zqx", b"{}", b""])), "length"
    return draft


@st.composite
def requests(draw: st.DrawFn) -> Request:
    """Draw a request of either era, half of them changed."""
    if draw(rarely(30)):
        return draw(HARDLY_HTTP)
    draft: Draft = draw(mostly(_posts(), _bodiless(), one_in=4))
    if draw(st.booleans()):
        draft = draw(changed(draft, WIRE_CHANGES))
    request = draft.request()
    if draw(rarely(12)):
        request = draw(st.sampled_from(list(SHAPES.values())))(request)
    return request


@st.composite
def _acts(draw: st.DrawFn) -> Act:
    request = draw(requests())
    cut = draw(mostly(st.just(100), st.integers(0, 100), one_in=10))
    going_on = st.sampled_from(["go on", "go on", "listen"])
    then = draw(mostly(going_on, st.just("hang up"), one_in=15 if cut == 100 else 2))
    return Act(draw(st.integers(0, 2)), request, cut, then)


def scenarios() -> st.SearchStrategy[Scenario]:
    """Draw one to four acts on up to three connections."""
    return st.lists(_acts(), min_size=1, max_size=4).map(tuple)


def made(strategy: st.SearchStrategy[T], examples: int, seed: int) -> list[T]:
    """Return so many examples of `strategy`, the same ones for a seed."""
    pool: list[T] = []

    @hypothesis.seed(seed)
    @settings(
        max_examples=examples,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def take(example: T) -> None:
        pool.append(example)

    take()
    return pool


def lasting() -> list[Request]:
    """Return requests for open streams, one of each era."""
    return [asked.stream for asked in _by_placeholders()]


def from_cases() -> list[Scenario]:
    """Return the named cases as scenarios, in both eras."""
    return [_from_case(case, asked) for case in CASES.values() for asked in _by_placeholders()]


def _by_placeholders() -> list[ChatRequests]:
    return [chat_requests("@HANDLE@", "@ROOM@", Raw(b"@CURSOR@"), session_id) for session_id in ("@SESSION@", None)]


def _from_case(case: Case, asked: ChatRequests) -> Scenario:
    """Return the requests and bytes of a case; the client listens at each pause, and hangs up at its end."""
    acts: list[Act] = []
    for step in case.steps(asked):
        match step:
            case Request():
                acts.append(Act(0, step))
            case bytes():
                acts.append(Act(0, Request(b"", b"", (), raw=step)))
            case _:
                acts[-1] = acts[-1]._replace(then="hang up" if step is END else "listen")
    return tuple(acts)


def to_text(scenarios: Sequence[Scenario]) -> str:
    """Return `scenarios` as JSON for `from_text`; each byte is one character."""
    acts = [[act._asdict() | {"request": act.request._asdict()} for act in scenario] for scenario in scenarios]
    return json.dumps(acts, indent=1, default=lambda text: text.decode("latin-1"))


def from_text(text: str) -> list[Scenario]:
    """Return the scenarios in a text from `to_text`.

    Raises:
        ValueError: the text has another source; the error says in one line what is wrong.
    """
    try:
        return [tuple(_act(act) for act in scenario) for scenario in json.loads(text)]
    except (AttributeError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{type(error).__name__}, {error}") from error


def _act(act: Mapping[str, Any]) -> Act:
    request = act["request"]
    for name in ("method", "target", "body", "version", "raw"):
        request[name] = request[name].encode("latin-1") if request[name] is not None else None
    request["headers"] = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in request["headers"]]
    # msgspec takes an instance as it is, but checks each value of a tuple.
    return msgspec.convert((*Act(**{**act, "request": (*Request(**request),)}),), Act, builtin_types=[bytes])
