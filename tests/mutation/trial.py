"""Trials: a process with a copy of the repository to itself, and one fault in it, runs tests until one fails.

A fault in a function is put in after everything was imported and collected (`swap`), so such a trial costs a fork and
a few tests. Any other changes what happens as its module is imported; then that is done from the beginning, in a
process that has imported all but the code under test.
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

from tests.mutation.swap import swap

ROOT = Path(__file__).parents[2]
WORK = ROOT / ".mutation"
TESTS = "tests/core"
"""Whoever changes the core has these at hand; a fault there that only a test over HTTP would see counts as unseen."""

PACKAGES = ("broker", "events", "mcp_facade", "projections", "tests")
PRELOADED = "apsw asyncio httpx immutables mcp msgspec prometheus_client pydantic rich structlog uvicorn watchfiles"
UNCOPIED = shutil.ignore_patterns(".*", "*.egg-info", "__pycache__", "node_modules", "build", "dist")

CPU_SECONDS = 1  # of the processor's time for a test, and twice what it takes without a fault
WALL_SECONDS = 20  # of ours, and ten times that
MEMORY_BYTES = 4 * 1024**3
NOT_SWAPPED = 3

ARGUMENTS = ("-q", "-p", "no:cacheprovider", "-p", "no:faulthandler", "--tb=no", "--basetemp=.tmp", "-o", "addopts=")

Seconds = Mapping[str, float]
"""How long each test takes. A test is a function: its parameters count as one."""


class Fault(NamedTuple):
    """What is put in, and the tests to be asked, the likeliest to notice first."""

    file: str
    function: str  # that it is in, by its qualified name; empty if it is in none
    source: str
    tests: list[str]

    @property
    def module(self) -> str:
        """The name under which it is imported."""
        return self.file.removesuffix(".py").replace("/", ".")


class Outcome(NamedTuple):
    """What became of a trial."""

    passed: bool
    killer: str  # the test that failed or took too long, or what could not even be imported
    timed_out: bool
    is_tried: bool = True


class Place:
    """A copy of the repository, in which one trial runs at a time."""

    def __init__(self, number: int) -> None:
        self.path = WORK / f"copy-{number}"
        self._serial = 0
        shutil.rmtree(self.path, ignore_errors=True)
        shutil.copytree(ROOT, self.path, ignore=UNCOPIED, symlinks=True)

    def write(self, file: str, source: str) -> None:
        """Put `source` there, at another time each time, so that no earlier byte code is taken for it."""
        self._serial += 1
        (self.path / file).write_text(source)
        os.utime(self.path / file, (self._serial, self._serial))

    def restore(self, file: str) -> None:
        """As it is in the repository."""
        self.write(file, (ROOT / file).read_text())

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

    def outcome(self, status: int) -> Outcome:
        """What became of the process that ended with `status`, as `os.waitpid` gives it."""
        killer = (self.path / ".running").read_text()
        if os.WIFSIGNALED(status):
            return Outcome(False, killer, os.WTERMSIG(status) in (signal.SIGVTALRM, signal.SIGALRM))
        code = os.WEXITSTATUS(status)
        return Outcome(code == 0, killer, False, is_tried=code != NOT_SWAPPED)

    def outcomes(self) -> list[Outcome]:
        """What `try_swapping` has found.

        Raises:
            SystemExit: it has not come to its end.
        """
        path = self.path / ".outcomes"
        if not path.exists():
            raise SystemExit(f"the tests can't be run:\n{(self.path / '.output').read_text()}")
        found = [Outcome(*each) for each in json.loads(path.read_text())]
        path.unlink()
        return found

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
    for name in PRELOADED.split():
        importlib.import_module(name)
    phases = Phase.explicit, Phase.generate  # a failure is enough; nobody needs the smallest
    settings.register_profile("mutation", derandomize=True, database=None, deadline=None, phases=phases)
    settings.load_profile("mutation")


def end_group(pid: int) -> None:
    """End what a test has started and did not come to end."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


# In a process of their own.


def try_importing(place: Place, fault: Fault, seconds: Seconds) -> int:
    """Import what has a fault in it, and run its tests in their order until one fails; 0 if none does."""
    running = Running(place.path / ".running", seconds)
    running.says(f"import {fault.module}")
    importlib.import_module(fault.module)
    files = list(dict.fromkeys(test.partition("::")[0] for test in fault.tests))
    return int(pytest.main([*ARGUMENTS, *files], plugins=[running, Chosen(fault.tests)]))


