"""The log lines of an outage: one at its beginning, and one at its end."""

from __future__ import annotations

from structlog.testing import capture_logs

from broker.outage_lines import REASONS_MAX, OutageLines
from tests.support.fake_clock import FakeClock
from tests.support.logs import run


async def _minute(clock: FakeClock, lines: OutageLines, reason: str) -> None:
    for _ in range(60):
        lines.failed(OSError(reason))
        await clock.advance(1_000)


def test_an_outage_is_two_lines() -> None:
    """The first has the reason, the second the length; the next outage has its own."""

    async def scenario() -> None:
        clock = FakeClock()
        lines = OutageLines(clock, "work_put_off", "work_resumed")
        lines.succeeded()
        for _ in range(2):
            await _minute(clock, lines, "it is away")
            lines.succeeded()
            lines.succeeded()

    with capture_logs() as logged:
        run(scenario)
    begins = {"event": "work_put_off", "reason": "it is away", "log_level": "warning"}
    ends = {"event": "work_resumed", "after_s": 60, "log_level": "warning"}
    assert logged == [begins, ends] * 2


def test_each_reason_is_logged_once() -> None:
    """A reason that is another each time is logged a few times."""
    lines = OutageLines(FakeClock(), "work_put_off", "work_resumed")
    with capture_logs() as logged:
        for number in (1, 2, 1, *range(100)):
            lines.failed(OSError(f"port {number}"))
    assert [line["reason"] for line in logged][:2] == ["port 1", "port 2"]
    assert len(logged) == REASONS_MAX


def test_a_success_may_be_known_later_than_it_began() -> None:
    """The length is that of the outage."""

    async def scenario() -> None:
        clock = FakeClock()
        lines = OutageLines(clock, "work_put_off", "work_resumed")
        lines.failed(OSError("it is away"))
        await clock.advance(7_000)
        since_ms = clock.now_ms()
        await clock.advance(15_000)
        lines.succeeded(since_ms)

    with capture_logs() as logged:
        run(scenario)
    assert logged[1]["after_s"] == 7
