"""Log lines: structlog's, to standard error, as text or as JSON. No message, no name, no handle, no session id.

Our own lines name connections by their public names alone. What the libraries say goes through a filter that
masks whatever looks like a handle or a session id.
"""

from __future__ import annotations

import logging
import re
import sys
from typing import Any, TextIO, cast

import msgspec
import structlog
from structlog.typing import EventDict, Processor

from broker.lines import Turns, plain
from broker.settings import LogFormat, LogLevel

QUOTES_HEADERS = "mcp.server.transport_security"
"""Says which Host or Origin it refused: a header, in words of the caller's choosing. It is not heard."""

QUOTES_CHUNKS = "sse_starlette"
"""Below a warning it says every chunk that it writes, word for word. That is not heard at any level."""

LIBRARY_LOGGERS = ("mcp", "uvicorn", "sse_starlette", "asyncio")

SECRETS = re.compile(r"cb_[A-Za-z0-9_-]{8,}|\b[0-9a-f]{32}\b")
"""Handles, and the session ids that the SDK makes."""

MASK = "[masked]"


class SecretFilter(logging.Filter):
    """Masks secrets in a library's records, wherever they stand: text, arguments or traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record through, without its secrets."""
        try:
            text = record.getMessage()
        except (KeyError, TypeError, ValueError):  # the library's slip; its line is worth having all the same
            text = str(record.msg)
        record.msg = SECRETS.sub(MASK, text)
        record.args = None
        if record.exc_info:
            record.exc_text = SECRETS.sub(MASK, logging.Formatter().formatException(record.exc_info))
            record.exc_info = None
        return True


class _Handler(logging.Handler):
    """Hands a library's record to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        fields = {"fault": record.exc_text} if record.exc_text else {}
        structlog.get_logger(record.name).log(record.levelno, record.getMessage(), **fields)


def configure_logs(log_format: LogFormat, log_level: LogLevel, stream: TextIO | None = None) -> None:
    """Send every log line to `stream`, standard error if there is none, at `log_level` and above."""
    out = stream if stream is not None else cast("TextIO", Turns(sys.stderr))
    level = logging.getLevelNamesMapping()[log_level.upper()]
    structlog.configure(
        processors=_processors(log_format, out),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=stream is None,
    )
    logging.getLogger(QUOTES_HEADERS).setLevel(logging.CRITICAL)
    handler = _Handler()
    handler.addFilter(SecretFilter())
    for name in LIBRARY_LOGGERS:
        library = logging.getLogger(name)
        library.handlers, library.propagate = [handler], False
        # What they say below a warning is about their inner life, and says it often.
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
    return [*shared, structlog.dev.ConsoleRenderer(colors=True) if out.isatty() else plain]


def _masked(logger: Any, method: str, line: EventDict) -> EventDict:
    """Mask secrets in a traceback: whoever raised may have quoted one."""
    if "exception" in line:
        line["exception"] = SECRETS.sub(MASK, line["exception"])
    return line


def _to_json(line: Any, **options: Any) -> str:
    return msgspec.json.encode(line, enc_hook=str).decode()
