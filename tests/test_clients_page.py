"""The page about clients names the versions that are pinned."""

from __future__ import annotations

import json
import re
from pathlib import Path

NO_CLIENTS = {"@modelcontextprotocol/ext-apps", "axe-core", "eventsource-parser"}
"""What the tests of clients and pages use beside clients: schemas, a checker of pages, a parser of event streams."""

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")


def versions_on_the_page() -> dict[str, str]:
    """Return the version that the page gives for each client that the tests run."""
    rows = re.findall(r"^\| `([^`]+)`[^|]* \| (\S+) \| [^|]+ \| `[^`]+` \|$", PAGE, re.MULTILINE)
    return dict(rows)


def pinned_versions() -> dict[str, str]:
    """Return the pinned version of each client: npm's from the package, Python's from the constraints."""
    package = json.loads((ROOT / "tests" / "clients" / "package.json").read_text(encoding="utf-8"))
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    python = dict(line.split("==") for line in constraints)
    npm = {name: version for name, version in package["devDependencies"].items() if name not in NO_CLIENTS}
    return npm | {name: python[name] for name in ("mcp", "fastmcp")}


def test_the_page_names_each_client_with_its_pinned_version() -> None:
    """A newer client, or one more, changes the page too."""
    assert versions_on_the_page() == pinned_versions()
