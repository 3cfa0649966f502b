"""The address of a broker, as people write it."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from chat_client.errors import AddressError

LOCAL = "http://127.0.0.1:8000/mcp"
"""The endpoint of a broker on this machine that was started without settings."""


def endpoint(address: str) -> str:
    """Return the URL of the MCP endpoint at `address`.

    A missing scheme is `http` for this machine and for an IP address, else `https`. A missing path is `/mcp`.

    Raises:
        AddressError: it is no address of an HTTP endpoint.
    """
    text = address.strip()
    if _is_ip(text) and ":" in text:
        text = f"[{text}]"
    parts = _split(text if "://" in text else f"//{text}")
    if any(character.isspace() or not character.isprintable() for character in text) or not parts.hostname:
        raise AddressError("that is no address of a broker: write one as in chat.example.com or localhost:8000")
    scheme = parts.scheme or ("http" if _is_near(parts.hostname) else "https")
    if scheme not in ("http", "https"):
        raise AddressError("the address of a broker begins with http:// or https://")
    path = parts.path if parts.path not in ("", "/") else "/mcp"
    return parts._replace(scheme=scheme, path=path, fragment="").geturl()


def _split(text: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018 - reading it checks it
    except ValueError:
        raise AddressError("that is no address of a broker: its host or its port is wrong") from None
    return parts


def _is_near(host: str) -> bool:
    """Return whether `host` is this machine or an IP address: few of those have a certificate."""
    return host == "localhost" or host.endswith(".localhost") or _is_ip(host)


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
