"""Backup and restore with the commands of docs/operating.md, against real servers while a broker writes."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from broker.broker import Broker
from broker.clock import SystemClock
from broker.stores import open_log
from events.commands import EnterQueue
from events.commit import Tip
from events.ids import ConnectionId
from events.policy import Policy
from tests.deploy.proxies import ROOT, program
from tests.support.engines.postgresql import Server, binaries, server
from tests.support.engines.redis import RedisServer, binary_of, running
from tests.support.process import free_port, inherited_environment

pytestmark = pytest.mark.anyio

PAGE = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
ANN, BOB = ConnectionId(f"c_{'a' * 32}"), ConnectionId(f"c_{'b' * 32}")


def blocks(store: str) -> tuple[str, str]:
    """Return the page's backup commands for a store, and its restore commands."""
    section = PAGE.partition(f"### {store}\n")[2].partition("\n##")[0]
    backup, restore = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    return backup, restore


def run(commands: str, folder: Path, changes: Mapping[str, str]) -> None:
    """Run the page's `commands` in `folder` with each key of `changes` replaced; each must occur in them."""
    for documented, here in changes.items():
        assert documented in commands, documented
        commands = commands.replace(documented, here)
    programs = folder / "programs"
    programs.mkdir(exist_ok=True)
    (programs / "chat-broker").write_text(f'#!/bin/sh\nexec {sys.executable} -m mcp_facade.main "$@"\n')
    (programs / "chat-broker").chmod(0o755)
    path = f"{programs}:{os.environ['PATH']}"
    environment = inherited_environment() | {"PATH": path, "PYTHONPATH": os.pathsep.join(sys.path)}
    shell = ["/bin/sh", "-euc", commands]
    done = subprocess.run(shell, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


async def written(url: str, who: ConnectionId) -> tuple[Tip, str]:
    """Start a broker on the log and let `who` enter the queue; return the log's tip and its epoch."""
    log = await open_log(url)
    broker = Broker(log, SystemClock())
    await broker.start(Policy())
    answer = await broker.writer.submit(EnterQueue(who, "Ann", ()))
    tip, epoch = broker.state.tip, log.epoch
    assert "Rejection" not in type(answer).__name__
    await broker.close()
    return tip, epoch


async def stored(url: str) -> tuple[Tip, str]:
    """Return the tip and the epoch of a log."""
    log = await open_log(url)
    try:
        return await log.tip(), log.epoch
    finally:
        await log.close()


async def test_a_file_is_restored(tmp_path: Path) -> None:
    """A restored file ends at the commit of the backup and has a new epoch; a broker can append to it."""
    backup, restore = blocks("SQLite")
    tip, epoch = await written(f"sqlite:{tmp_path}/chat.db", ANN)
    await asyncio.to_thread(run, backup, tmp_path, {})
    await written(f"sqlite:{tmp_path}/chat.db", BOB)
    await asyncio.to_thread(run, restore, tmp_path, {})
    restored, new_epoch = await stored(f"sqlite:{tmp_path}/restored.db")
    assert restored == tip
    assert new_epoch != epoch
    assert (await written(f"sqlite:{tmp_path}/restored.db", BOB))[0].position > tip.position


@pytest.mark.slow
async def test_valkey_is_restored(tmp_path: Path) -> None:
    """A server that reads the backup and writes the append-only file has the log of the backup, with a new epoch."""
    program("redis-cli", "redis-tools")
    backup, restore = blocks("Redis and Valkey")
    (tmp_path / "programs").mkdir()
    (tmp_path / "programs" / "valkey-server").symlink_to(binary_of("valkey"))
    with running("valkey") as before:
        tip, epoch = await written(before.url(), ANN)
        url = {"redis://10.0.0.5:6379": f"redis://127.0.0.1:{before.port}"}
        await asyncio.to_thread(run, backup, tmp_path, url)
        await written(before.url(), BOB)
    after = RedisServer("valkey")
    try:
        changes = {"/var/lib/valkey": str(after.path), "6390": str(free_port())}
        await asyncio.to_thread(run, restore, tmp_path, changes)
        after.start()
        restored, new_epoch = await stored(after.url())
        assert restored == tip
        assert new_epoch != epoch
        assert (await written(after.url(), BOB))[0].position > tip.position
    finally:
        after.client.close()
        after.stop()


@pytest.mark.slow
async def test_postgresql_is_restored(tmp_path: Path) -> None:
    """The backup is restored next to the original log, with a new epoch."""
    for name in ("pg_dump", "pg_restore", "psql"):
        program(name, "postgresql-client")
    backup, restore = blocks("PostgreSQL")
    engine = _debians_server()
    await engine.sql("CREATE DATABASE chat")
    url = {"postgresql://postgres@10.0.0.6/chat": f"postgresql://postgres@127.0.0.1:{engine.port}/chat"}
    log = engine.url("chat", database="chat")
    tip, epoch = await written(log, ANN)
    await asyncio.to_thread(run, backup, tmp_path, url)
    await written(log, BOB)
    await asyncio.to_thread(run, restore, tmp_path, url)
    restored, new_epoch = await stored(log)
    assert restored == tip
    assert new_epoch != epoch
    assert (await written(log, BOB))[0].position > tip.position


def _debians_server() -> Server:
    """Return a server of the same version as the installed `pg_dump`; skip the test if there is none."""
    found = shutil.which("pg_dump")
    told = subprocess.run([str(found), "--version"], capture_output=True, text=True, check=True).stdout
    version = int(re.findall(r" (\d+)", told)[0])
    if binaries(version) is None:
        pytest.skip(f"PostgreSQL {version} is not installed, which pg_dump is of")
    return server(version)
