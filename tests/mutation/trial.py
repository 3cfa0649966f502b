"""One trial: a process that has a copy of the repository to itself, with one fault in it, and runs tests until one fails.

Each is forked from a process that has imported all but the code under test, so a trial costs what importing that and
running a few tests costs.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import coverage
import pytest
from hypothesis import Phase, settings

ROOT = Path(__file__).parents[2]
WORK = ROOT / ".mutation"
PACKAGES = ("broker", "events", "mcp_facade", "projections", "tests")
PRELOADED = ("apsw", "asyncio", "httpx", "immutables", "mcp", "msgspec", "prometheus_client", "pydantic", "rich", "structlog", "uvicorn", "watchfiles")  # fmt: skip
UNCOPIED = shutil.ignore_patterns(".*", "*.egg-info", "__pycache__", "node_modules", "build", "dist", "mutation")

CPU_SECONDS = 3  # for a test, and ten times what it takes without a fault
WALL_SECONDS = 20
MEMORY_BYTES = 4 * 1024**3

Seconds = Mapping[str, float]
"""How long each test takes. A test is a function: its parameters count as one."""


class Outcome(NamedTuple):
    """What became of a trial."""

    passed: bool
    killer: str  # the test that failed or took too long, or what could not even be imported
    timed_out: bool


class Place:
    """A copy of the repository, in which one trial runs at a time."""

    def __init__(self, number: int) -> None:
        self.path = WORK / f"copy-{number}"
        self._serial = 0
        shutil.rmtree(self.path, ignore_errors=True)
        shutil.copytree(ROOT, self.path, ignore=UNCOPIED, symlinks=True)

    def write(self, file: str, source: str) -> None:
        """Put `source` there; no earlier byte code of that file is taken for it, since its time is another each time."""
        self._serial += 1
        (self.path / file).write_text(source)
        os.utime(self.path / file, (self._serial, self._serial))

    def fork(self, work: Callable[[], int]) -> int:
        """Run `work` in a process of its own, whose id is the answer; what it returns is its exit code."""
        sys.stdout.flush()
        pid = os.fork()
        if pid:
            return pid
        code = 70
        try:
            self._enter()
            code = work()
        finally:
            sys.stdout.flush()
            os._exit(code)

    def _enter(self) -> None:
        os.setsid()
        os.chdir(self.path)
        output = os.open(self.path / ".output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.path[:] = [str(self.path), *(each for each in sys.path if each not in ("", str(ROOT)))]
        for name in [name for name in sys.modules if name.partition(".")[0] in PACKAGES]:
            del sys.modules[name]
        os.environ |= {"PYTHONPATH": str(self.path), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def preload() -> None:
    """Import what every trial needs and none changes, and have Hypothesis try the same cases each time."""
    for name in PRELOADED:
        importlib.import_module(name)
    settings.register_profile("mutation", derandomize=True, database=None, deadline=None, phases=(Phase.explicit, Phase.generate))  # fmt: skip
    settings.load_profile("mutation")


def run_tests(place: Place, module: str, tests: Sequence[str], seconds: Seconds) -> int:
    """In the child: import `module`, then run `tests` in their order until one fails; 0 if none does."""
    running = Running(place.path / ".running")
    running.says(f"import {module}")
    importlib.import_module(module)
    files = list(dict.fromkeys(test.partition("::")[0] for test in tests))
    code = pytest.main([*ARGUMENTS, "-x", *files], plugins=[running, Chosen(tests), Limited(seconds)])
    return 0 if code == pytest.ExitCode.OK else 1


def outcome(place: Place, status: int) -> Outcome:
    """What became of the process that ended with `status`, as `os.waitpid` gives it."""
    killer = (place.path / ".running").read_text()
    if os.WIFSIGNALED(status):
        return Outcome(False, killer, os.WTERMSIG(status) in (signal.SIGVTALRM, signal.SIGALRM))
    return Outcome(os.WEXITSTATUS(status) == 0, killer, False)


def measure(place: Place, files: Sequence[str]) -> int:
    """In the child: run the tests in `files`, and write down how long each takes and which lines it reaches."""
    measuring = coverage.Coverage(data_file=None, source=[each for each in PACKAGES if each != "tests"], config_file=False)
    measuring.start()
    watched = Watched(measuring)
    code = pytest.main([*ARGUMENTS, *files], plugins=[watched])
    measuring.stop()
    data = measuring.get_data()
    lines: dict[str, dict[int, list[str]]] = {}
    for file in data.measured_files():
        reached = data.contexts_by_lineno(file).items()
        lines[os.path.relpath(file, place.path)] = {n: sorted({each for each in tests if each}) for n, tests in reached}
    (place.path / ".measured").write_text(json.dumps({"seconds": watched.seconds, "lines": lines}))
    return int(code)


ARGUMENTS = ("-q", "-p", "no:cacheprovider", "-p", "no:faulthandler", "--tb=no", "--basetemp=.tmp", "-o", "addopts=")


def name_of(item: pytest.Item) -> str:
    """The test function that `item` is a case of."""
    return item.nodeid.partition("[")[0]


class Running:
    """Says in a file what is under way, for the one who finds the process dead."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def says(self, what: str) -> None:
        """It is `what`."""
        self._path.write_text(what)

    def pytest_collectstart(self, collector: pytest.Collector) -> None:
        """What can't be imported fails here."""
        self.says(f"collect {collector.nodeid}")

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """A test begins."""
        self.says(nodeid.partition("[")[0])


class Chosen:
    """Runs what was chosen, in its order."""

    def __init__(self, tests: Sequence[str]) -> None:
        self._rank = {test: rank for rank, test in enumerate(tests)}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave the others out."""
        items[:] = sorted((item for item in items if name_of(item) in self._rank), key=lambda item: self._rank[name_of(item)])  # fmt: skip


class Limited:
    """Has the system end the process if a test takes far longer than it should, of the processor's time or of ours."""

    def __init__(self, seconds: Seconds) -> None:
        self._seconds = seconds
        for number in (signal.SIGVTALRM, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[Any]:
        """From its first line to its last."""
        allowed = 10 * self._seconds.get(name_of(item), 1)
        signal.setitimer(signal.ITIMER_VIRTUAL, CPU_SECONDS + allowed)
        signal.setitimer(signal.ITIMER_REAL, WALL_SECONDS + allowed)
        return (yield)


class Watched:
    """Notes what each test reaches, and how long it takes."""

    def __init__(self, measuring: coverage.Coverage) -> None:
        self.seconds: dict[str, float] = {}
        self._measuring = measuring

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[Any]:
        """Whatever runs now, runs for `item`."""
        self._measuring.switch_context(name_of(item))
        try:
            return (yield)
        finally:
            self._measuring.switch_context("")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Setting up and tearing down count too."""
        name = report.nodeid.partition("[")[0]
        self.seconds[name] = self.seconds.get(name, 0) + report.duration
