"""The page at `/`: the requests that get it, and the permissions in its answer."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import re
from pathlib import Path

import pytest

from mcp_facade.web.bundle import joined_modules
from tests.facade.people import Crowd, crowd
from tests.facade.test_deny_peers import REFUSAL
from tests.facade.test_listening import printed
from tests.facade.test_starting import SlowLog
from tests.support.limits import HUNG_SECONDS
from tests.support.raw import HeaderLine, RawResponse, body_of, lines_of, raw
from tests.support.server import Running, serving

pytestmark = pytest.mark.anyio


async def asked(running: Running, *lines: HeaderLine, method: str = "GET", host: str = "localhost") -> RawResponse:
    """Return the answer to a request for the page."""
    return await raw(running.port, [("Host", host), *lines], start=f"{method} / HTTP/1.1")


def policy_of(response: RawResponse) -> dict[str, str]:
    """Return the directives of the policy in its header."""
    parts = response.headers["content-security-policy"].split("; ")
    return {name: value for name, _, value in (part.partition(" ") for part in parts)}


def inline(html: str, tag: str) -> str:
    """Return the hash of the one inline element `tag`, in the form of a policy."""
    (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


async def test_the_page_lets_nothing_run_but_itself(there: Crowd) -> None:
    """Its policy, in the header and in the page, names its own script and style, and its broker."""
    page = await asked(there.running)
    assert page.status == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert policy_of(page) == {
        "default-src": "'none'",
        "script-src": inline(page.text, "script"),
        "style-src": inline(page.text, "style"),
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    assert page.headers["content-security-policy"].replace("; frame-ancestors 'none'", "") in page.text
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["referrer-policy"] == "no-referrer"
    for forbidden in ("innerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "import("):
        assert forbidden not in page.text


async def test_a_browser_asks_whether_its_page_is_the_newest(there: Crowd) -> None:
    """The same version is not sent again; a `HEAD` tells the length and sends nothing."""
    page = await asked(there.running)
    assert page.headers["cache-control"] == "no-cache"
    tag = page.headers["etag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = await asked(there.running, ("If-None-Match", known))
        assert (again.status, again.text, again.headers["etag"]) == (304, "", tag)
    assert (await asked(there.running, ("If-None-Match", '"other"'))).text == page.text
    head = await asked(there.running, method="HEAD")
    assert (head.status, head.text) == (200, "")
    assert head.headers["content-length"] == str(len(page.text.encode()))


async def test_other_methods_are_refused(there: Crowd) -> None:
    """The refusal lists the allowed methods."""
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        refused = await asked(there.running, method=method)
        assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD")


async def test_the_page_can_be_left_out() -> None:
    """Without the page, there is nothing at `/`."""
    async with serving(page=False) as running:
        assert (await asked(running)).status == 404


@pytest.mark.parametrize(("host", "status"), [("evil.example", 421), ("localhost, evil.example", 421), ("", 421)])
async def test_the_page_is_refused_under_another_host(there: Crowd, host: str, status: int) -> None:
    """A call is refused there as well: a page of another name could have bound that name to this address."""
    refused = await asked(there.running, host=host)
    assert refused.status == status
    assert "--allow-host" in refused.text
    assert (await raw(there.running.port, [], start="GET / HTTP/1.1")).status == 400


@pytest.mark.parametrize(
    ("allowed", "host", "origin"),
    [
        ("chat.example.com", "chat.example.com", "https://chat.example.com"),
        ("chat.example.com", "chat.example.com:8443", "https://chat.example.com:8443"),
        ("chat.example.com:443", "chat.example.com", "https://chat.example.com"),
        ("chat.example.com:80", "chat.example.com", "https://chat.example.com"),
        ("chat.example.com:443", "chat.example.com", "http://chat.example.com"),
        ("192.168.1.5", "192.168.1.5:8000", "http://192.168.1.5:8000"),
        ("[2001:db8::1]:80", "[2001:db8::1]", "https://[2001:DB8::1]"),
    ],
)
async def test_the_page_may_call_wherever_it_is_served(allowed: str, host: str, origin: str) -> None:
    """Behind a proxy with TLS, too, `--allow-host` alone lets the page in, and its calls."""
    async with serving(allow_hosts=(allowed,)) as running, crowd(running) as there:
        assert (await asked(running, host=host)).status == 200
        ann = await there.modern()
        called = await raw(running.port, [("Host", host), ("Origin", origin), *lines_of(ann)], body_of(ann))
        assert called.status == 200


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("chat.example.com", "https://chat.example.com:8443"),
        ("chat.example.com", "https://evil.example"),
        ("chat.example.com", "ftp://chat.example.com"),
        ("chat.example.com", "null"),
    ],
)
async def test_a_page_of_another_origin_may_not_call(host: str, origin: str) -> None:
    """Another port is another origin where the allowed host has its own."""
    async with serving(allow_hosts=("chat.example.com:443",)) as running, crowd(running) as there:
        ann = await there.modern()
        called = await raw(running.port, [("Host", host), ("Origin", origin), *lines_of(ann)], body_of(ann))
        assert called.status == 403


async def test_a_denied_peer_gets_no_page(tmp_path: Path) -> None:
    """A denied peer gets no answer to a call, either."""
    denied = tmp_path / "denied.txt"
    denied.write_text("127.0.0.1\n")
    async with serving(deny_peers=denied) as running:
        refused = await asked(running)
        assert refused.status == 403
        assert REFUSAL in refused.text


async def test_the_page_does_not_wait_for_the_log() -> None:
    """The page is there while the log is folded, and says itself that the broker can't be reached yet."""
    log = SlowLog()
    async with serving(log=log, folded=False) as running:
        async with asyncio.timeout(HUNG_SECONDS):
            assert (await asked(running)).status == 200
        log.gate.set()


@pytest.mark.slow
async def test_the_start_says_where_the_page_is() -> None:
    """The line is left out without a page."""
    async with printed() as line:
        assert line["page"] == str(line["url"]).removesuffix("mcp")
    async with printed("--no-page") as line:
        assert "page" not in line


async def test_a_refused_page_is_logged(there: Crowd, log_text: io.StringIO) -> None:
    """The line names the setting that would allow it."""
    await asked(there.running, host="evil.example")
    events = [line["event"] for line in map(json.loads, log_text.getvalue().splitlines())]
    assert "host_refused" in events


MODULES = {
    "main.js": 'import { twice } from "./twice.js";\nimport { ONE } from "./one.js";\n\n// says it\ntwice(ONE);\n',
    "twice.js": 'import { ONE } from "./one.js";\n\nexport function twice(n) {\n  return ONE + n;\n}\n',
    "one.js": "/** The first. */\nexport const ONE = 1;\n",
}


def test_modules_are_joined_after_what_they_import() -> None:
    """Each is there once, without its imports, exports, comments and indentation."""
    joined = [source.strip() for source in joined_modules("main.js", MODULES.__getitem__)]
    assert joined == ["const ONE = 1;", "function twice(n) {\nreturn ONE + n;\n}", "twice(ONE);"]


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ('import { ONE } from "./one.js";\nconst ONE = 2;\n', "ONE is declared in one.js and in main.js"),
        ('import * as one from "./one.js";\n', "module syntax"),
        ("export default 1;\n", "module syntax"),
    ],
)
def test_modules_that_can_not_be_joined_are_refused(source: str, why: str) -> None:
    """The error comes before a browser's."""
    with pytest.raises(ValueError, match=why):
        joined_modules("main.js", (MODULES | {"main.js": source}).__getitem__)
