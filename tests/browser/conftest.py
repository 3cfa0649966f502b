"""A browser, and reports and chat pages opened in it.

Needs Chromium: /usr/bin/chromium, or the one named by CHROMIUM in the environment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from events.commit import Commit
from projections.state import INITIAL_STATE, State
from tests.browser.brokers import BrokerProcess, broker_process
from tests.browser.chat_tab import ChatTab, take_out
from tests.browser.host_tab import HostTab
from tests.browser.pages import html_of
from tests.browser.report_tab import ReportTab, chromium, chromium_path, is_installed
from tests.browser.stranger import Stranger

OpenChat = Callable[..., ChatTab]
Open = Callable[..., ReportTab]
OpenHost = Callable[..., HostTab]

EXPECTED_WITHIN_MS = 20_000
"""A page tries again after seconds, and a busy machine is slow; a long limit delays only a failure."""

expect.set_options(timeout=EXPECTED_WITHIN_MS)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One browser for all tests."""
    if not is_installed():
        pytest.exit(f"there is no Chromium at {chromium_path()}: install it, or name another in CHROMIUM", returncode=1)
    with chromium() as started:
        yield started


@pytest.fixture
def open_report(browser: Browser, tmp_path: Path) -> Iterator[Open]:
    """Open the report of some commits; afterwards, nothing was loaded and there were no complaints."""
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


@pytest.fixture(scope="session")
def broker() -> Iterator[BrokerProcess]:
    """Run one broker for all pages that do nothing to it; its people may write at any rate."""
    with broker_process("--messages-per-10s-max", "1000") as started:
        yield started


@pytest.fixture
def open_chat(browser: Browser, broker: BrokerProcess) -> Iterator[OpenChat]:
    """Open the chat page in a context of its own; afterwards, its people are gone and there were no complaints."""
    opened: list[ChatTab] = []

    def open_it(url: str | None = None, **options: Any) -> ChatTab:
        opened.append(ChatTab(browser.new_context(**options), url or broker.url))
        return opened[-1]

    yield open_it
    for tab in opened:
        tab.close()


@pytest.fixture
def stranger(broker: BrokerProcess) -> Iterator[Stranger]:
    """A stranger at the broker, with tools alone; gone afterwards."""
    with Stranger(broker.url) as person:
        yield person
        if person.handle:
            take_out(broker.url, person.handle)


@pytest.fixture
def open_host(browser: Browser, broker: BrokerProcess) -> Iterator[OpenHost]:
    """Open a host; afterwards its window is gone, and there were no complaints."""
    opened: list[HostTab] = []

    def open_it(url: str = broker.url, **options: int) -> HostTab:
        opened.append(HostTab(browser, url, **options))
        return opened[-1]

    yield open_it
    for tab in opened:
        tab.close()


@pytest.fixture
def host(open_host: OpenHost) -> HostTab:
    """A host, without a window."""
    return open_host()
