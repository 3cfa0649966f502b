"""Odd JSON values, and the values of this protocol's fields.

Free text often holds `MARK`, so that its repetition in a text of ours or in a line of the log is seen.
"""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import strategies as st

from tests.facade.people import MODERN, SESSIONS
from tests.hostile.request import PLACEHOLDERS

MARK = "zqx"
SESSION_VERSIONS = ("2024-11-05", "2025-03-26", "2025-06-18", SESSIONS)


class Raw(bytes):
    """JSON, or nearly JSON, written as it is."""


def to_json(value: Any, **style: Any) -> bytes:
    """Return `value` as JSON in that `style` of `json.dumps`; a `Raw` in it is written as it is."""
    raws: list[bytes] = []

    def noted(raw: bytes) -> str:
        raws.append(raw)
        return f"@raw:{len(raws)}@"

    text = json.dumps(value, default=noted, **style).encode("utf-8", "surrogatepass")
    for number, raw in enumerate(raws, 1):
        text = text.replace(b'"@raw:%d@"' % number, raw, 1)
    return text


ODD_NUMBERS = [
    Raw(text)
    for text in (
        *(
            b"NaN",
            b"-Infinity",
            b"1e999",
            b"1e400",
            b"1E400",
            b"-0.0",
            b"-0",
            b"1.0",
            b"1e0",
            b"0.5",
            b"0.1e-400",
            b"01",
        ),
        *(b"9007199254740993", b"12345678901234567890123456789"),
        *(b"9" * 400, b"-" + b"9" * 4_200, b"9" * 4_400, b"9" * 5_000),
    )
]
ODD: list[Any] = [
    *(None, True, False, 0, 1, -1, 7, 0.5, 2**63, 1e308, float("nan")),
    *("", "1", MARK, "\ud800"),
    *([], {}, [1], [[]], [[[]]], [MARK] * 11, {"a": 1}, {"": None}, {MARK: MARK}),
    *ODD_NUMBERS,
    Raw(b'"\\ud800"'),
    Raw(b'"\\udc00zqx\\ud83d"'),
    Raw(b'"\\ud83d\\ude00"'),
    Raw(b'"\\/"'),
    Raw(b'"\t"'),
    Raw(b'"\xed\xa0\x80"'),
    Raw(b'"\xff\xfezqx"'),
    Raw(b'"\xc0\x80"'),
    Raw(b'"zqx\x00"'),
    Raw(b'"\\u0000zqx\\u001b[2J\\u202e"'),
    Raw(b"[" * 100 + b"]" * 100),
    Raw(b"[" * 300 + b"]" * 300),
    Raw(b'{"a":' * 900 + b"1" + b"}" * 900),
    Raw(b"[" * 20_000 + b"]" * 20_000),
    Raw(b"[" * 20_000),
    Raw(b'{"a":1,"a":2,"zqx":3,"zqx":4}'),
    Raw(b'{"__proto__":{"zqx":1},"":null}'),
    Raw(b'"' + b"zqx" * 5_000 + b'"'),
    Raw(b"[" + b"0," * 20_000 + b"0]"),
    Raw(b"'zqx'"),
    Raw(b"tru"),
    Raw(b""),
]
ODD_VALUES = st.sampled_from(ODD).map(copy.deepcopy)

TEXTS = st.one_of(
    st.sampled_from(
        [
            *("", " ", "a", "é", "日本", "😀", "\x7f", "a\x00b", "\u2028", 'quo"te\\', "0", "x" * 5_000),
            MARK,
            f"{MARK} {{handle}} %s {{0.__class__}} ${{jndi:ldap://x}}",
            f"{MARK}\r\ndata: x\r\n\r\nevent: message",
            f"{MARK}\u2028\u0085\x9b2J\x1b[31m",
            f"../../{MARK}",
            "_GET_stream",
            MARK * 100,
            "😀" + MARK,
        ]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8).map(lambda text: MARK + text),
    st.sampled_from([name.decode() for name in PLACEHOLDERS]),
)
SIMPLE = st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), TEXTS, ODD_VALUES)
VALUES = st.one_of(
    ODD_VALUES,
    TEXTS,
    st.recursive(
        SIMPLE, lambda some: st.lists(some, max_size=3) | st.dictionaries(TEXTS, some, max_size=3), max_leaves=6
    ),
)


