"""The tokens of a filter, and hints on their order: a mistake is answered by its column and the text to write instead.

A value is a word (`Ida`, `53a3`, `14:03:22`, `+1.5m`, `first-come`) or stands in quotes. In the Python source made of
the tokens each of these is a placeholder, so no value is ever read as Python.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from broker.verification.safe_text import printable

DEPTH_MAX = 50
COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")
KEYWORDS = frozenset({"and", "or", "not", "in"})

SPELLINGS: Mapping[str, str] = {
    "===": "==",
    "!==": "!=",
    "<>": "!=",
    "=<": "<=",
    "=>": ">=",
    "=~": "in",
    "&&": "and",
    "||": "or",
}
"""Signs of other languages that begin like one of the filter's own."""
OTHER_SPELLINGS: Mapping[str, str] = {
    "=": "==",
    "&": "and",
    "|": "or",
    "!": "not",
    "~": "in",
    "\N{LESS-THAN OR EQUAL TO}": "<=",
    "\N{GREATER-THAN OR EQUAL TO}": ">=",
    "\N{NOT EQUAL TO}": "!=",
    "\N{LEFT DOUBLE QUOTATION MARK}": '"',
    "\N{RIGHT DOUBLE QUOTATION MARK}": '"',
    "\N{DOUBLE LOW-9 QUOTATION MARK}": '"',
    "\N{LEFT SINGLE QUOTATION MARK}": "'",
}
OTHER_WORDS: Mapping[str, str] = {
    "is": "==",
    "eq": "==",
    "equals": "==",
    "contains": "in",
    "like": "in",
    "matches": "in",
    "has": "in",
}
"""Words of other languages, and of people, in the place of a comparison."""

