"""Heads of hostile requests: methods, targets and header values; and bytes that are hardly HTTP."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.hostile.request import Request

HEADER_VALUES: dict[bytes, list[bytes]] = {
    b"accept": [
        b"*/*",
        b"application/json",
        b"text/event-stream",
        b"text/*, application/*",
        b"text/html;q=0.9, zqx",
        b"APPLICATION/JSON,text/event-stream;q=0.1",
        b"APPLICATION/JSON ; q=0,text/event-stream;q=zqx",
        b"application/json; q=0, text/event-stream",
        b"",
        b"nonsense",
        b"application/json;text/event-stream",
    ],
    b"content-type": [
        b"application/json; charset=utf-8",
        b"application/json;charset=latin-1",
        b"application/json; charset=utf-16; zqx",
        b"Application/JSON",
        b"application/jsonp",
        b"application/jsonzqx",
        b"application/json, text/plain",
        b"text/plain",
        b"\xff",
        b"",
    ],
    b"content-encoding": [b"gzip"],
    b"host": [
        *(b"localhost", b"127.0.0.1:80", b"evil.example", b"zqx.example", b"", b"localhost:x", b"[::1]:8000"),
        *(b"localhost:zqx@HANDLE@", b"zqx@SESSION@\x9b2J"),
    ],
    b"origin": [
        *(b"http://localhost", b"http://localhost:3000", b"https://localhost", b"null"),
        *(b"http://evil.example", b"https://zqx.example/@HANDLE@"),
    ],
    b"content-length": [b"0", b"-1", b"1_0", b"+5", b"x", b"99999999999", b"", b"5000000"],
    b"transfer-encoding": [b"chunked"],
    b"mcp-protocol-version": [
        *(b"2024-11-05", b"2025-03-26", b"2025-11-25", b"2026-07-28", b"1999-01-01", b"zqx", b"", b"\xff"),
    ],
    b"mcp-method": [b"tools/call", b"tools/list", b"subscriptions/listen", b"TOOLS/CALL", b"zqx\xff", b""],
    b"mcp-name": [
        *(b"get_status", b"send_message", b"enter_queue", b"nothing", b"", b"\xe9"),
        *(b"=?base64?!?=", b"=?base64?enF4?=", b"=?base64?enF?=", b"=?base64?/w==?="),
    ],
    b"mcp-session-id": [
        *(b"", b"0" * 32, b"\xff", b"not one", b"zqx", b"@DEAD@", b"@OTHER@", b"@SESSION@\xff"),
    ],
    b"mcp-param-x": [b"1"],
    b"mcp-param-zqx": [b"zqx"],
    b"last-event-id": [
        b"0.1.0",
        b"@EPOCH@.1.0",
        b"@EPOCH@.0.0",
        b"@EPOCH@.1.999999999999999",
        b"@EPOCH@.999999999999999.1",
        b"@EPOCH@.-1.0",
        b"@EPOCH@." + b"9" * 3_000 + b".0",
        b"@EPOCH@.\xb2.0",
        b"zqx.1.0",
        b"@EPOCH@.@CURSOR@.0",
        "@EPOCH@.١.0".encode(),
        b"",
    ],
    b"x-unknown": [b"\xff\x00", b"1"],
    b"zqx": [b"\x80\x9b\xff\xa0"],
    b"x-" + b"z" * 3_000: [b"zqx" * 1_000],
    b"expect": [b"100-continue", b"zqx"],
    b"connection": [b"close", b"upgrade, http2-settings"],
    b"upgrade": [b"websocket", b"h2c"],
    b"te": [b"trailers"],
    b"trailer": [b"zqx"],
    b"cookie": [b"zqx=@HANDLE@"],
    b"authorization": [b"Bearer zqx@HANDLE@"],
    b"x-forwarded-for": [b"zqx, 127.0.0.1"],
    b"x-forwarded-proto": [b"zqx"],
    b"forwarded": [b"for=zqx"],
    b"range": [b"bytes=0-1"],
    b"if-none-match": [b"*"],
}
"""Odd values, by the name of the header."""

METHODS = st.sampled_from(
    [*(b"PUT", b"PATCH", b"HEAD", b"OPTIONS", b"TRACE", b"CONNECT", b"PROPFIND", b"MKCOL", b"post")]
)

TARGETS = st.sampled_from(
    [
        b"/mcp?zqx=@HANDLE@&%ff",
        b"/mcp/",
        b"//mcp",
        b"/mcp%00",
        b"/%6dcp",
        b"/mcp;zqx",
        b"/mcp#zqx",
        b"/healthz",
        b"/readyz/../mcp",
        b"/metrics?zqx",
        b"/%ff%fe",
        b"/" + b"zqx/" * 2_000,
        b"http://localhost/mcp",
        b"http://zqx.example:99999/mcp",
        b"zqx://@HANDLE@/mcp",
        b"*",
        b"localhost:1",
        b"/zqx",
        b"/",
    ]
)

NO_HTTP = b"hello\r\n\r\n"
HARDLY_HTTP = st.one_of(
    st.binary(max_size=200),
    st.sampled_from(
        [
            NO_HTTP,
            b"\r\n\r\n",
            b"GET /mcp\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n",
            b"POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99999999999999999999999\r\n\r\n",
            b"POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
            b"POST /mcp HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked, zqx\r\n\r\n",
            b"POST /mcp HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nzqx\r\n",
            b"POST /mcp HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n",
            b"POST /mcp HTTP/1.1\nhost: localhost\n\n",
            b"GET /mcp HTTP/1.1\r\n folded: zqx\r\n\r\n",
            b"GET /mcp HTTP/1.1\r\nho st: zqx\r\n\r\n",
            b"GET /mcp HTTP/9.9\r\nhost: localhost\r\n\r\n",
            b"GET /mcp HTTP/1.1\r\nhost: localhost\r\nx: a\x00b\r\n\r\n",
            b"GET  /mcp  HTTP/1.1\r\nhost: localhost\r\n\r\n",
            b"GET /mcp HTTP/1.1\r\n" + b"x: " + b"zqx" * 40_000,
            b"GET /" + b"zqx" * 40_000,
            b"X" * 100_000,
        ]
    ),
).map(lambda raw: Request(b"", b"", (), raw=raw))
