"""Randomness as a value, as time is: whoever draws is given the source, so that a run can be repeated."""

from __future__ import annotations

import secrets
from collections.abc import Callable

RandomBytes = Callable[[int], bytes]
"""So many bytes that nobody can guess."""

SYSTEM_ENTROPY: RandomBytes = secrets.token_bytes
"""The machine's own."""
