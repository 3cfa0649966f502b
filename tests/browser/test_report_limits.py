"""The report in a browser, at its limits: hostile words, no words, no commits, very many commits, dark rooms."""

from __future__ import annotations

import statistics

from playwright.sync_api import expect

from events.ids import ConnectionId
from tests.browser.conftest import Open
from tests.browser.crowds import crowd
from tests.browser.small_logs import CHAT, ROOM_2, folded_to
from tests.support.logs import log_of
from tests.support.people import CAT, enter, say


def test_dark_and_light(open_report: Open) -> None:
    """The page follows the colour scheme of its reader, also when it changes."""
    report = open_report(crowd(100), scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).map(Number).reduce((a, b) => a + b)"
    assert report.page.evaluate(ground) < 150
    dark = report.picture("lanes-canvas")
    report.page.emulate_media(color_scheme="light")
    report.page.wait_for_function("(old) => document.getElementById('lanes-canvas').toDataURL() !== old", arg=dark)
    assert report.page.evaluate(ground) > 600


def test_hostile_words_are_words(open_report: Open) -> None:
    """Markup in a name, an id or a message is shown as typed, and invisible characters are made visible."""
    hostile = '</script><img src=x onerror="alert(1)"><script>alert(2)</script>\u202egnp'
    who, other = ConnectionId(f"c_{hostile}"), ConnectionId("c_other")
    commits = log_of(enter(who, hostile, hostile), enter(other, hostile), say(who, hostile, None, ROOM_2))
    report = open_report(commits, name=hostile)
    assert report.page.locator("img").count() == 0
    assert report.page.locator("script").count() == 2
    assert report.text("#commit blockquote") == hostile.replace("\u202e", "\u2039U+202E\u203a")
    report.page.fill("#search", "onerror")
    expect(report.page.locator("#found [data-sort=text]")).to_contain_text("<img src=x")
    report.page.keyboard.press("Escape")
    for tab in ("breaches", "waits", "throughput", "commits"):
        report.page.click(f"#tab-{tab}")


def test_nothing_can_be_loaded(open_report: Open) -> None:
    """Even a script in the page could not send anything anywhere."""
    report = open_report(log_of(*CHAT))
    tried = "fetch('https://chat.example.com/').then(() => 'sent', () => 'refused')"
    assert report.page.evaluate(tried) == "refused"
    assert all("Content Security Policy" in one or "violates" in one for one in report.complaints)
    report.complaints.clear()
    report.loaded[:] = [one for one in report.loaded if one == report.url]


def test_without_texts(open_report: Open) -> None:
    """Connections have their ids for names, and a message its length."""
    report = open_report(log_of(*CHAT), texts=False)
    report.go_to(3)
    assert report.text("#commit blockquote") == "[left out, 20 bytes]"
    assert "Ann" not in report.page.content()
    assert "without texts" in report.text("header")


def test_a_trimmed_log_begins_at_its_base(open_report: Open) -> None:
    """Before the first commit, the waiting and chatting people of the base are there, and the page says why."""
    commits = log_of(*CHAT)
    base = folded_to(commits, 4)
    report = open_report(commits[4:], base)
    report.go_to(4)
    assert report.rows("rooms-list") == [ROOM_2]
    assert report.rows("queue-list") == [CAT]
    assert "a snapshot stands in for the 4 commits" in report.text("#commit")
    report.go_to(5)
    assert report.rows("rooms-list") == []


def test_an_empty_log_says_so(open_report: Open) -> None:
    """There is nothing to show, and nothing breaks."""
    report = open_report([])
    expect(report.page.locator("#empty")).to_be_visible()
    expect(report.page.locator("#main")).to_be_hidden()


def test_one_moment_of_time(open_report: Open) -> None:
    """A log with all commits in the same millisecond can be shown."""
    report = open_report(log_of(*CHAT, step_ms=0))
    for tab in ("waits", "throughput"):
        report.page.click(f"#tab-{tab}")
    report.go_to(2)
    assert report.rows("rooms-list") == [ROOM_2]


def test_a_hundred_thousand_commits_stay_usable(open_report: Open) -> None:
    """It is there within seconds, a slider move is shown at once, and only the lanes in sight are drawn."""
    report = open_report(crowd(100_000, people=2_500, every_ms=700))
    print(f"ready after {report.figure('readyMs'):.0f} ms")
    assert report.figure("readyMs") < 10_000
    for tab in ("commits", "waits", "throughput"):
        report.page.click(f"#tab-{tab}")
        drawn = []
        for position in (1, 99_999, 50_000, 25_003, 75_001, 12_345, 87_654, 50_001, 50_002, 50_003):
            report.go_to(position)
            drawn.append(report.figure("drawnMs"))
        print(f"{tab}: {statistics.median(drawn):.1f} ms a move, at most {max(drawn):.1f}")
        assert statistics.median(drawn) < 100
    assert report.page.evaluate("document.querySelectorAll('*').length") < 1_500
