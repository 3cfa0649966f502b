"""The chat page by keyboard: where the focus is after each change, and keys that are held or end a word."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Route, expect

from tests.browser.brokers import broker_process
from tests.browser.chat_tab import SCROLL_UP, ChatTab
from tests.browser.conftest import OpenChat
from tests.browser.stranger import Stranger

WITHIN_MS = 20_000
INPUT_METHOD = """(field) => field.dispatchEvent(
  new KeyboardEvent("keydown", { key: "Enter", keyCode: 229, bubbles: true, cancelable: true }))"""
"""The Enter that ends a word of an input method, as Safari sends it."""

PASTE = """(field) => {
  field.value = "x".repeat(6_000_000);
  field.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true, cancelable: true }));
}"""


@pytest.fixture
def talking(open_chat: OpenChat, stranger: Stranger) -> ChatTab:
    """A page whose person talks with `stranger`."""
    stranger.enter()
    tab = open_chat()
    tab.find("Ann")
    tab.expect_to_talk_with("Sam")
    stranger.find()
    return tab


def dialog_button(tab: ChatTab, name: str) -> Locator:
    """A button of the dialog that is open."""
    return tab.page.get_by_role("dialog").get_by_role("button", name=name, exact=True)


def abort_sends(route: Route) -> None:
    """Let no message through."""
    if route.request.headers.get("mcp-name") == "send_message":
        route.abort()
    else:
        route.continue_()


def test_the_focus_goes_where_one_goes_on(talking: ChatTab, stranger: Stranger) -> None:
    """When the stranger leaves, and after a dialog, what had it is gone; it isn't lost."""
    again = talking.button("Find another stranger")
    talking.button("Next").focus()
    stranger.leave()
    expect(again).to_be_focused()
    talking.button("Block").press("Enter")
    expect(dialog_button(talking, "Cancel")).to_be_focused()
    dialog_button(talking, "Cancel").press("Enter")
    expect(talking.button("Block")).to_be_focused()
    talking.button("Block").press("Enter")
    dialog_button(talking, "Block").press("Enter")
    expect(talking.page.get_by_role("dialog")).to_be_hidden()
    expect(again).to_be_focused()
    talking.button("Report").press("Enter")
    talking.page.get_by_label("Spam or advertising").press("Space")
    dialog_button(talking, "Report").press("Enter")
    expect(talking.page.get_by_role("dialog")).to_be_hidden()
    expect(again).to_be_focused()


def test_leaving_by_its_button_keeps_the_focus(talking: ChatTab) -> None:
    """It goes to what one can do next."""
    talking.button("Leave").press("Enter")
    expect(talking.button("Find another stranger")).to_be_focused()


def test_a_dialog_that_can_not_be_done_keeps_the_focus(talking: ChatTab) -> None:
    """On its button, to try again."""
    talking.button("Block").press("Enter")
    talking.page.route("**/mcp", lambda route: route.fulfill(status=403))
    dialog_button(talking, "Block").press("Enter")
    expect(talking.page.get_by_role("dialog").get_by_role("alert")).to_contain_text("refuses calls")
    expect(dialog_button(talking, "Block")).to_be_focused()
    talking.page.unroute("**/mcp")
    talking.complaints.clear()


def test_the_way_back_to_the_end_keeps_the_focus(talking: ChatTab, stranger: Stranger) -> None:
    """The button goes once it is pressed, and the transcript has the focus."""
    for number in range(40):
        stranger.say(f"line {number}")
    expect(talking.lines()).to_have_count(40)
    talking.log.evaluate(SCROLL_UP)
    stranger.say("new")
    talking.button("1 new ↓").press("Enter")
    expect(talking.log).to_be_focused()


@pytest.mark.slow
def test_trying_again_ends_with_the_chat_and_keeps_the_focus(talking: ChatTab, stranger: Stranger) -> None:
    """A line that was not sent offers nothing once there is nobody to hear it."""
    talking.page.route("**/mcp", abort_sends)
    talking.say("x")
    again = talking.button("try again")
    expect(again).to_be_visible(timeout=WITHIN_MS)
    again.press("Enter")
    expect(talking.field).to_be_focused()
    expect(again).to_be_visible(timeout=WITHIN_MS)
    stranger.leave()
    expect(again).to_be_hidden()
    expect(talking.log.locator("li.you")).to_contain_text("not sent")


def test_a_key_that_is_held_down_is_one_press(talking: ChatTab) -> None:
    """Neither Esc nor Next is asked and answered by it."""
    keyboard = talking.page.keyboard
    keyboard.down("Escape")
    keyboard.down("Escape")
    keyboard.up("Escape")
    expect(talking.page.get_by_role("alert").filter(has_text="Press Esc again")).to_be_visible()
    talking.button("Next").focus()
    keyboard.down("Enter")
    keyboard.down("Enter")
    keyboard.up("Enter")
    expect(talking.page.get_by_role("alert").filter(has_text="Press Next again")).to_be_visible()
    expect(talking.button("Next")).to_be_focused()


def test_the_end_of_a_word_of_an_input_method_sends_nothing(talking: ChatTab) -> None:
    """Also where a browser tells of it by the key's code alone."""
    talking.field.fill("nihon")
    talking.field.evaluate(INPUT_METHOD)
    expect(talking.field).to_have_value("nihon")
    talking.expect_lines("you")


def test_a_dialog_is_about_the_stranger_for_whom_it_was_opened(open_chat: OpenChat, talking: ChatTab) -> None:
    """One who is found while it is open is neither blocked nor left."""
    talking.button("Next").click()
    talking.button("Next").click()
    expect(talking.status).to_contain_text("You are the next.")
    talking.button("Block").click()
    other = open_chat()
    other.find("Tom")
    other.expect_to_talk_with("Ann")
    talking.expect_lines("note", "You are talking with Tom. Say hello.")
    dialog_button(talking, "Block").click()
    expect(talking.lines("note").last).to_have_text("You have blocked Sam. You will not meet again.")
    talking.say("hello")
    other.expect_lines("stranger", "hello")


@pytest.mark.slow
def test_a_text_too_large_for_the_browsers_store_does_no_harm(talking: ChatTab, stranger: Stranger) -> None:
    """It is refused as any other that is too long, and the next one is said."""
    talking.field.evaluate(PASTE)
    expect(talking.log.locator("li.you .state")).to_contain_text("it is too long", timeout=WITHIN_MS)
    talking.say("short")
    assert stranger.hear_texts(1) == ["short"]
    talking.page.reload()
    talking.expect_lines("you", "short")
    assert all("413" in complaint for complaint in talking.complaints)
    talking.complaints.clear()


@pytest.mark.slow
def test_a_peer_who_is_denied_meanwhile_is_told(browser: Browser, tmp_path: Path) -> None:
    """Steadily, and the chat goes on if it is let in again."""
    denied = tmp_path / "denied.txt"
    denied.write_text("192.0.2.1\n")
    with broker_process("--deny-peers", str(denied)) as broker, Stranger(broker.url) as stranger:
        stranger.enter()
        tab = ChatTab(browser.new_context(), broker.url)
        tab.find("Ann")
        tab.expect_to_talk_with("Sam")
        denied.write_text("127.0.0.1\n")
        expect(tab.status).to_contain_text("This server refuses calls from here.", timeout=WITHIN_MS)
        denied.write_text("192.0.2.1\n")
        expect(tab.status).to_have_text("", timeout=WITHIN_MS)
        tab.say("back")
        stranger.find()
        assert stranger.hear_texts(1) == ["back"]
        assert all("403" in complaint for complaint in tab.complaints)
        tab.context.close()
