"""The checks of a server before a log in it is used, and its promise for an acknowledged commit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from events.log import LogUnavailableError, UnusableLogError
from events.postgresql.errors import POOLER
from events.postgresql.link import Connection

Synchronous = Literal["full", "normal"]

VERSION_MIN = 15

STANDBY = "the server is a standby, which can't be written; name the primary, or add target_session_attrs=read-write"

ASYNCHRONOUS = ("off", "local", "remote_write")
"""Values of `synchronous_commit` that promise less than `on`."""

_NAMES = (
    "fsync",
    "full_page_writes",
    "server_encoding",
    "server_version",
    "server_version_num",
    "synchronous_commit",
    "synchronous_standby_names",
)


class Verdict(NamedTuple):
    """What holds of a log in a server that is accepted."""

    survives: str
    """What an acknowledged commit survives, in words for an operator."""
    is_reduced: bool = False
    """Whether `full` would have refused that, or set it right."""


async def check_server(connection: Connection, synchronous: Synchronous) -> Verdict:
    """Judge the server's settings.

    Raises:
        UnusableLogError: the server can't hold a log, or not as safely as `full` demands.
        LogUnavailableError: it is a standby for now.
    """
    settings: Mapping[str, str] = dict(
        await connection.fetch("SELECT name, setting FROM pg_settings WHERE name = ANY($1)", list(_NAMES))
    )
    fault = await _fault(connection, settings)
    if fault is not None:
        raise UnusableLogError(fault)
    weak = [f"{name} = off" for name in ("fsync", "full_page_writes") if settings[name] == "off"]
    if weak and synchronous == "full":
        raise UnusableLogError(
            f"the server has {' and '.join(weak)}, so a crash of its machine may destroy the log;"
            " turn it on, or accept that with --log-synchronous normal"
        )
    return _survives(settings, weak, synchronous)


async def _fault(connection: Connection, settings: Mapping[str, str]) -> str | None:
    """Return what rules the server out, and the remedy.

    Raises:
        LogUnavailableError: it is a standby for now.
    """
    if int(settings["server_version_num"]) < VERSION_MIN * 10_000:
        return f"the server is PostgreSQL {settings['server_version']}; {VERSION_MIN} is the least version"
    if await connection.fetchval("SELECT pg_backend_pid()") != connection.get_server_pid():
        return POOLER
    if await connection.fetchval("SELECT pg_is_in_recovery()"):  # it may be promoted
        raise LogUnavailableError(STANDBY)
    if settings["server_encoding"] != "UTF8":
        return f"the database has the encoding {settings['server_encoding']}; create one with ENCODING 'UTF8'"
    return None


def _survives(settings: Mapping[str, str], weak: list[str], synchronous: Synchronous) -> Verdict:
    mode, standbys = settings["synchronous_commit"], settings["synchronous_standby_names"]
    if weak:
        return Verdict(
            f"a crash of the server process; a power failure may destroy the log ({', '.join(weak)})", is_reduced=True
        )
    if synchronous == "normal" and mode == "off":
        lost = "nothing for its first moments: a crash of the server may take those (synchronous_commit = off)"
        return Verdict(lost, is_reduced=True)
    if not standbys:
        return Verdict("a crash and a power failure, but not the loss of the server's disk: no standby is synchronous")
    if synchronous == "normal" and mode in ASYNCHRONOUS:
        lost = f"a crash and a power failure; a failover may take the last moments (synchronous_commit = {mode})"
        return Verdict(lost, is_reduced=True)
    return Verdict(f"a crash, a power failure and a failover to a synchronous standby ({standbys})")


async def wait_for_disk(connection: Connection) -> None:
    """Let each commit of this session wait until it is durable, whatever the default of the server or the role.

    A default that promises more stays, as `remote_apply` does. The session keeps it when the default is changed later.
    """
    await connection.execute(
        "SELECT set_config('synchronous_commit', CASE WHEN mode = ANY($1) THEN 'on' ELSE mode END, false)"
        " FROM current_setting('synchronous_commit') AS mode",
        list(ASYNCHRONOUS),
    )
