"""The page and the endpoint behind nginx, with the configuration of docs/operating.md."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.brokers import broker_process
from tests.browser.chat_tab import ChatTab
from tests.browser.stranger import Stranger
from tests.support.certificates import certify
from tests.support.limits import HUNG_SECONDS
from tests.support.pages import Page
from tests.support.process import free_port

PAGE = Page("docs/operating.md")

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin")

WHOLE = """
daemon off; pid {folder}/nginx.pid; error_log stderr error;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{
    listen 127.0.0.1:{port} ssl{http2};
    ssl_certificate {folder}/certificate.pem; ssl_certificate_key {folder}/key.pem;
{documented}
  }}
}}
"""
"""The part left to the reader of the page; every nginx knows this older form of `http2 on`."""

pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")


@pytest.mark.parametrize("http2", ["", " http2"], ids=["http1", "http2"])
def test_people_talk_through_the_documented_proxy(browser: Browser, tmp_path: Path, http2: str) -> None:
    """Pages served by nginx over TLS talk with each other's tabs and with a client beside it, live."""
    served = ("--trust-proxy", "127.0.0.1", "--peer-exempt", "127.0.0.1")  # all of them call from this machine
    with broker_process(*served) as broker, proxy(tmp_path, broker.port, http2) as url:
        ann = ChatTab(browser.new_context(ignore_https_errors=True), url)
        bob = ChatTab(browser.new_context(ignore_https_errors=True), url)
        ann.find("Ann")
        expect(ann.status).to_contain_text("You are the next.")
        bob.find("Bob")
        ann.expect_to_talk_with("Bob")
        ann.say("hello through the proxy")
        bob.expect_lines("stranger", "hello through the proxy")
        bob.say("and back")
        ann.expect_lines("stranger", "and back")
        protocol = ann.page.evaluate("performance.getEntriesByType('navigation')[0].nextHopProtocol")
        assert protocol == ("h2" if http2 else "http/1.1")
        with Stranger(broker.url) as beside:
            bob.button("Next").click()
            bob.button("Next").click()
            expect(bob.status).to_contain_text("You are the next.")
            beside.enter()
            bob.expect_to_talk_with("Sam")
            beside.say("no proxy here")
            bob.expect_lines("stranger", "no proxy here")
        for tab in (ann, bob):
            assert tab.complaints == []
            tab.context.close()


@contextmanager
def proxy(folder: Path, broker_port: int, http2: str) -> Iterator[str]:
    """Run nginx with the page's block, before the broker at that port; yield its address."""
    documented = PAGE.block("nginx").replace("http://127.0.0.1:8000;", f"http://127.0.0.1:{broker_port};")
    port = free_port()
    certify(folder)
    config = folder / "nginx.conf"
    config.write_text(WHOLE.format(folder=folder, port=port, http2=http2, documented=documented))
    assert NGINX is not None
    process = subprocess.Popen([NGINX, "-p", str(folder), "-c", str(config)], stderr=subprocess.PIPE)
    try:
        _wait_until_it_listens(port, process)
        yield f"https://localhost:{port}/"
    finally:
        process.terminate()
        process.communicate()


def _wait_until_it_listens(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + HUNG_SECONDS
    while True:
        assert process.poll() is None, process.communicate()[1].decode()
        assert time.monotonic() < deadline, "nginx does not start"
        with closing(socket.socket()) as trying:
            if trying.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)  # another process's start has no event to wait for
