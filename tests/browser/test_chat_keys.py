"""The chat page by keyboard: the focus after each change, held keys, and the last key of an input method's word."""

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
"""The Enter at the end of an input method's word, as Safari sends it."""

PASTE = """(field) => {
  field.value = "x".repeat(6_000_000);
  field.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true, cancelable: true }));
}"""


@pytest.fixture
def talking(open_chat: OpenChat, stranger: Stranger) -> ChatTab:
    """Open a page, and pair its person with `stranger`."""
    stranger.enter()
    tab = open_chat()
    tab.find("Ann")
    tab.expect_to_talk_with("Sam")
    stranger.find()
    return tab


def dialog_button(tab: ChatTab, name: str) -> Locator:
    """Return a button of the open dialog."""
    return tab.page.get_by_role("dialog").get_by_role("button", name=name, exact=True)


def abort_sends(route: Route) -> None:
    """Abort every message, and nothing else."""
    if route.request.headers.get("mcp-name") == "send_message":
        route.abort()
    else:
        route.continue_()


def test_the_focus_goes_where_one_goes_on(talking: ChatTab, stranger: Stranger) -> None:
    """The focus moves on from a button that disappears, when the stranger leaves and after a dialog."""
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
    """The focus goes to the button for another stranger."""
    talking.button("Leave").press("Enter")
    expect(talking.button("Find another stranger")).to_be_focused()


def test_a_dialog_that_can_not_be_done_keeps_the_focus(talking: ChatTab) -> None:
    """The focus stays on the dialog's button, for another attempt."""
    talking.button("Block").press("Enter")
    talking.page.route("**/mcp", lambda route: route.fulfill(status=403))
    dialog_button(talking, "Block").press("Enter")
    expect(talking.page.get_by_role("dialog").get_by_role("alert")).to_contain_text("refuses calls")
    expect(dialog_button(talking, "Block")).to_be_focused()
    talking.page.unroute("**/mcp")
    talking.complaints.clear()


def test_the_way_back_to_the_end_keeps_the_focus(talking: ChatTab, stranger: Stranger) -> None:
    """The button disappears when it is pressed, and the transcript has the focus."""
    for number in range(40):
        stranger.say(f"line {number}")
    expect(talking.lines()).to_have_count(40)
    talking.log.evaluate(SCROLL_UP)
    stranger.say("new")
    talking.button("1 new ↓").press("Enter")
    expect(talking.log).to_be_focused()


@pytest.mark.slow
def test_trying_again_ends_with_the_chat_and_keeps_the_focus(talking: ChatTab, stranger: Stranger) -> None:
    """An unsent line offers no other attempt once the stranger is gone."""
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
    """A held Esc or Next asks, and does not also answer its question."""
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
    """Enter sends nothing there, even where a browser marks it by the key's code alone."""
    talking.field.fill("nihon")
    talking.field.evaluate(INPUT_METHOD)
    expect(talking.field).to_have_value("nihon")
    talking.expect_lines("you")


def test_a_dialog_is_about_the_stranger_for_whom_it_was_opened(open_chat: OpenChat, talking: ChatTab) -> None:
    """A stranger found during the dialog is neither blocked nor left."""
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
    """It is refused like any other long text, and the next one is sent."""
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
    """The notice stays for the whole time, and the chat goes on once the peer is let in again."""
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