def try_swapping(place: Place, faults: Sequence[Fault], seconds: Seconds) -> int:
    """Collect the tests once, and try each of `faults` in a child; their outcomes are in `.outcomes`."""
    return int(pytest.main([*ARGUMENTS, TESTS], plugins=[Swapping(place, faults, seconds)]))


def measure(place: Place, files: Sequence[str]) -> int:
    """Run the tests in `files`, and write down how long each takes and which lines it reaches."""
    code = [package for package in PACKAGES if package != "tests"]
    measuring = coverage.Coverage(data_file=None, source=code, config_file=False)
    measuring.start()
    watched = Watched(measuring)
    pytest.main([*ARGUMENTS, *files], plugins=[watched])
    measuring.stop()
    data = measuring.get_data()
    lines: dict[str, dict[int, list[str]]] = {}
    for file in data.measured_files():
        reached = data.contexts_by_lineno(file).items()
        lines[os.path.relpath(file, place.path)] = {
            n: sorted(watched.seconds.keys() & set(tests)) for n, tests in reached
        }
    found = {"seconds": watched.seconds, "lines": lines, "failed": sorted(watched.failed)}
    (place.path / ".measured").write_text(json.dumps(found))
    return 0


def name_of(item: pytest.Item) -> str:
    """The test function that `item` is a case of."""
    return item.nodeid.partition("[")[0]


class Running:
    """Says in a file what is under way, for the one who finds the process dead; at the first failure it is.

    The system ends the process if a test takes far longer than it should, of the processor's time or of ours.
    """

    def __init__(self, path: Path, seconds: Seconds) -> None:
        self._path = path
        self._seconds = seconds
        for number in (signal.SIGVTALRM, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)

    def says(self, what: str) -> None:
        """It is `what`."""
        self._path.write_text(what)

    def pytest_collectstart(self, collector: pytest.Collector) -> None:
        """What can't be imported fails here."""
        self.says(f"collect {collector.nodeid}")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[Any]:
        """From its first line to its last."""
        self.says(name_of(item))
        usual = self._seconds.get(name_of(item), 1)
        signal.setitimer(signal.ITIMER_VIRTUAL, CPU_SECONDS + 2 * usual)
        signal.setitimer(signal.ITIMER_REAL, WALL_SECONDS + 10 * usual)
        return (yield)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """One failure is enough."""
        if report.failed:
            os._exit(1)


class Chosen:
    """Runs what was chosen, in its order."""

    def __init__(self, tests: Sequence[str]) -> None:
        self._rank = {test: rank for rank, test in enumerate(tests)}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave the others out."""
        chosen = [item for item in items if name_of(item) in self._rank]
        items[:] = sorted(chosen, key=lambda item: self._rank[name_of(item)])


class Swapping:
    """In the place of running what was collected, runs what each fault wants of it, in a child each."""

    def __init__(self, place: Place, faults: Sequence[Fault], seconds: Seconds) -> None:
        self._place = place
        self._faults = faults
        self._seconds = seconds

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """All faults, one after the other."""
        assert session.testsfailed == 0
        cases: dict[str, list[pytest.Item]] = {}
        for item in session.items:
            cases.setdefault(name_of(item), []).append(item)
        outcomes = []
        for fault in self._faults:
            self._place.write(fault.file, fault.source)  # for the processes that tests start
            chosen = [item for test in fault.tests for item in cases[test]]
            pid = os.fork()
            if not pid:
                self._run(session, fault, chosen)
            outcomes.append(self._place.outcome(os.waitpid(pid, 0)[1]))
            end_group(pid)
        (self._place.path / ".outcomes").write_text(json.dumps(outcomes))
        return True

    def _run(self, session: pytest.Session, fault: Fault, chosen: Sequence[pytest.Item]) -> None:
        code = 70
        try:
            os.setsid()
            running = Running(self._place.path / ".running", self._seconds)
            session.config.pluginmanager.register(running)
            if not swap(fault.module, fault.function, fault.source):
                os._exit(NOT_SWAPPED)
            for item, following in zip(chosen, [*chosen[1:], None], strict=True):
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            code = 0
        finally:
            os._exit(code)


class Watched:
    """Notes what each test reaches, and how long it takes."""

    def __init__(self, measuring: coverage.Coverage) -> None:
        self.seconds: dict[str, float] = {}
        self.failed: set[str] = set()
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
        if report.failed:
            self.failed.add(name)

    def pytest_sessionfinish(self) -> None:
        """Who fails without a fault is no witness."""
        for name in self.failed:
            del self.seconds[name]
