"""Log lines: their form, and secrets kept out of them."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from broker.config import LogFormat, LogLevel
from broker.logging import LIBRARY_LOGGERS, MASK, QUOTES_CHUNKS, QUOTES_HEADERS, LoopBufferedStream, configure_logs
from events.ids import ClientMessageId, handle_from
from tests.support.bench import LENIENT, BrokerBench
from tests.support.fake_clock import settle
from tests.support.logs import run, unavailable
from tests.support.people import ANN, BOB, enter, leave, say

HANDLE = handle_from(bytes(range(24)))
SESSION_ID = "cs_AQMMpVqAcnJycnJycnJycnJycnJycufqFz_cVAO49TrslDlwA0M"


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Leave logging as it was found."""
    loggers = [logging.getLogger(name) for name in (*LIBRARY_LOGGERS, QUOTES_HEADERS)]
    before = [(library.handlers, library.propagate, library.level) for library in loggers]
    yield
    for library, (handlers, propagate, level) in zip(loggers, before, strict=True):
        library.handlers, library.propagate = handlers, propagate
        library.setLevel(level)
    structlog.reset_defaults()


def configured(log_format: LogFormat = "json", log_level: LogLevel = "info") -> io.StringIO:
    """Direct the lines to a buffer from now on, and return it."""
    out = io.StringIO()
    configure_logs(log_format, log_level, out)
    return out


def lines(out: io.StringIO) -> list[dict[str, Any]]:
    """JSON lines, read back."""
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_line_is_json() -> None:
    """Each line is one object with time, level and event."""
    out = configured()
    structlog.get_logger("ours").info("commit", position=7, events=["QueueEntered"])
    (line,) = lines(out)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "commit", "level": "info", "position": 7, "events": ["QueueEntered"]}


def test_a_line_of_one_of_several_workers_names_it() -> None:
    """A library's as well."""
    out = io.StringIO()
    configure_logs("json", "info", out, worker="3")
    structlog.get_logger("ours").info("commit")
    logging.getLogger("uvicorn").warning("odd")
    assert [line["worker"] for line in lines(out)] == [3, 3]


def test_a_value_that_json_does_not_know_is_written_as_text() -> None:
    """A log line never fails."""
    out = configured()
    structlog.get_logger("ours").info("odd", what=object)
    assert "class 'object'" in lines(out)[0]["what"]


def test_a_line_may_be_for_people() -> None:
    """Without a terminal, lines have no colours."""
    out = configured("console")
    structlog.get_logger("ours").warning("careful", position=7)
    assert "careful" in out.getvalue()
    assert "position=7" in out.getvalue()
    assert "\x1b" not in out.getvalue()


