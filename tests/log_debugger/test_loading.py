"""The loading of a command, and Control-C: it ends silently, with the exit status expected by shells."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from broker.verification.worker_pool import Task
from mcp_facade.cli import COMMANDS

LOADING = """
import sys

class Interrupted:
    def find_spec(self, name, path, target=None):
        if name == {name!r}:
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupted())
from mcp_facade.main import main

sys.exit(main(["verify", "log.jsonl"]))
"""

LOADED = """
import sys
from mcp_facade.cli import parser_for

parser_for(sys.argv[1:])
print(*{"broker.config", "broker.writer", "prometheus_client", "structlog", "uvicorn"} & set(sys.modules))
"""


@pytest.mark.parametrize("command", [*COMMANDS, "log dump", "log load", "log diff", "log init"])
def test_a_command_of_the_debugger_loads_none_of_the_brokers_running_parts(command: str) -> None:
    """They would take longer to load than a short log to read."""
    line = [sys.executable, "-c", LOADED, *command.split()]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")


@pytest.mark.parametrize("name", ["mcp_facade.cli", "apsw", "log_debugger.commands.verify", "log_debugger.terminal"])
def test_a_command_that_is_interrupted_while_it_is_loaded_says_nothing(name: str) -> None:
    """This holds for each of its modules."""
    command = [sys.executable, "-c", LOADING.format(name=name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_a_process_that_helps_leaves_an_interrupt_to_the_one_that_it_helps() -> None:
    """A terminal sends it to both, and only the main process is to report its end."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    task = Task(_interrupted)
    assert task.result() == "done"
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


def _interrupted() -> str:
    os.kill(os.getpid(), signal.SIGINT)
    return "done"
