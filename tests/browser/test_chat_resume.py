"""The chat page under failures of the network, the broker and the tab."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Route, expect

from tests.browser.brokers import BrokerProcess, broker_process
from tests.browser.chat_tab import ChatTab
from tests.browser.conftest import OpenChat
from tests.browser.stranger import Stranger

RECONNECTING = "Reconnecting…"
WITHIN_MS = 20_000


@pytest.fixture
def talking(open_chat: OpenChat, stranger: Stranger) -> ChatTab:
    """Open a page, and have its person and `stranger` exchange messages."""
    return talk(open_chat(), stranger)


def talk(tab: ChatTab, stranger: Stranger) -> ChatTab:
    """Have the two meet, and exchange messages."""
    stranger.enter()
    tab.find("Ann")
    tab.expect_to_talk_with("Sam")
    stranger.find()
    stranger.say("hello")
    tab.expect_lines("stranger", "hello")
    tab.say("hi")
    assert stranger.hear_texts(1) == ["hi"]
    return tab


def fail_sends(tab: ChatTab, act: Callable[[Route], None]) -> None:
    """Have `act` handle each `send_message` of the tab, in the place of the network."""

    def handle(route: Route) -> None:
        if route.request.headers.get("mcp-name") == "send_message":
            act(route)
        else:
            route.continue_()

    tab.page.route("**/mcp", handle)


def test_a_reload_resumes(talking: ChatTab, stranger: Stranger) -> None:
    """Both sides of the conversation are there again in their order, and it goes on."""
    stranger.say("again")
    talking.expect_lines("stranger", "hello", "again")
    before = talking.log.locator("li").all_text_contents()
    talking.page.reload()
    talking.expect_to_talk_with("Sam")
    expect(talking.log.locator("li")).to_have_text(before)
    expect(talking.field).to_be_focused()
    talking.say("still here")
    assert stranger.hear_texts(1) == ["still here"]
    stranger.say("good")
    talking.expect_lines("stranger", "hello", "again", "good")


def test_a_reload_in_the_queue_keeps_the_place(open_chat: OpenChat) -> None:
    """The page goes on waiting, and is matched."""
    ann, bob = open_chat(), open_chat()
    ann.find("Ann")
    expect(ann.status).to_contain_text("You are the next.")
    ann.page.reload()
    expect(ann.status).to_contain_text("You are the next.")
    bob.find("Bob")
    ann.expect_to_talk_with("Bob")


def test_a_chat_that_ended_during_a_reload_says_so(talking: ChatTab, stranger: Stranger) -> None:
    """The transcript has the last messages, too."""
    talking.page.goto("about:blank")
    stranger.say("are you there?")
    stranger.leave()
    talking.page.go_back()
    talking.expect_lines("stranger", "hello", "are you there?")
    expect(talking.log.locator("li").last).to_have_text("Sam has left.")
    expect(talking.button("Find another stranger")).to_be_visible()


def test_a_duplicated_tab_begins_anew(talking: ChatTab, stranger: Stranger) -> None:
    """It has a copy of the other's storage, and neither disturbs the other."""
    copied = talking.page.evaluate("Object.entries(sessionStorage)")
    page = talking.context.new_page()
    page.add_init_script(f"if (!sessionStorage.length) for (const [k, v] of {copied!r}) sessionStorage.setItem(k, v);")
    page.goto(talking.url)
    second = ChatTab(talking.context, talking.url, page)
    expect(second.button("Find a stranger")).to_be_visible()
    assert second.handle() is None
    talking.say("me only")
    assert stranger.hear_texts(1) == ["me only"]
    assert second.complaints == []


def test_a_message_that_was_not_sent_can_be_sent_again(talking: ChatTab, stranger: Stranger) -> None:
    """The line offers a second attempt, which sends it once, even if only the broker's answer was lost."""
    lost = threading.Event()

    def lose_the_answer(route: Route) -> None:
        if lost.is_set():
            route.abort()
            return
        route.fetch()
        lost.set()
        route.abort()

    fail_sends(talking, lose_the_answer)
    talking.say("did you hear?")
    line = talking.log.locator("li.you").last
    expect(line).to_contain_text("not sent", timeout=WITHIN_MS)
    talking.page.unroute("**/mcp")
    line.get_by_role("button", name="try again").click()
    expect(line).not_to_contain_text("not sent")
    talking.say("and this?")
    assert stranger.hear_texts(2) == ["did you hear?", "and this?"]


def test_a_message_that_is_refused_says_why(talking: ChatTab) -> None:
    """The line says why, and its text stays in the transcript."""
    talking.say("long " * 2_000)
    line = talking.log.locator("li.you").last
    expect(line).to_contain_text("not sent: it is too long: send it in parts")
    expect(line.get_by_role("button")).to_have_count(0)


