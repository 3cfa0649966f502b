"""`python -m tests.pythons [--newest]`: the daily suite on every other supported Python of this machine.

The tests of stores and of deployment are left out.

The supported Pythons are those of the classifiers in `pyproject.toml`. They are looked for on `PATH` and in pyenv. Each
gets an environment of its own under `.venvs`, with the versions of `constraints.txt`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
VENVS = Path(".venvs")
REQUIREMENTS = ("pyproject.toml", "constraints.txt")
CLASSIFIER = "Programming Language :: Python :: 3."
ELSEWHERE = ("tests/deploy", "tests/stores")
"""Tests of other programs' servers: these are the same under every Python."""

TESTS = ("-n", "auto", "--dist", "worksteal", "-m", "not slow", *(f"--ignore={folder}" for folder in ELSEWHERE))


def supported(root: Path) -> list[str]:
    """Return the supported Pythons, such as `3.11`."""
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    return [f"3.{one.removeprefix(CLASSIFIER)}" for one in project["classifiers"] if one.startswith(CLASSIFIER)]


def found(version: str) -> str | None:
    """Return the path of a working Python of `version`; `None` if this machine has none."""
    candidates = [shutil.which(f"python{version}")]
    if pyenv := shutil.which("pyenv"):
        root = subprocess.run([pyenv, "root"], capture_output=True, text=True, check=False).stdout.strip()
        candidates += map(str, sorted(Path(root).glob(f"versions/{version}.*/bin/python{version}"), reverse=True))
    return next((python for python in candidates if python is not None and _runs(python, version)), None)


def _runs(python: str, version: str) -> bool:
    """Return true if `python` runs and is of `version`; a shim of pyenv may lead to a disabled one."""
    says = "import sys, venv, ensurepip; print('{}.{}'.format(*sys.version_info))"
    done = subprocess.run([python, "-c", says], capture_output=True, text=True, check=False)
    return done.stdout.strip() == version


def installed(version: str, python: str, root: Path) -> str:
    """Return the Python of the environment of `version` below `root`, made or brought up to date where need be.

    Raises:
        subprocess.CalledProcessError: it can't be made, or a package can't be installed.
    """
    home = root / VENVS / version
    own, stamp = home / "bin" / "python", home / ".installed"
    newest_s = max((root / name).stat().st_mtime for name in REQUIREMENTS)
    if not stamp.exists() or stamp.stat().st_mtime < newest_s:
        print(f"Python {version}: installing what its tests need into {VENVS / version}", flush=True)
        subprocess.run([python, "-m", "venv", str(home)], check=True)
        pip = [str(own), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--constraint", "constraints.txt", "--editable", ".[dev]"], cwd=root, check=True)
        stamp.touch()
    return str(own)


def passes(version: str, python: str, root: Path) -> bool:
    """Run the daily suite on `python`, and return true if it passed."""
    print(f"Python {version}: {python}", flush=True)
    try:
        own = installed(version, python, root)
    except subprocess.CalledProcessError as error:
        print(f"Python {version}: {error}", flush=True)
        return False
    environment = {**os.environ, "HYPOTHESIS_PROFILE": "daily"}
    return subprocess.run([own, "-m", "pytest", *TESTS], cwd=root, env=environment, check=False).returncode == 0


def main(arguments: Sequence[str] = (), root: Path = ROOT) -> int:
    """Run the daily suite on each other Python, name the missing ones, and return 1 if one failed.

    With `--newest`, only the newest one is tried: a Python between two passing ones hardly ever fails.
    """
    this = "{}.{}".format(*sys.version_info)
    pythons = {version: found(version) for version in supported(root) if version != this}
    here = [version for version, python in pythons.items() if python is not None]
    tried = here[-1:] if "--newest" in arguments else here
    results = dict.fromkeys(pythons, "not on this machine, left out") | dict.fromkeys(here, "left to make test-pythons")
    for version in tried:
        results[version] = "passed" if passes(version, str(pythons[version]), root) else "failed"
    for version, result in results.items():
        print(f"Python {version}: {result}", flush=True)
    return int("failed" in results.values())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
