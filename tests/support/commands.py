"""Commands to be printed, for whoever wants to see something again."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path


def command_of(module: str, *arguments: object) -> str:
    """What to type in this directory to run `module` with the interpreter that runs this."""
    python = Path(sys.executable)
    if python.is_relative_to(Path.cwd()):
        python = python.relative_to(Path.cwd())
    return shlex.join([str(python), "-m", module, *map(str, arguments)])
