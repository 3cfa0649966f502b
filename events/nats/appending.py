"""Appends: one message, or an atomic batch, with a demand on the last sequence and on the last commit's subject.

Reading tells why an append was refused: it had landed already, another was before, or the log has lost its past. An
append without an answer is repeated by its caller, and leads to the same reading.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from nats.aio.client import Client as Nats
from nats.errors import NoRespondersError
from nats.js.errors import APIError

from events.codec import encode_commit
from events.commit import EMPTY_TIP, Commit, Tip
from events.ids import CommitId, Position
from events.log import MISSED_COMMITS_MAX, LogRolledBackError, LogUnavailableError
from events.nats.entries import Entry, read_page, tip
from events.nats.layout import COMMIT_HEADER, Layout
from events.nats.requests import (
    EXPECTED_SEQUENCE,
    EXPECTED_STREAM,
    EXPECTED_SUBJECT,
    EXPECTED_SUBJECT_SEQUENCE,
    WRONG_SEQUENCE,
    Draft,
    publish_batch,
)

TRIES = 5
"""The tries of an append after the last commit, if it is refused nevertheless."""


class Late(NamedTuple):
    """Another append was before; the next entries after the expected tip."""

    missed: Sequence[Entry]


class _AtTip(NamedTuple):
    """The expected tip is the last commit."""

    is_erased: bool
    """Whether its message is gone, so that a server can't compare its subject."""


async def append(nats: Nats, layout: Layout, commits: Sequence[Commit], expected: Tip) -> Tip | Late:
    """Store `commits` after `expected`; see `EventLog.append`.

    Raises:
        LogGoneError: there is no log.
        LogRolledBackError: the log has lost `expected`.
    """
    is_erased = expected == EMPTY_TIP
    for _ in range(TRIES):
        if commits and await _publish(nats, layout, commits, expected, is_erased=is_erased):
            return commits[-1].tip
        found = await _look(nats, layout, commits, expected)
        if not isinstance(found, _AtTip):
            return found
        if not commits:
            return expected
        is_erased = found.is_erased
    raise LogUnavailableError("NATS refuses an append again and again, though none was before")


async def _publish(nats: Nats, layout: Layout, commits: Sequence[Commit], expected: Tip, *, is_erased: bool) -> bool:
    """Publish `commits`; return whether they were stored."""
    demands = _demands(layout, expected, is_erased=is_erased)
    drafts = [
        Draft(layout.log_subject(commit.commit_id), encode_commit(commit), {COMMIT_HEADER: commit.commit_id})
        for commit in commits
    ]
    drafts[0] = drafts[0]._replace(headers={**drafts[0].headers, **demands})
    try:
        await publish_batch(nats, drafts)
    except NoRespondersError:
        return False  # reading tells if the stream is gone
    except APIError as error:
        if error.err_code in WRONG_SEQUENCE:
            return False
        raise
    return True


def _demands(layout: Layout, expected: Tip, *, is_erased: bool) -> Mapping[str, str]:
    position = str(expected.position)
    demands = {EXPECTED_STREAM: layout.log_stream, EXPECTED_SEQUENCE: position}
    if is_erased:
        return demands
    subject = layout.log_subject(expected.commit_id)
    return {**demands, EXPECTED_SUBJECT_SEQUENCE: position, EXPECTED_SUBJECT: subject}


async def _look(nats: Nats, layout: Layout, commits: Sequence[Commit], expected: Tip) -> Tip | Late | _AtTip:
    """Return why an append was refused; the log's tip, if it had landed.

    Raises: see `append`.
    """
    before = max(expected.position - 1, 0)
    entries, last, base = await read_page(nats, layout, before, max(MISSED_COMMITS_MAX, len(commits)) + 1)
    ids: dict[Position, CommitId] = {0: EMPTY_TIP.commit_id} | {entry.position: entry.commit_id for entry in entries}
    if base is not None:
        ids[base.position] = base.commit_id
        if expected.position < base.position:
            return Late(())
    if ids.get(expected.position) != expected.commit_id:
        raise _rolled_back(await tip(nats, layout), expected)
    if commits and all(ids.get(commit.position) == commit.commit_id for commit in commits):
        return await tip(nats, layout)
    if expected.position == last:
        is_erased = not entries or entries[0].is_stand_in
        return _AtTip(is_erased)
    missed = [entry for entry in entries if entry.position > expected.position]
    return Late(missed[:MISSED_COMMITS_MAX])


def _rolled_back(found: Tip, expected: Tip) -> LogRolledBackError:
    return LogRolledBackError(
        f"the log was rolled back: it ends at position {found.position} with commit {found.commit_id or 'none'},"
        f" and lacks commit {expected.commit_id} at position {expected.position}, which it had"
    )