def rarely(one_in: int) -> st.SearchStrategy[bool]:
    """Draw true once in so many times, and never where a scenario can be made smaller."""
    return st.sampled_from([False] * (one_in - 1) + [True])


@st.composite
def mostly(draw: st.DrawFn, usual: st.SearchStrategy[Any], odd: st.SearchStrategy[Any], one_in: int = 12) -> Any:
    """Draw from `usual`, once in so many times from `odd`."""
    return draw(odd if draw(rarely(one_in)) else usual)


ODD_IDS = st.one_of(
    st.sampled_from([*("1", "é", "", "_GET_stream", 0, -1, 1.0, 1.5, True, None, [], {})]).map(copy.deepcopy),
    st.sampled_from([2**53, 2**53 + 1, 2**63, -(2**63), 2**64]),
    st.integers(-3, 2**40),
    st.sampled_from(ODD_NUMBERS),
    VALUES,
)
IDS = mostly(st.integers(0, 3), ODD_IDS)

SESSION_IDS = st.sampled_from(
    ["@SESSION@"] * 40 + ["@OTHER@"] * 10 + ["@OTHER@", "@DEAD@", "@HANDLE@", "f" * 32, MARK, "", "é" + MARK]
)
HANDLES = st.sampled_from(["@HANDLE@"] * 6 + ["@PARTNER@"] * 6 + ["@WAITING@", "cb_" + "A" * 43, MARK, ""])
ROOMS = st.sampled_from(["@ROOM@"] * 8 + ["@CLOSED@", "@HANDLE@", MARK, ""])
CURSORS = st.one_of(st.just(Raw(b"@CURSOR@")), st.just(0), st.sampled_from([1, -1, 2**53, 2**63, 1.0, 0.5, "1", True]))
WAITS = st.sampled_from([0, 0.01, 0.05, 1, 2.5, 8, 300, 301, -1, -0.0, 1e-320, "1", True])
MESSAGE_IDS = st.sampled_from(["a", "b", "", "é", MARK, "x" * 64, "x" * 65])
CATEGORIES = st.sampled_from(["spam", "harassment", "other", " Minor ", "rude", "", 7, MARK])
URIS = st.one_of(
    st.sampled_from(
        [
            "chat://lobby",
            "chat://inbox/@HANDLE@",
            "chat://inbox/@HANDLE@?cursor=@CURSOR@",
            "chat://inbox/@HANDLE@?cursor=",
            "chat://inbox/@HANDLE@?cursor=-1",
            "chat://inbox/@HANDLE@?cursor=" + "9" * 5_000,
            "chat://inbox/@HANDLE@?cursor=%D9%A1&cursor=0&zqx=1",
            "chat://inbox/@HANDLE@#zqx",
            "chat://inbox//@HANDLE@",
            "chat://inbox/%2e%2e/@HANDLE@",
            "chat://inbox/../lobby",
            "chat://inbox/{handle}{?cursor}",
            "chat://inbox/@PARTNER@",
            "chat://INBOX/@HANDLE@",
            "chat://zqx@inbox:80/@HANDLE@",
            "chat://[inbox/zqx",
            "chat://in\nbox/@HANDLE@",
            "CHAT://lobby",
            "chat:lobby",
            "file:///etc/passwd",
            "chat://%6cobby/zqx",
            "chat://lobby?zqx",
            "chat://inbox/" + "zqx/" * 3_000,
        ]
    ),
    TEXTS,
)
VERSIONS = st.sampled_from([MODERN, *SESSION_VERSIONS, "1999-01-01", "2031-01-01", MARK, "", "é", "2" * 3_000])
