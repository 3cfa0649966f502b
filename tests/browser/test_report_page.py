"""The report in a browser: it agrees with the log, and every control on it can be used."""

from __future__ import annotations

from importlib.resources import files

import pytest
from playwright.sync_api import expect

from events.commands import AdoptPolicy, CancelMatch
from events.events import MessageSent
from events.log import DeliveryRecord
from events.policy import MatchingName
from log_debugger.reading.times import span
from projections.notifications import deliveries, timestamp_of
from projections.state import INITIAL_STATE, evolve, fold
from tests.browser.conftest import Open
from tests.browser.crowds import crowd
from tests.browser.small_logs import CHAT, ROOM_2, broken_log, folded_to, open_rooms, waiting
from tests.log_debugger.logs import ANN as ONE
from tests.log_debugger.logs import BOB as OTHER
from tests.log_debugger.logs import CAT as THIRD
from tests.log_debugger.logs import FAIR, ROOM, Script, fair_company
from tests.log_debugger.test_narrative import SPANS
from tests.support.logs import log_of
from tests.support.people import ANN, BOB, CAT

SCRIPTS = ("text.js", "charts.js")


@pytest.mark.parametrize("matching", ["first-come", "interests"])
def test_the_slider_shows_the_queue_and_the_rooms_of_its_position(open_report: Open, matching: MatchingName) -> None:
    """At any place of the slider, the panels show the state of the fold, and the time of that commit."""
    commits = crowd(700, matching=matching, every_ms=5_000)
    report = open_report(commits)
    for position in (0, 1, 2, 40, 257, 300, 511, 512, 513, 699, 700, 3):
        report.go_to(position)
        state = folded_to(commits, position)
        assert report.rows("queue-list") == waiting(state)
        assert report.rows("rooms-list") == open_rooms(state)
        assert report.text("#queue-count") == str(len(state.queue))
        assert report.text("#rooms-count") == str(state.rooms.open_count)
        if position:
            at = timestamp_of(commits[position - 1].at_ms)
            assert report.text("#time-utc") == at.replace("T", " ").replace("Z", " UTC")


def test_counts_hold_all_along_a_log_of_many_keyframes(open_report: Open) -> None:
    """The panels' counts are those of the fold, in a log with enough waits and rooms to keep them in parts."""
    commits = crowd(1_500, people=200, every_ms=2_000, talks=False)
    report, state, expected = open_report(commits), INITIAL_STATE, [[0, 0]]
    for commit in commits:
        state = evolve(state, commit)
        expected.append([len(state.queue), state.rooms.open_count])
    assert report.counts(step=7) == expected[::7]


def test_a_room_has_its_messages_so_far(open_report: Open) -> None:
    """Beside an open room is the number of its messages up to the moment."""
    report = open_report(log_of(*CHAT))
    for position, expected in ((2, "0"), (3, "1"), (4, "1")):
        report.go_to(position)
        assert report.page.locator("#rooms-list .number").last.inner_text() == expected


def test_a_commit_says_what_it_did_and_who_was_told(open_report: Open) -> None:
    """The panel names the command, the events, and the recipients with their notifications."""
    commits = crowd(200)
    report = open_report(commits)
    for commit in commits[1:200:17]:
        report.go_to(commit.position)
        told = report.page.locator("#commit .told .method").all_inner_texts()
        assert told == [notification.method for _, notification in deliveries(commit)]
        tag = str(type(commit.command).__struct_config__.tag)
        assert report.text("#commit .chip") == tag
        texts = [event.text for event in commit.events if isinstance(event, MessageSent)]
        assert report.page.locator("#commit blockquote").all_inner_texts() == texts


def test_a_match_says_why_these_two(open_report: Open) -> None:
    """The panel has the waits of both, and the rule of their match."""
    report = open_report(log_of(*CHAT))
    report.go_to(2)
    assert "Ann had waited 1.0 s (since #1); Bob came at this moment." in report.text("#commit")
    assert "First come, first served" in report.text("#commit")


