"""Parts of an HTML page in one file, which loads nothing, and in which only its own script and style count."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable


def one_script(parts: Iterable[str]) -> str:
    """Return `parts` as one script, in the order of execution; they share a scope, in strict mode."""
    return "(() => {\n'use strict';\n" + "\n".join(parts) + "\n})();"


def policy_hash(text: str) -> str:
    """Return the hash by which a content security policy lets an inline script or style count."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