_PLAIN = re.compile(r"\w[\w.:\u00b7-]*", re.ASCII)
_LETTER = r"(?:[A-Za-z0-9_]|[^\x00-\x7f\s\u2264\u2265\u2260\u2018\u201c\u201d\u201e])"
"""A character of a word. Beyond ASCII it is each but the signs below: scripts have vowel signs and joiners too."""
_TOKEN = re.compile(
    r"""(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
    rf"""|(?P<word>[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}[ ][0-9]{{1,2}}:[0-9]{{2}}[\w.:+-]*"""
    rf"""|\+?{_LETTER}(?:{_LETTER}|[.:-])*(?:\+[0-9][0-9:]*)?)"""
    r"""|(?P<sign>[<>=!]=|[<>(),])""",
    re.DOTALL,
)
_SPACE = re.compile(r"\s*")


class FilterError(Exception):
    """A mistake in a filter; the message begins with its column, counted from 1."""


class Token(NamedTuple):
    """One token; the text of a string is without its quotes."""

    kind: str  # word, string, sign, keyword, end
    text: str
    column: int

    @property
    def is_value(self) -> bool:
        """True for a word or a string."""
        return self.kind in ("word", "string")

    @property
    def sign(self) -> str:
        """The text of a sign or a keyword; nothing for a value, which may look like one."""
        return "" if self.is_value else self.text


def expected(token: Token, what: str) -> FilterError:
    """Return the fault that something else was expected in place of `token`."""
    return FilterError(f"{token.column}: expected {what}")


def quoted_value(value: str) -> str:
    """Return `value` as it is written in a filter: in quotes, unless it is a plain word."""
    return value if _PLAIN.fullmatch(value) and value not in KEYWORDS else printable(value)


def tokens_of(text: str) -> list[Token]:
    """Return the tokens of `text`, with one for its end.

    Raises:
        FilterError: there is a sign that no filter has, or a quote without its end.
    """
    tokens: list[Token] = []
    at, end = 0, len(text.rstrip())
    while True:
        at = _after_space(text, at)
        if at >= end:
            return [*tokens, Token("end", "", end + 1)]
        found = _TOKEN.match(text, at)
        spelt = next((sign for sign in SPELLINGS if text.startswith(sign, at)), None)
        if found is None or spelt is not None:
            raise _no_token(text, at)
        tokens.append(_token(found))
        at = found.end()


def check_order(tokens: Sequence[Token], names: str) -> None:
    """Check that values and signs alternate, and that parentheses match; `names` says what a condition is about.

    Raises:
        FilterError: they don't.
    """
    order = _Order(names)
    for number, token in enumerate(tokens):
        order.take(token, tokens[number - 1] if number else None, tokens[number + 1 : number + 2])


class _Order:
    """The place in a filter: a value comes next or not, and the parentheses open there."""

    def __init__(self, names: str) -> None:
        self._names = names
        self._is_value_next = True
        self._sign = ""  # the last one since `and`, `or` or a parenthesis
        self._open: list[bool] = []  # `True` for those of a list, after `in`

    def take(self, token: Token, before: Token | None, after: Sequence[Token]) -> None:
        if self._is_value_next:
            self._take_value(token, before)
        else:
            self._take_sign(token, after)

    def _take_value(self, token: Token, before: Token | None) -> None:
        is_right = before is not None and before.sign in (*COMPARISONS, "in", ",")
        if token.is_value:
            _check_word(token)
            self._is_value_next = False
        elif token.sign == "(":
            if len(self._open) == DEPTH_MAX:
                raise FilterError(f"{token.column}: more than {DEPTH_MAX} levels deep")
            self._open.append(before is not None and before.sign == "in")
        elif token.sign != "not" or is_right:
            raise expected(token, "a value" if is_right else f"a name ({self._names}) or a value")

    def _take_sign(self, token: Token, after: Sequence[Token]) -> None:
        if token.sign in (*COMPARISONS, "in"):
            self._is_value_next, self._sign = True, token.sign
        elif token.sign in ("and", "or"):
            self._is_value_next, self._sign = True, ""
        elif token.sign == "not" and after and after[0].sign == "in":
            self._is_value_next = False
        elif token.sign == "," and self._open and self._open[-1]:
            self._is_value_next = True
        elif token.sign == ")" and self._open:
            self._open.pop()
        elif token.kind != "end" or self._open:
            raise self._not_a_sign(token)

    def _not_a_sign(self, token: Token) -> FilterError:
        meant = OTHER_WORDS.get(token.text.casefold()) if token.kind == "word" else None
        meant = token.text.casefold() if token.kind == "word" and token.text.casefold() in KEYWORDS else meant
        if token.sign == "," and self._sign == "in":
            return expected(token, "parentheses around the values after in, as in type in (room_opened, LeaveRoom)")
        if meant is not None or token.sign == ",":
            return _other_spelling(token.column, token.text, meant or "and")
        if not self._sign:
            return expected(token, f"a comparison ({' '.join(COMPARISONS)} in)")
        if token.is_value:
            return expected(token, "'and', 'or' or the end; a value of several words stands in quotes")
        closing = "')'" if self._open else "the end"
        return expected(token, f"'and', 'or' or {closing}")


def _check_word(token: Token) -> None:
    if token.kind == "word" and token.text.isupper() and token.text.lower() in KEYWORDS:
        raise _other_spelling(token.column, token.text, token.text.lower())


def _token(found: re.Match[str]) -> Token:
    kind, text, column = found.lastgroup or "", found[0], found.start() + 1
    if kind == "string":
        return Token(kind, re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL), column)
    return Token("keyword" if text in KEYWORDS else kind, text, column)


def _after_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found is not None else at


def _no_token(text: str, at: int) -> FilterError:
    for sign, meant in (*SPELLINGS.items(), *OTHER_SPELLINGS.items()):
        if text.startswith(sign, at):
            return _other_spelling(at + 1, sign, meant)
    if text[at] in "\"'":
        return FilterError(f"{at + 1}: the quote that begins here has no end")
    return FilterError(f"{at + 1}: expected a name, a value, a comparison or a parenthesis")


def _other_spelling(column: int, written: str, meant: str) -> FilterError:
    example = ', as in "chess" in text' if meant == "in" else ""
    return FilterError(f"{column}: {written} is no sign here; did you mean {meant}{example}?")
