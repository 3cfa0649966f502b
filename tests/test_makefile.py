"""Each target does the set-up that it needs, and no more."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
COPIED = [
    "Makefile",
    "pyproject.toml",
    "constraints.txt",
    "tests/clients/Makefile",
    "tests/clients/package.json",
    "tests/clients/package-lock.json",
    "tests/clients/.npmrc",
    "benchmarks/typescript/package-lock.json",
]
DEVELOPERS = [
    "install",
    "check",
    "lint",
    "types",
    "imports",
    "docs",
    "settings",
    "test",
    "test-all",
    "test-suite",
    "test-pythons",
    "test-map",
    "test-no-lane",
    "test-clients",
    "test-browser",
    "fuzz",
    "simulate",
    "proof",
    "bench",
    "soak",
]


class Clone:
    """A clone for dry runs of `make`; a dry installation counts as done for the next run."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in COPIED:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, root / name)
            os.utime(root / name, (1, 1))

    def make(self, *arguments: str) -> str:
        """Return the commands of `make` with `arguments`."""
        command = ["make", "--dry-run", "--no-print-directory", *arguments]
        # This test may run under a make; its flags are not for this one.
        outer = ("MAKE", "MFLAGS", "ONCE")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(outer)}
        done = subprocess.run(
            command, cwd=self.root, env=environment, capture_output=True, text=True, check=True, timeout=60
        )
        lines = done.stdout.splitlines()
        if any("-m venv" in line for line in lines):
            (self.root / ".venv" / "bin").mkdir(parents=True)
            (self.root / ".venv" / "bin" / "python").touch()
        for line in lines:
            if line.startswith("touch .venv"):
                for name in line.split()[1:]:
                    (self.root / name).touch()
        return done.stdout


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    """A clone without any set-up."""
    return Clone(tmp_path)


def test_make_alone_lists_the_targets(clone: Clone) -> None:
    """Without a target it installs nothing, and prints the targets with their purposes."""
    done = subprocess.run([str(shutil.which("make"))], cwd=clone.root, capture_output=True, text=True, check=True)
    listed = done.stdout.splitlines()
    assert "serve         run the broker on http://127.0.0.1:8000/mcp: PORT=8000, LOG=memory or sqlite:PATH" in listed
    assert {line.split()[0] for line in listed} >= set(DEVELOPERS) - {"lint", "types", "imports"}
    assert not (clone.root / ".venv").exists()


def test_a_broker_is_served_without_the_tools_of_developers(clone: Clone) -> None:
    """`make serve` makes the environment, installs only the broker's requirements, and says so."""
    done = clone.make("serve")
    assert "-m venv .venv" in done
    assert "[dev]" not in done
    assert "--editable ." in done
    assert "installing what the broker runs on" in done
    assert done.splitlines()[-1] == ".venv/bin/chat-broker serve"


@pytest.mark.parametrize(
    ("arguments", "flags"),
    [
        (["PORT=8140"], " --port 8140"),
        (["LOG=sqlite:chat.db"], " --log 'sqlite:chat.db'"),
        (["PORT=8140", "LOG=sqlite:my chat.db"], " --port 8140 --log 'sqlite:my chat.db'"),
    ],
)
def test_a_broker_is_served_with_the_flags_that_are_given(clone: Clone, arguments: list[str], flags: str) -> None:
    """`PORT` and `LOG` become flags of `chat-broker serve`."""
    assert clone.make("serve", *arguments).splitlines()[-1] == f".venv/bin/chat-broker serve{flags}"


@pytest.mark.parametrize(("arguments", "log"), [([], "memory"), (["LOG=sqlite"], "sqlite")])
def test_a_soak_has_its_own_log(clone: Clone, arguments: list[str], log: str) -> None:
    """It is in memory, unless `LOG` names the other kind."""
    assert f" --log {log} " in clone.make("soak", *arguments).splitlines()[-1]


def test_the_check_runs_no_test(clone: Clone) -> None:
    """`make check` is quick: lint, types and import contracts."""
    done = clone.make("check")
    assert "pytest" not in done
    assert [tool for tool in ("ruff", "mypy", "lint-imports") if f".venv/bin/{tool}" not in done] == []


