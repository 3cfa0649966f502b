"""The checks of a log's URL: what the client library would report late, for ever, or in its own words."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import parse_qsl, unquote

TARGETS = ("any", "primary", "standby", "prefer-standby", "read-write", "read-only")
"""Values of `target_session_attrs`."""

PORT_MAX = 65_535

_PLACE = re.compile(r"(?P<host>\[[^\]]+\]|[^:\[\]]+)(?::(?P<port>.*))?", re.DOTALL)


def parameters_of(query: str) -> Mapping[str, str]:
    """Return the parameters of a URL; the last counts of those that are repeated.

    Raises:
        ValueError: one has no value.
    """
    try:
        return dict(parse_qsl(query, keep_blank_values=True, strict_parsing=True)) if query else {}
    except ValueError:
        raise ValueError("a parameter has the form name=value") from None


def check_places(netloc: str, parameters: Mapping[str, str]) -> None:
    """Check users, hosts and ports, of `netloc` and of the parameters that stand for them.

    Raises:
        ValueError: one of them is malformed, and which.
    """
    if netloc.count("@") > 1:
        raise ValueError("write an @ in the user or the password as %40")
    hosts = netloc.rpartition("@")[2]
    if hosts:
        _check_hosts([unquote(place) for place in hosts.split(",")])
    if parameters.get("host"):
        _check_hosts(parameters["host"].split(","))
    if parameters.get("port"):
        for port in parameters["port"].split(","):
            _check_port(port)


def _check_hosts(places: Sequence[str]) -> None:
    for place in places:
        if place.startswith("/"):  # the directory of a socket
            continue
        found = _PLACE.fullmatch(place)
        if found is None:
            raise ValueError(f"{place!r} is no host and port")
        if found["port"] is not None:
            _check_port(found["port"])
        try:
            found["host"].encode("idna")
        except UnicodeError:
            raise ValueError(f"{found['host']!r} is no host's name") from None


def _check_port(port: str) -> None:
    if not (port.isascii() and port.isdigit() and 0 < int(port) <= PORT_MAX):
        # Not with its text: a password without its @ stands there.
        raise ValueError(f"it has a port that is none; a port is a number from 1 to {PORT_MAX}")


def check_target(parameters: Mapping[str, str]) -> None:
    """Check the parameter `target_session_attrs`.

    Raises:
        ValueError: its value is unknown.
    """
    target = parameters.get("target_session_attrs", TARGETS[0])
    if target not in TARGETS:
        raise ValueError(f"target_session_attrs is one of {', '.join(TARGETS)}, not {target!r}")


def check_files(parameters: Mapping[str, str]) -> None:
    """Check that the named files for TLS are there, and hold what they should.

    Raises:
        ValueError: one can't be used, and which.
    """
    for name in ("sslrootcert", "sslcrl", "sslcert", "sslkey"):
        if name in parameters:
            _check_readable(name, parameters[name])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for name in ("sslrootcert", "sslcrl", "sslcert"):
        if name in parameters:
            try:
                context.load_verify_locations(cafile=parameters[name])
            except OSError:
                raise ValueError(f"the file {parameters[name]!r} holds nothing for {name}") from None
    if "sslcert" in parameters:
        key = parameters.get("sslkey", _default_key())
        try:
            context.load_cert_chain(parameters["sslcert"], key, password=lambda: parameters.get("sslpassword", ""))
        except OSError:
            raise ValueError(
                f"the certificate {parameters['sslcert']!r} has no key: check sslkey and sslpassword"
            ) from None


def _default_key() -> Path | None:
    """Return the key that the client library takes if none is named; `None` if there is none."""
    try:
        key = Path.home() / ".postgresql" / "postgresql.key"
    except RuntimeError:  # this user has no home
        return None
    return key if key.exists() else None


def _check_readable(name: str, path: str) -> None:
    try:
        with Path(path).open("rb") as file:
            file.read(1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no path"
        raise ValueError(f"the file {path!r} of {name} can't be read: {reason}") from None
