"""The supervisor of workers when the system has no room for another process, or a successor fails."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest
from structlog.testing import capture_logs

from mcp_facade.listening import BACKLOG, reserve
from mcp_facade.workers import process as process_module
from mcp_facade.workers.process import Slot, WorkerProcess
from mcp_facade.workers.supervisor import Supervisor
from mcp_facade.workers.worker import READY, Opens
from tests.support.process import free_port


class Actor(WorkerProcess):
    """A worker without a process; its test controls its messages and its end."""

    def __init__(self, number: int, sockets: list[socket.socket], opens: Opens) -> None:
        self.number = number
        self.is_ready = False
        self.refusal = ""
        self.finish_by_s = None
        self.began_s = 0.0
        self.status = 0
        self._received = b""
        self.channel, self._voice = socket.socketpair()
        self.sockets = [socket.socket(fileno=os.dup(one.fileno())) for one in sockets]
        for one in self.sockets if opens == b"at once" else ():
            one.listen(BACKLOG)

    def ready(self) -> None:
        """Take calls."""
        self._voice.sendall(READY + b"\n")

    def end(self) -> None:
        """End at once."""
        self.exit(0)

    def exit(self, status: int) -> None:
        """End with `status`."""
        self.status = status
        self._voice.close()
        for one in self.sockets:
            one.close()

    def ended(self) -> int:
        """See `WorkerProcess`."""
        self.channel.close()
        return self.status


class Stage:
    """A supervisor of one slot, with actors for workers, and a clock under the test's control."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.port = free_port()
        self.now_s = 0.0
        self.has_room = True
        self.actors: list[Actor] = []
        monkeypatch.setattr("mcp_facade.workers.supervisor.time.monotonic", lambda: self.now_s)
        monkeypatch.setattr(process_module, "WorkerProcess", self._start)
        self.slot = Slot(1, lambda: [reserve("127.0.0.1", self.port, shared=True)])
        self.supervisor = Supervisor([self.slot])
        self.supervisor._start(self.slot)

    def _start(self, number: int, sockets: list[socket.socket], opens: Opens) -> Actor:
        if not self.has_room:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        self.actors.append(Actor(number, sockets, opens))
        return self.actors[-1]

    def go_on(self, seconds: float = 0.0) -> None:
        """Let the supervisor read the workers' messages, and then the clock, so many seconds later."""
        while found := self.supervisor._selector.select(0):
            found[0][0].data()
        self.now_s += seconds
        self.supervisor._look_at_the_time()

    def close(self) -> None:
        """End all."""
        for actor in self.actors:
            with suppress(OSError):
                actor.exit(0)
            actor.channel.close()
        self.slot.close_sockets()
        self.supervisor._selector.close()


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """A stage with one ready worker."""
    stage = Stage(monkeypatch)
    stage.actors[0].ready()
    stage.go_on()
    yield stage
    stage.close()


def test_without_room_for_a_successor_the_worker_stays_the_only_one(stage: Stage) -> None:
    """The replacement is given up, and nothing is started beside it later."""
    stage.has_room = False
    with capture_logs() as logged:
        stage.supervisor._replace_all()
    stage.has_room = True
    stage.go_on(60)
    assert len(stage.actors) == 1
    assert stage.slot.worker is stage.actors[0]
    assert [(line["event"], line["reason"]) for line in logged if line["log_level"] == "error"] == [
        ("replacing_given_up", f"[Errno {errno.EAGAIN}] {os.strerror(errno.EAGAIN)}")
    ]


def test_no_connection_waits_where_nothing_accepts_it(stage: Stage) -> None:
    """The worker ends, and then its successor does: until the next one is started, connections are refused."""
    socket.create_connection(("127.0.0.1", stage.port)).close()
    stage.supervisor._replace_all()
    stage.actors[0].exit(-9)
    stage.go_on()
    stage.actors[1].exit(1)
    with capture_logs() as logged:
        stage.go_on()
    assert [line["event"] for line in logged] == ["replacing_given_up"]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", stage.port))
    stage.go_on(1)
    socket.create_connection(("127.0.0.1", stage.port)).close()
    assert len(stage.actors) == 3


def test_without_room_for_a_worker_it_is_tried_again(stage: Stage) -> None:
    """The pauses grow, and its sockets are closed."""
    stage.has_room = False
    with capture_logs() as logged:
        stage.actors[0].exit(-9)
        for seconds in (1, 2, 4):
            stage.go_on(seconds)
    assert [line.get("again_in_s") for line in logged] == [1.0, 2.0, 4.0, 8.0]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", stage.port))
    stage.has_room = True
    stage.go_on(8)
    socket.create_connection(("127.0.0.1", stage.port)).close()


def test_a_process_that_can_not_be_started_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """It leaves neither the channel nor a process."""

    def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr("subprocess.Popen", refuse)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(BlockingIOError):
        WorkerProcess(1, [], b"at once")
    assert os.listdir("/proc/self/fd") == before