def test_the_fast_tests_can_run_once_for_both(clone: Clone) -> None:
    """With `ONCE`, `make test` runs them at full size, and `make test-all` all that is missing then."""
    daily, everything = (
        [line for line in clone.make(target).splitlines() if "pytest" in line] for target in ("test", "test-all")
    )
    first, second = (
        [line for line in clone.make(target, "ONCE=1").splitlines() if "pytest" in line]
        for target in ("test", "test-all")
    )
    assert first[0] == daily[0]
    assert len(first) == 2
    assert sorted([first[1], *second]) == sorted(everything)


def test_the_slow_tests_wait_for_test_all(clone: Clone) -> None:
    """`make test` leaves them out and holds the core to every branch; `make test-all` runs everything at full size."""
    daily = [line for line in clone.make("test").splitlines() if "pytest" in line]
    assert [line for line in daily if "HYPOTHESIS_PROFILE=daily" not in line or "-m 'not slow'" not in line] == []
    core, rest = daily
    assert " tests/core " in core
    stores = "events/redis/*,events/postgresql/*,events/nats/*"
    assert f"coverage report --omit='{stores}' --fail-under=100" in clone.make("test")
    assert "--deselect=tests/core/" in rest
    everything = clone.make("test-all")
    own, other_map = [], []
    for line in everything.splitlines():
        (other_map if "PYTHONPATH=tests/support/missing" in line else own).append(line)
    assert [" HYPOTHESIS_PROFILE=daily " in line for line in other_map] == [True]
    assert [line for line in own if "HYPOTHESIS_PROFILE" in line] == []
    assert ".venv/bin/python -m tests.pythons --newest" in own
    suite = [args for line in own if (args := line.partition(" -m pytest ")[2]) and "slow" in args]
    assert suite == ["-n auto --dist worksteal -m 'not slow' --cov --cov-report=", "-n auto --dist worksteal -m slow"]
    for part in ("--fail-under=95", "TEST_FAST_LANE=0", "CHAT_BROKER_NO_FAST_LANE=1", "tests/browser", "tests/fuzz"):
        assert part in everything
    assert "tests.simulation --seeds 400 --jobs 2" in everything


@pytest.mark.parametrize("target", DEVELOPERS)
def test_the_other_targets_install_the_tools_too(clone: Clone, target: str) -> None:
    """Each target alone sets up a fresh clone."""
    done = clone.make(target)
    assert "-m venv .venv" in done
    assert done.count("'.[dev]'") == 1
    assert "installing what its tests and tools need" in done


@pytest.mark.parametrize("order", [("serve", "test"), ("test", "serve")])
def test_any_order_leads_to_both(clone: Clone, order: tuple[str, str]) -> None:
    """Installed requirements are not installed again; missing ones are added to the same environment."""
    done = [clone.make(target).splitlines() for target in (*order, *order)]
    installed = [[line.split()[-1] for line in lines if "pip install" in line] for lines in done]
    assert installed == ([["."], ["'.[dev]'"], [], []] if order[0] == "serve" else [["'.[dev]'"], [], [], []])
    assert [any("-m venv" in line for line in lines) for lines in done] == [True, False, False, False]


def test_other_versions_are_installed_by_whoever_is_next(clone: Clone) -> None:
    """Both targets notice changed requirements."""
    clone.make("test")
    (clone.root / "constraints.txt").touch()
    os.utime(clone.root / "constraints.txt", (2**33, 2**33))
    assert "--editable ." in clone.make("serve")
    assert "'.[dev]'" in clone.make("test")


def test_a_public_host_runs_what_must_pass() -> None:
    """The host's workflow runs `.ci/run`, an executable."""
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8"))
    assert {"run": ".ci/run"} in workflow["jobs"]["test"]["steps"]
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_no_host_is_named() -> None:
    """The Makefile names no package index; the choice belongs to the user."""
    assert "://" not in (ROOT / "Makefile").read_text("utf-8").replace("http://127.0.0.1:8000/mcp", "")
