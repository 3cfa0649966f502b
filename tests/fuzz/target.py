"""A server process under fire: its log, its live objects, and the matches of strangers at it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from mcp_facade.listening import BACKLOG
from tests.fuzz.actors import Actors, HungUpError, KeepAliveClient
from tests.fuzz.checks import check_dialogue, check_log
from tests.fuzz.protocol import Dialogue, carry_out
from tests.fuzz.server import POLICY
from tests.hostile.scenarios import Scenario, to_text

ANSWERS_WITHIN_SECONDS = 60
"""The probe's first answer comes after all imports, perhaps on a busy machine."""
AT_REST_WITHIN_SECONDS = 10
ENDS_WITHIN_SECONDS = 10
SCENARIOS_A_PAIR = 10
GRACE_SECONDS = min(POLICY.idle_grace_queue_ms, POLICY.idle_grace_room_ms) / 1_000
TRIES_MAX = 10
LOG_CHARS_SHOWN_MAX = 4_000
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class ServerUnderFire:
    """One server process."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, port: int, probe: TextIO) -> None:
        self.port = port
        self.client = KeepAliveClient(port)
        self.scenarios_a_pair = SCENARIOS_A_PAIR
        self._process = process
        self._log = log
        self._probe = probe
        self._read_to = 0
        self._actors = Actors(self.client)
        self._values: dict[bytes, bytes] = {}
        self._secrets: list[str] = []
        self._uses = 0
        self._at_rest: dict[str, Any] = {}
        self._report("report")
        self.rest()  # all lazy initialisation is done by now
        self._at_rest = self._settled()

    def attack(self, scenario: Scenario) -> list[Dialogue]:
        """Carry out `scenario` between two paired strangers; return the dialogues."""
        if self._uses == 0:
            _in_time(self._meet)
        self._uses = (self._uses + 1) % self.scenarios_a_pair
        dialogues = carry_out(scenario, self._values, self.port)
        for dialogue in dialogues:
            check_dialogue(dialogue)
        health = self.client.get(b"/healthz")
        assert (health.status, health.body) == (200, b'{"status":"ok"}')
        check_log(self.new_log(), self._secrets)
        return dialogues

    def _meet(self) -> None:
        """Pair two strangers, after the earlier ones have left."""
        values = {name: value.decode() for name, value in self._values.items()}
        for name in (b"@SESSION@", b"@OTHER@"):
            if name in values:
                self._actors.end_session(values[name])
        actors = self._actors = Actors(self.client)
        actors.enter()
        others = {
            "SESSION": actors.session,
            "OTHER": actors.new_session(),
            "DEAD": values.get(b"@SESSION@", "none"),
            "HANDLE": actors.ann,
            "PARTNER": actors.bob,
            "WAITING": values.get(b"@HANDLE@", "none"),
            "ROOM": actors.room,
            "CLOSED": values.get(b"@ROOM@", "none"),
            "CURSOR": str(actors.cursor),
            "EPOCH": self.epoch,
        }
        self._values = {f"@{name}@".encode(): value.encode() for name, value in others.items()}
        secrets = [actors.ann, actors.bob, actors.session, others["OTHER"]]
        self._secrets = [*self._secrets[-8:], *secrets]

    def rest(self) -> None:
        """Check the server's return to its state before the first client."""
        self._uses = 0
        _in_time(self._meet_and_talk)
        metrics = self.client.get(b"/metrics")
        assert metrics.status == 200
        assert b"chat_broker_commits_total" in metrics.body
        deadline = time.monotonic() + AT_REST_WITHIN_SECONDS
        while (held := self._report("sweep")) != self._at_rest and self._at_rest:
            assert time.monotonic() < deadline, f"left behind: {_difference(held, self._at_rest)}"
            time.sleep(0.05)  # another process comes to rest in its own time

    def _meet_and_talk(self) -> None:
        self._meet()
        self._actors.talk()

    def _settled(self) -> dict[str, Any]:
        """Return the server's report once it no longer changes."""
        held: dict[str, Any] = {}
        while held != (held := self._report("sweep")):
            time.sleep(0.2)  # another process comes to rest in its own time
        return held

    def new_log(self) -> str:
        """Return the log since the last call."""
        with self._log.open() as log:
            log.seek(self._read_to)
            text = log.read()
            self._read_to = log.tell()
        return text

    @property
    def log_end(self) -> str:
        """The end of the server's whole log."""
        return self._log.read_text()[-LOG_CHARS_SHOWN_MAX:]

    def memory_bytes(self) -> int:
        """Return the server's resident memory."""
        return int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]) * PAGE_BYTES

    def _report(self, word: str) -> dict[str, Any]:
        self._probe.write(f"{word}\n")
        self._probe.flush()
        answer = self._probe.readline()
        assert answer, f"the server has ended, with {self._process.wait()}: {self.log_end}"
        report: dict[str, Any] = json.loads(answer)
        self.epoch = report.pop("epoch")
        return report


def _difference(held: Mapping[str, Any], at_rest: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {name: (at_rest[name], value) for name, value in held.items() if value != at_rest[name]}


def _in_time(act: Callable[[], None]) -> None:
    """Carry out an act of strangers; repeat it if it took longer than their grace."""
    for _ in range(TRIES_MAX - 1):
        began = time.monotonic()
        try:
            return act()
        except AssertionError:
            if time.monotonic() - began < GRACE_SECONDS:
                raise
    return act()


@contextmanager
def under_fire() -> Iterator[ServerUnderFire]:
    """Run a server process, and end it afterwards."""
    probing, probed = socket.socketpair()
    probing.settimeout(ANSWERS_WITHIN_SECONDS)
    with tempfile.NamedTemporaryFile(prefix="fuzz-", suffix=".log") as log, probing, probing.makefile("rw") as probe:
        with probed, socket.create_server(("127.0.0.1", 0), backlog=BACKLOG) as listening:
            port = listening.getsockname()[1]
            given = listening.fileno(), probed.fileno()
            command = [sys.executable, "-m", "tests.fuzz.server", *map(str, given)]
            root = Path(__file__).parents[2]
            process = subprocess.Popen(command, stderr=log, cwd=root, pass_fds=given)
        try:
            target = ServerUnderFire(process, Path(log.name), port, probe)
            try:
                yield target
            finally:
                target.client.close()
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(ENDS_WITHIN_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        raise


def fails(scenarios: Sequence[Scenario]) -> bool:
    """Return true if a fresh server fails a check after all of `scenarios`."""
    with under_fire() as target:
        if len(scenarios) == 1:
            target.scenarios_a_pair = 1
        try:
            for scenario in scenarios:
                target.attack(scenario)
            target.rest()
        except (AssertionError, HungUpError):
            return True
    return False


def written(scenarios: Sequence[Scenario]) -> str:
    """Write `scenarios` to a new file; return its name."""
    with tempfile.NamedTemporaryFile("w", prefix="fuzz-", suffix=".json", delete=False) as file:
        file.write(to_text(scenarios))
    return file.name