@pytest.mark.parametrize(
    ("level", "heard"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_a_level_leaves_out_what_is_below(level: LogLevel, heard: list[str]) -> None:
    """The level applies to our own lines."""
    out = configured(log_level=level)
    log = structlog.get_logger("ours")
    for name in ("debug", "info", "warning", "error"):
        getattr(log, name)("something")
    assert [line["level"] for line in lines(out)] == heard


@pytest.mark.parametrize(("level", "heard"), [("debug", 4), ("info", 2), ("warning", 2), ("error", 1)])
@pytest.mark.parametrize("name", ["mcp", "uvicorn", "asyncio", "mcp.server.lowlevel", "uvicorn.error"])
def test_libraries_are_heard_from_a_warning_on(name: str, level: LogLevel, heard: int) -> None:
    """Unless one asks for everything."""
    out = configured(log_level=level)
    for severity in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
        logging.getLogger(name).log(severity, "something")
    assert len(lines(out)) == heard


def test_a_librarys_warning_is_a_line_a_minute() -> None:
    """Bad requests can cause each as often as they like; another place is another kind, and no error is left out."""
    out, now_ms = io.StringIO(), 0.0
    configure_logs("json", "info", out, lambda: now_ms)
    library = logging.getLogger("uvicorn.error")

    def flood() -> None:
        for number in range(3):
            library.warning("bad request %d", number)
            library.error("fault")

    flood()
    library.warning("another")
    now_ms += 60_000
    flood()
    warnings = [(line["event"], line.get("suppressed")) for line in lines(out) if line["level"] == "warning"]
    assert warnings == [("bad request 0", None), ("another", None), ("bad request 0", 2)]
    assert sum(line["level"] == "error" for line in lines(out)) == 6


@pytest.mark.parametrize(("level", "heard"), [("debug", 2), ("info", 2), ("warning", 2), ("error", 1)])
@pytest.mark.parametrize("name", [QUOTES_CHUNKS, f"{QUOTES_CHUNKS}.sse"])
def test_a_library_that_quotes_what_is_sent_is_heard_from_a_warning_on(name: str, level: LogLevel, heard: int) -> None:
    """Even at level `debug`, its quotes of people's messages are not logged."""
    test_libraries_are_heard_from_a_warning_on(name, level, heard)


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_secrets_in_a_librarys_lines_are_masked(log_format: LogFormat) -> None:
    """In the text, in its arguments, and in a traceback."""
    out = configured(log_format)
    library = logging.getLogger("mcp.server")
    library.warning("Session %s is gone; %s", SESSION_ID, {"handle": HANDLE})
    library.warning(f"reading chat://inbox/{HANDLE}?cursor=7")
    try:
        raise ValueError(f"no session {SESSION_ID} of {HANDLE}")
    except ValueError:
        library.exception("failed for %s", HANDLE)
    text = out.getvalue()
    assert HANDLE not in text
    assert SESSION_ID not in text
    assert text.count(MASK) == 6
    assert "ValueError" in text
    assert "Traceback" in text


def test_a_refused_host_is_not_quoted() -> None:
    """It is a header, in words of the caller's choosing."""
    out = configured(log_level="debug")
    logging.getLogger(QUOTES_HEADERS).warning("Invalid Host header: %s", "anything at all")
    assert lines(out) == []


def test_a_librarys_percent_sign_is_no_format() -> None:
    """Its line is text by then."""
    out = configured()
    logging.getLogger("mcp").warning("100%% of %s", "%s %d")
    assert lines(out)[0]["event"] == "100% of %s %d"


def test_a_librarys_broken_line_breaks_nothing() -> None:
    """Its text is logged as it stands; the library never hears of it."""
    out = configured()
    logging.getLogger("mcp").warning(*("%s and %s", "only one"))
    logging.getLogger("mcp").warning("%d", f"no number: {HANDLE}")
    assert [line["event"] for line in lines(out)] == ["%s and %s", "%d"]
    assert HANDLE not in out.getvalue()


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_a_fault_is_logged_without_the_values_it_was_about(log_format: LogFormat) -> None:
    """The line has the place of the fault, but no local variable and no quoted secret."""
    out = configured(log_format)

    def fail(secret: str) -> None:
        raise ValueError("quoted: " + HANDLE)

    secret = " ".join(["a", "private", "word"])
    try:
        fail(secret)
    except ValueError as fault:
        structlog.get_logger("ours").error("batch_failed", exc_info=fault)
    text = out.getvalue()
    assert "ValueError: quoted: [masked]" in text
    assert "in fail" in text
    assert "private word" not in text


def test_the_brokers_lines_hold_nothing_that_was_said() -> None:
    """A whole conversation and a broken log: connections by their public names, and no text, name or message id."""
    out = configured(log_level="debug")

    async def scenario() -> None:
        bench = BrokerBench()
        await bench.broker.start(LENIENT)
        await bench.do(enter(ANN, "Rumpelstiltskin", "straw"))
        await bench.do(enter(BOB, "Miller"))
        room = (await bench.events())[-1].room_id
        await bench.do(say(ANN, "a private word", ClientMessageId("m-1"), room))
        bench.log.before_append = [unavailable] * 10_000
        lost = bench.broker.writer.submit(say(BOB, "another private word", None, room))
        bench.broker.in_background(lost)
        await bench.clock.advance(10_000)
        bench.log.before_append = []
        await bench.do(leave(ANN, room))

    run(scenario)
    text = out.getvalue()
    for secret in ("Rumpelstiltskin", "straw", "Miller", "private word", "m-1"):
        assert secret not in text
    stored = [line for line in lines(out) if line["event"] == "commit"]
    assert [line["command"] for line in stored] == [
        "AdoptPolicy",
        "EnterQueue",
        "EnterQueue",
        "SendMessage",
        "LeaveRoom",
    ]
    assert stored[2]["events"] == ["QueueEntered", "RoomOpened"]
    assert [line["connection"] for line in stored[1:]] == [ANN, BOB, ANN, ANN]
    failed = [line for line in lines(out) if line["event"] == "log_unavailable"]
    assert [line["commands"] for line in failed] == [1]


def test_what_is_said_has_a_line_at_debug_only() -> None:
    """At `info` a conversation has a line for its beginning and one for its end, however much is said in it."""
    out = configured(log_level="info")

    async def scenario() -> None:
        bench = BrokerBench()
        await bench.broker.start(LENIENT)
        await bench.do(enter(ANN))
        await bench.do(enter(BOB))
        room = (await bench.events())[-1].room_id
        await bench.do(say(ANN, "hello", None, room))
        await bench.do(leave(ANN, room))

    run(scenario)
    stored = [line["command"] for line in lines(out) if line["event"] == "commit"]
    assert stored == ["AdoptPolicy", "EnterQueue", "EnterQueue", "LeaveRoom"]


async def _two_lines(stream: LoopBufferedStream, out: io.StringIO) -> list[str]:
    stream.write("one\n")
    stream.flush()
    stream.write("two\n")
    stream.flush()
    seen = [out.getvalue()]
    await settle(1)
    return [*seen, out.getvalue()]


def test_the_lines_of_a_turn_are_written_together() -> None:
    """At its end, in order."""
    out = io.StringIO()
    assert asyncio.run(_two_lines(LoopBufferedStream(out), out)) == ["", "one\ntwo\n"]


def test_without_an_event_loop_a_line_is_written_at_once() -> None:
    """A command uses this to print a warning."""
    out = io.StringIO()
    stream = LoopBufferedStream(out)
    stream.write("one\n")
    stream.flush()
    assert out.getvalue() == "one\n"