def test_fair_company_is_told_at_its_commits(open_report: Open) -> None:
    """Told are a missed match and the return to the old place, a report with its note, a block, and forgotten names."""
    report = open_report(fair_company().commits)
    for position, expected in (
        (4, ["Bob gave no sign of life, so", "Ann waits again in the old place"]),
        (8, ["WHY WITH NONE OF THOSE WHO WAITED", "Cat: met 1.0 s before"]),
        (9, ["In spite of that: met 21.0 s before. There was no other."]),
        (10, ["Ann reported Cat in", ": spam", "sells watches", "Ann blocked Cat"]),
        (12, ["Cat: one has blocked the other"]),
        (13, ["They may not meet, though these waited:", "Cat: of a peer that was met lately"]),
        (16, ["names and interests of 2 connections were forgotten"]),
    ):
        report.go_to(position)
        text = report.text("#commit")
        assert [part for part in expected if part.upper() not in text.upper()] == [], text
    report.go_to(5)
    assert "Ann had waited 30.0 s (since #2); Cat came at this moment." in report.text("#commit")
    assert "may not meet" not in report.text("#commit")
    report.page.select_option("#filter-kind", label="partner_reported")
    report.page.select_option("#filter-reason", label="spam")
    expect(report.page.locator("#filter-count")).to_have_text("1 commit")
    report.page.select_option("#filter-kind", label="room_closed")
    report.page.select_option("#filter-reason", label="missed")
    expect(report.page.locator("#panel-commits .row").first).to_contain_text("gave no sign of life")


def test_who_waits_again_stands_in_the_old_place(open_report: Open) -> None:
    """Ann came before Cat, and is before her again after Bob has missed the match; also after a base."""
    script = Script().add(0, AdoptPolicy(FAIR)).enters(0, ONE, "Ann").enters(1_000, OTHER, "Bob", room=ROOM)
    script.enters(2_000, THIRD, "Cat").add(26_000, CancelMatch(ROOM, (OTHER,), is_other_present=True))
    script.enters(27_000, OTHER, "Bob", room=ROOM_2)
    base = fold(script.commits[:4])
    for report in (open_report(script.commits), open_report(script.commits[4:], base)):
        report.go_to(5)
        assert report.rows("queue-list") == [ONE, THIRD]
        assert "26.0 s" in report.text("#queue-list")


def test_a_message_says_where_it_went(open_report: Open) -> None:
    """The panel has the way and delay of each delivery, or the reason why none is known."""
    commits = log_of(*CHAT)
    delivery_records = [DeliveryRecord(3, BOB, "result", commits[2].at_ms + 40)]
    report = open_report(commits, delivery_records=delivery_records)
    report.go_to(3)
    assert "handed over in a tool's result after 40 ms" in report.text("#commit .told")
    report.go_to(2)
    assert report.text("#commit .told").count("no note that it was handed over") == 2
    report = open_report(commits[:2], delivery_records=[])
    report.go_to(2)
    assert report.text("#commit .told").count("no note yet that it was handed over") == 2
    report = open_report(commits, delivery_records=delivery_records, recorded_after=3)
    report.go_to(2)
    assert report.text("#commit .told").count("loaded from a dump: not noted when it was handed over") == 2


def test_durations_are_those_of_the_commands(open_report: Open) -> None:
    """They have the same words and rounding; on an axis, parts of zero are left out."""
    page = open_report(log_of(*CHAT)).page
    code = "\n".join(files("log_debugger.report").joinpath("page", name).read_text("utf-8") for name in SCRIPTS)
    spans = [-5_000, 0, 7, *SPANS, *range(1_000, 200_000, 50), *range(200_000, 200_000_000, 90_250)]
    assert page.evaluate(f"(all) => {{ {code}; return all.map(duration) }}", spans) == [span(ms) for ms in spans]
    marks = page.evaluate(f"() => {{ {code}; return DURATION_MARKS.map(durationMark) }}")
    assert marks == ["≤ 0.1 s", "1 s", "10 s", "1 min", "10 min", "1 h", "10 h", "4 d 4 h", "41 d 16 h"]


def test_search_finds_people_rooms_texts_and_positions(open_report: Open) -> None:
    """The search is by name, id, text and position; the chosen result is opened."""
    report = open_report(log_of(*CHAT))
    page = report.page
    for typed, sort, expected in (
        ("Bob", "connection", "Bob"),
        ("c_cat", "connection", "Cat"),
        ("r_2", "room", "Ann"),
        ("is my mess", "text", "Where is my message?"),
        ("#4", "position", "#4"),
    ):
        page.fill("#search", typed)
        expect(page.locator(f"#found [data-sort={sort}]").first).to_contain_text(expected)
    page.press("#search", "Enter")
    expect(page.locator("#position-now")).to_have_text("4")
    page.fill("#search", "nobody said this")
    expect(page.locator("#found-count")).to_have_text("Nothing found")


