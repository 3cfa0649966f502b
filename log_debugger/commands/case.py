"""`chat-broker test LOG --to N`: write the situation at a position as a minimal pytest case."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import closing

from broker.errors import UsageError
from broker.verification.pseudonyms import with_pseudonyms
from broker.verification.reduction import ReducedScenario, reduce_scenario
from broker.verification.repetition import are_stored
from broker.verification.scenario import LoggedCommand, Scenario, connections_in, is_alike, replay_scenario
from events.codec import decode_commit
from events.commit import Commit
from events.ids import Position, RoomId
from log_debugger.reading.decided_again import decide_again
from log_debugger.reading.dumps import LOG_HELP
from log_debugger.reading.filter_fields import rooms_in
from log_debugger.reading.short_names import names_of
from log_debugger.reading.sources import Source, Step, check_position, open_source
from log_debugger.reading.times import position_number
from log_debugger.telling.output import STDOUT, add_output_argument, output
from log_debugger.terminal import Terminal
from log_debugger.testcase.case_text import case_text
from log_debugger.testcase.history import checked_state_before, histories
from log_debugger.testcase.keeping import KEEP_HELP, kept, parse_keep
from projections.state import State


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to `parser`."""
    parser.add_argument("log", metavar="LOG", help=LOG_HELP)
    what = "the position of the commit to reproduce"
    parser.add_argument("--to", metavar="N", type=position_number, required=True, help=what)
    parser.add_argument("--room", metavar="R", help="reproduce the last that happened in this room, up to --to")
    parser.add_argument("--keep", metavar="WORDS", help=KEEP_HELP)
    add_output_argument(parser, "where to write it", default=STDOUT)


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Write the case; return 0.

    Raises:
        UsageError: there is no such commit, or the commands in the log don't lead to it.
        UnreadableCommitError: a commit of the log, before that one or after it, can't be decoded.
        BrokenChainError: a commit of the log does not follow the one before, or can't be folded.
    """
    keep = parse_keep(options.keep)
    with closing(open_source(options.log)) as source:
        position = _position(source, options.to, options.room)
        with terminal.progress("checking", source.tip().position - source.base.tip.position) as advance:
            before = checked_state_before(source, position, advance)
        scenario, is_minimal = scenario_of(source, _commit_at(source, position), before, keep)
    text = case_text(with_pseudonyms(scenario), position)
    with output(options.output, options.log, terminal) as out:
        out.write(text.encode())
    if scenario.decided != scenario.stored:
        terminal.err.write(f"the present code decides otherwise than was stored at {position}: the test fails\n")
    if not is_minimal:
        terminal.err.write("there was more to leave out than could be tried: the test may not be the shortest\n")
    return 0


def scenario_of(source: Source, commit: Commit, before: State, keep: Sequence[str] = ()) -> ReducedScenario:
    """Return a minimal scenario with the same decision on `commit`'s command as `source`.

    Args:
        source: the log.
        commit: the commit to reproduce.
        before: the log's state before it.
        keep: the words of `--keep`.

    Raises:
        UsageError: the commands in `source` don't lead to that decision, or not to what is to be kept.
    """
    decided = decide_again(Step(before, commit, before))
    if decided is None:
        raise UsageError(f"the command at position {commit.position} is none that can be decided again")
    target = LoggedCommand(commit.position, commit.command, commit.facts, frozenset(connections_in(commit)))
    keeps, is_reached = kept(keep, before, target), False
    for past in histories(source, commit):
        replayed = replay_scenario(past, target, {})
        if is_alike(replayed.decided, decided):
            is_reached = True
            stored = decided if are_stored(decided, commit) else [*commit.events]
            if keeps(Scenario(*replayed, stored)):
                return reduce_scenario(Scenario(tuple(past), target, decided, stored), keeps)
    what = f"what led to position {commit.position} can't be brought about again from what the log holds"
    raise UsageError(f"{what}, with all that --keep names: keep less" if is_reached else what)


def _position(source: Source, last: Position, room: str | None) -> Position:
    base = source.base.tip.position
    if source.tip().position == base:
        raise UsageError(f"there are no commits in {source.name}, so there is nothing to reproduce")
    check_position(source, last)
    if last == base:
        there = f"{source.name} begins after position {base}" if base else "position 0 is the empty log"
        raise UsageError(f"{there}: the first commit to reproduce is {base + 1}")
    return last if room is None else _last_of_room(source, last, names_of(source).room_of(room))


def _last_of_room(source: Source, last: Position, room_id: RoomId) -> Position:
    found, name = None, room_id.encode()
    for position, line in enumerate(source.lines(source.base.tip.position), source.base.tip.position + 1):
        if position > last:
            break
        if name in line and room_id in rooms_in(decode_commit(line)):
            found = position
    if found is None:
        raise UsageError(f"up to position {last} nothing happens in that room")
    return found


def _commit_at(source: Source, position: Position) -> Commit:
    return decode_commit(next(source.lines(position - 1)))
