"""Many scenarios from few: acts of several put together, headers exchanged, bytes damaged; and smaller ones of one.

Hypothesis thinks longer about a scenario than a server does about its answer, so most of a long run is bred.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from random import Random

from mcp_facade.streams.frames import EXTENSION
from tests.facade.people import ACCEPT, CLIENT_INFO, MODERN, SESSIONS
from tests.fuzz.requests import Act, Request, Scenario
from tests.fuzz.strategies import ARGUMENTS, MARK, to_json

ACTS_MAX = 6
ODD_ARGUMENTS = (
    None,
    True,
    -1,
    0.5,
    2**63,
    1e308,
    float("nan"),
    "",
    MARK,
    "\ud800",
    [],
    [MARK] * 11,
    {MARK: MARK},
    [[[]]],
)

META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientInfo": CLIENT_INFO,
    "io.modelcontextprotocol/clientCapabilities": {"extensions": {EXTENSION: {}}},
}
LISTEN = {"notifications": {EXTENSION: {"handles": ["@HANDLE@", "@PARTNER@"]}}, "_meta": META}
LASTING = (
    Request(
        b"POST",
        b"/mcp",
        (
            (b"host", b"localhost"),
            (b"accept", ACCEPT.encode()),
            (b"content-type", b"application/json"),
            (b"mcp-protocol-version", MODERN.encode()),
            (b"mcp-method", b"subscriptions/listen"),
        ),
        to_json({"jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen", "params": LISTEN}),
    ),
    Request(
        b"GET",
        b"/mcp",
        (
            (b"host", b"localhost"),
            (b"accept", b"text/event-stream"),
            (b"mcp-session-id", b"@SESSION@"),
            (b"mcp-protocol-version", SESSIONS.encode()),
        ),
        framing="none",
    ),
)
"""Streams of both eras: what goes on beside one that is open is what a chat is made of, and few scenarios have one."""


def bred(pool: Sequence[Scenario], random: Random) -> Scenario:
    """A scenario whose acts come from `pool`, most of them changed a little."""
    acts = [random.choice(random.choice(pool)) for _ in range(random.randint(1, ACTS_MAX))]
    if random.random() < 0.2:
        acts.insert(random.randint(0, len(acts)), Act(0, random.choice(LASTING), then="listen"))
    if random.random() < 0.2:
        acts += [random.choice(acts)] * random.randint(1, 2)  # the same again, perhaps while it is in flight
    return tuple(_changed(act, random.choice(random.choice(pool)).request, random) for act in acts)


def _changed(act: Act, other: Request, random: Random) -> Act:
    request = act.request
    match random.randint(0, 19):
        case 0:
            request = request._replace(headers=other.headers)
        case 1 if request.headers and other.headers:
            headers = list(request.headers)
            headers.insert(random.randint(0, len(headers)), random.choice(other.headers))
            request = request._replace(headers=tuple(headers))
        case 2:
            request = request._replace(body=other.body)
        case 3:
            request = request._replace(body=_damaged(request.body, random))
        case 4:
            request = request._replace(raw=_damaged(request.wire({}), random))
        case 5:
            act = act._replace(cut=random.randint(0, 100), then=random.choice(["go on", "listen", "hang up"]))
        case 6 | 7 | 8:
            request = request._replace(body=_with_an_odd_argument(request.body, random))
    return act._replace(connection=random.randint(0, 2), request=request)


def _with_an_odd_argument(body: bytes, random: Random) -> bytes:
    """The body of a tool call with one argument more, or another value for one; any other body as it is."""
    try:
        message = json.loads(body)
        message["params"]["arguments"][random.choice([*ARGUMENTS, MARK])] = random.choice(ODD_ARGUMENTS)
    except (ValueError, TypeError, LookupError, RecursionError):
        return body
    return json.dumps(message).encode()


def _damaged(text: bytes, random: Random) -> bytes:
    """`text` with a few bytes changed, gone, or repeated."""
    damaged = bytearray(text)
    for _ in range(random.randint(1, 4)):
        at = random.randint(0, len(damaged))
        match random.randint(0, 3):
            case 0:
                damaged[at : at + 1] = random.randbytes(1)
            case 1:
                del damaged[at : at + random.randint(1, 20)]
            case 2:
                damaged[at:at] = damaged[at : at + random.randint(1, 40)]
            case 3:
                damaged[at:at] = random.choice([b'"', b"{", b"]", b"\r\n", b"\\ud800", b"null", b"-1", b"\xff", b"zqx"])
    return bytes(damaged)


def smaller(batch: Sequence[Scenario], fails: Callable[[Sequence[Scenario]], bool]) -> Sequence[Scenario]:
    """What is left of a batch that fails when scenarios, acts and headers are taken away, as long as it fails."""
    while len(batch) > 1:
        half = len(batch) // 2
        for part in (batch[half:], batch[:half]):  # the guilty one rather stands at the end
            if fails(part):
                batch = part
                break
        else:
            return batch
    (scenario,) = batch
    for at in reversed(range(len(scenario))):
        without = scenario[:at] + scenario[at + 1 :]
        if without and fails([without]):
            scenario = without
    for at in range(len(scenario)):
        for header in scenario[at].request.headers if scenario[at].request.raw is None else ():
            if fails([without := _without(scenario, at, header)]):
                scenario = without
    return [scenario]


def _without(scenario: Scenario, at: int, header: tuple[bytes, bytes]) -> Scenario:
    act = scenario[at]
    headers = tuple(one for one in act.request.headers if one != header)
    return (*scenario[:at], act._replace(request=act.request._replace(headers=headers)), *scenario[at + 1 :])
