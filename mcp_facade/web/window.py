"""The chat window inside a host, as the MCP Apps extension has it: a tool with a page, and the page as a resource.

https://github.com/modelcontextprotocol/ext-apps, specification/2026-01-26/apps.mdx (SEP-1865).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from functools import cache
from typing import Any

from mcp_types import Resource, TextResourceContents, Tool

from events.policy import MatchingName
from log_debugger.report.html import embedded
from mcp_facade.operator_notice import OperatorNotice
from mcp_facade.texts import WINDOW_DESCRIPTION
from mcp_facade.web.bundle import face

UI_EXTENSION = "io.modelcontextprotocol/ui"
WINDOW_TYPE = "text/html;profile=mcp-app"
WINDOW_TOOL = "open_chat"

_URI = re.compile(r"ui://chat-broker/chat-[^/?#]{1,64}\.html")
_META = {
    "ui": {
        "prefersBorder": True,
        "csp": {"connectDomains": [], "resourceDomains": [], "frameDomains": [], "baseUriDomains": []},
    }
}
"""The page needs nothing from any network. There is no `domain`: a host refuses one that it did not assign."""


class ChatWindow:
    """The window's page, under a URI that changes with it, since hosts keep a page by its URI."""

    def __init__(self, html: str) -> None:
        self.uri = f"ui://chat-broker/chat-{hashlib.sha256(html.encode()).hexdigest()[:8]}.html"
        self._html = html
        self.resource = Resource(
            uri=self.uri,
            name="chat-window",
            title="Chat window",
            description=WINDOW_DESCRIPTION,
            mime_type=WINDOW_TYPE,
            _meta=_META,
        )

    def contents(self, uri: str) -> TextResourceContents | None:
        """Return the page as `uri`; `None` if that never was a window's. A host may still hold an older URI."""
        if not _URI.fullmatch(uri):
            return None
        return TextResourceContents(uri=uri, mime_type=WINDOW_TYPE, text=self._html, _meta=_META)

    def offered_by(self, tools: Iterable[Tool]) -> list[Tool]:
        """Return `tools`, with the page in the metadata of the tool that opens it."""
        # Hosts older than the nested key read the flat one, and some still read no other.
        meta: dict[str, Any] = {"ui": {"resourceUri": self.uri}, "ui/resourceUri": self.uri}
        return [tool.model_copy(update={"meta": meta}) if tool.name == WINDOW_TOOL else tool for tool in tools]


@cache
def window_html(notice: OperatorNotice, matching: MatchingName) -> str:
    """Return the page of a broker with those settings: it shows them without a call, which a host may not pass on."""
    data = embedded({"matching": matching, **notice.fields()})
    return face("window.js", "window.html", "window.css", data=data).html
