"""The README is the front door: it is short, its conversation works, and every link leads somewhere."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.facade.people import texts
from tests.support.limits import HUNG_SECONDS
from tests.support.pages import ROOT, Page
from tests.support.process import free_port, killed, serving

README = Page("README.md")
LINES_MAX = 150
NAMES = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("*.md", "docs/**/*.md", "benchmarks/*.md", "tests/clients/*.md")
    for path in ROOT.glob(pattern)
)
PORT = "8140"
TOOLS = ("bash", "curl", "jq")

CHANGING = (
    (r"(cb|c|r)_[\w-]{32}", r"\1_ID"),
    (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME"),
)
"""The parts of an answer that are others each time."""


def test_the_front_door_is_short() -> None:
    """A reader sees all of it; the rest is in docs/."""
    assert len(README.text.splitlines()) <= LINES_MAX


@pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason=f"it needs {', '.join(TOOLS)}")
def test_the_conversation_goes_as_it_is_shown() -> None:
    """The commands, pasted into a shell, print the lines below them, except for ids and times."""
    program = README.block("sh")
    assert PORT in program
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CHAT_BROKER_")}
    done = subprocess.run(
        [str(shutil.which("bash")), "-c", program.replace(PORT, str(free_port()))],
        env=environment | {"PATH": path, "no_proxy": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    assert _unchanging(done.stdout) == _unchanging(README.block("console"))


def test_the_bot_answers_once(tmp_path: Path) -> None:
    """The program runs as it is, but for the port: it greets, repeats the first message, and leaves."""
    program = README.block("python")
    assert "localhost:8000" in program

    async def held() -> tuple[list[str], str, int | None]:
        async with serving() as broker:
            there = broker.people()
            bob = await there.modern()
            path = tmp_path / "echo.py"
            path.write_text(program.replace("localhost:8000", f"localhost:{broker.port}"), "utf-8")
            bot = await asyncio.create_subprocess_exec(sys.executable, str(path))
            try:
                await broker.until_metric("chat_broker_waiting 1.0")
                await bob.enter("Bob")
                heard = await bob.hear()
                await bob.say("What are you?")
                while heard[-1]["method"] != "partner.disconnected":
                    heard += await bob.hear()
                await bot.wait()
            finally:
                await killed(bot)
            await there.close()
            return texts(heard), heard[-1]["params"]["reason"], bot.returncode

    said, end, status = asyncio.run(asyncio.wait_for(held(), HUNG_SECONDS))
    assert said == ["Hello! I am a program that repeats what you say, once.", "You said: What are you?"]
    assert (end, status) == ("left", 0)


def _unchanging(text: str) -> str:
    for pattern, stand_in in CHANGING:
        text = re.sub(pattern, stand_in, text)
    return text


def test_the_commands_are_written_as_the_shell_finds_them() -> None:
    """The bare command is used only after the environment has been activated."""
    assert README.text.index("source .venv/bin/activate") < README.text.index("chat-broker serve")
    assert ".venv/bin/chat-broker" not in README.text


def test_every_page_is_listed() -> None:
    """docs/index.md lists every page, and the README links it."""
    index = Page("docs/index.md")
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert pages <= {target for target in index.links() if "/" not in target}
    assert "docs/index.md" in README.links()


def test_every_decision_is_listed() -> None:
    """The list has each title, in order."""
    listed = re.findall(r"^\d+\. \[(.+)\]\((.+)\)$", Page("docs/decisions/README.md").text, re.MULTILINE)
    pages = [Page(str(path.relative_to(ROOT))) for path in sorted((ROOT / "docs" / "decisions").glob("0*.md"))]
    titles = [page.text.splitlines()[0].partition(". ")[2] for page in pages]
    assert listed == [(title, Path(page.name).name) for title, page in zip(titles, pages, strict=True)]


@pytest.mark.parametrize("name", NAMES)
def test_every_link_leads_somewhere(name: str) -> None:
    """Every relative link names an existing file or folder, and every anchor a heading of its page."""
    page = Page(name)
    for target in page.links():
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        there = (ROOT / name).parent / path if path else ROOT / name
        assert there.exists(), target
        assert not anchor or anchor in Page(str(there.resolve().relative_to(ROOT))).anchors(), target
