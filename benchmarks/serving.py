"""How the reference servers are run: uvicorn, with the broker's settings of the garbage collector."""

import argparse
import gc
from typing import Any, Final

import uvicorn

GC_THRESHOLDS: Final = (5_000, 20, 50)
"""Those of the broker (`mcp_facade.serve`)."""


class _Settled(uvicorn.Server):
    """Settles its garbage collector when everything is loaded."""

    async def startup(self, sockets: Any = None) -> None:
        """Start; what is loaded by then is never looked at again."""
        await super().startup(sockets)
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)


def serve(app: Any, description: str | None) -> None:
    """Serve `app` on the loopback port that the command line names, until a signal comes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--port", type=int, required=True)
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=parser.parse_args().port,
        http="httptools",
        loop="uvloop",
        ws="none",
        log_level="critical",
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,
    )
    _Settled(config).run()
