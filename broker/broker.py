"""The broker: it builds the parts and joins them. A front end takes the parts it needs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from functools import cache
from hashlib import sha256
from importlib.metadata import version

import msgspec
import structlog

from broker.clock import SYSTEM_ENTROPY, Clock, RandomBytes
from broker.deadlines import Deadlines
from broker.hub import Hub
from broker.line_limit import LineLimit
from broker.log_fault import LogFault, settle
from broker.match_timeouts import MatchTimeouts
from broker.metrics import Metrics
from broker.minting import Minting
from broker.notes import BROKER_ID_BYTES, About, Confirmed
from broker.outage_lines import SILENT
from broker.own_matching import check_succession, code_digest
from broker.peers import PeerLimits, Peers
from broker.presence import ATTENDED_GRACE_MS, Presence
from broker.rate_limiter import RateLimiter
from broker.reads import ReadLimits, Reads
from broker.record_buffer import RecordBuffer
from broker.replica import LOG_FAULTS, LogObserver
from broker.retention import Redaction
from broker.roster import Roster
from broker.roster_link import RosterLink
from broker.store_watch import StoreWatch
from broker.stores import DISTRIBUTION
from broker.streams import SPREAD_MS, Heartbeat, Streams
from broker.waits import Waits
from broker.writer import LogWriter
from events.commands import Command, Disconnect, SendMessage
from events.commit import Commit
from events.events import PartnerReported
from events.ids import ConnectionId, Position
from events.log import EventLog, LogUnavailableError
from events.policy import Policy
from projections.state import State
from projections.view import StateView

logger = structlog.get_logger(__name__)

APPENDING_MS = 1_500
"""The longest wait of `close` for an append. With all else to end, the process is gone within five seconds."""


@cache
def _version() -> str:
    return version(DISTRIBUTION)


class Broker(LogObserver):
    """A log, its writer, and the observers of each commit.

    Create it inside a running event loop, `start` it, and `close` it once its front end no longer uses it.
    """

    def __init__(
        self,
        log: EventLog,
        clock: Clock,
        *,
        keep_commits: int | None = None,
        read_limits: ReadLimits = ReadLimits(),  # noqa: B008 - immutable
        peer_limits: PeerLimits = PeerLimits(),  # noqa: B008 - immutable
        attended_grace_ms: int = ATTENDED_GRACE_MS,
        random_bytes: RandomBytes = SYSTEM_ENTROPY,
    ) -> None:
        """Build the parts.

        `keep_commits`: see `LogWriter`; `read_limits`, `peer_limits`: the limits outside the log's policy;
        `attended_grace_ms`: the idle grace of connections that enter by a window; `random_bytes`: the source of
        handles, room ids and salts.
        """
        self.log = log
        self.clock = clock
        self.attended_grace_ms = attended_grace_ms
        self.random_bytes = random_bytes
        self.ready = False
        self.draining = False
        self.log_fault: LogFault | None = None
        """The reason why this broker has to end; no command is carried out any more."""
        self.log_given_up = asyncio.Event()
        """Set once nothing is left to do about `log_fault`."""
        self.deadlines = Deadlines(clock)
        self.metrics = Metrics(lambda: self.state, lambda: len(asyncio.all_tasks()))
        self.roster = Roster(random_bytes(BROKER_ID_BYTES), clock.now_ms()) if log.is_shared else None
        """What the other brokers of a shared log hear."""
        self.writer = LogWriter(
            log,
            clock,
            self.metrics,
            observer=self,
            is_caretaker=self._is_caretaker,
            keep_commits=keep_commits,
            random_bytes=random_bytes,
        )
        self.replica = self.writer.replica
        self.hub = Hub(clock, self.metrics.deliveries)
        self.presence = Presence(
            clock,
            self.deadlines,
            self.replica,
            self.writer.submit,
            self.roster,
            attended_grace_ms,
            self._tell_confirmed,
        )
        self.roster_link = self._roster_link()
        self.match_timeouts = MatchTimeouts(clock, self.deadlines, self.writer, self.roster)
        broker_id = self.roster.broker_id if self.roster is not None else None
        self.records = RecordBuffer(log, clock, self.replica, self.writer.time_ms, broker_id)
        self.heartbeat = Heartbeat(clock, self.deadlines)
        self.streams = Streams(
            clock, self.replica, self.hub, self.presence, self.heartbeat, self.metrics, self.records, random_bytes
        )
        self.reads = Reads(log, self.replica, self.records, RateLimiter(clock), read_limits)
        self.waits = Waits(clock, self.hub, self.replica, self.reads)
        self.peers = Peers(clock, self.writer.time_ms, peer_limits)
        self.metrics.busiest_peer_share.set_function(self.peers.share.busiest)
        self.minting = Minting(clock, self.writer, self.presence, self.peers, random_bytes)
        self.store_watch = StoreWatch(
            log, clock, self.replica, self.metrics, self.records, self.in_background, self.log_failed
        )
        self._tasks: set[asyncio.Future[object]] = set()
        self.lines = LineLimit(clock.now_ms)
        """The limit of lines that requests cause."""
        self._policy_digest = ""

    def _roster_link(self) -> RosterLink | None:
        rows, coordination = self.presence.own_rows, self.log.coordination
        if self.roster is None or rows is None or coordination is None:
            return None
        return RosterLink(coordination, self.clock, self.roster, rows, self.presence, self.metrics, self._about)

    def _tell_confirmed(self, confirmed: Confirmed) -> None:
        if self.roster_link is not None:
            self.roster_link.tell_confirmed(confirmed)

    def _about(self) -> About:
        return About(_version(), self._policy_digest)

    def _is_caretaker(self) -> bool:
        """Return whether this broker saves, compacts and redacts for all brokers of its log."""
        return self.roster is None or self.roster.is_caretaker

    @property
    def state(self) -> State:
        """Return the state of the replica; it is immutable."""
        return self.replica.state

    async def start(self, policy: Policy, *, redact_after_ms: int | None = None, names_matching: bool = False) -> None:
        """Fold the log and take up `policy`; ready afterwards.

        `redact_after_ms`: the time from the end of a room to the redaction of its texts, and from the end of a person's
        last place to the redaction of its name; `None` keeps them.
        `names_matching`: the operator chose the policy's matching, so it may replace an own one that the log names.

        Raises:
            MatchingError: the log is decided by an operator's own matching, and the operator named none.
            BrokenChainError: the log's past has changed.
            UnusableLogError: it can't be read.
            LogUnavailableError: it does not answer.
        """
        self._policy_digest = sha256(msgspec.json.encode([policy, code_digest(policy)])).hexdigest()[:16]
        await self.replica.start()
        check_succession(self.state.policy, policy, is_named=names_matching)
        await self.records.record_start()
        await self.writer.start(policy)
        self._start_over()
        if self.roster_link is not None:
            self.roster_link.start()
        self.presence.confirmation.start()
        self.store_watch.start()
        if redact_after_ms is not None:
            watched, submit = self.writer.commit_clock.watched, self.writer.submit
            redaction = Redaction(
                self.log, self.clock, watched, redact_after_ms, self.replica, submit, self._is_caretaker
            )
            self.in_background(redaction.run())
        self.ready = not self.draining

    def committed(self, commit: Commit, state: State) -> None:
        """Announce `commit` (`LogObserver`). A message moves no connection, so it does not wake the timers."""
        self.metrics.committed(commit)
        if type(commit.command) is not SendMessage:
            self.presence.observe(commit, state)
            self.match_timeouts.observe(commit, state)
            self.peers.observe(commit, state)
            for event in commit.events:
                if type(event) is PartnerReported:
                    self._log_report(commit.position, event)
        self.hub.announce(commit)

    def _log_report(self, position: Position, event: PartnerReported) -> None:
        """Log a report for the operator: never its note, a name or a handle."""
        address = self.peers.address_of(event.reported)  # `--log-peers`
        known = {"reported_address": address} if address is not None else {}
        logger.info("report", position=position, room=event.room_id, category=event.category, **known)

    def overdue(self) -> list[Disconnect]:
        """Return the commands that take out absent connections (`LogObserver`)."""
        return self.presence.overdue()

    def to_avoid(self, state: StateView, who: ConnectionId) -> tuple[ConnectionId, ...]:
        """Return the waiting connections that a seeker should not meet because of their addresses (`LogObserver`)."""
        return self.peers.to_avoid(state, who)

    def command_refused(self, command: Command, code: str) -> None:
        """Record the refusal (`LogObserver`)."""
        tag = command.__struct_config__.tag
        assert isinstance(tag, str)
        self.records.record_refusal(getattr(command, "connection_id", None), tag, code)

    def append_stored(self) -> None:
        """Note that the log takes commits (`LogObserver`)."""
        self.store_watch.append_stored()

    def append_failed(self, *, is_given_up: bool = False) -> None:
        """Have the log probed (`LogObserver`)."""
        self.store_watch.append_failed(is_given_up=is_given_up)

    def log_failed(self, fault: Exception) -> None:
        """Give up the shared log (`LogObserver`): the process has to end."""
        if self.log_fault is None:
            self.log_fault = LogFault.of(fault)
            self.writer.fail()
            self.in_background(self._give_up_log(self.log_fault))

    async def _give_up_log(self, fault: LogFault) -> None:
        await settle(fault, self.log, self.clock, self.replica)
        self.log_given_up.set()

    def log_truncated(self) -> None:
        """End the streams, so their clients catch up by cursor: trimmed commits were not announced (`LogObserver`)."""
        self._start_over()
        self.presence.confirmation.confirm_all()
        self.streams.end_open()

    def _start_over(self) -> None:
        """Treat every connection in the queue or a room as present, and schedule the match timeouts."""
        self.presence.start()
        self.match_timeouts.start()
        self.peers.start_over(self.state)
        self.hub.wake_all()

    def drain(self) -> None:
        """Take no more calls; end every wait and every stream with what it has.

        If other brokers are there for the clients, the streams end over `SPREAD_MS`, or with the second call.
        """
        self.ready = False
        self.draining = True
        self.waits.drain()
        self.streams.end_all(over_ms=SPREAD_MS if self.log.is_shared else 0)

    async def close(self) -> None:
        """Finish the append in progress, for at most `APPENDING_MS`, and close the log."""
        self.drain()
        self.streams.end_all()
        self.deadlines.stop()
        self.store_watch.stop()
        if self.roster_link is not None:
            await self.roster_link.stop()
        await self.writer.stop(APPENDING_MS)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.records.close()
        await self.log.close()

    def log_put_off(self, event: str, error: LogUnavailableError) -> None:
        """Log once a minute that a request is put off, since the log does not answer."""
        counted = self.lines.admit(event)
        if counted is not None:
            logger.warning(event, reason=str(error) or SILENT, **counted)

    def in_background(self, work: Awaitable[object]) -> None:
        """Let `work` run on its own; it is cancelled when the broker closes."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._background_done)

    def _background_done(self, task: asyncio.Future[object]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or (fault := task.exception()) is None:
            return
        if self.log.is_shared and isinstance(fault, LOG_FAULTS):
            self.log_failed(fault)
        elif not isinstance(fault, LogUnavailableError):  # those who wait for it are told
            logger.error("background_failed", fault=type(fault).__name__, exc_info=fault)
