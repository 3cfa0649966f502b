"""The debugger's commands over the URLs of shared stores: their output is the same as for a file with the same log."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from broker.broker import Broker
from broker.clock import SystemClock
from broker.stores import open_log
from events.commands import EnterQueue, SendMessage
from events.ids import ConnectionId
from events.log import DeliveryRecord
from events.policy import Policy
from log_debugger.reading import store_source
from log_debugger.reading.sources import open_source
from projections.connections import Chatting
from projections.state import fold
from tests.log_debugger.crowds import crowd, states_of
from tests.log_debugger.logs import ANN, BOB, conversation, fair_company, filed, run_command, run_ok
from tests.stores.debugger_logs import (
    PASSWORD,
    RedisStore,
    Store,
    filled,
    name_of,
    on_log,
    snapshot_of,
)
from tests.stores.redis_logs import within
from tests.support.writer_bench import accepted

COMMANDS = [
    ("replay", "LOG"),
    ("replay", "LOG", "--to", "4", "--connection", "Ann"),
    ("replay", "LOG", "--at", "+40s", "--json"),
    ("diff", "LOG", "2", "6"),
    ("diff", "LOG", "0", "+60s", "--json"),
    ("trace", "LOG", "--connection", "Ann"),
    ("trace", "LOG", "--room", "r_", "--json"),
    ("trace", "LOG", "--pair", "Ann", "Bob"),
    ("verify", "LOG"),
    ("bisect", "LOG", "--when", "waiting > 1"),
    ("whatif", "LOG", "--matching", "interests", "--json"),
    ("test", "LOG", "--to", "5"),
    ("report", "LOG", "-o", "-"),
    ("reports", "LOG"),
    ("reports", "LOG", "--export", "-"),
    ("log", "dump", "LOG"),
    ("log", "dump", "LOG", "--after", "3"),
    ("replay", "LOG", "--to", "9999"),
    ("reports", "LOG", "--show", "3"),
    ("log", "dump", "LOG", "--after", "9999"),
]
LOGS = {"conversation": conversation().commits, "fair": fair_company().commits}
RECORDS = [DeliveryRecord(2, ANN, "get", 1_790_000_041_300), DeliveryRecord(2, BOB, "result", 1_790_000_041_201)]


def said(command: tuple[str, ...], log: str) -> tuple[int, str, str]:
    """Return the output of `command` on `log`, with the log's name replaced by LOG."""
    result = run_command(*(log if part == "LOG" else part for part in command))
    title = re.compile(r'("log":)"[^"]*"(?=,")')
    names = (log, log.removeprefix("sqlite:"))
    texts = [result.out, result.err]
    for name in names:
        texts = [text.replace(name, "LOG") for text in texts]
    return result.status, title.sub(r'\1"LOG"', texts[0]), texts[1]


@pytest.mark.parametrize("name", LOGS)
def test_each_command_says_what_it_says_of_a_file(store: Store, name: str, tmp_path: Path) -> None:
    """This includes delivery records, refusals and the page."""
    commits = LOGS[name]
    file, url = filed(tmp_path / "log.db", commits, RECORDS), filled(store.url(), commits, RECORDS)
    for command in COMMANDS:
        of_a_file = said(command, file)
        assert said(command, url) == of_a_file, command
        assert of_a_file[1] or of_a_file[0] == 2, command


@pytest.mark.parametrize("part", ["trimmed", "redacted", "empty"])
def test_a_log_that_is_not_whole_reads_as_in_a_file(store: Store, part: str, tmp_path: Path) -> None:
    """Its commits were trimmed, its texts redacted, or it is empty."""
    commits = [] if part == "empty" else crowd(5, 300)
    file, url = filed(tmp_path / "log.db", commits), filled(store.url(), commits)
    for name in (file, url):
        if part == "trimmed":
            on_log(name, lambda log: log.compact(snapshot_of(fold(commits[:100]))))
        if part == "redacted":
            on_log(name, lambda log: log.redact(range(1, 200), done_to=200))
    for command in (
        ("replay", "LOG"),
        ("verify", "LOG"),
        ("log", "dump", "LOG"),
        ("bisect", "LOG", "--when", "messages > 5"),
    ):
        assert said(command, url) == said(command, file)


