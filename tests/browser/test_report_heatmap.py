"""The report of more connections than lanes can be told apart: a heatmap with a way to the lanes."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from events.commands import AdoptPolicy, LeaveQueue, LeaveRoom
from events.commit import Commit
from events.ids import ConnectionId, RoomId
from events.policy import Policy
from tests.browser.conftest import Open
from tests.browser.crowds import crowd
from tests.log_debugger.logs import Script

PAIRS, ROUNDS, STEP_MS = 100, 10, 300
HOUR_MS = 3_600_000
CHATS_END_MS = PAIRS * ROUNDS * 3 * STEP_MS
SILENCE_END_MS = CHATS_END_MS + 3 * HOUR_MS
GUTTER = 168

INK = """() => {
  const { width, height } = document.getElementById("lanes-canvas");
  const copy = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  copy.drawImage(document.getElementById("lanes-canvas"), 0, 0);
  const { data } = copy.getImageData(0, 0, width, height);
  const columns = [];
  for (let x = 0; x < width; x++) {
    const column = { x, red: 0, blue: 0, ink: 0 };
    for (let y = 0; y < height; y++) {
      const at = 4 * (y * width + x);
      column.ink += data[at + 3] > 0;
      column.red += data[at + 3] && data[at];
      column.blue += data[at + 3] && data[at + 2];
    }
    columns.push(column);
  }
  return columns;
}"""
"""The ink, the red and the blue of each column of pixels of the lanes."""


@cache
def two_crowds() -> list[Commit]:
    """Return a log: 2,000 chat in pairs, three silent hours follow, then 1,000 wait in vain."""
    script, at_ms = Script(), 0

    def then() -> int:
        nonlocal at_ms
        at_ms += STEP_MS
        return at_ms

    for each in range(ROUNDS):
        pairs = [(f"{each} {n}", RoomId(f"r_{each}_{n}")) for n in range(PAIRS)]
        for name, room in pairs:
            script.enters(then(), ConnectionId(f"c_a {name}"), "Ann")
            script.enters(then(), ConnectionId(f"c_b {name}"), "Bob", room=room)
        for name, room in pairs:
            script.add(then(), LeaveRoom(ConnectionId(f"c_a {name}"), room))
    at_ms = SILENCE_END_MS
    script.add(then(), AdoptPolicy(Policy(matching="interests", interest_patience_ms=HOUR_MS)))
    people = [ConnectionId(f"c_c {n}") for n in range(PAIRS * ROUNDS)]
    for n, who in enumerate(people):
        script.enters(then(), who, "Cat", f"topic {n}")
    for who in people:
        script.add(then(), LeaveQueue(who))
    return script.commits


@pytest.fixture
def page(open_report: Open) -> Page:
    """The report of the two crowds."""
    page: Page = open_report(two_crowds()).page
    return page


def shows(page: Page, what: str) -> None:
    """Check the kind of the picture: lanes or the heatmap."""
    expect(page.locator("#timeline")).to_have_attribute("data-shows", what)


def x_of(page: Page, at_ms: int) -> float:
    """Return the place of a time on the canvas, while the whole log is in sight."""
    commits = two_crowds()
    all_ms = commits[-1].at_ms - commits[0].at_ms
    width = page.locator("#lanes").evaluate("(lanes) => lanes.clientWidth") - GUTTER
    low, high = -0.005 * 1.01 * all_ms, 1.01 * all_ms
    return float(GUTTER + (at_ms - low) / (high - low) * width)


def ink(page: Page, from_ms: int, to_ms: int) -> list[dict[str, Any]]:
    """Return the columns of the canvas from one time to another, except those at the ends."""
    first, last = x_of(page, from_ms) + 4, x_of(page, to_ms) - 4
    found = [one for one in page.evaluate(INK) if first < one["x"] < last]
    assert len(found) > 20
    return found


def test_the_first_screen_has_ink_where_someone_was_and_nowhere_else(page: Page) -> None:
    """The whole log is in sight: chats are blue, the silence is empty, and waits are amber."""
    shows(page, "heatmap")
    expect(page.locator("html")).to_have_attribute("data-in-sight", "1.0000")
    expect(page.locator("#lanes")).to_have_attribute("aria-label", re.compile("^A heatmap"))
    chats, silence = ink(page, 0, CHATS_END_MS), ink(page, CHATS_END_MS, SILENCE_END_MS)
    waits = ink(page, SILENCE_END_MS, SILENCE_END_MS + 2 * PAIRS * ROUNDS * STEP_MS)
    assert all(one["ink"] and one["blue"] > one["red"] for one in chats)
    assert not any(one["ink"] for one in silence)
    assert all(one["ink"] and one["red"] > one["blue"] for one in waits)


def point(page: Page, at_ms: int, y: float) -> tuple[float, float]:
    """Return the point of a time on the heatmap, `y` px from its top."""
    box = page.locator("#lanes").bounding_box()
    assert box is not None
    return box["x"] + x_of(page, at_ms), box["y"] + y


@pytest.mark.parametrize(
    ("at_ms", "names"),
    [(CHATS_END_MS // 2, "Ann|Bob"), (SILENCE_END_MS + PAIRS * ROUNDS * STEP_MS, "Cat")],
    ids=["few at a time", "many at a time"],
)
def test_a_tap_on_a_cell_leads_to_its_lanes(page: Page, at_ms: int, names: str) -> None:
    """A short time around the cell is in sight, with the lanes of its connections; Fit leads back."""
    x, y = point(page, at_ms, 10)
    page.mouse.move(x, y)
    counted = re.search(r"([0-9]+) connections?: tap for the lanes", page.locator("#tip").inner_text())
    assert counted
    assert int(counted[1]) > 0
    page.mouse.click(x, y)
    shows(page, "lanes")
    expect(page.locator("#tip")).to_be_hidden()
    assert float(page.locator("html").get_attribute("data-in-sight") or 1) < 0.01
    lanes = page.locator("#lanes").bounding_box()
    assert lanes is not None
    page.mouse.move(lanes["x"] + 50, lanes["y"] + lanes["height"] / 2)
    expect(page.locator("#tip")).to_contain_text(re.compile(names))
    assert any(one["ink"] and one["x"] > GUTTER for one in page.evaluate(INK))
    page.click("#zoom-fit")
    shows(page, "heatmap")


def test_a_tap_where_nobody_was_shows_no_lane(page: Page) -> None:
    """The tip says so beforehand."""
    x, y = point(page, (CHATS_END_MS + SILENCE_END_MS) // 2, 10)
    page.mouse.move(x, y)
    expect(page.locator("#tip")).to_contain_text("Nobody waits or chats")
    page.mouse.click(x, y)
    shows(page, "lanes")
    page.mouse.move(x - 300, y)
    expect(page.locator("#tip")).to_be_hidden()


def test_zooming_in_turns_the_heatmap_into_lanes_and_back(page: Page) -> None:
    """No tap is needed: few connections in sight have lanes."""
    page.keyboard.press("Home")
    for key, what in (("+", "lanes"), ("-", "heatmap")):
        for _ in range(12):
            page.keyboard.press(key)
        shows(page, what)


def test_enter_on_the_heatmap_shows_the_lanes_at_the_moment(page: Page) -> None:
    """The heatmap can be left by a key, even if the moment has more connections than it shows as lanes."""
    page.evaluate("(position) => (location.hash = `#${position}`)", len(two_crowds()) - PAIRS * ROUNDS)
    page.locator("#lanes").focus()
    page.keyboard.press("Enter")
    shows(page, "lanes")


def test_the_selection_has_its_lanes_above_the_heatmap(page: Page) -> None:
    """The lane of a selected connection covers the whole log, and has its tip."""
    before = page.evaluate(INK)
    page.locator("#lanes").focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator("#selection")).to_contain_text("c_a 0 0")
    shows(page, "heatmap")
    assert page.evaluate(INK) != before
    box = page.locator("#lanes").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 50, box["y"] + 10)
    expect(page.locator("#tip")).to_contain_text("Ann")


def test_a_filter_leaves_its_connections_on_the_heatmap(page: Page) -> None:
    """No ink is left at the times of the others; a few connections have lanes."""
    page.select_option("#filter-reason", label="left")
    page.select_option("#filter-kind", label="queue_left")
    shows(page, "heatmap")
    assert not any(one["ink"] for one in ink(page, 0, SILENCE_END_MS))
    page.fill("#filter-person", "c_c 17")
    shows(page, "lanes")


def test_a_log_of_few_has_lanes(open_report: Open) -> None:
    """The whole of it is shown as lanes, on either axis."""
    page = open_report(crowd(1_500, people=200, every_ms=2_000, talks=False)).page
    shows(page, "lanes")
    page.click("#axis-position")
    shows(page, "lanes")
