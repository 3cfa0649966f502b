"""Pages in Markdown: their sections, tables and code blocks, for tests against the code."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


class Page:
    """A page of this repository."""

    def __init__(self, name: str) -> None:
        """Read the page at the path `name` from the root."""
        self.name = name
        self.text = (ROOT / name).read_text(encoding="utf-8")

    def section(self, title: str) -> str:
        """Return the text under the second-level heading `title`, up to the next one."""
        found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", self.text, re.MULTILINE | re.DOTALL)
        assert found is not None, f"{self.name} has no section {title!r}"
        return found[1]

    def tables(self, title: str) -> list[list[list[str]]]:
        """Return the tables of a section, each a list of rows of cells, without the heading."""
        blocks = re.findall(r"(?:^\|.*\|\n)+", self.section(title), re.MULTILINE)
        return [
            [[cell.strip() for cell in line[1:-1].split("|")] for line in block.splitlines()[2:]] for block in blocks
        ]

    def block(self, kind: str) -> str:
        """Return the only code block marked `kind`."""
        (block,) = self.blocks(kind)
        return block

    def blocks(self, kind: str) -> list[str]:
        """Return the code blocks marked `kind`."""
        return re.findall(rf"^```{kind}\n(.*?)^```$", self.text, re.MULTILINE | re.DOTALL)

    def anchors(self) -> list[str]:
        """Return the anchors of the headings; right for headings of words alone."""
        headings = re.findall(r"^#+ (.+)$", self.text, re.MULTILINE)
        return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]

    def links(self) -> list[str]:
        """Return the targets of the links and pictures."""
        return re.findall(r"\]\(([^)\s]+)\)", self.text)


def names(cell: str) -> list[str]:
    """Return the words in backticks in `cell`."""
    return re.findall(r"`([^`]+)`", cell)
