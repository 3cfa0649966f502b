"""The console script `chat-broker`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from broker import command_line
from broker.settings import Settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; the exit status."""
    return command_line.main(sys.argv[1:] if arguments is None else arguments, os.environ, _serve)


def _serve(settings: Settings) -> None:
    from mcp_facade.serve import serve  # a debugger needs no server

    serve(settings)


if __name__ == "__main__":
    sys.exit(main())
