"""The look and readability of the chat window: nothing is too wide, and axe finds nothing in any state."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.brokers import BrokerProcess
from tests.browser.conftest import OpenHost
from tests.browser.host_tab import DARK, LIGHT, HostTab, Json
from tests.browser.looks import findings, load_axe, too_wide
from tests.browser.stranger import Stranger

LOOKS: dict[str, Json] = {"light": LIGHT, "dark": DARK, "plain": {"theme": "dark"}}


class Watched:
    """A window with a check of its every state."""

    def __init__(self, host: HostTab, folder: Path) -> None:
        self._host = host
        self._folder = folder
        self._count = 0
        self._frame = host.page.frames[-1]
        load_axe(self._frame)

    def look(self, state: str) -> None:
        """Take a picture; nothing is too wide, and axe finds nothing."""
        self._count += 1
        self._host.page.screenshot(path=self._folder / f"{self._count}-{state}.png")
        assert too_wide(self._frame) == [], state
        assert findings(self._frame) == [], state


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("width", [300, 700])
def test_every_state_fits_and_can_be_read(
    open_host: OpenHost, broker: BrokerProcess, tmp_path: Path, width: int, look: str
) -> None:
    """Narrow and wide, in the host's colours and in its own."""
    host = open_host(width=width + 16)
    host.open(context=LOOKS[look])
    watched = Watched(host, tmp_path)
    watched.look("start")
    host.find()
    watched.look("waiting")
    with Stranger(broker.url, "Sam the very long named " + "W" * 16) as stranger:
        stranger.enter()
        host.expect_to_talk_with(stranger.name)
        host.say("hello", "W" * 200, "long " * 2_000)
        expect(host.window.locator("li.you .state").last).to_contain_text("not sent")
        stranger.say("a\nb")
        expect(host.lines()).to_have_count(1)
        host.button("Next").click()
        watched.look("talking")
        host.button("Report").click()
        watched.look("report")
        host.button("Cancel").click()
        if look != "plain":
            host.say(*(f"line {number}" for number in range(40)))
            host.button("Show all").click()
            expect(host.window.get_by_text("hello", exact=True)).to_be_visible()
            watched.look("fullscreen")
            host.button("Show less").click()
        stranger.leave()
    expect(host.lines("note").last).to_contain_text("has left.")
    watched.look("over")
