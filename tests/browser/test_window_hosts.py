"""The chat window in hosts with refusals, with gaps, or with several windows."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import expect

from tests.browser.host_tab import LIGHT, HostTab, Json
from tests.browser.stranger import Stranger

NOT_FOUND: Json = {"error": {"code": -32601, "message": "Method not found"}}
NULLS: Json = dict.fromkeys(("theme", "styles", "displayMode", "availableDisplayModes", "safeAreaInsets"))


def test_a_report_is_never_about_a_later_stranger(host: HostTab, stranger: Stranger) -> None:
    """A dialog left open is about its first stranger; the chat with the next one goes on."""
    host.open()
    host.meet(stranger)
    host.button("Report").click()
    stranger.leave()
    host.button("Find another stranger").click()
    expect(host.status).to_have_text(re.compile("Looking for a stranger"))
    host.expect_noted("host.calls.filter((name) => name === 'chat_enter').length === 2 && host.waits === 1")
    stranger.name = "Cat"
    stranger.enter()
    host.expect_to_talk_with("Cat")
    dialog = host.window.get_by_role("dialog")
    dialog.get_by_label("Spam or advertising").check()
    dialog.get_by_role("button", name="Report").click()
    expect(host.lines("note").last).to_contain_text("You have reported Sam")
    stranger.say("still here")
    expect(host.lines()).to_have_text(["still here"])


@pytest.mark.parametrize("payload", [{"status": "waiting", "cursor": 0}, {}, "text", None])
def test_no_call_is_made_without_a_handle(host: HostTab, payload: object) -> None:
    """An entry without a handle in its answer has failed: a call without one could be the model's own."""
    entered = {"result": {"content": [{"type": "text", "text": json.dumps(payload)}]}}
    host.open(faults={"instead": {"chat_enter": entered}})
    host.button("Find a stranger").click()
    host.expect_noted("host.calls.length === 2")
    assert host.noted("calls") == ["chat_enter", "chat_enter"]
    host.fault(instead={})
    expect(host.status).to_contain_text("You are the next.")


@pytest.mark.parametrize("faults", [{"instead": {"ui/initialize": NOT_FOUND}}, {}], ids=["no handshake", "nulls"])
def test_a_host_that_tells_nothing_of_itself_shows_a_window(
    host: HostTab, stranger: Stranger, faults: dict[str, object]
) -> None:
    """A handshake that fails, and a context of nulls, leave a window with its own looks."""
    host.open(context=NULLS, faults=faults)
    host.meet(stranger)
    stranger.say("hello")
    expect(host.lines()).to_have_text(["hello"])


def test_a_display_mode_that_is_refused_changes_nothing(host: HostTab, stranger: Stranger) -> None:
    """The window stays as it is, and can be used."""
    host.open(faults={"instead": {"ui/request-display-mode": NOT_FOUND}})
    host.meet(stranger)
    host.say(*(f"line {number}" for number in range(10)))
    host.button("Show all").click()
    host.expect_noted("host.sent.some(({ method }) => method === 'ui/request-display-mode')")
    stranger.say("hello")
    expect(host.lines()).to_have_text(["hello"])
    expect(host.button("Show all")).to_be_visible()


def test_a_host_without_calls_of_tools_is_named_as_the_cause(host: HostTab) -> None:
    """Another attempt would fail the same way, so the window names the cause."""
    host.open(faults={"instead": {"chat_enter": NOT_FOUND}})
    host.button("Find a stranger").click()
    expect(host.window.get_by_role("alert").first).to_contain_text("did not let it reach the broker")


def test_a_change_of_the_context_leaves_the_reader_in_place(host: HostTab, stranger: Stranger) -> None:
    """A host tells each new size: the transcript keeps its scroll position, and the host's fonts stay."""
    host.open(context=LIGHT | {"styles": {"css": {"fonts": "@font-face { font-family: hosts; src: local(serif) }"}}})
    host.meet(stranger)
    host.say(*(f"line {number}" for number in range(60)))
    host.button("Show all").click()
    log = host.window.get_by_role("log")
    expect(host.window.get_by_text("line 59", exact=True)).to_be_in_viewport()
    log.evaluate("(log) => { log.scrollTop = 0; return new Promise(requestAnimationFrame); }")
    host.change_context({"containerDimensions": {"width": 500}, "styles": {"variables": {"--font-sans": "hosts"}}})
    expect(host.window.locator("html")).to_have_css("--font-sans", "hosts")
    assert log.evaluate("(log) => log.scrollTop") == 0
    fonts = "() => [...document.styleSheets].some(({ cssRules }) => /hosts/.test(cssRules[0]?.cssText))"
    assert host.window.locator("html").evaluate(fonts)


def test_of_two_windows_none_takes_the_others_chat(host: HostTab, stranger: Stranger) -> None:
    """In a host with one storage for its windows, a second window leaves the first one's chat in it."""
    host.open(faults={"hasStorage": True})
    host.meet(stranger)
    host.open(faults={"hasStorage": True})
    expect(host.button("Go on with your chat")).to_be_hidden()
    host.find()
    host.button("Cancel").click()
    host.expect_noted("host.calls.includes('leave_queue')")
    host.page.evaluate("() => document.querySelectorAll('iframe').forEach((frame) => frame.remove())")
    stranger.say("are you there?")
    host.open(faults={"hasStorage": True})
    host.button("Go on with your chat").click()
    expect(host.lines()).to_have_text(["are you there?"])


def test_a_search_that_was_given_up_is_no_chat_to_go_on_with(host: HostTab) -> None:
    """A window shown again offers no cancelled search."""
    host.open(faults={"hasStorage": True})
    host.find()
    host.button("Cancel").click()
    expect(host.button("Find a stranger")).to_be_visible()
    host.remove()
    host.open(faults={"hasStorage": True})
    expect(host.button("Go on with your chat")).to_be_hidden()
