"""The web page of the MCP Inspector, another project's host of MCP Apps, in a browser tab."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
from playwright.sync_api import Browser, FrameLocator, Page, expect

from tests.support.limits import HUNG_SECONDS
from tests.support.process import free_port

MODULES = Path(__file__).parents[1] / "clients" / "node_modules"
LAUNCHER = MODULES / "@modelcontextprotocol/inspector/clients/launcher/build/index.js"
TOKEN = "for-this-test"
ELSEWHERE = re.compile(r"^https?://(?!127\.0\.0\.1[:/]|localhost[:/])")
"""Addresses of other machines; they are blocked, or the page would wait for its fonts."""


@contextmanager
def inspector(home: Path, url: str, era: str) -> Iterator[str]:
    """Run an Inspector of `era`, legacy or modern, for the broker at `url`; yield the address of its page."""
    assert LAUNCHER.exists(), "make test-browser installs the Inspector"
    settings = home / ".mcp-inspector"
    settings.mkdir()
    server = {"type": "streamable-http", "url": url, "protocolEra": era}
    (settings / "mcp.json").write_text(json.dumps({"mcpServers": {"deep-link": server}}), "utf-8")
    port = free_port()
    environment = {
        "HOST": "127.0.0.1",
        "CLIENT_PORT": str(port),
        "MCP_SANDBOX_PORT": str(free_port()),
        "MCP_AUTO_OPEN_ENABLED": "false",
        "MCP_INSPECTOR_API_TOKEN": TOKEN,
        "MCP_INSPECTOR_SECRET_STORE": "memory",
        "HOME": str(home),
    }
    process = subprocess.Popen(
        [MODULES / ".bin/node", LAUNCHER, "--web"],
        env=os.environ | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(process, f"http://127.0.0.1:{port}/")
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.wait(HUNG_SECONDS)


def _wait_for(process: subprocess.Popen[bytes], address: str) -> None:
    deadline = time.monotonic() + HUNG_SECONDS
    with httpx.Client(trust_env=False) as client:
        while True:
            try:
                client.get(address)
            except httpx.TransportError:
                assert process.poll() is None, "the Inspector has ended"
                assert time.monotonic() < deadline, "the Inspector does not start"
                time.sleep(0.05)  # another process's start has no event to wait for
            else:
                return


def open_app(
    browser: Browser, address: str, url: str, tool: str, arguments: dict[str, Any]
) -> tuple[Page, FrameLocator]:
    """Connect a tab of its own to the broker at `url`, and open `tool` with `arguments`; return tab and window."""
    page = browser.new_page(viewport={"width": 1_300, "height": 900})
    page.route(ELSEWHERE, lambda route: route.abort())
    given = base64.urlsafe_b64encode(json.dumps(arguments).encode()).decode().rstrip("=")
    query = {"serverUrl": url, "transport": "http", "autoConnect": TOKEN, "openApp": tool, "appArgs": given}
    page.goto(f"{address}?{urlencode(query)}")
    connection = page.get_by_test_id("connection-status")
    expect(connection).to_have_attribute("data-status", "connected", timeout=30_000)
    page.get_by_test_id("open-app").click()
    return page, page.frame_locator("iframe").first.frame_locator("iframe")
