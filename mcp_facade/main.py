"""The console script `chat-broker`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import structlog

from broker.logs import configure_logs
from broker.settings import UsageError, parse_arguments, unknown_variables
from mcp_facade.serve import serve

EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

logger = structlog.get_logger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; the exit status."""
    try:
        settings = parse_arguments(sys.argv[1:] if arguments is None else arguments, os.environ)
        configure_logs(settings.log_format, settings.log_level)
        for name in unknown_variables(os.environ):
            logger.warning("unknown_setting", variable=name)
        serve(settings)
    except UsageError as error:
        print(f"chat-broker: {error}", file=sys.stderr)  # noqa: T201 - a command line's answer
        return EXIT_USAGE
    except KeyboardInterrupt:  # before the server took over the signal
        return EXIT_INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
