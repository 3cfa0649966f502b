"""The soak calls steady memory flat, and finds growth."""

from __future__ import annotations

import math

import pytest

from benchmarks.soak.options import SoakOptions
from benchmarks.soak.readings import WARM_UP_SHARE, Growth, Reading, growth, metrics
from benchmarks.soak.run import SoakRun
from benchmarks.soak.teardown import TeardownResult
from benchmarks.soak.verdict import Verdict

MINUTES = 10.0
COMMITS_A_SECOND = 300
HELD_KB = 150_000


def growth_of(kb_a_minute: float) -> Growth:
    """Return the growth over ten minutes of noisy readings; in the first four, memory fills up to its limits."""
    found = growth(readings(kb_a_minute), MINUTES * 60 * WARM_UP_SHARE, 30_000)
    assert found is not None
    return found


def readings(kb_a_minute: float) -> list[Reading]:
    """Return one reading for each second."""
    return [
        Reading(
            float(second),
            round(HELD_KB + min(second, 240) * 200 + kb_a_minute * second / 60 + 400 * math.sin(second * 1.7)),
            100,
            second * 0.6,
            second * COMMITS_A_SECOND,
            (second, second // 10, second // 90),
        )
        for second in range(int(MINUTES * 60))
    ]


@pytest.mark.anyio
async def test_a_leak_of_a_little_with_each_commit_is_found_out() -> None:
    """Two hundred bytes with each commit fail the run, and the problem gives the size of the leak."""
    leaky = growth_of(200 * COMMITS_A_SECOND * 60 / 1_024)
    assert not leaky.is_flat
    assert 180 < leaky.bytes_a_commit < 220
    verdict = Verdict(
        SoakOptions(minutes=MINUTES), SoakRun(0, SoakOptions()), readings(3_000), ending=TeardownResult(0, 0, 0)
    )
    assert any(problem.startswith("memory grows by") and ", 3,0" in problem for problem in verdict.problems)


def test_memory_that_fills_up_to_a_limit_and_stays_is_flat() -> None:
    """Growth before the end of the warm-up does not count."""
    flat = growth_of(0)
    assert flat.is_flat
    assert flat.is_judged
    assert abs(flat.kb_a_minute) < 50


def test_a_short_look_is_not_judged() -> None:
    """Readings of little more than two minutes prove nothing, so no growth is claimed."""
    short = growth(readings(3_000)[:150], 20, 0)
    assert short is not None
    assert not short.is_judged
    assert growth([], 0, 0) is None
    assert growth(readings(0)[:60], 20, 1_000_000) is None


@pytest.mark.anyio
async def test_what_is_left_over_is_found_out() -> None:
    """One more task or file descriptor than at the beginning is a problem, and so is a run without an end."""
    verdict = Verdict(SoakOptions(minutes=0.1), SoakRun(0, SoakOptions()), ending=TeardownResult(0, 0, 0))
    verdict.before = {"chat_broker_tasks": 4.0, "file descriptors": 14.0}
    verdict.after = {"chat_broker_tasks": 4.0, "file descriptors": 14.0}
    assert verdict.problems == []
    verdict.after = {"chat_broker_tasks": 5.0, "file descriptors": 15.0}
    assert len(verdict.problems) == 2
    verdict.ending = None
    assert len(verdict.problems) == 3


def test_samples_of_one_name_are_added_up() -> None:
    """Samples with different labels, such as the kinds of streams, are one sum."""
    text = 'HTTP/1.1 200 OK\n\n# TYPE s gauge\ns{kind="get"} 2.0\ns{kind="listen"} 3.0\nt 1e3\n'
    assert {name: metrics(text)[name] for name in ("s", "t")} == {"s": 5.0, "t": 1000.0}
