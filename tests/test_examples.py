"""The examples work. The tests of the pages run `examples/bot.py` and `examples/listen.py`."""

from __future__ import annotations

import asyncio
import re
import runpy
import subprocess
import sys
from collections.abc import Callable

import pytest
from nats import connect as nats_connect

from broker.decide import decide
from events.commit import Facts
from events.events import RoomOpened
from events.ids import ConnectionId
from tests.facade.people import Modern, texts
from tests.support.engines import nats
from tests.support.limits import HUNG_SECONDS
from tests.support.pages import ROOT
from tests.support.people import ANN, BOB, FRESH, enter, entered
from tests.support.process import killed, serving
from tests.support.specs import NOON_MS, state_after

EXAMPLES = ROOT / "examples"
WORDS = ["one", "two", "three", "four", "five"]


@pytest.mark.slow
@pytest.mark.parametrize("comes", ["first", "second"])
def test_a_bot_of_tools_alone_holds_a_conversation(comes: str) -> None:
    """The bot greets its stranger, answers five messages and leaves, whichever of them entered first."""

    async def held() -> tuple[list[str], str]:
        async with serving() as broker:
            there = broker.people()
            bob = await there.modern()
            if comes == "second":
                await bob.enter("Bob")
            pipe = asyncio.subprocess.PIPE
            program = str(EXAMPLES / "tools_only.py")
            bot = await asyncio.create_subprocess_exec(sys.executable, program, broker.url, stdout=pipe, stderr=pipe)
            try:
                if comes == "first":
                    await broker.until_metric("chat_broker_waiting 1.0")
                    await bob.enter("Bob")
                heard = await conversation(bob)
                out, err = await bot.communicate()
                assert bot.returncode == 0, err.decode()  # the SDK may log a late answer while it ends
            finally:
                await killed(bot)
            await there.close()
            return heard, out.decode()

    heard, printed = asyncio.run(asyncio.wait_for(held(), HUNG_SECONDS))
    assert heard == ["Hello!", *(f"You said: {word}" for word in WORDS), "left"]
    assert printed.split() == WORDS


async def conversation(bob: Modern) -> list[str]:
    """Say each of `WORDS` after the answer to the last one; return all answers, and the reason for the end."""
    words, heard = iter(WORDS), list[str]()
    while True:
        for event in await bob.hear():  # the last answer and the end may come together
            if event["method"] == "partner.disconnected":
                return [*heard, event["params"]["reason"]]
            heard += texts([event])
            if texts([event]) and (word := next(words, None)):
                await bob.say(word)


LISTENER_RIGHTS = re.compile(r"^ +(permissions: \{ publish: .+\})$", re.MULTILINE)
ACCOUNT = re.compile(r"^    accounts \{$.*?^    \}$", re.MULTILINE | re.DOTALL)


def settings_of_the_page() -> str:
    """Return the account of the page with both of its users; their passwords are `secret`."""
    page = (ROOT / "docs" / "operating.md").read_text("utf-8")
    (rights,), (account,) = LISTENER_RIGHTS.findall(page), ACCOUNT.findall(page)
    listener = f"users: [ {{ user: listener, password: PASSWORD, {rights} }}"
    return account.replace("users: [", listener).replace("PASSWORD", "secret")


@pytest.mark.slow
def test_another_program_counts_conversations() -> None:
    """With no more rights than the page gives it, those before its start and those after."""

    async def counted() -> list[int]:
        with nats.running(settings_of_the_page()) as server:
            async with serving("--log", server.url(user="chat:secret@")) as broker:
                there = broker.people()
                await there.pair()
                url = f"nats://listener:secret@127.0.0.1:{server.port}"
                program = str(EXAMPLES / "count_conversations.py")
                pipe = asyncio.subprocess.PIPE
                counter = await asyncio.create_subprocess_exec(sys.executable, program, url, stdout=pipe)
                try:
                    assert counter.stdout is not None
                    counts = [int((await counter.stdout.readline()).split()[-1])]
                    await there.pair()
                    counts.append(int((await counter.stdout.readline()).split()[-1]))
                finally:
                    await killed(counter)
                await there.close()
                return counts

    first, second = asyncio.run(asyncio.wait_for(counted(), HUNG_SECONDS))
    assert first == 1
    assert second in (1, 2)  # the hour may have changed


@pytest.mark.parametrize("name", ["other", "a log"])
def test_a_count_of_no_log_ends_with_one_line(name: str) -> None:
    """It is not there, or its name is none."""
    url = f"nats://127.0.0.1:{nats.nats_server().port}"
    program = [sys.executable, str(EXAMPLES / "count_conversations.py"), url, name]
    ended = subprocess.run(program, capture_output=True, text=True, check=False, timeout=30)
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.endswith("is there such a log, and may this user read it?")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("user", "publishes", "subscribes"),
    [
        ("chat", "other.subject", "other.>"),
        ("listener", "chat.log.000", "_INBOX_chat.>"),
        ("listener", "$JS.API.STREAM.INFO.chat_LOG", "chat.>"),
    ],
)
def test_the_rights_of_the_page_are_no_wider(user: str, publishes: str, subscribes: str) -> None:
    """A user hears no other's answers, and reaches no other subject."""

    async def refused() -> list[str]:
        refusals: asyncio.Queue[str] = asyncio.Queue()

        async def note(error: Exception) -> None:
            refusals.put_nowait(str(error).lower())

        with nats.running(settings_of_the_page()) as server:
            client = await nats_connect(f"nats://{user}:secret@127.0.0.1:{server.port}", error_cb=note)
            await client.publish(publishes, b"")
            await client.subscribe(subscribes)
            found = [await refusals.get(), await refusals.get()]
            await client.close()
        return found

    refusals = asyncio.run(asyncio.wait_for(refused(), HUNG_SECONDS))
    assert [one.partition('"')[0].strip() for one in refusals] == [
        "nats: permissions violation for publish to",
        "nats: permissions violation for subscription to",
    ]


LANGUAGES_OF_OTHERS = [
    (("french",), ("french", "tea"), True),
    (("french",), ("spanish",), False),
    (("french",), ("tea",), False),
    (("tea",), ("go",), True),
    ((), (), True),
]


@pytest.mark.parametrize(("waiting", "coming", "meet"), LANGUAGES_OF_OTHERS)
def test_the_matching_pairs_by_language(waiting: tuple[str, ...], coming: tuple[str, ...], *, meet: bool) -> None:
    """People with a common language meet, and so do people without a language."""
    same_language: Callable[..., ConnectionId | None] = runpy.run_path(str(EXAMPLES / "matching.py"))["same_language"]
    state = state_after([(entered(ANN, None, *waiting),)])
    facts = Facts(NOON_MS, FRESH, "salt")
    events = decide(state, enter(BOB, "Bob", *coming), facts, matching=same_language)
    assert [type(event) is RoomOpened for event in events][-1] is meet
