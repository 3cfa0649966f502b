"""Times as people write them: `7d`, `12h`, `30m`, `90s`."""

from __future__ import annotations

import re

UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"([0-9]{1,9})([smhd])")


def parse_duration(text: str) -> int | None:
    """`text` in milliseconds; `None` if it is no duration, or none at all."""
    found = _DURATION.fullmatch(text)
    return (int(found[1]) * UNITS_MS[found[2]] or None) if found else None
