"""The flags of `serve` whose values are no limits, and the names of their variables."""

from __future__ import annotations

from collections.abc import Mapping

from broker.stores import LOG_URLS, MEMORY_URL

PREFIX = "CHAT_BROKER_"
NOT_SET = "none"

FLAGS: Mapping[str, tuple[str, str]] = {
    "host": ("127.0.0.1", "the address to listen on"),
    "port": ("8000", "the port to listen on; 0 takes a free one"),
    "workers": ("1", "how many processes serve the port, on Linux; more than one need a log that they can share"),
    "admin-port": (NOT_SET, "one more port, for /healthz, /readyz and /metrics alone; worker N takes the Nth after it"),
    "admin-host": ("127.0.0.1", "the address on which --admin-port listens"),
    "log": (MEMORY_URL, f"where the event log is: {LOG_URLS}"),
    "log-synchronous": (
        "full",
        "what a stored commit outlives: full, a loss of power; normal, a crash of the broker",
    ),
    "redact-after": (
        "never",
        "texts of closed rooms and names of idle people go from the log after so long: 7d, 12h, 30m or 90s",
    ),
    "matching": ("first-come", "who meets whom: first-come, interests, or your own, as package.module:function"),
    "log-format": ("console", "how log lines look: console or json"),
    "log-level": ("info", "what is logged: debug (every commit), info (every commit but messages), warning or error"),
    "deny-peers": (NOT_SET, "a file of addresses and networks whose requests are refused, read again when it changes"),
    "rules-url": (
        NOT_SET,
        "the address of a page with your rules, as in https://chat.example.com/rules; clients are told it",
    ),
    "operator-contact": (NOT_SET, "your mail address, or that of a page, as in abuse@example.com; clients are told it"),
}
SWITCHES: Mapping[str, str] = {
    "no-page": "leave out the page at / on which people chat in a browser",
    "no-fast-lane": "let the SDK answer every request by itself: slower, and the reference for what is answered",
    "log-peers": "let log lines of reports name the address from which the reported one last called",
}
LISTS: Mapping[str, str] = {
    "allow-host": (
        "a Host to accept besides this machine's names, as in chat.example.com; its pages may call; may be repeated"
    ),
    "allow-origin": "an Origin to accept, whose pages may call, as in https://page.example.com; may be repeated",
    "trust-proxy": (
        "an address or network of proxies whose X-Forwarded-For is believed, as in 10.0.0.0/8; may be repeated"
    ),
    "peer-exempt": "an address or network that many people share, without the limits of a peer; may be repeated",
}
EXPECTED: Mapping[str, str] = {
    "allow-host": "a name or an address, as in chat.example.com, 192.168.1.5 or [2001:db8::1], without https://",
    "allow-origin": "what a page's address begins with, as in https://page.example.com, and no path",
    "trust-proxy": "an address or a network, as in 127.0.0.1 or 10.0.0.0/8",
    "peer-exempt": "an address or a network, as in 192.0.2.7 or 10.0.0.0/8",
    "rules-url": "the address of a page, as in https://chat.example.com/rules, in at most 500 ASCII characters",
    "operator-contact": "a mail address or that of a page, as in abuse@example.com, in at most 500 ASCII characters",
}
"""The words for a valid value, where one can be invalid."""

WORKER_VARIABLE = f"{PREFIX}WORKER"
"""The number of a process among those of `--workers`, set for it by their supervisor."""


def field_of(flag: str) -> str:
    """Return the name of a flag in the parsed options."""
    return flag.replace("-", "_")


def variable_of(name: str) -> str:
    """Return the environment variable of a flag or a limit."""
    return PREFIX + field_of(name).upper()
