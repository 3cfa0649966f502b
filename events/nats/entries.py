"""Entries of the log: the messages of its stream, with stand-ins at the positions of erased ones.

The last position is asked of the stream's leader. A page comes from any replica, so its gaps are asked for again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from nats.aio.client import Client as Nats
from nats.js.errors import APIError, NotFoundError

from events.codec import UnreadableCommitError, decode_commit
from events.commit import EMPTY_TIP, Commit, Tip
from events.ids import CommitId, Position
from events.known_commits import KnownCommits
from events.nats import meta
from events.nats.client import retrieve
from events.nats.errors import NO_LEADER, NO_STREAM, LogGoneError, damaged
from events.nats.layout import COMMIT_HEADER, Layout
from events.nats.requests import PAGE_BYTES, api, page, stored

STAND_INS_AT_ONCE = 200


class Entry(NamedTuple):
    """A commit as it is stored."""

    position: Position
    commit_id: CommitId
    line: bytes
    is_stand_in: bool = False
    """Whether it stands in for an erased message."""

    @property
    def tip(self) -> Tip:
        """The tip of a log with this entry at its end."""
        return Tip(self.position, self.commit_id)


class Page(NamedTuple):
    """Consecutive entries."""

    entries: Sequence[Entry]
    last: Position
    """The log's last position."""
    base: Tip | None = None
    """The base, if it was looked at: the entries begin after it then, at the least."""


def entry_of(position: Position, headers: Mapping[str, str] | None, line: bytes, *, is_stand_in: bool = False) -> Entry:
    """Return the entry of a message.

    Raises:
        UnusableLogError: it is no commit.
    """
    commit_id = (headers or {}).get(COMMIT_HEADER)
    if commit_id is None:
        raise damaged(f"the log's message at position {position} is no commit")
    return Entry(position, CommitId(commit_id), line, is_stand_in)


def commit_of(entry: Entry) -> Commit:
    """Return the commit of an entry.

    Raises:
        UnusableLogError: it is damaged, or newer than this program.
        BrokenChainError: it is of an older schema, and was altered.
    """
    try:
        return decode_commit(entry.line)
    except UnreadableCommitError as error:
        raise damaged(f"the log's commit at position {entry.position} can't be read ({error})") from error


def commits_known(known: KnownCommits, entries: Sequence[Entry]) -> list[Commit]:
    """Return the commits of entries, undecoded if `known` has them, and add all to it. Raises as `commit_of`."""
    commits = [
        (not entry.is_stand_in and known.find(entry.position, entry.commit_id)) or commit_of(entry) for entry in entries
    ]
    known.add(commits)
    return commits


async def last_position(nats: Nats, layout: Layout) -> Position:
    """Return the log's last position.

    Raises:
        LogGoneError: there is no log.
        APIError: it has no leader now.
    """
    try:
        answer = await api(nats, f"STREAM.INFO.{layout.log_stream}")
    except NotFoundError as error:
        raise (LogGoneError() if error.err_code == NO_STREAM else error) from error
    if "cluster" in answer and not answer["cluster"].get("leader"):
        # Any server answers then, with what it has: commits may be missing there.
        raise APIError(code=503, err_code=NO_LEADER, description=f"the stream {layout.log_stream} has no leader now")
    last: Position = answer["state"]["last_seq"]
    return last


async def tip(nats: Nats, layout: Layout) -> Tip:
    """Return the last commit's tip.

    Raises:
        LogGoneError: there is no log.
        UnusableLogError: the last commit is missing.
    """
    last = await last_position(nats, layout)
    if last == 0:
        return EMPTY_TIP
    if (entry := await _entry_at(nats, layout, last)) is not None:
        return entry.tip
    base = await meta.base(nats, layout)
    if base.position < last:
        raise _missing(last)
    return base


async def read_page(nats: Nats, layout: Layout, after: Position, limit: int) -> Page:
    """Return the next entries after `after`, up to `limit`; from the base on, if the first of them are trimmed.

    Raises:
        LogGoneError: there is no log.
        UnusableLogError: one of them is missing.
    """
    finding = asyncio.ensure_future(_find(nats, layout, after, limit))
    finding.add_done_callback(retrieve)
    try:
        last = await last_position(nats, layout)
        found = await finding
    finally:
        finding.cancel()
    end = min(max(last, *found, 0), after + limit)
    missing = [position for position in range(after + 1, end + 1) if position not in found]
    base = None
    if missing:
        base = await meta.base(nats, layout)
        if base.position > after:
            return (await read_page(nats, layout, base.position, limit))._replace(base=base)
        found |= await _stand_ins(nats, layout, missing)
    return Page([found[position] for position in range(after + 1, end + 1)], max(last, end), base)


async def _find(nats: Nats, layout: Layout, after: Position, limit: int) -> dict[Position, Entry]:
    """Return the messages after `after` up to `after + limit`, as far as a replica has them."""
    found: dict[Position, Entry] = {}
    end = after + limit
    while after < end:
        request = {"seq": after + 1, "batch": end - after, "max_bytes": PAGE_BYTES}
        messages = await page(nats, layout.log_stream, request)
        if not messages:
            break
        for message in messages:
            headers = message.headers or {}
            after = int(headers["Nats-Sequence"])
            if after <= end:
                found[after] = entry_of(after, headers, message.data)
        if headers["Nats-Num-Pending"] == "0":
            break
    return found


async def _stand_ins(nats: Nats, layout: Layout, missing: Sequence[Position]) -> dict[Position, Entry]:
    """Return the entries for the gaps of a page."""
    found: dict[Position, Entry] = {}
    for start in range(0, len(missing), STAND_INS_AT_ONCE):
        positions = missing[start : start + STAND_INS_AT_ONCE]
        subjects = [layout.stand_in_subject(position) for position in positions]
        for message in await page(
            nats, f"KV_{layout.redacted_bucket}", {"multi_last": subjects, "max_bytes": PAGE_BYTES}
        ):
            headers = message.headers or {}
            position = int(headers["Nats-Subject"].rpartition(".")[2])
            found[position] = entry_of(position, headers, message.data, is_stand_in=True)
    for position in missing:
        if position not in found:  # a replica was behind
            entry = await _entry_at(nats, layout, position)
            if entry is None:
                raise _missing(position)
            found[position] = entry
    return found


async def _entry_at(nats: Nats, layout: Layout, position: Position) -> Entry | None:
    """Return the entry at `position`, as the leaders know it; `None` if there is none."""
    found = await stored(nats, layout.log_stream, {"seq": position})
    if found is not None:
        return entry_of(position, found.headers, found.data)
    subject = layout.stand_in_subject(position)
    found = await stored(nats, f"KV_{layout.redacted_bucket}", {"last_by_subj": subject})
    return entry_of(position, found.headers, found.data, is_stand_in=True) if found is not None else None


def _missing(position: Position) -> Exception:
    return damaged(f"the log's commit at position {position} is missing")
