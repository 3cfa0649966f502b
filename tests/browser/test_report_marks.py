"""The marks of policy changes, restarts and refusals in a report."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from events.commands import AdoptPolicy
from events.ids import ConnectionId
from events.log import OperationRecord
from events.policy import Policy
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
    """They are between commits; a start without an orderly end before it has another colour."""
    script = Script().enters(0, ANN, "Ann").enters(5_000, BOB, "Bob", room=ROOM).says(8_000, BOB, "hello")
    report = open_report(script.enters(END_MS, CAT, "Cat").commits, operation_records=RESTARTED)
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


REFUSED = [
    *RESTARTED,
    OperationRecord("refused", START_MS + FIRST_MS + 1_000, 3, ANN, "send_message", "rate_limited"),
    OperationRecord("refused", START_MS + FIRST_MS + 2_000, 3, ConnectionId("c_e1e1"), "enter_queue", "rate_limited"),
    OperationRecord("refused", START_MS + FIRST_MS + 3_000, 3, None, "get_status", "unknown_handle"),
    OperationRecord("refused", START_MS + FIRST_MS + 4_000, 3, times=1_200),
    *(OperationRecord("refused", START_MS + SECOND_MS + n, 3, BOB, "send_message", "rate_limited") for n in range(30)),
]


def test_refusals_are_told_at_the_commit_before_them_and_in_the_life_of_their_caller(open_report: Open) -> None:
    """With starts and ends, in the order of time; who is not in the log has no lane."""
    script = Script().enters(0, ANN, "Ann").enters(5_000, BOB, "Bob", room=ROOM).says(8_000, BOB, "hello")
    report = open_report(script.enters(END_MS, CAT, "Cat").commits, operation_records=REFUSED)
    expect(report.page.locator("#legend").get_by_text("was refused")).to_be_visible()
    noted = report.page.locator("#commit .noted li")
    report.go_to(0)
    expect(noted).to_have_text(["+0:00:00.000 A broker started"])
    report.go_to(1)
    expect(noted).to_have_count(0)
    report.go_to(2)
    expect(noted).to_have_text(["+0:00:06.000 Ann is refused send_message: not_in_room"])
    report.go_to(3)
    expect(noted.nth(1)).to_have_text("+0:20:01.000 Ann is refused send_message: rate_limited")
    expect(noted.nth(2)).to_have_text("+0:20:02.000 c_e1e1 is refused enter_queue: rate_limited")
    expect(noted.nth(3)).to_have_text("+0:20:03.000 an unknown caller is refused get_status: unknown_handle")
    expect(noted.nth(4)).to_have_text("+0:20:04.000 refused: 1,200 more calls, too many to note each")
    expect(noted.last).to_have_text("14 more refusals")
    noted.nth(1).get_by_role("button", name="Ann").click()
    life = report.page.locator("#selection .life li")
    expect(life).to_have_text(
        [
            "#1 waited 5.0 s, then met someone",
            "#2 with Bob: 1 message, open at the end of the log",
            "#2 was refused send_message: not_in_room +0:00:06.000",
            "#3 was refused send_message: rate_limited +0:20:01.000",
        ]
    )
    expect(report.page.locator("#totals")).to_contain_text("connections3")


@pytest.mark.parametrize("axis", ["time", "position"])
def test_a_refusal_is_a_cross_on_the_lane_of_its_caller(open_report: Open, axis: str) -> None:
    """It is there at its time, or between two positions; a log without refusals has none, nor the word for it."""
    script = Script().enters(0, ANN, "Ann").enters(END_MS, BOB, "Bob", room=ROOM)
    refusal = OperationRecord("refused", START_MS + FIRST_MS, 1, ANN, "send_message", "not_in_room")
    crossed, plain = open_report(script.commits, operation_records=[refusal]), open_report(script.commits)
    for report in (crossed, plain):
        report.page.click(f"#axis-{axis}")
        report.go_to(0)
    width = crossed.page.locator("#lanes-canvas").evaluate("(canvas) => canvas.clientWidth") - GUTTER
    share = (FIRST_MS / END_MS + 0.005) / 1.015 if axis == "time" else 0.5
    inked = {x for x in crossed.coloured("lanes-canvas", "--ink") if x > GUTTER + 8}
    inked -= {*plain.coloured("lanes-canvas", "--ink")}
    assert inked
    assert all(abs(x - GUTTER - share * width) <= REACH for x in inked)
    expect(plain.page.locator("#legend").get_by_text("was refused")).to_be_hidden()


def test_nothing_is_concluded_of_the_last_second_before_an_unclean_end(open_report: Open) -> None:
    """What was said in it may have been handed over; what was said before it was not."""
    script = Script().enters(0, ANN, "Ann").enters(1_000, BOB, "Bob", room=ROOM).says(5_000, BOB, "hello")
    script.says(6_000, BOB, "hello?").says(FIRST_MS, ANN, "hi")
    records = [OperationRecord("started", START_MS, 0), OperationRecord("started", START_MS + FIRST_MS, 4)]
    report = open_report(script.commits, delivery_records=[], operation_records=records)
    report.go_to(2)
    assert report.text("#commit .told").count("no note that it was handed over") == 2
    for position in (3, 4):
        report.go_to(position)
        assert "no conclusion whether it was handed over" in report.text("#commit .told")
