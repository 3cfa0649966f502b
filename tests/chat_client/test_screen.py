"""The screen of `chat-broker chat`, with a real broker behind it and a pilot at the keys."""

from __future__ import annotations

import pytest
from textual.events import AppBlur, AppFocus
from textual.screen import Screen
from textual.widgets import Input

from chat_client.errors import refusal
from chat_client.terminal.display import TITLE
from tests.chat_client.pauses import Pauses
from tests.chat_client.relay import relaying
from tests.chat_client.screen import SIZES, sitting
from tests.facade.people import Crowd, crowd, texts
from tests.support.fake_clock import FakeClock
from tests.support.process import free_port
from tests.support.server import eventually, serving

pytestmark = pytest.mark.anyio

HOSTILE = "[bold]x[/bold] [link=https://example.com]y[/link] \u202egnp.exe ]8;;https://example.com"


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_screens_of_a_conversation(size: tuple[int, int]) -> None:
    """Each screen is as in its golden file: waiting, chatting, asked again, the windows, and the end."""
    clock = [100.0]
    async with (
        serving(rules_url="https://chat.example.com/rules", operator_contact="ops@example.com") as running,
        crowd(running) as there,
        sitting(running.url, interests=["tea"], size=size, clock=clock) as ann,
    ):
        bob = await there.modern()
        await ann.is_at("waiting")
        ann.matches("waiting")
        await bob.enter("Bob")
        await ann.is_at("chatting")
        await bob.say("Hello, who is there?")
        await ann.sees("Hello, who is there?")
        await ann.press("'A program, I think.'", "enter")
        assert texts((await bob.hear())[-1:]) == ["A program, I think."]
        clock.append(142.0)
        ann.app._show_clock()
        await ann.pilot.pause()
        ann.matches("chatting")
        await ann.press("escape")
        ann.matches("asked-again")
        await ann.press("ctrl+r")
        ann.matches("report")
        await ann.press("escape", "f1")
        ann.matches("help")
        await ann.press("escape")
        await bob.call("leave_chat", room_id=bob.room_id, handle=bob.handle)
        await ann.is_at("ended")
        ann.matches("ended")


async def test_text_of_a_stranger_is_text(there: Crowd) -> None:
    """A stranger's markup, links and escape sequences have no effect, in messages and in a name."""
    bob = await there.modern()
    async with sitting(there.running.url) as ann:
        await ann.is_at("waiting")
        await bob.enter("C++ R&B")
        await ann.is_at("chatting")
        assert ann.head() == "chatting with C++ R&B"
        await bob.say(HOSTILE)
        await bob.say("two\nlines")
        await ann.sees("lines")
        line = next(line for line in ann.screen() if "[bold]" in line)
        assert "[bold]x[/bold] [link=https://example.com]y[/link]" in line
        assert "\u202e" not in "".join(ann.screen())
        strips = ann.app.screen._compositor.render_strips()
        assert not any(segment.style and segment.style.link for strip in strips for segment in strip)


async def test_keys_that_end_something_ask_twice(there: Crowd) -> None:
    """The first press shows the effect, another key takes it back, and a second press does it."""
    bob = await there.modern()
    async with sitting(there.running.url) as ann:
        await ann.is_at("waiting")
        await bob.enter("Bob")
        await ann.is_at("chatting")
        await ann.press("ctrl+n")
        assert ann.footer() == "^n again to leave, and meet another"
        await ann.press("'x'")
        assert ann.footer().startswith("enter send")
        await ann.press("ctrl+b")
        assert ann.footer() == "^b again to never meet this stranger again"
        await ann.press("ctrl+n")
        assert ann.footer().startswith("^n again")
        await ann.press("ctrl+n")
        await ann.is_at("waiting")
        assert (await bob.hear())[-1]["params"]["reason"] == "next"


async def test_esc_twice_leaves_and_twice_more_ends(there: Crowd) -> None:
    """Esc twice ends the conversation, with another stranger a key away; twice more, the program with status 0."""
    bob = await there.modern()
    async with sitting(there.running.url) as ann:
        await ann.is_at("waiting")
        await bob.enter("Bob")
        await ann.is_at("chatting")
        await ann.press("escape", "escape")
        await ann.is_at("ended")
        assert (await bob.hear())[-1]["params"]["reason"] == "left"
        assert "^n next stranger" in ann.footer()
        await ann.press("ctrl+n")
        await ann.is_at("waiting")
        await ann.press("escape", "escape")
        await eventually(lambda: ann.app._exit)
    assert ann.app.return_value == 0
    assert len(there.running.broker.replica.state.queue) == 0


async def test_ctrl_c_leaves_politely(there: Crowd) -> None:
    """It works at once, from anywhere, also from a window."""
    bob = await there.modern()
    async with sitting(there.running.url) as ann:
        await ann.is_at("waiting")
        await bob.enter("Bob")
        await ann.is_at("chatting")
        await ann.press("f1", "ctrl+c")
        await eventually(lambda: ann.app._exit)
    assert ann.app.return_value == 0
    assert (await bob.hear())[-1]["params"]["reason"] == "left"