def test_search_leads_to_the_message_and_its_room(open_report: Open) -> None:
    """A found text is shown in its room, at its moment."""
    report = open_report(log_of(*CHAT))
    report.page.fill("#search", "my message")
    report.page.locator("#found [data-sort=text]").click()
    expect(report.page.locator("#position-now")).to_have_text("3")
    expect(report.page.locator("#selection .transcript .now")).to_contain_text("Where is my message?")
    expect(report.page.locator("#found")).to_be_hidden()


def test_a_filter_leaves_what_it_is_for(open_report: Open) -> None:
    """A filter by event, reason, connection or room leaves the matching commits of the log."""
    commits = crowd(400)
    report = open_report(commits)
    page = report.page
    page.select_option("#filter-kind", label="room_closed")
    page.select_option("#filter-reason", label="timeout")
    wanted = [
        commit.position
        for commit in commits
        if any(getattr(event, "reason", "") == "timeout" and hasattr(event, "room_id") for event in commit.events)
    ]
    expect(page.locator("#filter-count")).to_have_text(f"{len(wanted)} commits")
    assert [int(row) for row in page.locator("#panel-commits .row .position").all_inner_texts()] == wanted[
        -9:
    ] or wanted
    page.click("#filter-clear")
    expect(page.locator("#filter-count")).to_have_text("")
    someone = commits[0].command.connection_id
    page.fill("#filter-person", someone)
    theirs = [one for one in commits if any(someone in str(event) for event in one.events)]
    expect(page.locator("#filter-count")).to_have_text(f"{len(theirs)} commits")


def test_the_steps_of_a_filter(open_report: Open) -> None:
    """With a filter, N and P go through the remaining commits."""
    report = open_report(log_of(*CHAT))
    report.page.select_option("#filter-kind", label="queue_entered")
    report.page.keyboard.press("Escape")
    report.page.locator("#lanes").focus()
    report.page.keyboard.press("Home")
    expect(report.page.locator("#position-now")).to_have_text("0")
    seen = []
    for key in "nnnp":
        report.page.keyboard.press(key)
        expect(report.page.locator("#position-now")).not_to_have_text(seen[-1] if seen else "0")
        seen.append(report.text("#position-now"))
    assert seen == ["1", "2", "4", "2"]


def test_broken_promises_are_red_and_listed(open_report: Open) -> None:
    """Each has a mark on the axis, the overview and the lanes, is in the list, and is told at its commit."""
    report = open_report(broken_log())
    page = report.page
    report.go_to(1)
    for canvas in ("ruler", "overview", "lanes-canvas"):
        assert report.coloured(canvas, "--bad")
    assert report.text("#verdict") == "1 breach of a promise"
    page.click("#verdict")
    expect(page.locator("#panel-breaches .row")).to_have_count(1)
    expect(page.locator("#panel-breaches .row")).to_contain_text(f"{CAT} spoke in {ROOM_2}")
    page.locator("#panel-breaches .row").click()
    expect(page.locator("#position-now")).to_have_text("4")
    expect(page.locator("#commit .breaches")).to_contain_text("promise 4 is broken at position 4")


def test_a_sound_log_has_nothing_red(open_report: Open) -> None:
    """Red is for broken promises alone."""
    report = open_report(crowd(200))
    for canvas in ("ruler", "overview", "lanes-canvas"):
        assert report.coloured(canvas, "--bad") == []
    assert report.text("#verdict") == "every promise holds"


def test_the_keyboard_does_it_all(open_report: Open) -> None:
    """Arrows step, Shift steps further, Home and End go to the ends, B to a broken promise, / to the search."""
    report = open_report(broken_log())
    now, press = report.page.locator("#position-now"), report.page.keyboard.press
    for key, expected in (
        ("Home", "0"),
        ("ArrowRight", "1"),
        ("ArrowRight", "2"),
        ("ArrowLeft", "1"),
        ("b", "4"),
        ("End", "10"),
        ("Shift+ArrowLeft", "0"),
    ):
        press(key)
        expect(now).to_have_text(expected)
    press("/")
    expect(report.page.locator("#search")).to_be_focused()
    press("ArrowRight")
    expect(now).to_have_text("0")


