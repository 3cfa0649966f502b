"""`python -m benchmarks.message_path`: the way of one `send_message` through the code, counted by `sys.setprofile`.

Bob's message goes from his request to his answer and to Ann's open stream, in one broker in this process. Each entry
of a Python frame counts as a call, also when a coroutine goes on after waiting. Counted are the project's own files;
calls of libraries are shown beside them. The figures are exact, and the same in each run.
"""

import argparse
import asyncio
import logging
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final, NamedTuple

import structlog
import uvicorn

from benchmarks.clients import enter
from benchmarks.connections import StreamConnection, connect_client, dial
from benchmarks.wire import MODERN, SESSIONS, TEXT_LENGTH, StreamFrame, frame
from broker.broker import Broker
from broker.clock import SystemClock
from broker.config import Settings
from events.memory import MemoryLog
from mcp_facade.app import ChatApp
from mcp_facade.server import uvicorn_config

ROOT: Final = f"{Path(__file__).parents[1]}/"
NOT_COUNTED: Final = (f"{ROOT}benchmarks/", f"{ROOT}.venv")
WARM_UP: Final = "one to fill the caches"
TEXT: Final = "the one that is followed"


class PathCounts(NamedTuple):
    """Counts of one message."""

    calls: list[CodeType]
    library_calls: Counter[str]

    @property
    def files(self) -> list[str]:
        """The project's files, in the order of the message."""
        return list(dict.fromkeys(code.co_filename.removeprefix(ROOT) for code in self.calls))

    @property
    def classes(self) -> list[str]:
        """The classes of the methods, in the order of the message."""
        owners = (code.co_qualname.split(".")[0] for code in self.calls if "." in code.co_qualname)
        return [name for name in dict.fromkeys(owners) if name.lstrip("_")[:1].isupper()]

    @property
    def switches(self) -> int:
        """How often the next call is in another file than the one before."""
        files = [code.co_filename for code in self.calls]
        return sum(before != after for before, after in pairwise(files))


class CallRecorder:
    """Records the calls between `start` and `stop`."""

    def __init__(self) -> None:
        self._calls: list[CodeType] = []
        self._library_calls: Counter[str] = Counter()

    def start(self) -> None:
        """Record from now on."""
        sys.setprofile(self._on_event)

    def stop(self) -> PathCounts:
        """Record no more; return the counts."""
        sys.setprofile(None)
        return PathCounts(self._calls, self._library_calls)

    def _on_event(self, frame: FrameType, event: str, argument: Any) -> None:
        file = frame.f_code.co_filename
        if event != "call" or file == __file__:
            return
        if file.startswith(ROOT) and not file.startswith(NOT_COUNTED):
            self._calls.append(frame.f_code)
        elif "site-packages/" in file:
            self._library_calls[file.partition("site-packages/")[2].partition("/")[0]] += 1


@asynccontextmanager
async def _serving() -> AsyncIterator[int]:
    """A broker with its log in memory; yields its port."""
    broker = Broker(MemoryLog(), SystemClock())
    started = asyncio.Event()
    app = ChatApp(broker, Settings(), started.set)
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn_config(app))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    await started.wait()
    yield listening.getsockname()[1]
    server.should_exit = True
    broker.drain()
    await serving


async def follow_message(protocol_version: str) -> PathCounts:
    """Return the counts of the second of two messages."""
    async with _serving() as port:
        (anns_calls, ann), (bobs_calls, bob) = [await connect_client(port, protocol_version, _fail) for _ in "ab"]
        anns_handle = (await enter(anns_calls, ann, "Ann")).handle
        entered = await enter(bobs_calls, bob, "Bob")
        heard: asyncio.Queue[StreamFrame] = asyncio.Queue()
        stream = StreamConnection(_fail, lambda data: heard.put_nowait(frame(data)))
        await dial(port, stream)
        stream.write(ann.stream(anns_handle))
        await stream.opened.wait()
        counts = PathCounts([], Counter())
        for number, text in enumerate((WARM_UP, TEXT)):
            recorder = CallRecorder()
            recorder.start()
            await bobs_calls.ask(
                bob.message(entered.handle, entered.room_id).with_text(number, text.ljust(TEXT_LENGTH))
            )
            await _until_heard(heard, text)
            counts = recorder.stop()
        for connection in (anns_calls, bobs_calls, stream):
            connection.close()
        return counts


async def _until_heard(heard: asyncio.Queue[StreamFrame], text: str) -> None:
    while (params := (await asyncio.wait_for(heard.get(), 5)).params) is None or (params.message or "").strip() != text:
        pass


def _fail(error: Exception) -> None:
    raise error


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.message_path", description=__doc__)
    parser.add_argument("--calls", action="store_true", help="also print each call, in order")
    shown = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    print(f"{'protocol':<12}{'files':>7}{'calls':>7}{'classes':>9}{'file switches':>15}{'library calls':>15}")
    for protocol_version in (MODERN, SESSIONS):
        counts = asyncio.run(follow_message(protocol_version))
        figures = (len(counts.files), len(counts.calls), len(counts.classes), counts.switches)
        numbers = "".join(f"{figure:>{width}}" for figure, width in zip(figures, (7, 7, 9, 15), strict=True))
        print(f"{protocol_version:<12}{numbers}{counts.library_calls.total():>15}")
        if shown.calls:
            for code in counts.calls:
                print(f"    {code.co_filename.removeprefix(ROOT)}: {code.co_qualname}")
            print("    libraries:", dict(counts.library_calls.most_common()))


if __name__ == "__main__":
    main()
