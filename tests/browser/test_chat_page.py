"""The chat page in a browser: the acts of its people, and their sight of each other."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.brokers import BrokerProcess, broker_process
from tests.browser.chat_tab import SCROLL_UP, ChatTab
from tests.browser.conftest import OpenChat
from tests.browser.stranger import Stranger

HOSTILE = [
    "<b>bold</b> <img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    "&lt;amp&gt; &#60;",
    "javascript:alert(1) https://example.com/",
    "אבג 123 (עברית)",
    "🏳️‍🌈👩‍👩‍👧‍👦 é",
    "W" * 1_500,
    "two\nlines",
]


@pytest.fixture
def talking(open_chat: OpenChat, stranger: Stranger) -> ChatTab:
    """Open a page, and pair its person with `stranger`."""
    stranger.enter()
    tab = open_chat()
    tab.find("Ann")
    tab.expect_to_talk_with("Sam")
    assert stranger.find() == "Ann"
    return tab


def test_two_pages_talk(open_chat: OpenChat) -> None:
    """Each sees both sides in order, by name, and the other's departure."""
    ann, bob = open_chat(), open_chat()
    ann.find("Ann")
    expect(ann.status).to_have_text("Looking for a stranger… You are the next.")
    bob.find()
    ann.expect_to_talk_with("Anonymous")
    bob.expect_to_talk_with("Ann")
    ann.say("hello", "who is it?")
    bob.expect_lines("stranger", "hello", "who is it?")
    bob.say("nobody")
    ann.expect_lines("stranger", "nobody")
    expect(ann.log.locator("li")).to_have_text(
        ["You are talking with Anonymous. Say hello.", "You: hello", "You: who is it?", "Stranger: nobody"]
    )
    bob.button("Leave").click()
    ann.expect_lines("note", "You are talking with Anonymous. Say hello.", "Anonymous has left.")
    bob.expect_lines("note", "You are talking with Ann. Say hello.", "You have left.")


def test_a_page_talks_with_a_program_of_tools_alone(talking: ChatTab, stranger: Stranger) -> None:
    """The page is a client like any other."""
    stranger.say("I am a program")
    talking.expect_lines("stranger", "I am a program")
    talking.say("so you say")
    assert stranger.hear_texts(1) == ["so you say"]


def test_what_a_stranger_writes_is_text(talking: ChatTab, stranger: Stranger) -> None:
    """Markup, scripts, directions and very long words are shown as they are, and make nothing wider."""
    for text in HOSTILE:
        stranger.say(text)
    expect(talking.lines()).to_have_count(len(HOSTILE))
    assert talking.lines().all_text_contents() == HOSTILE
    assert talking.log.locator("li :is(b, img, script, a)").count() == 0
    assert talking.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert talking.log.evaluate("(list) => list.scrollWidth <= list.clientWidth")


def test_one_can_do_everything_with_the_keyboard(open_chat: OpenChat, stranger: Stranger) -> None:
    """From the first field to the last button, the focus is never lost."""
    stranger.enter()
    tab = open_chat()
    press = tab.page.keyboard.press
    press("Tab")
    tab.page.keyboard.type("Ann")
    press("Enter")
    tab.expect_to_talk_with("Sam")
    expect(tab.field).to_be_focused()
    tab.page.keyboard.type("one")
    press("Shift+Enter")
    tab.page.keyboard.type("two")
    press("Enter")
    assert stranger.hear_texts(1) == ["one\ntwo"]
    expect(tab.field).to_have_value("")
    for _ in range(10):
        press("Shift+Tab")
        if tab.button("Next").evaluate("(button) => button === document.activeElement"):
            break
    press("Enter")
    expect(tab.page.get_by_role("alert").filter(has_text="Press Next again")).to_be_visible()
    press("Enter")
    expect(tab.status).to_contain_text("Looking for a stranger")
    press("Escape")
    press("Escape")
    expect(tab.button("Find another stranger")).to_be_visible()