async def test_blocking_and_reporting(there: Crowd) -> None:
    """Both end the conversation; a report takes a category and a note, and can follow."""
    bob = await there.modern()
    async with sitting(there.running.url) as ann:
        await ann.is_at("waiting")
        await bob.enter("Bob")
        await ann.is_at("chatting")
        await ann.press("ctrl+b", "ctrl+b")
        await ann.sees("Blocked")
        assert (await bob.hear())[-1]["params"]["reason"] == "left"
        await ann.press("ctrl+r", "down", "enter", "'rude'", "enter")
        await ann.sees("Reported to the operator")
    events = [event for commit in await there.running.broker.log.read(0, 100) for event in commit.events]
    (report,) = (event for event in events if type(event).__name__ == "PartnerReported")
    assert (report.category, report.note) == ("harassment", "rude")


async def test_text_without_a_stranger_stays_in_the_field(there: Crowd) -> None:
    """The text is neither lost nor sent to the next stranger by itself."""
    bob = await there.modern()
    async with sitting(there.running.url) as ann:
        await ann.is_at("waiting")
        await ann.press("'hello?'", "enter")
        assert ann.footer() == "nobody is here yet"
        await bob.enter("Bob")
        await ann.is_at("chatting")
        await ann.press("enter")
        assert texts((await bob.hear())[-1:]) == ["hello?"]


async def test_lines_below_the_view_are_counted(there: Crowd) -> None:
    """Scrolled up, the view stays, and new lines are counted; at the end the count goes."""
    bob = await there.modern()
    async with sitting(there.running.url, size=(40, 12)) as ann:
        await ann.is_at("waiting")
        await bob.enter("Bob")
        await ann.is_at("chatting")
        for number in range(20):
            await bob.say(f"line {number}")
        await ann.sees("line 19")
        await ann.press("pageup")
        assert not any("line 19" in line for line in ann.screen())
        top = ann.screen()[1]
        await bob.say("one more")
        await bob.say("and another")
        await ann.sees("2 new ↓")
        assert ann.screen()[1] == top
        ann.matches("scrolled-up")
        await ann.press("pagedown", "pagedown")
        await ann.sees("and another")
        assert not any("new ↓" in line for line in ann.screen())


async def test_an_outage_is_one_line_and_the_field_goes_on(there: Crowd) -> None:
    """A message of the outage is shown at once, and sent after it; the line then tells of its end."""
    pauses = Pauses()
    bob = await there.modern()
    async with relaying(there.running.port) as relay, sitting(relay.url, sleep=pauses) as ann:
        await ann.is_at("waiting")
        await bob.enter("Bob")
        await ann.is_at("chatting")
        relay.cut()
        await ann.sees("Connection lost")
        await ann.press("'still there?'", "enter")
        await ann.sees("you  still there? …")
        relay.mend()
        pauses.end()
        await ann.sees("and is back")
        assert texts((await bob.hear())[-1:]) == ["still there?"]
        await eventually(lambda: "you  still there?" in ann.transcript())
        assert not any("Connection lost" in line for line in ann.transcript())


async def test_a_message_that_was_not_sent_can_be_tried_again() -> None:
    """The reason is after the line, and the key for another attempt below; nothing is sent twice."""
    clock, pauses = FakeClock(), Pauses()

    async def impatient(seconds: float) -> None:
        if not 5 < seconds < 12:  # all but the waits for the rate limit
            await pauses(seconds)

    async with (
        serving(clock=clock, messages_per_10s_max=1) as running,
        crowd(running) as there,
        sitting(running.url, sleep=impatient) as ann,
    ):
        bob = await there.modern()
        await ann.is_at("waiting")
        await bob.enter("Bob")
        await ann.is_at("chatting")
        await ann.press("'first'", "enter", "'second'", "enter")
        await eventually(lambda: "second · not sent: That was too often" in ann.transcript()[-1])
        await eventually(lambda: ann.footer().startswith("^t try again"))
        await clock.advance(20_000)
        await ann.press("ctrl+t")
        await eventually(lambda: ann.transcript()[-1] == "you  second")
        assert not ann.footer().startswith("^t")
        assert texts(await bob.hear()) == ["first", "second"]


async def test_a_message_that_is_too_large_says_so(there: Crowd) -> None:
    """The message can't be sent again as it is, so no key is offered for that."""
    bob = await there.modern()
    async with sitting(there.running.url) as ann:
        await ann.is_at("waiting")
        await bob.enter("Bob")
        await ann.is_at("chatting")
        ann.app.query_one("#say", Input).value = "x" * 5_000
        await ann.press("enter")
        await eventually(lambda: "not sent: The message is too large" in ann.transcript()[-1])
        assert "^t" not in ann.footer()


