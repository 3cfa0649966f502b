"""`python -m tests.settings_page` writes the tables of `docs/settings.md` from the code."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from broker.config import DEFAULTS, OFF_AT_0
from broker.flags import FLAGS, LISTS, SWITCHES, variable_of
from broker.limits import MEANINGS
from broker.metrics import Metrics
from projections.state import INITIAL_STATE

PAGE = Path(__file__).parents[1] / "docs" / "settings.md"
HAS_NO_PROC = not Path("/proc/self/stat").exists()
"""Then the metrics of the process are missing, and the page can't be written."""


def settings() -> Iterator[tuple[str, str, str]]:
    """Yield flag, default and meaning of each setting, in the order of `--help`."""
    for flag, (default, meaning) in FLAGS.items():
        yield flag, f"`{default}`", meaning
    for flag, meaning in SWITCHES.items():
        yield flag, "`0`", meaning
    for flag, meaning in LISTS.items():
        yield flag, "none", meaning
    for name, bound in DEFAULTS.items():
        off = "; 0 is off" if name in OFF_AT_0 and not re.search(r"\b0\b", MEANINGS[name]) else ""
        yield name.replace("_", "-"), f"`{bound}`", MEANINGS[name] + off


def metrics() -> Iterator[tuple[str, str, str]]:
    """Yield name, type and meaning of each metric, in the order of their names."""
    rendered = Metrics(lambda: INITIAL_STATE, lambda: 0).render().decode()
    meanings = dict(re.findall(r"^# HELP (\S+) (.*)$", rendered, re.MULTILINE))
    for name, kind in sorted(re.findall(r"^# TYPE (\S+) (\S+)$", rendered, re.MULTILINE)):
        if not name.endswith("_created"):
            yield name, kind, meanings[name].removesuffix(".")


def table(head: str, rows: Iterable[Iterable[str]]) -> str:
    """Return a table in Markdown."""
    lines = [head, "|" + " --- |" * (head.count("|") - 1), *("| " + " | ".join(row) + " |" for row in rows)]
    return "\n".join(lines)


def current(page: str) -> str:
    """Return `page` with the tables as they should be."""
    rows = ((f"`--{flag}`", f"`{variable_of(flag)}`", default, meaning) for flag, default, meaning in settings())
    page = _with(page, "settings", table("| flag | variable | default | what it is |", rows))
    named = ((f"`{name}`", kind, meaning) for name, kind, meaning in metrics())
    return _with(page, "metrics", table("| metric | type | what it is |", named))


def _with(page: str, name: str, generated: str) -> str:
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->\n"
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    assert rest
    assert after
    return f"{before}{begin}\n{generated}\n\n{end}{after}"


if __name__ == "__main__":
    assert not HAS_NO_PROC, "it needs Linux"
    PAGE.write_text(current(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
