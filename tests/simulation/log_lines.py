"""The broker's log lines: none is printed, and each error is a finding."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog
from structlog.typing import EventDict, WrappedLogger

EXPECTED = ("log_unavailable",)
"""An error of the store, and not of ours."""


@contextmanager
def errors_found(tell: Callable[[str], None]) -> Iterator[None]:
    """Call `tell` for each logged error, while the context is open."""

    def collect(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
        if event["event"] not in EXPECTED:
            tell(f"logged {event['event']}: {event.get('exc_info')!r}")
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(
        processors=[collect],
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.ReturnLoggerFactory(),
    )
    try:
        yield
    finally:
        structlog.configure(**before)
