"""Commands to be printed, for repeating a run."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path


def command_of(module: str, *arguments: object) -> str:
    """Return the shell command for running `module` in this directory with the present interpreter."""
    python = Path(sys.executable)
    if python.is_relative_to(Path.cwd()):
        python = python.relative_to(Path.cwd())
    return shlex.join([str(python), "-m", module, *map(str, arguments)])
