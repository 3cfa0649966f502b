"""Log lines: structlog's, to standard error, as text or as JSON. No message, no name, no handle, no session id.

Our own lines name connections by their public names alone. The lines of libraries go through a filter that masks
anything like a handle or a session id.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import re
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TextIO, cast

import msgspec
import structlog
from structlog.typing import EventDict, Processor

from broker.config import LogFormat, LogLevel
from broker.line_limit import LineLimit

QUOTES_HEADERS = "mcp.server.transport_security"
"""Quotes the Host or Origin it refused: a header, in words of the caller's choosing. It is silenced."""

QUOTES_CHUNKS = "sse_starlette"
"""Below a warning it quotes every chunk it writes, word for word. That is silenced at any log level."""

LIBRARY_LOGGERS = ("mcp", "uvicorn", "sse_starlette", "asyncio")

SECRETS = re.compile(r"c[bs]_[A-Za-z0-9_-]{8,}")
"""Handles and session ids."""

MASK = "[masked]"


class SecretFilter(logging.Filter):
    """Masks secrets in a library's records, be it in text, arguments or traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record through, without its secrets."""
        try:
            text = record.getMessage()
        except (KeyError, TypeError, ValueError):  # the library's mistake; its line is useful nevertheless
            text = str(record.msg)
        record.msg = SECRETS.sub(MASK, text)
        record.args = None
        if record.exc_info:
            record.exc_text = SECRETS.sub(MASK, logging.Formatter().formatException(record.exc_info))
            record.exc_info = None
        return True


class _Handler(logging.Handler):
    """Hands a library's record to structlog. A warning is about a bad request: one line a minute for each place."""

    def __init__(self, now_ms: Callable[[], float]) -> None:
        super().__init__()
        self._lines = LineLimit(now_ms)

    def emit(self, record: logging.LogRecord) -> None:
        is_warning = record.levelno == logging.WARNING
        counted = self._lines.admit((record.pathname, record.lineno)) if is_warning else {}
        if counted is None:
            return
        fields = {"fault": record.exc_text} if record.exc_text else {}
        structlog.get_logger(record.name).log(record.levelno, record.getMessage(), **fields, **counted)


def _monotonic_ms() -> float:
    return time.monotonic_ns() / 1_000_000


def configure_logs(
    log_format: LogFormat,
    log_level: LogLevel,
    stream: TextIO | None = None,
    now_ms: Callable[[], float] = _monotonic_ms,
    worker: str | None = None,
) -> None:
    """Send every log line to `stream`, standard error if there is none, at `log_level` and above.

    `now_ms` is the clock by which repeated warnings of libraries are left out. Every line names the `worker`, if this
    process is one of several.
    """
    out = stream if stream is not None else cast("TextIO", LoopBufferedStream(sys.stderr))
    level = logging.getLevelNamesMapping()[log_level.upper()]
    structlog.configure(
        processors=[*([_naming(worker)] if worker is not None else []), *_processors(log_format, out)],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=stream is None,
    )
    logging.getLogger(QUOTES_HEADERS).setLevel(logging.CRITICAL)
    handler = _Handler(now_ms)
    handler.addFilter(SecretFilter())
    for name in LIBRARY_LOGGERS:
        library = logging.getLogger(name)
        library.handlers, library.propagate = [handler], False
        # Below a warning, libraries log internal details, and often.
        library.setLevel(max(level, logging.WARNING) if level > logging.DEBUG else logging.DEBUG)
    logging.getLogger(QUOTES_CHUNKS).setLevel(max(level, logging.WARNING))


def _processors(log_format: LogFormat, out: TextIO) -> list[Processor]:
    shared: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper("iso", utc=True),
        structlog.processors.format_exc_info,  # plain: a pretty one would print local variables, secrets among them
        _masked,
    ]
    if log_format == "json":
        return [*shared, structlog.processors.JSONRenderer(_to_json)]
    if out.isatty():
        return [*shared, structlog.dev.ConsoleRenderer(colors=True)]
    return [*shared, structlog.processors.KeyValueRenderer(sort_keys=True, key_order=["timestamp", "level", "event"])]


def _naming(worker: str) -> Processor:
    def named(logger: Any, method: str, line: EventDict) -> EventDict:
        return {"worker": int(worker)} | dict(line) if worker.isdecimal() else line

    return named


def _masked(logger: Any, method: str, line: EventDict) -> EventDict:
    """Mask secrets in a traceback: an error's text may quote one."""
    if "exception" in line:
        line["exception"] = SECRETS.sub(MASK, line["exception"])
    return line


def _to_json(line: Any, **options: Any) -> str:
    return msgspec.json.encode(line, enc_hook=str).decode()


class LoopBufferedStream:
    """A text stream that writes all lines of one turn of the event loop at once, at the end of the turn.

    Without a loop a line is written at once. Lines left when the interpreter exits are written then.
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._pending: list[str] = []
        self._scheduled = False
        atexit.register(self._write_out)

    def write(self, text: str) -> int:
        """Buffer `text` until it is flushed."""
        self._pending.append(text)
        return len(text)

    def flush(self) -> None:
        """Write the buffered text at the end of this turn, or at once without a loop."""
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
        """Return whether the output is a terminal."""
        return self._out.isatty()

    def _write_out(self) -> None:
        self._scheduled = False
        pending, self._pending = self._pending, []
        if pending:
            # An error would be logged, and fail again without end: with nobody at the other end of a pipe, or with a
            # full disk, the broker goes on without these lines.
            with suppress(OSError):
                self._out.write("".join(pending))
                self._out.flush()
