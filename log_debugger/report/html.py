"""A report's page: one HTML file that loads nothing, and runs only its own script.

Typed texts are in one block of JSON. No text can end the block, and the script shows them as text, never as markup.
"""

from __future__ import annotations

from importlib.resources import files
from string import Template
from typing import Any

import msgspec

from log_debugger.one_page import one_script, policy_hash

SCRIPTS = (
    "text.js",
    "data.js",
    "filter_times.js",
    "filter_masks.js",
    "filter.js",
    "search.js",
    "store.js",
    "list.js",
    "scale.js",
    "lanes.js",
    "heatmap.js",
    "ruler.js",
    "marks.js",
    "refusals.js",
    "pinch.js",
    "timeline.js",
    "entities.js",
    "moment.js",
    "selection.js",
    "finder.js",
    "commits.js",
    "charts.js",
    "waiting.js",
    "throughput.js",
    "transport.js",
    "keys.js",
    "address.js",
    "main.js",
)
"""In the order of execution; they share one scope."""

_ESCAPES = {
    b"<": b"\\u003c",  # no `</script`, no `<!--`
    b">": b"\\u003e",
    b"&": b"\\u0026",
    "\u2028".encode(): b"\\u2028",  # line ends to some parsers
    "\u2029".encode(): b"\\u2029",
}


def embedded(data: Any) -> str:
    """Return `data` as JSON for a script element: the same data, without any markup."""
    raw = msgspec.json.encode(data)
    for plain, escaped in _ESCAPES.items():
        raw = raw.replace(plain, escaped)
    return raw.decode()


def page(data: Any) -> str:
    """Return the whole page for `data`, a result of `data.page_data`."""
    style = _part("page.css")
    script = one_script(_part(name) for name in SCRIPTS)
    # The hashes let these two texts run, and nothing else.
    return Template(_part("template.html")).substitute(
        style=style,
        style_hash=policy_hash(style),
        script=script,
        script_hash=policy_hash(script),
        data=embedded(data),
    )


def _part(name: str) -> str:
    return files("log_debugger.report").joinpath("page", name).read_text("utf-8")