def test_esc_asks_once_before_it_leaves(talking: ChatTab, stranger: Stranger) -> None:
    """The first Esc shows a banner for a moment; a second one in time leaves."""
    asked = talking.page.get_by_role("alert").filter(has_text="Press Esc again to leave.")
    talking.page.keyboard.press("Escape")
    expect(asked).to_be_visible()
    expect(asked).to_be_hidden()
    talking.page.keyboard.press("Escape")
    expect(asked).to_be_visible()
    expect(talking.button("Next")).to_be_visible()
    talking.page.keyboard.press("Escape")
    expect(talking.button("Find another stranger")).to_be_visible()
    assert stranger.hear_leaving() == "left"


def test_next_asks_once_before_it_goes_on(talking: ChatTab, open_chat: OpenChat, stranger: Stranger) -> None:
    """A second press meets another stranger, with a new transcript."""
    other = open_chat()
    talking.say("bye")
    talking.button("Next").click()
    expect(talking.page.get_by_role("alert").filter(has_text="Press Next again")).to_be_visible()
    talking.button("Next").click()
    expect(talking.status).to_contain_text("Looking for a stranger")
    assert stranger.hear_texts(1) == ["bye"]
    assert stranger.hear_leaving() == "next"
    other.find("Cat")
    talking.expect_to_talk_with("Cat")
    talking.expect_lines("you")


def test_what_is_typed_while_there_is_nobody_stays_in_the_field(open_chat: OpenChat) -> None:
    """The field is never disabled, and nothing is lost or sent to the next stranger by accident."""
    tab = open_chat()
    tab.find()
    tab.say("early")
    expect(tab.field).to_have_value("early")
    expect(tab.page.get_by_role("alert").filter(has_text="There is no stranger")).to_be_visible()
    tab.expect_lines("you")


def test_unread_messages_are_counted_in_the_title(talking: ChatTab, stranger: Stranger) -> None:
    """The count is kept while the tab is hidden; coming back to it clears the count and the icon."""
    icon = talking.page.locator("link[rel=icon]")
    calm = icon.get_attribute("href")
    talking.page.evaluate(
        "Object.defineProperty(document, 'hidden', {get: () => window.isAway ?? true, configurable: true})"
    )
    stranger.say("one")
    stranger.say("two")
    expect(talking.page).to_have_title("(2) Sam – Stranger chat")
    assert icon.get_attribute("href") != calm
    talking.page.evaluate("window.isAway = false; document.dispatchEvent(new Event('visibilitychange'))")
    expect(talking.page).to_have_title("Sam – Stranger chat")
    assert icon.get_attribute("href") == calm


def test_the_transcript_follows_only_at_its_end(talking: ChatTab, stranger: Stranger) -> None:
    """A reader further up stays there, and sees the count of new lines."""
    for number in range(40):
        stranger.say(f"line {number}")
    expect(talking.lines()).to_have_count(40)
    at_end = "(list) => list.scrollHeight - list.scrollTop - list.clientHeight < 2"
    assert talking.log.evaluate(at_end)
    talking.log.evaluate(SCROLL_UP)
    stranger.say("new")
    stranger.say("newer")
    jump = talking.button("2 new ↓")
    expect(jump).to_be_visible()
    assert talking.log.evaluate("(list) => list.scrollTop") == 0
    jump.click()
    expect(jump).to_be_hidden()
    assert talking.log.evaluate(at_end)


def test_a_blocked_stranger_is_not_met_again(talking: ChatTab, stranger: Stranger) -> None:
    """A dialog asks first; a block ends the chat, and holds when both look again."""
    talking.button("Block").click()
    dialog = talking.page.get_by_role("dialog", name="Block this stranger?")
    dialog.get_by_role("button", name="Cancel").click()
    expect(talking.button("Next")).to_be_visible()
    talking.button("Block").click()
    dialog.get_by_role("button", name="Block").click()
    expect(talking.log).to_contain_text("You have blocked Sam. You will not meet again.")
    assert stranger.hear_leaving() == "left"
    stranger.call("enter_queue", handle=stranger.handle, display_name="Sam")
    talking.button("Find another stranger").click()
    expect(talking.status).to_have_text("Looking for a stranger…")
    assert stranger.call("get_status", handle=stranger.handle)["waiting"] == 2


