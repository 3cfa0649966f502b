"""The console script `chat-broker`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from broker.errors import EXIT_INTERRUPTED

if TYPE_CHECKING:
    from broker.config import Settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command of `arguments`; return the exit status."""
    try:
        from mcp_facade import cli  # slow enough to load for an interrupt to arrive meanwhile

        return cli.main(sys.argv[1:] if arguments is None else arguments, os.environ, _serve)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _serve(settings: Settings) -> None:
    from mcp_facade.workers.worker import Worker  # a debugger needs no server

    worker = Worker.of(os.environ)
    if worker is None and settings.workers > 1:
        from mcp_facade.workers.supervisor import supervise

        supervise(settings)
        return
    from mcp_facade.serve import serve

    if worker is None:
        serve(settings)
    else:
        worker.run(lambda: serve(settings, worker))


if __name__ == "__main__":
    sys.exit(main())
