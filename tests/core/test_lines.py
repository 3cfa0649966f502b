"""How a log line becomes text."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import pytest
from structlog.dev import ConsoleRenderer

from broker.logging import LoopBufferedStream, plain
from tests.support.fake_clock import settle

LINES: list[dict[str, Any]] = [
    {"event": "commit", "position": 7, "connection": None, "rooms": ["r_1"], "events": [], "command": "EnterQueue"},
    {"event": "serving", "url": "http://127.0.0.1:8000/mcp"},
    {"event": "log_unavailable", "reason": "the disk is full", "commands": 1},
    {"event": "tool_failed", "fault": "KeyError", "exception": "Traceback\n  here"},
]


@pytest.mark.parametrize("line", LINES)
def test_a_line_looks_as_structlogs(line: dict[str, Any]) -> None:
    """In a file, where there are no colours."""
    line = {"timestamp": "2026-11-25T16:34:14.347701Z", "level": "info", **line}
    assert plain(None, "info", dict(line)) == ConsoleRenderer(colors=False)(None, "info", dict(line))


async def _two_lines(turns: LoopBufferedStream, out: io.StringIO) -> list[str]:
    turns.write("one\n")
    turns.flush()
    turns.write("two\n")
    turns.flush()
    seen = [out.getvalue()]
    await settle(1)
    return [*seen, out.getvalue()]


def test_the_lines_of_a_turn_are_written_together() -> None:
    """At its end, in order."""
    out = io.StringIO()
    assert asyncio.run(_two_lines(LoopBufferedStream(out), out)) == ["", "one\ntwo\n"]


def test_without_an_event_loop_a_line_is_written_at_once() -> None:
    """As when a command only prints a warning."""
    out = io.StringIO()
    turns = LoopBufferedStream(out)
    turns.write("one\n")
    turns.flush()
    assert out.getvalue() == "one\n"