def test_a_stranger_can_be_reported_after_the_chat(talking: ChatTab, stranger: Stranger) -> None:
    """A report has a mandatory category, and a note."""
    stranger.leave()
    expect(talking.log).to_contain_text("Sam has left.")
    talking.button("Report").click()
    dialog = talking.page.get_by_role("dialog", name="Report this stranger?")
    dialog.get_by_role("button", name="Report").click()
    expect(dialog).to_be_visible()
    dialog.get_by_label("Spam or advertising").check()
    dialog.get_by_label("Anything to add?").fill("sold me a bridge")
    dialog.get_by_role("button", name="Report").click()
    expect(dialog).to_be_hidden()
    expect(talking.log).to_contain_text("You have reported Sam")
    expect(talking.button("Report")).to_be_hidden()


def test_the_sound_is_off_until_wanted_and_then_remembered(open_chat: OpenChat) -> None:
    """The setting holds for every tab of that browser."""
    tab = open_chat()
    tab.find()
    tab.button("Sound is off").click()
    expect(tab.button("Sound is on")).to_be_visible()
    tab.page.reload()
    expect(tab.button("Sound is on")).to_be_visible()


def test_who_is_here_is_told_before_one_enters(open_chat: OpenChat, stranger: Stranger) -> None:
    """The numbers are kept up to date; interests are not asked for where they decide nothing."""
    tab = open_chat()
    expect(tab.page.get_by_text("0 waiting, 0 chatting")).to_be_visible()
    stranger.enter()
    expect(tab.page.get_by_text("1 waiting, 0 chatting")).to_be_visible(timeout=15_000)
    expect(tab.page.get_by_label("Interests (optional)")).to_be_hidden()


def test_interests_are_asked_for_where_they_count(browser: Browser) -> None:
    """Several can be typed at once; those beyond ten stay in the field, with the reason."""
    with broker_process("--matching", "interests") as by_interests:
        tab = ChatTab(browser.new_context(), by_interests.url)
        field = tab.page.get_by_label("Interests (optional)")
        field.fill("tea, chess, tea")
        field.press("Enter")
        chosen = tab.page.get_by_role("list", name="Your interests").get_by_role("listitem")
        expect(chosen).to_have_count(2)
        field.fill(", ".join(f"topic {number}" for number in range(9)))
        tab.button("Add").click()
        expect(chosen).to_have_count(10)
        expect(field).to_have_value("topic 8")
        expect(tab.page.get_by_text("That makes more than 10")).to_be_visible()
        tab.find()
        expect(tab.status).to_contain_text("You are the next.")
        tab.close()


def test_the_field_stays_above_a_phones_keyboard(talking: ChatTab, stranger: Stranger) -> None:
    """The rest of the screen shows the field and the end of the transcript, also while the field grows."""
    talking.page.set_viewport_size({"width": 360, "height": 640})
    for number in range(20):
        stranger.say(f"line {number}")
    expect(talking.lines()).to_have_count(20)
    talking.page.set_viewport_size({"width": 360, "height": 300})
    expect(talking.field).to_be_in_viewport(ratio=1)
    expect(talking.lines().last).to_be_in_viewport(ratio=1)
    talking.field.fill("\n".join("abcdefgh"))
    expect(talking.button("Send")).to_be_in_viewport(ratio=1)


def test_a_page_without_a_secure_context_works(browser: Browser, broker: BrokerProcess, stranger: Stranger) -> None:
    """On plain http, a browser has neither locks nor `randomUUID` for a page of another machine."""
    context = browser.new_context()
    context.add_init_script(
        "Object.defineProperty(Navigator.prototype, 'locks', { get: () => undefined });"
        "delete Crypto.prototype.randomUUID;"
    )
    stranger.enter()
    tab = ChatTab(context, broker.url)
    tab.find("Ann")
    tab.expect_to_talk_with("Sam")
    stranger.find()
    tab.say("hi")
    assert stranger.hear_texts(1) == ["hi"]
    tab.page.reload()
    stranger.say("hello")
    tab.expect_lines("stranger", "hello")
    tab.expect_lines("you", "hi")
    tab.close()
