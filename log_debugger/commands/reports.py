"""`chat-broker reports LOG`: list what people reported; show one with its conversation; export for the operator."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import msgspec

from broker.errors import UsageError
from events.commit import Commit
from events.events import Event, MessageSent, PartnerReported, RoomClosed, RoomOpened
from events.ids import ConnectionId, Position
from events.text import RedactedText, Text
from log_debugger.reading.dumps import LOG_HELP
from log_debugger.reading.reported import Report, events_of, reports_in
from log_debugger.reading.short_names import ShortNames, names_of, shown_id
from log_debugger.reading.sources import Source, open_source
from log_debugger.reading.times import position_number, timestamp
from log_debugger.telling.narrative import count, quoted
from log_debugger.telling.output import output
from log_debugger.terminal import Terminal, ascii_json

FORMAT = "chat-broker reports 1"
LISTED_MAX = 10

JsonObject = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to `parser`."""
    parser.add_argument("log", metavar="LOG", help=LOG_HELP)
    parser.add_argument("--show", metavar="ID", type=position_number, help="one report, with its conversation")
    parser.add_argument("--export", metavar="FILE", help="write them, or the one of --show, as JSON; - is for stdout")


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    """List, show or export reports; return 0.

    Raises:
        UsageError: there is no such report, or the file can't be written.
    """
    with closing(open_source(options.log)) as source:
        reports = reports_in(source)
        if options.show is not None:
            reports = [_report(source, reports, options.show)]
        if options.export is not None:
            _export(source, reports, options, terminal)
            return 0
        names = names_of(source)
        for line in _list(source, names, reports) if options.show is None else _show(names, reports[0]):
            terminal.line(line)
    return 0


def _report(source: Source, reports: Sequence[Report], asked: Position) -> Report:
    """Return the report of that id.

    Raises:
        UsageError: there is none; the message lists some.
    """
    for report in reports:
        if report.id == asked:
            return report
    base = source.base.tip.position
    if 1 <= asked <= base:
        raise UsageError(f"the commits up to position {base} were trimmed from {source.name}, with any report in them")
    if not reports:
        raise UsageError(f"there is no report {asked} in {source.name}; there are no reports yet")
    newest = ", ".join(str(report.id) for report in reports[-LISTED_MAX:])
    there = f"the newest are {newest}" if len(reports) > LISTED_MAX else f"there are {newest}"
    raise UsageError(f"there is no report {asked} in {source.name}; {there}")


def _list(source: Source, names: ShortNames, reports: Sequence[Report]) -> Iterator[str]:
    if base := source.base.tip.position:
        yield f"the commits up to position {base} were trimmed, with any report in them"
    if not reports:
        yield "no reports yet"
    for report in reports:
        event = report.event
        who, whom = _person(names, report, event.reporter), _person(names, report, event.reported)
        said = f"{who} reported {whom} in {names.room(event.room_id)}; {_evidence(report)}"
        yield f"{report.id:>7}  {timestamp(report.commit.at_ms)}  {event.category:<10}  {said}"


def _show(names: ShortNames, report: Report) -> Iterator[str]:
    event = report.event
    yield f"report {report.id}, {timestamp(report.commit.at_ms)}: {event.category}"
    yield f"  by         {_person(names, report, event.reporter)}, {shown_id(event.reporter)}"
    yield f"  about      {_person(names, report, event.reported)}, {shown_id(event.reported)}"
    yield f"  room       {shown_id(event.room_id)}, positions {event.first} to {event.last}"
    yield f"  note       {quoted(event.note, None) if event.note is not None else 'none'}"
    yield f"  evidence   {_evidence(report)}"
    for commit in report.room:
        for each in events_of(commit, event.room_id):
            yield f"{commit.position:>7}  {timestamp(commit.at_ms)}  {_told(names, report, each)}"


def _told(names: ShortNames, report: Report, event: Event) -> str:
    match event:
        case RoomOpened():
            return f"{_person(names, report, event.first)} and {_person(names, report, event.second)} meet"
        case MessageSent():
            return f"{_person(names, report, event.sender)}: {quoted(event.text, None)}"
        case PartnerReported():
            return f"{_person(names, report, event.reporter)} reports the other: {event.category}"
        case RoomClosed():
            return f"{_person(names, report, event.closed_by)} ends it: {event.reason}"
    raise AssertionError("no other event is about a room")


def _evidence(report: Report) -> str:
    """Return how much of the conversation is in the log, and can be read."""
    messages, redacted = len(report.messages()), report.redacted_count()
    if report.is_trimmed():
        return f"its beginning was trimmed from the log, {count(messages, 'message')} left"
    gone = f", {redacted} of them redacted: the texts are gone" if redacted else ""
    return f"{count(messages, 'message')}{gone}"


def _person(names: ShortNames, report: Report, who: ConnectionId) -> str:
    return names.person(who, report.name_of(who))


def _export(source: Source, reports: Sequence[Report], options: argparse.Namespace, terminal: Terminal) -> None:
    tip = source.tip()
    document = {
        "format": FORMAT,
        "log": {"position": tip.position, "commit_id": tip.commit_id, "trimmed_to": source.base.tip.position},
        "reports": [_json(report) for report in reports],
    }
    with output(options.export, options.log, terminal, "--export") as out:
        out.write(msgspec.json.format(ascii_json(document).encode(), indent=2) + b"\n")
    if not out.is_stdout:
        terminal.line(f"{options.export}: {count(len(reports), 'report')}")


def _json(report: Report) -> JsonObject:
    commit, event = report.commit, report.event
    return {
        "id": report.id,
        "commit_id": commit.commit_id,
        "at": timestamp(commit.at_ms),
        "category": event.category,
        "note": _text(event.note),
        "reporter": _member(report, event.reporter),
        "reported": _member(report, event.reported),
        "room_id": event.room_id,
        "first_position": event.first,
        "last_position": event.last,
        "is_trimmed": report.is_trimmed(),
        "redacted_messages": report.redacted_count(),
        "conversation": [
            _entry(commit, each) for commit in report.room for each in events_of(commit, report.event.room_id)
        ],
    }


def _member(report: Report, who: ConnectionId) -> JsonObject:
    return {"connection_id": who, "display_name": _text(report.name_of(who))}


def _entry(commit: Commit, event: Event) -> JsonObject:
    entry = {"position": commit.position, "commit_id": commit.commit_id, "at": timestamp(commit.at_ms)}
    match event:
        case RoomOpened():
            return entry | {"what": "opened"}
        case MessageSent():
            return entry | {"what": "message", "sender": event.sender, "text": _text(event.text)}
        case PartnerReported():
            return entry | {"what": "reported", "by": event.reporter}
        case RoomClosed():
            return entry | {"what": "closed", "by": event.closed_by, "reason": event.reason}
    raise AssertionError("no other event is about a room")


def _text(text: Text | None) -> str | JsonObject | None:
    """Return a text; the length in bytes and the salted hash of a redacted one."""
    if isinstance(text, RedactedText):
        return {"redacted_bytes": text.length_bytes, "salted_sha256": text.sha256}
    return text
