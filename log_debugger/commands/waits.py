"""`chat-broker waits LOG`: list the stays in the queue, each with its end; `--longest` the longest first."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import closing
from heapq import nlargest
from typing import NamedTuple

from events.events import QueueLeft, RoomOpened
from events.ids import ConnectionId, Position, RoomId
from log_debugger.reading.dumps import LOG_HELP
from log_debugger.reading.iterate import iterate
from log_debugger.reading.short_names import ShortNames, names_of
from log_debugger.reading.sources import Source, Step, open_source
from log_debugger.reading.times import clock, span, start_of
from log_debugger.reading.waits import Wait, ended_waits
from log_debugger.telling.narrative import count
from log_debugger.terminal import Terminal, ascii_json
from projections.state import State

LONGEST = 10
PROGRESS_COMMITS = 1_000
STILL_WAITING = "waiting"
OTHERWISE = "other"
SPAN_COLUMNS = 11


class _Stay(NamedTuple):
    """A stay in the queue and its end."""

    wait: Wait
    position: Position  # of the commit that ended it, or of the log's last one
    ending: str  # met, the reason of leaving, or `STILL_WAITING`
    who: str
    room_id: RoomId | None = None
    partner: ConnectionId | None = None
    partner_name: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to `parser`."""
    parser.add_argument("log", metavar="LOG", help=LOG_HELP)
    parser.add_argument(
        "--longest",
        metavar="N",
        type=_some,
        nargs="?",
        const=LONGEST,
        help=f"the N longest, the longest first; {LONGEST} without a number",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    """List the stays; return 0.

    Raises:
        UnreadableCommitError: a commit can't be decoded.
        BrokenChainError: a commit does not follow the one before.
    """
    with closing(open_source(options.log)) as source:
        names, start_ms = names_of(source), start_of(source)
        stays = [*_stays(source, names, terminal)]
        going_on = sum(stay.ending == STILL_WAITING for stay in stays)
        shown = stays
        if options.longest is not None:
            shown = nlargest(options.longest, stays, key=lambda stay: stay.wait.lasted_ms)
        for stay in shown:
            terminal.line(_json(stay) if options.json else _line(names, stay, start_ms))
        if not options.json:
            terminal.line(_total(stays, shown, going_on))
    return 0


def _some(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text[:9]) > 0 and len(text) < 10):
        raise argparse.ArgumentTypeError(f"write a whole number of at least 1, not {ascii_json(text)}")
    return int(text)


def _stays(source: Source, names: ShortNames, terminal: Terminal) -> Iterator[_Stay]:
    """Yield every stay that ended, in that order, then those that go on."""
    state: State = source.base.state
    last = source.tip().position
    with terminal.progress("reading", last - state.position) as advance:
        for entry in iterate(source, last):
            yield from (_ended(names, entry.step, wait) for wait in ended_waits(entry.step))
            state = entry.step.after
            if state.position % PROGRESS_COMMITS == 0:
                advance(PROGRESS_COMMITS)
    for who in [who for _, who in state.queue.entries.items()]:
        wait = Wait(who, state.connections.by_id[who].waiting_since_ms(), state.at_ms)
        yield _Stay(wait, state.position, STILL_WAITING, names.person_in(state, who))


def _ended(names: ShortNames, step: Step, wait: Wait) -> _Stay:
    who, commit = names.person_in(step.before, wait.connection_id), step.commit
    for event in commit.events:
        match event:
            case RoomOpened() if wait.connection_id in (event.first, event.second):
                is_first = wait.connection_id == event.first
                partner = event.second if is_first else event.first
                name = names.person(partner, event.second_name if is_first else event.first_name)
                return _Stay(wait, commit.position, "met", who, event.room_id, partner, name)
            case QueueLeft(connection_id=wait.connection_id):
                return _Stay(wait, commit.position, event.reason, who)
    return _Stay(wait, commit.position, OTHERWISE, who)  # no broker made this commit


def _line(names: ShortNames, stay: _Stay, start_ms: int) -> str:
    when = clock(stay.wait.since_ms - start_ms)
    return (
        f"{stay.position:>7}  {span(stay.wait.lasted_ms):>{SPAN_COLUMNS}}  {stay.who} from {when}: {_end(names, stay)}"
    )


def _end(names: ShortNames, stay: _Stay) -> str:
    if stay.room_id is not None:
        return f"met {stay.partner_name} in {names.room(stay.room_id)}"
    if stay.ending == STILL_WAITING:
        return "still waits"
    if stay.ending == OTHERWISE:
        return "ended otherwise"
    return "left the queue" if stay.ending == "left" else f"was taken out of the queue ({stay.ending})"


def _total(stays: Sequence[_Stay], shown: Sequence[_Stay], going_on: int) -> str:
    if not stays:
        return "nobody waited"
    not_ended = f", {going_on:,} of them not over" if going_on else ""
    beginning = f"{len(shown):,} of " if len(shown) < len(stays) else ""
    return f"{beginning}{count(len(stays), 'wait')}{not_ended}"


def _json(stay: _Stay) -> str:
    wait = stay.wait
    return ascii_json(
        {
            "connection_id": wait.connection_id,
            "since_ms": wait.since_ms,
            "until_ms": wait.until_ms,
            "lasted_ms": wait.lasted_ms,
            "position": stay.position,
            "ending": stay.ending,
            "room_id": stay.room_id,
            "partner": stay.partner,
        }
    )
