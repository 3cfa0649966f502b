"""The page of the architecture agrees with the code: its files are there, and its table has every command."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from events.commands import Command
from events.events import Event
from tests.support.pages import ROOT, Page, names

PAGE = Page("docs/architecture.md")
FILE = re.compile(r"[\w./-]+\.(?:py|js|json|md|toml)|[\w.-]+/[\w./-]*/")
PACKAGES = [
    ROOT / folder
    for folder in (
        ".",
        "events",
        "projections",
        "broker",
        "log_debugger",
        "mcp_facade",
        "mcp_facade/web/assets",
        "chat_client",
    )
]
TO_COME = {"policy-N.json"}
"""A name that stands for files to come."""


def test_every_command_has_its_row() -> None:
    """The table has each command, and each event."""
    (rows,) = PAGE.tables("Commands and events")
    assert {names(command)[0] for command, _ in rows} == {kind.__name__ for kind in get_args(Command)}
    events = {name for _, cell in rows for name in names(cell)}
    assert events == {kind.__name__ for kind in get_args(Event)}


@pytest.mark.parametrize("title", ["Packages", "The path of a message", "What a change touches", "The faces"])
def test_every_file_is_there(title: str) -> None:
    """A file is named from the root, from a package, or from a folder of the one before it in its line."""
    for line in PAGE.section(title).splitlines():
        near = PACKAGES
        for name in names(line):
            if FILE.fullmatch(name) is None or name in TO_COME:
                continue
            found = [folder / name for folder in near if (folder / name).exists()]
            assert found, f"{name}, in: {line}"
            near = [folder for folder in found[0].parents if folder.is_relative_to(ROOT)] + PACKAGES
