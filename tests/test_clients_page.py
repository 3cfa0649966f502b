"""The page about clients names the pinned versions, and its configurations can be copied."""

from __future__ import annotations

import json
import re

from tests.support.pages import ROOT, Page

NO_CLIENTS = {"@modelcontextprotocol/ext-apps", "axe-core", "eventsource-parser"}
"""What the tests of clients and pages use beside clients: schemas, a checker of pages, a parser of event streams."""

PAGE = Page("docs/clients.md")
PACKAGE = ROOT / "tests" / "clients"


def versions_on_the_page() -> dict[str, str]:
    """Return the version of each tested client on the page."""
    rows = re.findall(r"^\| `([^`]+)`[^|]* \| (\S+) \| [^|]+ \| `[^`]+` \|$", PAGE.text, re.MULTILINE)
    return dict(rows)


def pinned_versions() -> dict[str, str]:
    """Return the pinned version of each client: npm's from the package, Python's from the constraints."""
    package = json.loads((PACKAGE / "package.json").read_text(encoding="utf-8"))
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    python = dict(line.split("==") for line in constraints)
    npm = {name: version for name, version in package["devDependencies"].items() if name not in NO_CLIENTS}
    return npm | {name: python[name] for name in ("mcp", "fastmcp")}


def test_the_page_names_each_client_with_its_pinned_version() -> None:
    """A newer client, or one more, changes the page too."""
    assert versions_on_the_page() == pinned_versions()


def test_the_inspector_is_the_one_that_is_tested() -> None:
    """Each command names the tested major version: with an older Node, npm would take one years older."""
    lock = json.loads((PACKAGE / "package-lock.json").read_text("utf-8"))
    inspector = lock["packages"]["node_modules/@modelcontextprotocol/inspector"]
    major = inspector["version"].partition(".")[0]
    assert set(re.findall(r"npx (?:-y )?@modelcontextprotocol/inspector(\S*?)[`\s]", PAGE.text)) == {f"@{major}"}
    minimum = inspector["engines"]["node"].removeprefix(">=").removesuffix(".0")
    assert f"Node {minimum} or later" in PAGE.text


def test_every_configuration_of_the_broker_is_json() -> None:
    """Each configuration is valid JSON and names this server."""
    blocks = re.findall(r"```json\n(.*?)```", PAGE.section("Connect a client"), re.DOTALL)
    assert blocks
    for block in blocks:
        assert "http://127.0.0.1:8000/mcp" in json.dumps(json.loads(block))
