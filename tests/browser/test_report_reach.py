"""The report by address, by key and by touch, and on a narrow screen."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Open
from tests.browser.crowds import crowd
from tests.browser.small_logs import broken_log

NARROW = {"width": 390, "height": 844}

BEYOND = """() => [...document.querySelectorAll("body *")].filter((one) => {
  const box = one.getBoundingClientRect();
  const isScrolled = one.closest("[role=tablist], .long, dialog, svg, .hidden-text");
  return box.width && box.height && !isScrolled && (box.right > innerWidth + 1 || box.left < -1);
}).map((one) => one.id || one.outerHTML.slice(0, 80))"""
"""What stands beyond the window's margins."""

SMALL = """() => [...document.querySelectorAll("button, select, input")].filter((one) => {
  const box = one.getBoundingClientRect();
  return box.width && (box.height < 39.5 || (box.width < 39.5 && !one.matches(".link")));
}).map((one) => one.id || one.outerHTML.slice(0, 80))"""
"""What a finger would miss."""


def test_the_address_follows_the_moment(open_report: Open) -> None:
    """`#N` opens a moment, the address follows the chosen one, and back and forward lead through them."""
    page = open_report(broken_log()).page
    now = page.locator("#position-now")
    page.evaluate("location.hash = '#4'")
    expect(now).to_have_text("4")
    page.keyboard.press("Home")
    page.wait_for_function("() => location.hash === '#0'")
    page.evaluate("history.back()")
    expect(now).to_have_text("4")
    page.evaluate("history.forward()")
    expect(now).to_have_text("0")
    opened = page.context.new_page()
    opened.goto(f"{page.url.partition('#')[0]}#7")
    expect(opened.locator("#position-now")).to_have_text("7")


@pytest.mark.parametrize("asked", ["#x", "#11", "#-1", "#<b>", "#%E0"])
def test_a_wrong_address_is_said(open_report: Open, asked: str) -> None:
    """The hint has the valid forms, the moment stays, and the next one takes the hint away."""
    page = open_report(broken_log()).page
    page.evaluate("(asked) => (location.hash = asked)", asked)
    expect(page.locator("#hint")).to_contain_text("is no position of this log: write #0 to #10.")
    expect(page.locator("#position-now")).to_have_text("10")
    page.keyboard.press("Home")
    expect(page.locator("#hint")).to_be_hidden()


def at(position: int) -> Callable[[Page], None]:
    """Return the check for the moment `position`."""
    return lambda page: expect(page.locator("#position-now")).to_have_text(str(position))


def in_sight(part: float) -> Callable[[Page], None]:
    """Return the check for `part` of the log in sight."""
    return lambda page: expect(page.locator("html")).to_have_attribute("data-in-sight", f"{part:.4f}")


def selected(text: str) -> Callable[[Page], None]:
    """Return the check for `text` in the selection."""
    return lambda page: expect(page.locator("#selection")).to_contain_text(text)


# # At position 10 of a log with a broken promise in its fourth commit: the keys before, and the effect of the key.
DONE: dict[str, tuple[list[str], Callable[[Page], None]]] = {
    "ArrowLeft": ([], at(9)),
    "ArrowRight": (["Home"], at(1)),
    "PageUp": ([], at(0)),
    "PageDown": (["Home"], at(10)),
    "Home": ([], at(0)),
    "End": (["Home"], at(10)),
    " ": ([], lambda page: expect(page.locator("#play")).to_have_attribute("aria-label", "Pause")),
    "+": ([], in_sight(0.5)),
    "=": ([], in_sight(0.5)),
    "-": (["+", "+"], in_sight(0.5)),
    "0": (["+", "+"], in_sight(1)),
    "/": ([], lambda page: expect(page.locator("#search")).to_be_focused()),
    "n": (["Home"], at(4)),
    "p": ([], at(9)),
    "b": (["Home"], at(4)),
    "B": ([], at(4)),
    "Escape": (["ArrowDown"], lambda page: expect(page.locator("#selection")).to_be_hidden()),
    "?": ([], lambda page: expect(page.locator("#keys")).to_be_visible()),
    "ArrowUp": (["ArrowDown", "ArrowDown"], selected("Ann")),
    "ArrowDown": ([], selected("Ann")),
    "Enter": (["ArrowDown"], selected("r_2")),
}


