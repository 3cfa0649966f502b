"""A server process under fire: what it says on its log, what it holds, and whether strangers still meet."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from tests.fuzz.cast import Cast, Client
from tests.fuzz.checks import check_log, check_talk
from tests.fuzz.requests import Scenario
from tests.fuzz.talk import Talk, carry_out
from tests.support.process import free_port

STARTED_WITHIN_SECONDS = 20
AT_REST_WITHIN_SECONDS = 10
SCENARIOS_A_CAST = 10
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Target:
    """One server process."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, port: int, probe: TextIO) -> None:
        self.port = port
        self.client = Client(port)
        self.scenarios_a_cast = SCENARIOS_A_CAST
        self._process = process
        self._log = log
        self._probe = probe
        self._read_to = 0
        self._cast = Cast(self.client)
        self._values: dict[bytes, bytes] = {}
        self._secrets: list[str] = []
        self._uses = 0
        self._at_rest: dict[str, Any] = {}
        self._report("report")
        self.rest()  # whatever is made once, is made
        self._at_rest = self._settled()

    def attack(self, scenario: Scenario) -> list[Talk]:
        """Carry out `scenario` between two strangers who are paired; what came back.

        Raises:
            AssertionError: something that must hold does not.
        """
        if self._uses == 0:
            self._meet()
        self._uses = (self._uses + 1) % self.scenarios_a_cast
        talks = carry_out(scenario, self._values, self.port)
        for talk in talks:
            check_talk(talk)
        health = self.client.get(b"/healthz")
        assert (health.status, health.body) == (200, b'{"status":"ok"}')
        check_log(self.new_log(), self._secrets)
        return talks

    def _meet(self) -> None:
        """Two strangers are paired, whoever was here before them leaves."""
        values = {name: value.decode() for name, value in self._values.items()}
        for name in (b"@SESSION@", b"@OTHER@"):
            if name in values:
                self._cast.end_session(values[name])
        cast = self._cast = Cast(self.client)
        cast.enter()
        others = {
            "SESSION": cast.session,
            "OTHER": cast.new_session(),
            "DEAD": values.get(b"@SESSION@", "none"),
            "HANDLE": cast.ann,
            "PARTNER": cast.bob,
            "WAITING": values.get(b"@HANDLE@", "none"),
            "ROOM": cast.room,
            "CLOSED": values.get(b"@ROOM@", "none"),
            "CURSOR": str(cast.cursor),
            "EPOCH": self.epoch,
        }
        self._values = {f"@{name}@".encode(): value.encode() for name, value in others.items()}
        secrets = [cast.ann, cast.bob, cast.session, others["OTHER"]]
        self._secrets = [*self._secrets[-8:], *secrets]

    def rest(self) -> None:
        """Hold the server to what it held before anyone came: nobody is served now.

        Raises:
            AssertionError: something was left behind, or strangers can't talk.
        """
        self._meet()
        self._uses = 0
        self._cast.talk()
        metrics = self.client.get(b"/metrics")
        assert metrics.status == 200
        assert b"chat_broker_commits_total" in metrics.body
        deadline = time.monotonic() + AT_REST_WITHIN_SECONDS
        while (held := self._report("sweep")) != self._at_rest and self._at_rest:
            assert time.monotonic() < deadline, f"left behind: {_difference(held, self._at_rest)}"
            time.sleep(0.05)  # another process comes to rest in its own time

    def _settled(self) -> dict[str, Any]:
        """What it holds once that does not change any more."""
        held: dict[str, Any] = {}
        while held != (held := self._report("sweep")):
            time.sleep(0.2)
        return held

    def new_log(self) -> str:
        """What it has logged since the last call."""
        with self._log.open() as log:
            log.seek(self._read_to)
            text = log.read()
            self._read_to = log.tell()
        return text

    def memory_bytes(self) -> int:
        """Its resident memory."""
        return int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]) * PAGE_BYTES

    def _report(self, word: str) -> dict[str, Any]:
        self._probe.write(f"{word}\n")
        self._probe.flush()
        report: dict[str, Any] = json.loads(self._probe.readline())
        self.epoch = report.pop("epoch")
        return report


def _difference(held: Mapping[str, Any], at_rest: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {name: (at_rest[name], value) for name, value in held.items() if value != at_rest[name]}


def _connected(port: int) -> socket.socket:
    """A connection to a server that is about to listen."""
    deadline = time.monotonic() + STARTED_WITHIN_SECONDS
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, "the server does not start"
            time.sleep(0.05)  # another process's start has no event to wait for


@contextmanager
def under_fire() -> Iterator[Target]:
    """A server process, ended afterwards."""
    port, probe_port = free_port(), free_port()
    with tempfile.NamedTemporaryFile(prefix="fuzz-", suffix=".log") as log:
        command = [sys.executable, "-m", "tests.fuzz.server", str(port), str(probe_port)]
        process = subprocess.Popen(command, stderr=log, cwd=Path(__file__).parents[2])  # noqa: S603 - ourselves
        try:
            with _connected(probe_port) as probing, probing.makefile("rw") as probe:
                _connected(port).close()
                target = Target(process, Path(log.name), port, probe)
                try:
                    yield target
                finally:
                    target.client.close()
        finally:
            process.terminate()
            process.wait(10)
