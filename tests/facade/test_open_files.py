"""The limit of open files: raised at the start, and no end of the broker when connections reach it."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import resource
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from unittest.mock import Mock

import httpx
import pytest

from mcp_facade.http.open_files import FALLBACK_FILES, OpenFiles, raise_limit
from tests.facade.people import ACCEPT
from tests.facade.test_listening import INITIALIZE
from tests.support.limits import HUNG_SECONDS
from tests.support.process import killed

SOFT, HARD = 100, 160


@asynccontextmanager
async def limited(tmp_path: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """Run a broker with a log in a file and a hard limit of `HARD` files, lower at its start; yield it and its port."""
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", f'ulimit -Sn {SOFT} && ulimit -Hn {HARD} && exec "$@"', "sh"),
        *(sys.executable, "-m", "mcp_facade.main", "serve", "--port", "0", "--log-format", "json"),
        *("--log", f"sqlite:{tmp_path}/chat.db"),
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(HUNG_SECONDS):
            port = httpx.URL(json.loads(await process.stderr.readline())["url"]).port
            assert port is not None
            while json.loads(await process.stderr.readline())["event"] != "ready":
                pass
        yield process, port
    finally:
        await killed(process)


@pytest.mark.anyio
async def test_connections_without_end_do_not_end_the_broker(tmp_path: Path) -> None:
    """Connections over the limit get a refusal, with one line in the log; earlier ones and the log go on."""
    async with limited(tmp_path) as (process, port):
        base = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(trust_env=False) as client, AsyncExitStack() as stack:
            headers = {"accept": ACCEPT}
            response = await client.post(f"{base}/mcp", json=INITIALIZE, headers=headers)
            answers = []
            for _ in range(2 * HARD):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                stack.callback(writer.close)
                answers.append(asyncio.ensure_future(reader.read()))
            async with asyncio.timeout(HUNG_SECONDS):
                refused = [await answer for answer in answers[HARD:]]
            assert all(answer.startswith(b"HTTP/1.1 503 ") and b"retry-after: 1" in answer for answer in refused)
            session = headers | {"mcp-session-id": response.headers["mcp-session-id"]}
            call = {"name": "enter_queue", "arguments": {}}
            body = dict(INITIALIZE, method="tools/call", params=call)
            assert "waiting" in (await client.post(f"{base}/mcp", json=body, headers=session)).text
            metrics = (await client.get(f"{base}/metrics")).text
            kept = sum(not answer.done() for answer in answers)
            for answer in answers:
                answer.cancel()
        assert f"process_max_fds {HARD}.0" in metrics.splitlines()
        assert SOFT // 2 < kept < HARD - HARD // 4
        process.terminate()
        _, logged = await process.communicate()
    warnings = [line for line in map(json.loads, logged.decode().splitlines()) if line["level"] != "info"]
    assert [line["event"] for line in warnings] == ["open_files_exhausted"]
    assert "ulimit -n" in warnings[0]["hint"]


@pytest.mark.parametrize(("granted", "expected"), [(HARD, HARD), (FALLBACK_FILES, FALLBACK_FILES), (0, SOFT)])
def test_the_limit_is_raised_as_far_as_the_system_lets_it(
    monkeypatch: pytest.MonkeyPatch, granted: int, expected: int
) -> None:
    """It becomes the hard limit, less if the system grants less, and stays if the system grants nothing."""
    hard = HARD if granted == HARD else resource.RLIM_INFINITY
    limits = [SOFT, hard]

    def setrlimit(kind: int, wanted: tuple[int, int]) -> None:
        if wanted[0] != granted:
            raise ValueError("not allowed to raise the limit")
        limits[:] = wanted

    monkeypatch.setattr(resource, "getrlimit", lambda kind: tuple(limits))
    monkeypatch.setattr(resource, "setrlimit", setrlimit)
    raise_limit()
    assert limits == [expected, hard]


def test_a_limit_that_the_event_loop_meets_is_a_line_a_minute(log_text: io.StringIO) -> None:
    """Any other error of the loop is handled as usual."""
    loop, files = Mock(spec=asyncio.AbstractEventLoop), OpenFiles()
    for number in (errno.EMFILE, errno.ENFILE, errno.EMFILE):
        files.handle(loop, {"message": "socket.accept() out of system resource", "exception": OSError(number, "")})
    assert [json.loads(line)["event"] for line in log_text.getvalue().splitlines()] == ["open_files_exhausted"]
    others = [{"message": "a"}, {"message": "b", "exception": OSError(errno.EPIPE, "")}]
    for other in others:
        files.handle(loop, other)
    assert [call.args[0] for call in loop.default_exception_handler.call_args_list] == others
