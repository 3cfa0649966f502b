"""The marks of policy changes on the report's axis, overview and plots."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from events.commands import AdoptPolicy
from events.log import OperationRecord
from events.policy import Policy
from log_debugger.reading.operations import notes_of
from tests.browser.conftest import Open
from tests.browser.report_tab import ReportTab
from tests.browser.test_report_heatmap import GUTTER
from tests.log_debugger.logs import ANN, BOB, CAT, ROOM, START_MS, Script

MINUTE_MS = 60_000
FIRST_MS, SECOND_MS, END_MS = 20 * MINUTE_MS, 45 * MINUTE_MS, 60 * MINUTE_MS
PLOT_RIGHT = 12
REACH = 5  # px beside a mark's place


def changed_twice() -> Script:
    """Return a chat, two changes of the policy, and an entry long after them."""
    slow = Policy(matching="interests", interest_patience_ms=MINUTE_MS)
    script = Script().enters(0, ANN, "Ann").enters(5_000, BOB, "Bob", room=ROOM).says(8_000, BOB, "hello")
    script.add(FIRST_MS, AdoptPolicy(Policy(matching="interests"))).says(FIRST_MS + MINUTE_MS, ANN, "hi")
    return script.add(SECOND_MS, AdoptPolicy(slow)).enters(END_MS, CAT, "Cat")


def places(report: ReportTab, canvas: str, left: int, right: int) -> list[float]:
    """Return the places of both changes on a canvas with the whole log between its margins."""
    width = report.page.locator(f"#{canvas}").evaluate("(canvas) => canvas.clientWidth") - left - right
    low, high = -0.005 * 1.01 * END_MS, 1.01 * END_MS
    return [left + (at_ms - low) / (high - low) * width for at_ms in (FIRST_MS, SECOND_MS)]


@pytest.mark.parametrize(
    ("canvas", "tab", "left", "right"),
    [
        ("ruler", "commits", GUTTER, 0),
        ("overview", "commits", GUTTER, 0),
        ("plot-waits", "waits", 54, PLOT_RIGHT),
        ("plot-throughput", "throughput", 110, PLOT_RIGHT),
    ],
)
def test_each_change_has_a_mark_at_its_time(open_report: Open, canvas: str, tab: str, left: int, right: int) -> None:
    """Green is there on the canvas, around both places, and nowhere else."""
    report = open_report(changed_twice().commits)
    report.page.click(f"#tab-{tab}")
    expect(report.page.locator(f"#{canvas}")).to_be_visible()
    report.go_to(1)
    marked, expected = report.coloured(canvas, "--good"), places(report, canvas, left, right)
    assert [x for x in marked if all(abs(x - at) > REACH for at in expected)] == []
    assert all(any(abs(x - at) <= REACH for x in marked) for at in expected)


def test_a_mark_says_what_changed(open_report: Open) -> None:
    """The tip at a mark of the axis has the old value and the new one; beside the marks there is no tip."""
    report = open_report(changed_twice().commits)
    box = report.page.locator("#ruler").bounding_box()
    assert box is not None
    tip = report.page.locator("#tip")
    first, second = places(report, "ruler", GUTTER, 0)
    for x, position, change in (
        (first, 4, "matching from first-come to interests"),
        (second, 6, "interest_patience_ms from 15000 to 60000"),
    ):
        report.page.mouse.move(box["x"] + x, box["y"] + 12)
        expect(tip).to_contain_text(f"The policy changed{change}")
        expect(tip).to_contain_text(f"position {position}")
    report.page.mouse.move(box["x"] + (first + second) / 2, box["y"] + 12)
    expect(tip).to_be_hidden()
    expect(report.page.locator("#ruler")).to_have_attribute(
        "aria-label", "Time axis; drag to move the moment. 2 changes of the policy"
    )


def test_a_policy_that_stays_has_no_mark(open_report: Open) -> None:
    """Green is for its changes alone."""
    report = open_report(Script().enters(0, ANN, "Ann").enters(5_000, BOB, "Bob", room=ROOM).commits)
    for canvas in ("ruler", "overview"):
        assert report.coloured(canvas, "--good") == []


RESTARTED = [
    OperationRecord("started", START_MS, 0),
    OperationRecord("refused", START_MS + 6_000, 2, ANN, "send_message", "not_in_room"),
    OperationRecord("stopped", START_MS + FIRST_MS, 3),
    OperationRecord("started", START_MS + FIRST_MS + 5 * MINUTE_MS, 3),
    OperationRecord("started", START_MS + SECOND_MS, 3),
]


def test_restarts_have_marks_at_their_times(open_report: Open) -> None:
    """They are between commits; a start without an orderly end before it has another colour, a refusal no mark."""
    script = Script().enters(0, ANN, "Ann").enters(5_000, BOB, "Bob", room=ROOM).says(8_000, BOB, "hello")
    report = open_report(script.enters(END_MS, CAT, "Cat").commits, notes=notes_of(RESTARTED))
    expect(report.page.locator("#ruler")).to_have_attribute(
        "aria-label", "Time axis; drag to move the moment. 0 changes of the policy, 4 notes of the broker"
    )
    legend = report.page.locator("#legend")
    expect(legend.get_by_text("not in good order")).to_be_visible()
    expect(legend.get_by_text("policy changed")).to_be_hidden()
    first, second = places(report, "ruler", GUTTER, 0)
    unclean = report.coloured("ruler", "--gone")
    assert unclean
    assert all(abs(x - second) <= REACH for x in unclean)
    box = report.page.locator("#ruler").bounding_box()
    assert box is not None
    tip = report.page.locator("#tip")
    for x, told in ((first, "A broker stopped in good order+0:20:00"), (second, "A broker startedno orderly end")):
        report.page.mouse.move(box["x"] + x, box["y"] + 12)
        expect(tip).to_contain_text(told)
        expect(tip).to_contain_text("after position 3")
