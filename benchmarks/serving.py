"""Runs the reference servers: uvicorn, with the broker's settings of the garbage collector."""

import argparse
import gc
from typing import Any, Final

import uvicorn

GC_THRESHOLDS: Final = (5_000, 20, 50)
"""The broker's (`mcp_facade.serve`)."""


class _Settled(uvicorn.Server):
    """A server that freezes the heap when all modules are loaded."""

    async def startup(self, sockets: Any = None) -> None:
        """Start, and exclude all objects so far from garbage collection."""
        await super().startup(sockets)
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)


def serve(app: Any, description: str | None, *, http: Any = "httptools") -> None:
    """Serve `app` on the loopback port of the command line until a signal comes; `http` is uvicorn's protocol."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--port", type=int, required=True)
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=parser.parse_args().port,
        http=http,
        loop="uvloop",
        ws="none",
        log_level="critical",
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,
    )
    _Settled(config).run()