def test_delivery_records_are_read_some_at_a_time(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trace asks for the records of one commit after the other; each is shown."""
    monkeypatch.setattr(store_source, "DELIVERIES_COMMITS", 3)
    commits = conversation().commits
    records = [DeliveryRecord(n, who, "get", 1_790_000_500_000 + n) for n in range(1, 10) for who in (ANN, BOB)]
    file, url = filed(tmp_path / "log.db", commits, records), filled(store.url(), commits, records)
    shown = said(("trace", "LOG", "--connection", "Bob"), url)
    assert shown == said(("trace", "LOG", "--connection", "Bob"), file)
    assert shown[1].count("handed to Bob") == 4


def test_snapshots_are_checked_and_used(store: Store) -> None:
    """`verify` compares each with the fold; the state at a position is folded from the nearest."""
    commits = crowd(6, 400)
    url = filled(store.url(), commits)
    states = states_of(commits)
    on_log(url, lambda log: log.save(snapshot_of(states[200])))
    source = open_source(url)
    try:
        assert source.snapshots() == [0, 200]
        assert source.snapshot(250).tip == commits[199].tip
        assert source.snapshot(150) == source.base
        assert source.position_at(commits[120].at_ms) >= 121
    finally:
        source.close()
    assert run_ok("verify", url).out.startswith(f"every promise holds: {len(commits)} commits")
    wrong = snapshot_of(states[300])
    on_log(url, lambda log: log.save(wrong.__class__(wrong.tip, states[299])))
    assert "snapshot that is stored here is not what the log says" in run_command("verify", url).out


def test_a_changed_text_is_found(store: Store) -> None:
    """The breach is of promise 5, a whole chain, at the position of the text."""
    url = filled(store.url(), conversation().commits)
    store.say_another_text(url, 3)
    result = run_command("verify", url)
    assert result.status == 1
    assert "position 3" in result.out.splitlines()[0]
    assert "promise 5" in result.out


def test_a_missing_commit_is_found(store: Store) -> None:
    """It is found at its position, after all commits before it were checked."""
    url = filled(store.url(), conversation().commits)
    store.lose(url, 6)
    result = run_command("verify", url)
    assert result.status == 1
    assert "promise 5 is broken at position 6" in result.out
    replayed = run_command("replay", url)
    assert replayed.status == 2
    assert len(replayed.lines) == 5
    assert "missing" in replayed.err


def test_a_damaged_log_does_not_show_its_host_on_a_page(store: Store, tmp_path: Path) -> None:
    """Others may see the page, so it has only the log's name and the kind of its store."""
    url = filled(store.url(), conversation().commits)
    store.lose(url, 6)
    page = tmp_path / "page.html"
    assert run_command("report", url, "-o", str(page)).status == 1
    assert "127.0.0.1" not in page.read_text()
    assert re.search("(is|are) missing", page.read_text())


def test_a_commit_under_another_id_is_found(valkey: RedisStore) -> None:
    """An append is compared with the id in the stream's entry."""
    url = filled(valkey.url(), conversation().commits)
    valkey.put_under_id(url, 4, "0" * 32)
    assert "promise 5 is broken at position 4" in run_command("verify", url).out


def test_a_reader_needs_to_read_alone(store: Store, tmp_path: Path) -> None:
    """A user without any other right gets the owner's output; the password is not shown."""
    commits = conversation().commits
    url = filled(store.url(), commits, RECORDS)
    reader, file = store.reader_url(url), filed(tmp_path / "log.db", commits, RECORDS)
    for command in COMMANDS:
        result = said(command, reader)
        assert PASSWORD not in result[1] + result[2]
        if result[0] != 2:  # a refusal names the log
            assert result == said(command, file)
    refused = run_command("log", "trim", reader, "--before", "3")
    assert refused.status == 2
    assert refused.err.count("\n") == 1
    assert PASSWORD not in refused.err
    assert said(("log", "dump", "LOG"), url) == said(("log", "dump", "LOG"), file)


def test_a_log_is_read_while_its_broker_runs(store: Store) -> None:
    """The broker goes on; each command sees all commits from before its start."""

    async def scenario() -> None:
        url = store.url()
        broker = Broker(await open_log(url), SystemClock())
        await broker.start(Policy(messages_per_10s_max=10_000))
        try:
            ann, bob = ConnectionId(f"c_{'a' * 32}"), ConnectionId(f"c_{'b' * 32}")
            accepted(await broker.writer.submit(EnterQueue(ann, "Ann", ())))
            state = accepted(await broker.writer.submit(EnterQueue(bob, "Bob", ()))).state
            place = state.connections.by_id[ann].place
            assert isinstance(place, Chatting)
            for number in range(20):
                saying = broker.writer.submit(SendMessage(ann, place.room_id, f"text {number}", None))
                result = await asyncio.to_thread(run_command, "verify", url)
                accepted(await saying)
                assert (result.status, result.err) == (0, "")
                assert f"position {broker.state.position - 1}," in result.out or (
                    f"position {broker.state.position}," in result.out
                )
        finally:
            await broker.close()

    within(scenario)


def test_a_log_that_is_trimmed_while_it_is_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next page is missing: the error says so, and nothing is skipped."""
    monkeypatch.setattr(store_source, "PAGE_COMMITS", 4)
    commits = conversation().commits
    url = filled(store.url(), commits)
    source = open_source(url)
    try:
        lines = source.lines(0)
        assert [next(lines) for _ in range(4)]
        on_log(url, lambda log: log.compact(snapshot_of(fold(commits[:6]))))
        with pytest.raises(Exception, match="was trimmed up to position 6 while it was read; start again"):
            next(lines)
    finally:
        source.close()


def test_a_page_is_called_by_the_logs_name(store: Store, tmp_path: Path) -> None:
    """Its title has no host, user or password."""
    url = store.reader_url(filled(store.url(), conversation().commits))
    page = tmp_path / "page.html"
    run_ok("report", url, "-o", str(page))
    text = page.read_text()
    name = name_of(url)
    assert f'"log":"{name} in {url.partition(":")[0]}"' in text
    assert "127.0.0.1" not in text
    assert PASSWORD not in text


def test_reports_are_exported(store: Store, tmp_path: Path) -> None:
    """The export is the same as from a file."""
    script = fair_company()
    url = filled(store.url(), script.commits)
    run_ok("reports", url, "--export", str(tmp_path / "store.json"))
    run_ok("reports", filed(tmp_path / "log.db", script.commits), "--export", str(tmp_path / "file.json"))
    assert (tmp_path / "store.json").read_bytes() == (tmp_path / "file.json").read_bytes()
