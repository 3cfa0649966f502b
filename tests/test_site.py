"""The site of `docs/` has every page, and no link out of it. `make docs` builds it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import pytest

from tests.site import COPY, DOCS, ROOT, for_the_site

PROJECT = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]


def pages(entries: list[Any]) -> Iterator[str]:
    """Yield the pages of a navigation, in its order."""
    for entry in entries:
        if isinstance(entry, str):
            yield entry
            continue
        for below in entry.values():
            yield from pages(below if isinstance(below, list) else [below])


def test_every_page_is_in_the_navigation() -> None:
    """Each page is in it exactly once."""
    assert sorted(pages(PROJECT["nav"])) == sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
    assert ROOT / PROJECT["docs_dir"] == COPY


@pytest.mark.parametrize(
    ("folder", "link", "written"),
    [
        ("", "[Proof](proof.md#promises)", "[Proof](proof.md#promises)"),
        ("", "[a bot](../examples/bot.py)", "a bot (`examples/bot.py`)"),
        ("", "[examples/bot.py](../examples/bot.py)", "`examples/bot.py`"),
        ("decisions", "[clients](../clients.md)", "[clients](../clients.md)"),
        ("decisions", "[bench](../../benchmarks/README.md#the-soak)", "bench (`benchmarks/README.md`)"),
        ("", "[Hypothesis](https://hypothesis.readthedocs.io/)", "[Hypothesis](https://hypothesis.readthedocs.io/)"),
        ("", "[Below](#below)", "[Below](#below)"),
        ("", "![A picture](images/chat.png)", "![A picture](images/chat.png)"),
    ],
)
def test_a_link_to_the_code_becomes_a_path(folder: str, link: str, written: str) -> None:
    """The site has no page for the code."""
    assert for_the_site(link, PurePosixPath(folder)) == written
