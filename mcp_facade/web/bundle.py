"""One self-contained HTML file of a face: its modules joined into one script, with a policy that lets nothing else run.

The assets are plain ES modules. The entry's imports are followed, and every module comes after those that it imports.
They share one scope, so a name may be declared once among them; imports and exports say nothing any more, and go.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.resources import files
from string import Template
from typing import NamedTuple

from log_debugger.one_page import one_script, policy_hash

_IMPORT = re.compile(r'^import\s+\{[^{}]*\}\s+from\s+"\./([\w-]+\.js)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|class|const)\b)", re.MULTILINE)
_DECLARED = re.compile(r"^(?:async )?(?:function\*?|class|const|let) +(\w+)", re.MULTILINE)
_COMMENT = re.compile(r"^ *(?://[^\n]*|/\*\*.*?\*/)\n", re.MULTILINE | re.DOTALL)
_INDENT = re.compile(r"^ +", re.MULTILINE)
_MODULE_SYNTAX = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)

Read = Callable[[str], str]


class Face(NamedTuple):
    """A face's HTML, and the policy that it states itself, for a header to repeat."""

    html: str
    policy: str


def face(entry: str, template: str, style: str, policy: str = "", data: str = "") -> Face:
    """Return the HTML of `template` with the modules of `entry` and with `style`.

    `policy` is a content security policy with `$script` and `$style` in the place of their hashes, `data` JSON without
    markup for a template with a place for it.
    """
    script = one_script(joined_modules(entry, read_asset))
    css = _stripped(read_asset(style))
    full_policy = Template(policy).substitute(script=policy_hash(script), style=policy_hash(css))
    # In a <meta>, frame-ancestors has no effect, and browsers complain of it.
    in_page = "; ".join(part for part in full_policy.split("; ") if not part.startswith("frame-ancestors"))
    html = Template(read_asset(template)).substitute(script=script, style=css, policy=in_page, data=data)
    return Face(html, full_policy)


def joined_modules(entry: str, read: Read) -> list[str]:
    """Return the sources of `entry` and of all that it imports, in the order of execution, without module syntax.

    Raises:
        ValueError: a name is declared twice, or a line imports or exports in a way that isn't understood here.
    """
    modules: dict[str, str] = {}
    _collect(entry, read, modules)
    declared: dict[str, str] = {}
    for name, source in modules.items():
        for found in _DECLARED.findall(source):
            if found in declared:
                raise ValueError(f"{found} is declared in {declared[found]} and in {name}")
            declared[found] = name
    return [_stripped(source) for source in modules.values()]


def read_asset(name: str) -> str:
    """Return the text of an asset."""
    return files("mcp_facade.web").joinpath("assets", name).read_text("utf-8")


def _collect(name: str, read: Read, modules: dict[str, str]) -> None:
    """Add `name` to `modules`, after what it imports."""
    source = read(name)
    for imported in _IMPORT.findall(source):
        if imported not in modules:
            _collect(imported, read, modules)
    plain = _EXPORT.sub("", _IMPORT.sub("", source))
    left = _MODULE_SYNTAX.search(plain)
    if left is not None:
        raise ValueError(f"{name} has module syntax that isn't understood: {left[0]}")
    modules[name] = plain


def _stripped(source: str) -> str:
    """Return `source` without comments of their own lines and without indentation."""
    return _INDENT.sub("", _COMMENT.sub("", source))