async def test_the_bell_and_the_title_count_in_the_background(there: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message rings and is counted only while the terminal is in the background."""
    bob = await there.modern()
    rung: list[str] = []
    async with sitting(there.running.url) as ann:
        monkeypatch.setattr(ann.app, "bell", lambda: rung.append("bell"))
        monkeypatch.setattr(ann.app, "_set_title", lambda title, keep=None: rung.append(title))
        await ann.is_at("waiting")
        await bob.enter("Bob")
        await ann.is_at("chatting")
        await bob.say("seen")
        await ann.sees("seen")
        assert rung == []
        ann.app.post_message(AppBlur())
        await ann.pilot.pause()
        await bob.say("one")
        await ann.sees("one")
        await bob.say("two")
        await ann.sees("two")
        assert rung == ["bell", f"(1) {TITLE}", "bell", f"(2) {TITLE}"]
        ann.app.post_message(AppFocus())
        await ann.pilot.pause()
        await bob.say("seen, too")
        await ann.sees("seen, too")
        assert rung[4:] == [TITLE]
        monkeypatch.undo()


async def test_a_broker_that_forgets_can_be_entered_anew(there: Crowd) -> None:
    """After its restart with a log in memory: one line, and ^N begins again, also after an earlier ^N."""
    pauses = Pauses()
    bob, cat = await there.modern(), await there.modern()
    async with relaying(there.running.port) as relay, serving() as other, sitting(relay.url, sleep=pauses) as ann:
        await ann.is_at("waiting")
        await bob.enter("Bob")
        await ann.is_at("chatting")
        await ann.press("ctrl+n", "ctrl+n")
        await ann.is_at("waiting")
        await cat.enter("Cat")
        await ann.is_at("chatting")
        relay.cut()
        await ann.sees("Connection lost")
        await ann.press("'lost'", "enter")
        relay.behind = other.port
        relay.mend()
        pauses.end()
        await ann.is_at("ended")
        assert ann.head() == "the broker was restarted"
        await eventually(lambda: any("lost · not sent: The broker was restarted" in line for line in ann.transcript()))
        await ann.press("ctrl+n")
        await ann.is_at("waiting")
        assert len(other.broker.replica.state.queue) == 1


async def test_a_stranger_who_never_came_is_a_line() -> None:
    """The place in the queue stays, and so does its screen."""
    clock = FakeClock()
    limits = {"confirm_grace_ms": 25_000, "requeue_on_missed_match": 1}
    async with serving(clock=clock, **limits) as running, crowd(running) as there:
        bob = await there.modern()
        await bob.enter("Bob")
        async with sitting(running.url) as ann:
            await ann.is_at("chatting")
            await clock.advance(26_000)
            await ann.is_at("waiting")
            await ann.sees("Bob never came. You wait again, in your old place.")
            ann.app._look_at_lobby()
            await eventually(lambda: ann.head() == "waiting for a stranger · 1 in the queue")


async def test_when_nobody_else_can_be_met_the_conversation_goes_on(there: Crowd) -> None:
    """A refused ^N ^N is a line, and the screen stays that of the conversation, with its time."""
    bob = await there.modern()
    clock = [10.0]
    async with sitting(there.running.url, clock=clock) as ann:
        await ann.is_at("waiting")
        await bob.enter("Bob")
        await ann.is_at("chatting")
        clock.append(70.0)

        async def refused() -> int | None:
            raise refusal({"code": "queue_full"})

        ann.app._chat.next = refused
        await ann.press("ctrl+n", "ctrl+n")
        await ann.sees("The queue is full: try again in a minute.")
        assert ann.head() == "chatting with Bob"
        ann.app._show_clock()
        assert ann.clock() == "1:00"


async def test_no_broker_ends_with_a_reason() -> None:
    """The screen closes, the status is 1, and the reason remains for the line after it."""
    async with sitting(f"127.0.0.1:{free_port()}") as ann:
        await eventually(lambda: ann.app._exit)
    assert ann.app.return_value == 1
    assert "no broker answers" in ann.app.reason


async def test_the_clock_lays_nothing_out(there: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    """A layout for each second would take a good part of it after a long conversation."""
    clock = [10.0]
    bob = await there.modern()
    async with sitting(there.running.url, clock=clock) as ann:
        await ann.is_at("waiting")
        await bob.enter("Bob")
        await ann.is_at("chatting")
        await ann.pilot.pause()
        laid_out = []
        refresh = Screen._refresh_layout
        monkeypatch.setattr(Screen, "_refresh_layout", lambda *given, **more: laid_out.append(refresh(*given, **more)))
        for second in range(11, 19):
            clock.append(float(second))
            ann.app._show_clock()
            await ann.pilot.pause()
        assert ann.clock() == "0:08"
        assert laid_out == []
        clock.append(10.0 + 600)
        ann.app._show_clock()
        await ann.pilot.pause()
        assert ann.clock() == "10:00"
        assert laid_out != []
