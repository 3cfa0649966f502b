"""Many scenarios from few by mutation: acts of several put together, headers exchanged, bytes damaged.

Hypothesis takes longer to make a scenario than a server to answer it, so most scenarios of a long run are mutated
ones. `smaller` goes the other way, from failing scenarios to fewer of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from random import Random

from tests.hostile.messages import ARGUMENTS
from tests.hostile.request import Header, Request
from tests.hostile.scenarios import Act, Scenario, lasting
from tests.hostile.values import MARK, ODD, to_json

ACTS_MAX = 6
LASTING = lasting()
"""Streams of both eras: few scenarios have one, and a chat happens beside open streams."""


def mutated(pool: Sequence[Scenario], random: Random) -> Scenario:
    """Return a scenario with acts from `pool`, most of them changed a little."""
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
    """Return the body of a tool call with one argument more or another value for one, any other body as it is."""
    try:
        message = json.loads(body)
        message["params"]["arguments"][random.choice([*ARGUMENTS, MARK])] = random.choice(ODD)
    except (ValueError, TypeError, LookupError, RecursionError):
        return body
    return to_json(message)


def _damaged(text: bytes, random: Random) -> bytes:
    """Return `text` with a few bytes changed, gone, or repeated."""
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
    """Remove scenarios, acts and headers from a failing batch as long as it still fails; return the rest."""
    while len(batch) > 1:
        half = len(batch) // 2
        for part in (batch[half:], batch[:half]):  # the guilty one is more likely at the end
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


def _without(scenario: Scenario, at: int, header: Header) -> Scenario:
    act = scenario[at]
    headers = tuple(one for one in act.request.headers if one != header)
    return (*scenario[:at], act._replace(request=act.request._replace(headers=headers)), *scenario[at + 1 :])
