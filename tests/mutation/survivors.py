"""The faults that no test notices, and why: `survivors.toml`, read with care by whoever changes it."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import msgspec

PATH = Path(__file__).with_name("survivors.toml")


class Listed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"inside": "in"}):
    """A fault, by what stays the same as lines move."""

    file: str
    before: str
    after: str
    inside: str = ""

    @property
    def key(self) -> tuple[str, str, str, str]:
        """As `Mutant.key`."""
        return self.file, self.inside, self.before, self.after


class Survivors(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Faults that make no difference, for one and the same reason."""

    reason: str
    faults: list[Listed]


def by_reason() -> list[Survivors]:
    """All that are listed."""
    return msgspec.convert(tomllib.loads(PATH.read_text())["survivors"], list[Survivors])


def listed() -> list[Listed]:
    """All that are listed, whatever the reason."""
    return [fault for survivors in by_reason() for fault in survivors.faults]


def suggestion(key: tuple[str, str, str, str]) -> str:
    """A fault that is not listed, as it would stand below its reason."""
    file, inside, before, after = map(json.dumps, key)
    return f"    {{ file = {file}, in = {inside}, before = {before}, after = {after} }},"
