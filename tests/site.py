"""`python -m tests.site` builds `docs/` as a site in `site/`, and fails at a broken link.

A link out of `docs/`, to the code, has no page on the site, so it is written as a path.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
COPY = ROOT / "build" / "docs"
"""The pages as they are built, as `zensical.toml` names the folder."""

LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s]+)\)")


def for_the_site(text: str, folder: PurePosixPath) -> str:
    """Return a page of `folder` (below `docs`) with each link out of `docs` as its text and a path from the root."""

    def written(link: re.Match[str]) -> str:
        path = _outside(link[2], folder)
        if path is None:
            return link[0]
        return f"`{path}`" if link[1].strip("`") == path else f"{link[1]} (`{path}`)"

    return LINK.sub(written, text)


def _outside(target: str, folder: PurePosixPath) -> str | None:
    """Return the path of `target` from the root; `None` if it is on the site or elsewhere."""
    if "://" in target or target.startswith("#"):
        return None
    parts: list[str] = ["docs", *folder.parts]
    for part in PurePosixPath(target.partition("#")[0]).parts:
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return None if parts[:1] == ["docs"] else "/".join(parts)


def main() -> int:
    """Copy the pages and build the site; return the exit status."""
    shutil.rmtree(COPY, ignore_errors=True)
    shutil.copytree(DOCS, COPY)
    for page in COPY.rglob("*.md"):
        folder = PurePosixPath(page.parent.relative_to(COPY).as_posix())
        page.write_text(for_the_site(page.read_text(encoding="utf-8"), folder), encoding="utf-8")
    zensical = Path(sys.executable).parent / "zensical"
    return subprocess.run([zensical, "build", "--strict", "--clean"], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
