"""A measure of plain prose in docstrings and comments: rates of words that make sentences long or vague."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

WORD = re.compile(r"[A-Za-z']+")
OPENERS = {"what", "who", "whether", "how", "why", "where", "whom", "whoever", "which", "those", "whose", "when"}
OPENERS |= {"from", "of", "up", "as"}
PRONOUNS = {"nobody", "somebody", "someone", "whoever", "anybody", "everybody", "everyone", "anyone"}
PRONOUNS |= {"whatever", "whom"}
RELATIVES = {"that", "which", "what", "who", "whom", "whose"}


class Rates(NamedTuple):
    """Rates of one package."""

    openers: float
    """Docstrings that begin with one of `OPENERS`, in 100."""
    pronouns: float
    """`PRONOUNS` in 1,000 words."""
    relatives: float
    """`RELATIVES` in 1,000 words."""


def rates_of(sources: Iterator[str] | list[str]) -> Rates:
    """Return the rates of the docstrings and comments in `sources`, each the text of a module."""
    docs: list[list[str]] = []
    comments: list[str] = []
    for source in sources:
        docs += [words_in(doc) for doc in docstrings(source)]
        comments += [word for text in comments_of(source) for word in words_in(text)]
    words = [word for doc in docs for word in doc] + comments
    openers = sum(doc[0] in OPENERS for doc in docs if doc)
    return Rates(
        100 * openers / max(1, len(docs)),
        1_000 * sum(word in PRONOUNS for word in words) / max(1, len(words)),
        1_000 * sum(word in RELATIVES for word in words) / max(1, len(words)),
    )


def words_in(text: str) -> list[str]:
    """Return the words of `text`, in lower case."""
    return [word.lower() for word in WORD.findall(text)]


def docstrings(source: str) -> Iterator[str]:
    """Yield the docstrings of modules, classes and functions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from filter(None, [ast.get_docstring(node)])


def comments_of(source: str) -> Iterator[str]:
    """Yield the comments, but for those to tools."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and not token.string.startswith(("# type:", "# noqa", "# pragma")):
            yield token.string


def modules(folder: Path) -> list[str]:
    """Return the text of every module below `folder`."""
    return [
        path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.py")) if "node_modules" not in path.parts
    ]