def test_each_listed_key_does_what_the_list_says(open_report: Open) -> None:
    """The list, opened by its button, has exactly the keys tried here."""
    page = open_report(broken_log()).page
    page.click("#show-keys")
    listed = page.eval_on_selector_all("#key-list kbd", "(caps) => caps.map((cap) => cap.dataset.key)")
    assert sorted(listed) == sorted(DONE)
    page.keyboard.press("Escape")
    expect(page.locator("#keys")).to_be_hidden()


@pytest.mark.parametrize("key", DONE)
def test_a_key(open_report: Open, key: str) -> None:
    """Its effect is the listed one, with the focus on the lanes."""
    page = open_report(broken_log()).page
    if key in "np":
        page.select_option("#filter-kind", label="message_sent")
    page.locator("#lanes").focus()
    before, does = DONE[key]
    for one in (*before, key):
        page.keyboard.press(one)
    does(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_telephone_shows_all_of_it(open_report: Open, scheme: str) -> None:
    """No part of it is beyond the margins, in any tab, and every control is big enough for a finger."""
    page = open_report(crowd(400), scheme=scheme).page
    page.set_viewport_size(NARROW)
    for tab in ("commits", "breaches", "waits", "throughput"):
        page.click(f"#tab-{tab}")
        assert page.evaluate(BEYOND) == []
        assert page.evaluate(SMALL) == []
    page.click("#show-keys")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_no_text_is_smaller_than_twelve_pixels(open_report: Open) -> None:
    """This holds for the page, and for the fonts of drawn texts."""
    page = open_report(crowd(400)).page
    page.set_viewport_size(NARROW)
    sizes = "() => [...document.querySelectorAll('body *')].map((one) => parseFloat(getComputedStyle(one).fontSize))"
    assert min(page.evaluate(sizes)) >= 12
    drawn = "".join(
        one.read_text("utf-8") for one in files("log_debugger.report").joinpath("page").iterdir() if ".js" in one.name
    )
    assert "11px" not in drawn
    assert "10.5px" not in drawn


def test_two_fingers_zoom(open_report: Open) -> None:
    """Spread apart, they show less of the time, and choose nothing."""
    page = open_report(crowd(400)).page
    page.set_viewport_size(NARROW)
    page.evaluate("""() => {
      const lanes = document.getElementById("lanes"), box = lanes.getBoundingClientRect();
      const touch = (type, pointerId, x) => lanes.dispatchEvent(new PointerEvent(type, {
        pointerId, pointerType: "touch", button: 0, bubbles: true, clientX: box.left + x, clientY: box.top + 20,
      }));
      touch("pointerdown", 71, 200);
      touch("pointerdown", 72, 240);
      touch("pointermove", 72, 280);
      touch("pointerup", 72, 280);
      touch("pointerup", 71, 200);
    }""")
    in_sight(0.5)(page)
    expect(page.locator("#selection")).to_be_hidden()


def test_nothing_is_shown_as_less_than_zero(open_report: Open) -> None:
    """A value rounded to zero has no sign."""
    page = open_report(broken_log()).page
    parts = files("log_debugger.report").joinpath("page")
    code = "\n".join(parts.joinpath(name).read_text("utf-8") for name in ("text.js", "data.js"))

    def told(calls: str) -> list[str]:
        found: list[str] = page.evaluate(f"() => {{ {code}\n return [{calls}]; }}")
        return found

    assert told("relative(-0.4), relative(-400, false), relative(-0), duration(-0.3)") == [
        "+0:00:00.000",
        "+0:00:00",
        "+0:00:00.000",
        "0 s",
    ]
    assert told("relative(-1500), relative(86399999, false), relative(86400000)") == [
        "-0:00:01.500",
        "+23:59:59",
        "+1d 0:00:00.000",
    ]
