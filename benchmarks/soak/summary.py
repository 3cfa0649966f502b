"""The summary of a run, for readers."""

import os
import platform
from array import array
from collections.abc import Iterator
from datetime import UTC, datetime
from statistics import fmean

from benchmarks.soak.verdict import Verdict


def summary(verdict: Verdict) -> str:
    """Return some lines, the verdict last."""
    return "\n".join(_lines(verdict))


def _lines(verdict: Verdict) -> Iterator[str]:
    options, counts = verdict.options, verdict.run.counts
    yield (
        f"{datetime.now(UTC).date()}, {platform.python_implementation()} {platform.python_version()}, "
        f"{len(os.sched_getaffinity(0))} cores, log: {options.log}, seed {options.seed}: {options.minutes:g} minutes, "
        f"{options.connections:,} people with a stream, {options.tool_people:,} with tools alone"
    )
    seconds = options.minutes * 60
    yield f"  {counts['messages']:,} messages ({counts['messages'] / seconds:,.0f} a second), {counts['rooms']:,} rooms"
    yield "  " + ", ".join(
        f"{count:,} {name}" for name, count in sorted(counts.items()) if name not in ("messages", "rooms")
    )
    latencies = verdict.run.latencies
    yield f"  answers: {_quantiles(latencies.calls)}; from sending to hearing: {_quantiles(latencies.messages)}"
    yield from _of_the_server(verdict)
    if verdict.ending is not None:
        ending = verdict.ending
        yield (
            f"  SIGTERM beside {ending.streams} streams and {ending.waits} waits: exit status {ending.status} "
            f"after {ending.seconds:.2f} s"
        )
    if verdict.verified:
        yield f"  chat-broker verify: {verdict.verified}"
    problems = verdict.problems
    yield from (f"PROBLEM: {problem}" for problem in problems)
    unnamed = verdict.run.ledger.problem_count - len(verdict.run.ledger.problems)
    if unnamed:
        yield f"PROBLEM: and {unnamed} more"
    yield "Nothing was lost, nothing doubled, nothing is left over." if not problems else "NOT WELL."


def _of_the_server(verdict: Verdict) -> Iterator[str]:
    readings = verdict.readings
    if len(readings) > 1:
        busy = (readings[-1].cpu_s - readings[0].cpu_s) / (readings[-1].at_s - readings[0].at_s)
        yield f"  CPU: the server {busy:.0%} of a core, the generator {verdict.busy_own:.0%}"
    if verdict.streams:
        streams = verdict.streams
        yield f"  open streams after the warm-up: {fmean(streams):,.0f} on average, {min(streams):,.0f} at least"
    yield from _of_memory(verdict)
    if verdict.after:
        held = ", ".join(
            f"{name.removeprefix('chat_broker_')} {a:g} -> {verdict.after[name]:g}"
            for name, a in verdict.before.items()
        )
        yield f"  before anyone came -> after everyone had gone: {held}"


def _of_memory(verdict: Verdict) -> Iterator[str]:
    memory, mib = verdict.growth, [f"{reading.resident_kb / 1_024:.1f}" for reading in verdict.readings]
    if memory is None:
        yield "  memory: the run was over before the warm-up, so nothing is said of it"
    else:
        yield (
            f"  memory: {memory.first_kb / 1_024:.1f} MiB after the warm-up of {memory.began_s:.0f} s, "
            f"{memory.last_kb / 1_024:.1f} MiB at the end; {memory.kb:+,.0f} KiB by the slope "
            f"({memory.kb_a_minute:+,.0f} a minute, {memory.bytes_a_commit:+.0f} bytes a commit), "
            + (f"flat is below {memory.kb_max:,.0f}" if memory.is_judged else "too short a time to judge it")
        )
    if mib:
        ends = verdict.readings[-1].collections, verdict.readings[0].collections
        collections = " / ".join(str(last - first) for last, first in zip(*ends, strict=True))
        eighths = " ".join([*mib[:: max(len(mib) // 8, 1)][:8], mib[-1]])
        yield f"  memory by eighths of the run, MiB: {eighths}; {collections} garbage collections by generation"


def _quantiles(seconds: "array[float]") -> str:
    if not seconds:
        return "none"
    ordered = sorted(seconds)
    p50, p99 = ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100]
    return f"p50 {p50 * 1_000:.1f} ms, p99 {p99 * 1_000:.1f} ms, longest {ordered[-1]:.2f} s"
