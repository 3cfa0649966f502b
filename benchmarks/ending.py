"""`python -m benchmarks.ending`: time to end, beside many open streams and while more clients come.

Measured from SIGTERM to the end of the process, by the clock and in CPU time. Every stream has to end as promised: the
response is whole, and in 2026-07-28 it holds the result. A client that is still coming may be served or sent away, but
never gets a fault.
"""

import argparse
import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from collections.abc import Mapping
from typing import Final, NamedTuple

from benchmarks.server import Server, cpu_seconds_of_the_ended, python, raise_open_files
from benchmarks.visitors import COME_WITHIN_S, ENDED, ENDED_WITHIN_S
from benchmarks.wire import MODERN, SESSIONS

PROMISED_S: Final = 5.0
FAULT: Final = "refused with 500"


class ShutdownCase(NamedTuple):
    """The load of a broker at SIGTERM."""

    era: str
    streams: int
    coming: int
    """Clients still to come, each with a session where the era has them."""
    at_once: int
    """Clients that come at the same time."""


class ShutdownResult(NamedTuple):
    """The end of one broker."""

    status: int | None
    seconds: float
    cpu_s: float
    ends: Mapping[str, int]

    @property
    def is_promised(self) -> bool:
        """True if status, time and streams are as promised."""
        faults = self.ends.get(FAULT, 0) + self.ends.get("cut", 0)
        return self.status == 0 and self.seconds < PROMISED_S and not faults


async def end_of(case: ShutdownCase) -> ShutdownResult:
    """Open the streams, end the broker, and return the result.

    Raises:
        TimeoutError: the clients could not come, or the broker did not end.
    """
    server = Server(*python("mcp_facade.main", "serve"))
    try:
        await server.ready()
        numbers = map(str, (case.streams, case.coming, case.at_once))
        command = python("benchmarks.visitors", str(server.port), case.era, *numbers)
        visitors = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
        assert visitors.stdout is not None
        try:
            async with asyncio.timeout(COME_WITHIN_S):
                await visitors.stdout.readline()
            before_s = cpu_seconds_of_the_ended() + server.cpu_seconds()
            status, seconds = await server.terminate(ENDED_WITHIN_S)
            cpu_s = cpu_seconds_of_the_ended() - before_s
            async with asyncio.timeout(ENDED_WITHIN_S):
                ends = json.loads(await visitors.stdout.readline())
        finally:
            if visitors.returncode is None:
                visitors.kill()
            await visitors.wait()
        return ShutdownResult(status, seconds, cpu_s, ends)
    finally:
        server.stop()


async def run(cases: list[ShutdownCase]) -> bool:
    """Measure and print; return true if all ended as promised."""
    print("| era | streams | coming | at once | seconds | CPU s | exit | how it was for them |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |")
    ends = []
    for case in cases:
        end = await end_of(case)
        ends.append(end)
        numbers = f"{case.streams:,} | {case.coming:,} | {case.at_once:,} | {end.seconds:.2f} | {end.cpu_s:.2f}"
        told = ", ".join(
            f"{count:,} {what}" for what, count in sorted(end.ends.items(), key=lambda one: one[0] != ENDED)
        )
        print(f"| {case.era} | {numbers} | {end.status} | {told} |", flush=True)
    return all(end.is_promised for end in ends)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ending", description=__doc__)
    parser.add_argument("--streams", type=int, default=10_000, help="open ones (%(default)s)")
    parser.add_argument("--rush", type=int, default=3_600, help="who come at the same time in the last (%(default)s)")
    options = parser.parse_args()
    raise_open_files()
    streams, rush = options.streams, options.rush
    cases = [
        ShutdownCase(MODERN, streams, 0, 32),
        ShutdownCase(SESSIONS, streams, 0, 32),
        ShutdownCase(SESSIONS, max(streams - rush, 1), rush, rush),
    ]
    if not asyncio.run(run(cases)):
        sys.exit("not as promised")


if __name__ == "__main__":
    main()
