"""Checks of a page's look and readability, made by scripts in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from playwright.sync_api import Frame, Page

_AXE = Path(__file__).parents[1] / "clients" / "node_modules" / "axe-core" / "axe.min.js"

_TOO_WIDE = """() => {
  const wide = [document.documentElement, ...document.querySelectorAll("main, section, ol, [role=log], dialog[open]")];
  return wide.filter((one) => one.scrollWidth > one.clientWidth + 1).map((one) => one.outerHTML.slice(0, 80));
}"""

_FINDINGS = """async () => {
  const { violations } = await axe.run(document, { resultTypes: ["violations"] });
  return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => html + failureSummary)}`);
}"""


def load_axe(document: Page | Frame) -> None:
    """Make `findings` possible in `document`."""
    assert _AXE.exists(), "make test-browser installs axe-core"
    document.evaluate(_AXE.read_text("utf-8"))


def too_wide(document: Page | Frame) -> list[Any]:
    """Return the elements wider than their places."""
    found: list[Any] = document.evaluate(_TOO_WIDE)
    return found


def findings(document: Page | Frame) -> list[Any]:
    """Return axe's findings."""
    found: list[Any] = document.evaluate(_FINDINGS)
    return found
