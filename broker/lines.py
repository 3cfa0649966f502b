"""How a log line becomes text cheaply: a broker that logs every commit writes many."""

from __future__ import annotations

import asyncio
import atexit
from typing import Any, TextIO

from structlog.typing import EventDict

EVENT_WIDTH = 30
LEVEL_WIDTH = 9


def plain(logger: Any, method: str, line: EventDict) -> str:
    """A line as structlog's console renderer writes it without colours, at a tenth of the cost."""
    timestamp, level, event = line.pop("timestamp"), line.pop("level"), line.pop("event")
    exception = line.pop("exception", None)
    head = f"{timestamp} [{level:<{LEVEL_WIDTH}}] {event:<{EVENT_WIDTH}} "
    text = head + " ".join([f"{key}={_value(line[key])}" for key in sorted(line)])
    return text if exception is None else f"{text}\n{exception}"


def _value(value: Any) -> str:
    return value if isinstance(value, str) and value.isprintable() and " " not in value else repr(value)


class Turns:
    """A text stream to which all lines of one turn of the event loop go at once, at its end.

    Without a loop they go at once, and what is left when the interpreter ends goes then.
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._pending: list[str] = []
        self._scheduled = False
        atexit.register(self._write_out)

    def write(self, text: str) -> int:
        """Take `text`, to be written soon."""
        self._pending.append(text)
        return len(text)

    def flush(self) -> None:
        """Write soon what was taken."""
        if self._scheduled:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._write_out()
        else:
            self._scheduled = True
            loop.call_soon(self._write_out)

    def isatty(self) -> bool:
        """Whether somebody reads it as it is written."""
        return self._out.isatty()

    def _write_out(self) -> None:
        self._scheduled = False
        pending, self._pending = self._pending, []
        if pending:
            self._out.write("".join(pending))
            self._out.flush()
