"""`python -m tests.planted`: plant each bug, cast each net, print what caught what; exit 1 if one got past them all."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.planted.bugs import BUGS, Bug
from tests.planted.nets import NETS, Catch, cast
from tests.planted.plot import plant


def main() -> int:
    """Every bug, or those that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m tests.planted", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="bugs to plant (all of them)")
    parser.add_argument("--jobs", type=int, default=1, help="bugs at the same time (%(default)s)")
    parser.add_argument("--evidence", action="store_true", help="also print what each net said")
    options = parser.parse_args()
    chosen = [bug for bug in BUGS if not options.names or bug.name in options.names]
    if len(chosen) < len(options.names):
        parser.error(f"the bugs are {', '.join(bug.name for bug in BUGS)}")
    print(f"| {'bug':56} | " + " | ".join(f"{net.name:>14}" for net in NETS) + " |")
    print(f"| {'-' * 56} | " + " | ".join("-" * 13 + ":" for _ in NETS) + " |")
    escaped = 0
    fates = ThreadPoolExecutor(options.jobs).map(_fate, (None, *chosen))
    for bug, catches in zip((None, *chosen), fates, strict=True):
        print(f"| {bug.what if bug else 'none: what a net takes that has caught nothing':56} | ", end="")
        print(" | ".join(f"{_cell(catch):>14}" for catch in catches) + " |", flush=True)
        if options.evidence:
            print(*(f"    {net.name}: {catch.evidence}" for net, catch in zip(NETS, catches, strict=True)), sep="\n")
        escaped += any(catch.caught for catch in catches) != (bug is not None)
    return 1 if escaped else 0


def _fate(bug: Bug | None) -> Sequence[Catch]:
    with TemporaryDirectory() as directory:
        plant(bug, Path(directory))
        return [cast(net, Path(directory)) for net in NETS]


def _cell(catch: Catch) -> str:
    return f"caught {catch.seconds:4.0f} s" if catch.caught else f"- {catch.seconds:4.0f} s"


if __name__ == "__main__":
    sys.exit(main())
