"""Draws the picture of a report that the documentation shows: python -m tests.browser.screenshot [FILE.png]."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from events.commit import Commit
from tests.browser.crowds import crowd
from tests.browser.pages import html_of
from tests.browser.report_tab import ReportTab, chromium

PICTURE = Path(__file__).parents[2] / "docs" / "images" / "report.png"
COMMITS, POSITION = 420, 250


def a_busy_hour() -> list[Commit]:
    """A few hundred commits of a few dozen people."""
    return crowd(COMMITS, seed=72, people=34, every_ms=11_000)


def draw(picture: Path, scheme: str = "light") -> None:
    """Write the picture of the report at a moment at which a message was said, with its room selected."""
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        path = Path(folder) / "report.html"
        path.write_text(html_of(a_busy_hour()), "utf-8")
        report = ReportTab(browser, path, scheme)
        report.go_to(POSITION)
        report.page.locator("#commit .facts button.mono").click()
        report.page.click("#tab-waits")
        report.page.mouse.move(700, 20)
        report.go_to(POSITION)
        picture.parent.mkdir(parents=True, exist_ok=True)
        report.page.screenshot(path=picture)
        report.close()


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURE, *sys.argv[2:])
