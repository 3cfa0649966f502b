"""`chat-broker serve --matching package.module:function`: an operator's own matching in production."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent

import pytest

from tests.facade.people import Modern, texts
from tests.facade.test_command_line import failed
from tests.support.process import serving

pytestmark = pytest.mark.anyio

NAME = "newcomers:talkative"
SOURCE = """
    def talkative(state, seeker, at_ms):
        if "boom" in seeker.interests:
            raise LookupError("no luck with c_6f5d61b1")
        others = [who for _, who in state.queue.entries.items() if who != seeker.connection_id]
        return others[-1] if others and seeker.interests else None
"""


def installed(directory: Path, source: str = SOURCE) -> dict[str, str]:
    """Write the module of the matching; return the variable for Python to find it."""
    (directory / "newcomers.py").write_text(dedent(source))
    return {"PYTHONPATH": str(directory)}


async def test_it_decides_who_meets_whom(tmp_path: Path) -> None:
    """A variable names it; clients learn that interests may count, and not its name."""
    async with serving(**installed(tmp_path), CHAT_BROKER_MATCHING=NAME) as broker:
        there = broker.people()
        ann, bob, cat = [await there.modern() for _ in range(3)]
        await ann.enter("Ann")
        await bob.enter("Bob")
        entered = await cat.enter("Cat", interests=["tea"])
        assert entered["partner"] == "Bob"
        assert (await ann.read("chat://lobby"))["matching"] == "interests"
        await there.close()


async def test_a_failure_takes_nothing_down(tmp_path: Path) -> None:
    """Its command is refused as unavailable, others go on, and the operator gets one traceback."""
    async with serving("--matching", NAME, "--log-format", "json", **installed(tmp_path)) as broker:
        there = broker.people()
        ann, bob, cat = [await there.modern() for _ in range(3)]
        await ann.enter("Ann", interests=["tea"])
        await bob.enter("Bob", interests=["tea"])
        assert isinstance(cat, Modern)
        for _ in range(2):
            refusal = await cat.refused("enter_queue", display_name="Cat", interests=["boom"])
            assert refusal["code"] == "unavailable"
        await ann.hear()
        await ann.say("hello")
        assert texts(await bob.hear()) == ["hello"]
        lobby = await ann.read("chat://lobby")
        assert (lobby["waiting"], lobby["rooms_open"]) == (0, 1)
        await there.close()
        status, _, logged = await broker.terminate()
    assert status == 0
    lines = [json.loads(line) for line in logged.splitlines()]
    (line,) = [line for line in lines if line["event"] == "matching_failed"]
    assert (line["matching"], line["fault"]) == (NAME, "LookupError")
    assert 'raise LookupError("no luck with c_6f5d61b1")' in line["exception"]


@pytest.mark.slow
async def test_its_log_needs_it(tmp_path: Path) -> None:
    """Without it or its module, the log is refused in one line; with it, or with another name, the log goes on."""
    url = f"sqlite:{tmp_path / 'chat.db'}"
    found = installed(tmp_path)
    async with serving("--log", url, "--matching", NAME, **found) as broker:
        there = broker.people()
        ann = await there.modern()
        await ann.enter("Ann")
        assert (await broker.terminate())[0] == 0
        await there.close()
    serve = ("serve", "--port", "0", "--log", url, "--log-level", "error")
    assert await failed(*serve, **found) == (
        f"chat-broker: {url} can't be used: it is decided by the matching {NAME}: name it with --matching {NAME} "
        "(CHAT_BROKER_MATCHING), or name another to change to, as in --matching first-come"
    )
    assert await failed(*serve, "--matching", NAME) == (
        f"chat-broker: can't import {NAME}: ModuleNotFoundError: \"No module named 'newcomers'\""
    )
    async with serving("--log", url, **found, CHAT_BROKER_MATCHING=NAME) as broker:
        assert (await broker.terminate())[0] == 0
    async with serving("--log", url, "--matching", "interests") as broker:
        assert (await broker.terminate())[0] == 0


@pytest.mark.parametrize(
    ("name", "source", "says"),
    [
        ("newcomers", SOURCE, "--matching (CHAT_BROKER_MATCHING) is first-come, interests, or package.module:function"),
        ("newcomers:nothing", SOURCE, "can't import newcomers:nothing: AttributeError: "),
        (NAME, "raise OSError('no\\nluck')", f'can\'t import {NAME}: OSError: "no\\nluck"'),
        (NAME, "talkative = 5", f"{NAME} is no function"),
        (NAME, "def talkative(state, seeker, at_ms): return 5", f"{NAME} is no matching: in a trial, "),
        (
            NAME,
            "async def pick(*_): ...\ntalkative = lambda *given: pick(*given)",
            f"{NAME} is no matching: in a trial, ",
        ),
        (
            "os.path:join",
            SOURCE,
            "os.path:join is no matching: in a trial, asked for a newcomer while nobody waits, the ",
        ),
    ],
)
async def test_what_is_no_matching_is_one_line(name: str, source: str, says: str, tmp_path: Path) -> None:
    """There is no traceback; the exit status is 2."""
    line = await failed("serve", "--port", "0", "--matching", name, **installed(tmp_path, source))
    assert line.startswith(f"chat-broker: {says}")
