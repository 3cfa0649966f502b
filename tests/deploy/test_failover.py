"""The failover drill of docs/operating.md: a replica without the last acknowledged commits becomes the primary."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import httpx
import pytest

from tests.chat_client.relay import Relay, relaying
from tests.deploy.proxies import Front, program
from tests.deploy.test_backups import PAGE, run
from tests.deploy.workers import Served, launched, metric, until
from tests.facade.people import Person, crowd, texts
from tests.support.engines.redis import RedisServer, running
from tests.support.server import Running

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@asynccontextmanager
async def replicated() -> AsyncIterator[tuple[RedisServer, RedisServer, Relay]]:
    """Yield a primary, its replica in full sync, and a relay address for either of them."""
    with running("valkey") as primary, running("valkey") as replica:
        async with relaying(primary.port) as address:
            replica.client.replicaof("127.0.0.1", primary.port)

            async def is_linked() -> bool:
                return bool(replica.client.info("replication")["master_link_status"] == "up")

            await until(is_linked)
            yield primary, replica, address


def promoted(replica: RedisServer, folder: Path) -> None:
    """Run the page's command for making the replica a primary."""
    (command,) = re.findall(r"^    (redis-cli .* replicaof no one)", PAGE, re.MULTILINE)
    run(command, folder, {"redis://10.0.0.7:6379": f"redis://127.0.0.1:{replica.port}"})


async def insist(person: Person, message: str) -> None:
    """Say `message` until it is acknowledged."""

    async def is_said() -> bool:
        try:
            arguments = {"handle": person.handle, "room_id": person.room_id, "message": message, "message_id": "again"}
            return not (await person.tool("send_message", arguments)).get("isError")
        except (LookupError, httpx.TransportError):  # no worker listens, or it is ending
            return False

    await until(is_said)


async def test_a_room_goes_on_without_what_the_replica_lacked(tmp_path: Path) -> None:
    """The workers notice, restart and fold the replica's log; the lost message is not in the history."""
    program("redis-cli", "redis-tools")
    async with replicated() as (primary, replica, address):
        served = Served(f"redis://127.0.0.1:{address.port}/?name=chat", workers=2)
        try:
            await asyncio.to_thread(launched, served)
            async with crowd(cast("Running", Front(served.port, tmp_path))) as people:
                ann, bob = await people.pair("2025", "2026")
                await bob.say("kept")
                await asyncio.to_thread(promoted, replica, tmp_path)  # the link is cut first, to lose a message
                await bob.say("lost", cursor=bob.cursor)
                assert await ann.hear_until("lost") == ["kept", "lost"]
                started = [await metric(port, "process_start_time_seconds") for port in served.admin_ports]
                primary.kill()
                address.behind = replica.port
                address.drop()
                await insist(bob, "after")
                refusal = await ann.refused("wait_for_events", handle=ann.handle, cursor=ann.cursor + 9, wait_seconds=0)
                assert refusal["code"] == "invalid_arguments"
                ann.cursor = 0
                assert texts(await ann.hear(0)) == ["kept", "after"]
            await asyncio.to_thread(served.wait_until_ready)
            now = [await metric(port, "process_start_time_seconds") for port in served.admin_ports]
            assert all(later > earlier for earlier, later in zip(started, now, strict=True))
        finally:
            served.stop()
