"""The load balancers with the configurations of `deploy/`; only addresses, ports and paths differ."""

from __future__ import annotations

import csv
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.limits import HUNG_SECONDS
from tests.support.process import free_ports

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"
PROGRAMS = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin"


class Backend(NamedTuple):
    """A worker in a proxy's configuration."""

    port: int
    admin_port: int


class Front(NamedTuple):
    """A running proxy: its port and its folder."""

    port: int
    folder: Path

    @property
    def url(self) -> str:
        """The endpoint of the chat."""
        return f"http://127.0.0.1:{self.port}/mcp"


def substituted(file: str, changes: Mapping[str, str]) -> str:
    """Return `deploy/file` with each key of `changes` replaced by its value; each key must occur exactly once."""
    text = (DEPLOY / file).read_text(encoding="utf-8")
    for documented, here in changes.items():
        assert text.count(documented) == 1, f"{documented!r} stands {text.count(documented)} times in {file}"
        text = text.replace(documented, here)
    return text


def program(name: str, package: str | None = None) -> str:
    """Return the path of a program, or skip the test; its Debian package is `package`, by default of the same name."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":" + PROGRAMS)
    if found is None:
        pytest.skip(f"{name} is not installed (Debian: apt-get install {package or name})")
    return found


def _nginx(folder: Path, port: int, first: Backend, second: Backend) -> list[str]:
    places = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f" {place}_temp_path {folder}/{place};" for place in places)
    changes = {
        "http {\n": f"http {{{temporary}\n",  # the usual places are root's
        "172.30.80.11:8000": f"127.0.0.1:{first.port}",
        "172.30.80.12:8000": f"127.0.0.1:{second.port}",
        "listen 80;\n": f"listen 127.0.0.1:{port};\n",
    }
    config = folder / "nginx.conf"
    config.write_text(substituted("nginx.conf", changes))
    return [program("nginx"), "-c", str(config), "-g", f"daemon off; pid {folder}/nginx.pid; error_log stderr;"]


def _haproxy(folder: Path, port: int, first: Backend, second: Backend) -> list[str]:
    changes = {
        "172.30.80.11:8000 port 9000": f"127.0.0.1:{first.port} port {first.admin_port}",
        "172.30.80.12:8000 port 9000": f"127.0.0.1:{second.port} port {second.admin_port}",
        "    bind :80\n": f"    bind 127.0.0.1:{port}\n",
        "/run/haproxy/admin.sock": f"{folder}/admin.sock",
    }
    if os.geteuid() != 0:  # only root can change the user
        changes["    user haproxy\n    group haproxy\n"] = ""
    config = folder / "haproxy.cfg"
    config.write_text(substituted("haproxy.cfg", changes))
    return [program("haproxy"), "-db", "-f", str(config)]


PROXIES: Mapping[str, Callable[[Path, int, Backend, Backend], list[str]]] = {
    "nginx": _nginx,
    "haproxy": _haproxy,
}


@contextmanager
def proxy(name: str, folder: Path, first: Backend, second: Backend) -> Iterator[Front]:
    """Run a proxy before two workers."""
    port = free_ports(1)
    command = PROXIES[name](folder, port, first, second)
    with (folder / "proxy.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        _wait_until_it_listens(port, process, folder / "proxy.log")
        yield Front(port, folder)
    finally:
        process.terminate()
        process.wait()


def _wait_until_it_listens(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + HUNG_SECONDS
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        with closing(socket.socket()) as trying:
            if trying.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)  # another process's start has no event to wait for


class HaproxyServer(NamedTuple):
    """A worker as HAProxy sees it."""

    is_up: bool
    requests: int


def haproxy_servers(front: Front) -> Mapping[str, HaproxyServer]:
    """Ask HAProxy for its servers, by name."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(f"{front.folder}/admin.sock")
        asking.sendall(b"show stat\n")
        with asking.makefile(encoding="ascii") as answer:
            rows: Sequence[Mapping[str, str]] = list(csv.DictReader(answer))
    return {
        row["svname"]: HaproxyServer(row["status"].startswith("UP"), int(row["stot"]))
        for row in rows
        if row["svname"] in ("a", "b")
    }
