"""A browser, and reports opened in it. Needs Chromium: /usr/bin/chromium, or what the environment names in CHROMIUM."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from events.commit import Commit
from projections.state import INITIAL_STATE, State
from tests.browser.pages import html_of
from tests.browser.report_tab import ReportTab, chromium, chromium_path, is_installed

Open = Callable[..., ReportTab]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One browser for all tests."""
    if not is_installed():
        pytest.exit(f"there is no Chromium at {chromium_path()}: install it, or name another in CHROMIUM", returncode=1)
    with chromium() as started:
        yield started


@pytest.fixture
def open_report(browser: Browser, tmp_path: Path) -> Iterator[Open]:
    """Opens the report of some commits; afterwards, nothing was loaded and nothing complained of."""
    opened: list[ReportTab] = []

    def open_it(
        commits: Sequence[Commit], base: State = INITIAL_STATE, *, scheme: str = "light", **options: Any
    ) -> ReportTab:
        path = tmp_path / f"report{len(opened)}.html"
        path.write_text(html_of(commits, base, **options), "utf-8")
        opened.append(ReportTab(browser, path, scheme))
        return opened[-1]

    yield open_it
    for one in opened:
        one.close()