def test_lines_typed_offline_are_said_once_back(talking: ChatTab, stranger: Stranger) -> None:
    """The field stays usable, the status line tells of the outage, and messages from the outage arrive."""
    talking.context.set_offline(True)
    talking.say("one", "two")
    expect(talking.status).to_contain_text(RECONNECTING, timeout=WITHIN_MS)
    stranger.say("where are you?")
    talking.say("three")
    expect(talking.field).to_be_enabled()
    talking.context.set_offline(False)
    assert stranger.hear_texts(3) == ["one", "two", "three"]
    talking.expect_lines("stranger", "hello", "where are you?")
    expect(talking.status).to_have_text("")
    expect(talking.log.locator("li.you[data-state=sent]")).to_have_count(4)


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A context of its own, for tests that end their broker."""
    made = browser.new_context()
    yield made
    made.close()


def test_a_restarted_broker_with_a_durable_log_goes_on(context: BrowserContext, tmp_path: Path) -> None:
    """Neither the room nor a message from the outage is lost."""
    with broker_process("--log", f"sqlite:{tmp_path / 'chat.db'}") as broker, Stranger(broker.url) as stranger:
        tab = talk(ChatTab(context, broker.url), stranger)
        broker.stop()
        tab.say("meanwhile")
        expect(tab.status).to_contain_text(RECONNECTING, timeout=WITHIN_MS)
        broker.start()
        tab.look_again()
        assert stranger.hear_texts(1) == ["meanwhile"]
        stranger.say("there you are")
        tab.expect_lines("stranger", "hello", "there you are")
        expect(tab.status).to_have_text("")
        assert tab.complaints == []


def test_a_page_that_is_loaded_again_while_the_broker_is_away_waits_for_it(
    browser: Browser, context: BrowserContext, tmp_path: Path
) -> None:
    """The page shows its own lines, and the rest once it can be read."""
    with broker_process("--log", f"sqlite:{tmp_path / 'chat.db'}") as broker, Stranger(broker.url) as stranger:
        tab = talk(ChatTab(context, broker.url), stranger)
        html = tab.page.request.get(broker.url)
        body, headers = html.body(), html.headers
        broker.stop()
        tab.page.route(broker.url, lambda route: route.fulfill(body=body, headers=headers))
        tab.page.reload()
        tab.expect_lines("you", "hi")
        tab.say("typed while it was away")
        expect(tab.status).to_contain_text(RECONNECTING, timeout=WITHIN_MS)
        broker.start()
        tab.look_again()
        assert stranger.hear_texts(1) == ["typed while it was away"]
        tab.expect_lines("stranger", "hello")
        tab.expect_lines("you", "hi", "typed while it was away")
        assert tab.complaints == []


def test_a_restarted_broker_in_memory_has_forgotten_the_chat(context: BrowserContext) -> None:
    """The page says so, and starts again on request."""
    with broker_process() as broker, Stranger(broker.url) as stranger:
        tab = talk(ChatTab(context, broker.url), stranger)
        broker.stop()
        broker.start()
        tab.look_again()
        expect(tab.status).to_have_text(
            "The broker was restarted, and has forgotten this chat. Start again?", timeout=WITHIN_MS
        )
        stranger.enter()
        tab.button("Start again").click()
        tab.expect_to_talk_with("Sam")
        expect(tab.status).to_have_text("")
        assert tab.complaints == []


def test_one_whose_chat_was_over_before_the_restart_looks_again(context: BrowserContext) -> None:
    """The restarted broker has other cursors, and the page accepts them."""
    with broker_process() as broker, Stranger(broker.url) as stranger:
        tab = talk(ChatTab(context, broker.url), stranger)
        stranger.leave()
        expect(tab.button("Find another stranger")).to_be_visible()
        broker.stop()
        broker.start()
        tab.button("Find another stranger").click()
        expect(tab.status).to_contain_text("You are the next.", timeout=WITHIN_MS)
        stranger.enter()
        tab.expect_to_talk_with("Sam")
        stranger.say("hello again")
        tab.expect_lines("stranger", "hello again")
        assert tab.complaints == []


@pytest.fixture(scope="module")
def strict_broker() -> Iterator[BrokerProcess]:
    """Run a broker with low limits: of messages, and of the time to confirm a match."""
    with broker_process("--messages-per-10s-max", "10", "--confirm-grace-ms", "1500") as broker:
        yield broker


def test_a_rate_limit_is_waited_out(context: BrowserContext, strict_broker: BrokerProcess) -> None:
    """Every line is sent, in order."""
    with Stranger(strict_broker.url) as stranger:
        tab = talk(ChatTab(context, strict_broker.url), stranger)
        texts = [f"{number}" for number in range(12)]
        tab.say(*texts)
        assert stranger.hear_texts(12) == texts
        expect(tab.log.locator("li.you[data-state=sent]")).to_have_count(13)
        tab.close()


def test_a_stranger_who_never_came_is_told(context: BrowserContext, strict_broker: BrokerProcess) -> None:
    """The page goes on waiting, and meets the next one."""
    with Stranger(strict_broker.url) as absent, Stranger(strict_broker.url, "Tom") as other:
        absent.enter()
        tab = ChatTab(context, strict_broker.url)
        tab.find("Ann")
        tab.expect_lines(
            "note",
            "You are talking with Sam. Say hello.",
            "The stranger never came. You are still waiting, in your old place.",
        )
        expect(tab.status).to_contain_text("Looking for a stranger")
        other.enter()
        tab.expect_to_talk_with("Tom")
        tab.close()
