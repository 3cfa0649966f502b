"""The package as it is after an installation."""

from __future__ import annotations

import subprocess
import sys
import tomllib

from broker import testing
from tests.test_debugging_page import ROOT


def said_by(code: str) -> list[str]:
    """Return the lines that a Python process with `code` writes to standard error."""
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    return ran.stderr.splitlines()


def test_without_hypothesis_one_line_names_the_extra() -> None:
    """Without Hypothesis, the import of any module fails with one line naming the extra."""
    for module in ("broker.testing", "broker.testing.reference_model"):
        said = said_by(f"import sys; sys.modules['hypothesis'] = None; import {module}")
        needs = "broker.testing needs Hypothesis: install mcp-chat-broker with its extra 'testing'"
        assert said[-1] == f"ImportError: {needs}"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["optional-dependencies"]["testing"][0].startswith("hypothesis")


def test_a_broker_does_not_load_it() -> None:
    """Serving loads neither this package nor Hypothesis."""
    loaded = "[name for name in sys.modules if name.startswith(('broker.testing', 'hypothesis'))]"
    assert said_by(f"import sys, mcp_facade.main, mcp_facade.serve; sys.stderr.write(repr({loaded}))") == ["[]"]


def test_all_that_it_offers_is_there() -> None:
    """Every public name exists and has a docstring."""
    for name in testing.__all__:
        assert getattr(getattr(testing, name), "__doc__", None) or name == "CURRENT_ROOM"