def test_lanes_are_chosen_by_keyboard(open_report: Open) -> None:
    """Down chooses the next connection, Enter its room, Escape nothing."""
    report = open_report(log_of(*CHAT[:3]))
    report.page.locator("#lanes").focus()
    report.page.keyboard.press("ArrowDown")
    expect(report.page.locator("#selection")).to_contain_text(ANN)
    report.page.keyboard.press("Enter")
    expect(report.page.locator("#selection")).to_contain_text(ROOM_2)
    report.page.keyboard.press("Escape")
    expect(report.page.locator("#selection")).to_be_hidden()


def test_playing_goes_to_the_end_and_stops(open_report: Open) -> None:
    """Play begins anew at the end, moves on by itself, and says when it has stopped."""
    report = open_report(broken_log())
    report.page.select_option("#speed", "2")
    report.page.click("#play")
    expect(report.page.locator("#play")).to_have_attribute("aria-label", "Pause")
    report.page.select_option("#speed", "250")
    expect(report.page.locator("#position-now")).to_have_text("10")
    expect(report.page.locator("#play")).to_have_attribute("aria-label", "Play")


def test_the_moment_is_announced(open_report: Open) -> None:
    """A screen reader gets the position, the event, and the numbers of waiting people and open rooms."""
    report = open_report(broken_log())
    report.go_to(4)
    expect(report.page.locator("#announced")).to_contain_text("Position 4")
    expect(report.page.locator("#announced")).to_contain_text("send message by Cat. 1 waiting, 1 room open.")
    expect(report.page.locator("#announced")).to_contain_text("A promise is broken here.")


def test_lanes_are_pointed_at_and_clicked(open_report: Open) -> None:
    """Pointing at a bar explains it; clicking it selects the room, and its transcript is shown."""
    report = open_report(log_of(*CHAT[:3], step_ms=60_000))
    box = report.page.locator("#lanes").bounding_box()
    assert box is not None
    x, y = box["x"] + 168 + (box["width"] - 168) * 0.75, box["y"] + 14
    report.page.mouse.move(x, y)
    expect(report.page.locator("#tip")).to_contain_text("chats with Bob")
    report.page.mouse.click(x, y)
    expect(report.page.locator("#selection .transcript")).to_contain_text("Where is my message?")
    report.page.click("text=Only this")
    expect(report.page.locator("#filter-count")).to_have_text("2 commits")


def test_zoom_and_pan(open_report: Open) -> None:
    """Wheel, drag, buttons and the axis change the part in sight; Fit shows all again."""
    report = open_report(crowd(300))
    page, seen = report.page, [report.picture("ruler")]

    def is_another() -> None:
        page.wait_for_function("(old) => document.getElementById('ruler').toDataURL() !== old", arg=seen[-1])
        seen.append(report.picture("ruler"))

    box = page.locator("#ruler").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 600, box["y"] + 10)
    page.mouse.wheel(0, -400)
    is_another()
    lane = (box["x"] + 600, box["y"] + 200)
    page.mouse.move(*lane)
    page.mouse.down()
    page.mouse.move(lane[0] - 200, lane[1], steps=4)
    page.mouse.up()
    is_another()
    page.click("#zoom-in")
    is_another()
    page.click("#axis-position")
    is_another()
    page.click("#axis-time")
    is_another()
    page.click("#zoom-fit")
    page.wait_for_function("(old) => document.getElementById('ruler').toDataURL() === old", arg=seen[0])


def test_the_moment_fits_on_a_telephone(open_report: Open) -> None:
    """However long it is, no part of it is beyond the margin of a narrow window."""
    report = open_report(crowd(1_200))
    report.page.set_viewport_size({"width": 420, "height": 900})
    report.go_to(1_150)
    parts = report.page.locator("#transport :is(button, select, input, span)").all()
    boxes = [box for part in parts if (box := part.bounding_box()) is not None]
    assert len(boxes) == len(parts)
    assert max(box["x"] + box["width"] for box in boxes) <= 420 - 16


def test_plots_say_what_they_show(open_report: Open) -> None:
    """Waiting times and throughput are drawn, and said in words."""
    commits = crowd(400)
    report = open_report(commits)
    matches = sum(1 for one in commits for event in one.events if type(event).__name__ == "RoomOpened")
    report.page.click("#tab-waits")
    expect(report.page.locator("#panel-waits")).to_contain_text(f"{matches} matches")
    assert len(report.coloured("plot-waits", "--accent")) > 20
    report.page.click("#tab-throughput")
    expect(report.page.locator("#panel-throughput")).to_contain_text("400 commits")
    assert len(report.coloured("plot-throughput", "--accent")) > 20
