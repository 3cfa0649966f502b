"""The faults that no test notices, and why: `survivors.toml`, read with care by whoever changes it."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import msgspec

PATH = Path(__file__).with_name("survivors.toml")


class Listed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"inside": "in"}):
    """A fault, by what stays the same as lines move, and why it makes no difference."""

    file: str
    before: str
    after: str
    reason: str
    inside: str = ""

    @property
    def key(self) -> tuple[str, str, str, str]:
        """As `Mutant.key`."""
        return self.file, self.inside, self.before, self.after


def listed() -> list[Listed]:
    """All of them."""
    return msgspec.convert(tomllib.loads(PATH.read_text())["survivor"], list[Listed])


def suggestion(key: tuple[str, str, str, str]) -> str:
    """An entry for a fault that is not listed, without the reason."""
    file, inside, before, after = map(json.dumps, key)
    return f"[[survivor]]\nfile = {file}\nin = {inside}\nbefore = {before}\nafter = {after}\nreason = \n"
