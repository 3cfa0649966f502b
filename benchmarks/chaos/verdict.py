"""The verdict of a round, from the log itself: what was acknowledged, who was taken out, and who was matched."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from benchmarks.chaos.deployment import Deployment
from benchmarks.chaos.presence import JUDGED_S, LOST_S, ObservedIdentity, killed_between
from benchmarks.chaos.run import ChaosRun
from broker.roster import LEASE_MS
from broker.stores import store_module
from broker.verification.checking import check_log
from events.codec import decode_commit
from events.commands import Disconnect
from events.commit import EMPTY_TIP, Commit, Tip
from events.events import MessageSent, QueueEntered, RoomClosed, RoomOpened
from events.ids import Position
from events.log import Snapshot
from projections.state import INITIAL_STATE

PAGE: Final = 5_000
LEASE_S: Final = LEASE_MS / 1_000
HEARD_AGAIN_S: Final = 6.0
"""So long after an outage of the engine, the brokers have told each other everything again."""


class ReadLog:
    """A whole log in memory (a `CheckedLog`)."""

    def __init__(self, lines: Sequence[bytes]) -> None:
        self._lines = lines
        self.base = Snapshot(EMPTY_TIP, INITIAL_STATE)
        self.commits = [decode_commit(line) for line in lines]

    def tip(self) -> Tip:
        """Return the last commit's tip."""
        return self.commits[-1].tip if self.commits else EMPTY_TIP

    def lines(self, after: Position) -> Iterator[bytes]:
        """Return the stored JSON of each commit after `after`."""
        return iter(self._lines[after:])

    def snapshots(self) -> Sequence[Position]:
        """Return the positions of the stored snapshots."""
        return (0,)

    def snapshot(self, at_most: Position) -> Snapshot:
        """Return the initial state."""
        return self.base


async def read_log(url: str) -> ReadLog:
    """Return the log at `url`."""
    reader = await store_module(url).open_reader(url)
    try:
        lines: list[bytes] = []
        while page := await reader.lines(len(lines), PAGE):
            lines += page
        return ReadLog(lines)
    finally:
        await reader.close()


@dataclass
class Outage:
    """A time without the engine; Unix times."""

    from_s: float
    to_s: float


@dataclass
class Verdict:
    """The findings of one round."""

    lost: list[str] = field(default_factory=list)
    """Acknowledged messages that are lost, doubled, or out of order, in the log or at a listener."""
    taken_out: list[str] = field(default_factory=list)
    """Present people who were taken out."""
    matched: list[str] = field(default_factory=list)
    """Absent people who were matched more than three seconds after their grace."""
    other: list[str] = field(default_factory=list)
    """Whatever else is not as it should be."""
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def is_well(self) -> bool:
        """True if nothing was found."""
        return not (self.lost or self.taken_out or self.matched or self.other)


class LogJudge:
    """Holds a log against the observations of the people of the round."""

    def __init__(self, log: ReadLog, run: ChaosRun, deployment: Deployment, outages: Sequence[Outage]) -> None:
        self._log = log
        self._run = run
        self._deployment = deployment
        self._outages = outages
        self._grace_s = run.options.stream_grace_s
        self._by_connection: dict[str, ObservedIdentity] = {}
        self.verdict = Verdict(counts=run.counts)

    def judge(self) -> Verdict:
        """Return the verdict."""
        self.check_promises()
        self._judge_messages()
        for commit in self._log.commits:
            self._judge_presence(commit)
        self.verdict.counts["commits"] = len(self._log.commits)
        return self.verdict

    def check_promises(self) -> None:
        """Check the log against every promise, as `chat-broker verify` does."""
        fault = check_log(self._log, workers=1).fault
        if fault is not None:
            self.verdict.other.append(f"verify: {fault.violation} {fault.evidence}")

    def _judge_messages(self) -> None:
        """Each acknowledged message is in the log once, and those of a sender are in the order of their sending."""
        positions: dict[tuple[str, str], list[Position]] = {}
        for commit in self._log.commits:
            for event in commit.events:
                if isinstance(event, MessageSent) and isinstance(event.text, str):
                    positions.setdefault((event.sender, event.text), []).append(commit.position)
        for sender, texts in self._run.acknowledged.items():
            found = [positions.get((sender, text), []) for text in texts]
            self.verdict.lost += [f"LOST: {text[:40]!r}" for text, at in zip(texts, found, strict=True) if not at]
            self.verdict.lost += [
                f"DOUBLED: {text[:40]!r}" for text, at in zip(texts, found, strict=True) if len(at) > 1
            ]
            order = [at[0] for at in found if at]
            self.verdict.lost += [f"REORDERED: {sender} at {b} after {a}" for a, b in pairwise(order) if b < a]
            self.verdict.counts["acknowledged messages"] += len(texts)

    def _judge_presence(self, commit: Commit) -> None:
        at_s = commit.at_ms / 1_000
        for event in commit.events:
            if isinstance(event, QueueEntered) and event.display_name in self._run.identities:
                self._by_connection[event.connection_id] = self._run.identities[event.display_name]
            elif isinstance(event, RoomOpened):
                for who in (event.first, event.second):
                    self._judge_match(commit.position, at_s, self._by_connection.get(who))
            elif isinstance(event, RoomClosed) and event.missed_by:
                for missing in event.missed_by:
                    self._judge_departure(commit.position, at_s, self._by_connection.get(missing))
        if isinstance(commit.command, Disconnect) and not commit.command.is_abandoned:
            self._judge_departure(commit.position, at_s, self._by_connection.get(commit.command.connection_id))

    def _judge_departure(self, position: Position, at_s: float, who: ObservedIdentity | None) -> None:
        if who is None:
            return
        self.verdict.counts["taken out"] += 1
        if who.gone_s is not None and who.gone_s < at_s and not who.connection_id:
            return  # it got no answer, so nothing is known of it but its end
        if not who.may_be_taken_out(at_s, self._grace_s):
            story = "\n".join(who.story())
            self.verdict.taken_out.append(f"{who.name} was taken out at position {position}, {at_s:.3f}\n{story}")

    def _judge_match(self, position: Position, at_s: float, who: ObservedIdentity | None) -> None:
        if who is None or who.gone_s is None or who.gone_s + self._grace_s > at_s:
            return
        late_s = at_s - who.gone_s - self._grace_s
        self.verdict.counts["absent people matched, within 3 s of their grace"] += late_s <= JUDGED_S
        if late_s <= JUDGED_S:
            return
        if self._could_be_judged(self._deadline_s(who), at_s, who.gone_s):
            what = f"{who.name} was matched at position {position}, {late_s:.1f} s after its grace"
            self.verdict.matched.append(f"{what}\n{self._history(who)}")
        else:
            self.verdict.counts["absent people matched later, with no worker to judge"] += 1

    def _history(self, who: ObservedIdentity) -> str:
        """Return the happenings around the end of `who`, in seconds from then."""
        zero_s = who.gone_s or 0.0
        kills = [f"{kill.worker} {kill.at_s - zero_s:+.1f}" for kill in self._deployment.kills]
        lives = [
            f"{life.worker} {life.ready_s - zero_s:+.1f} to {life.ended_s - zero_s:+.1f}"
            for life in self._deployment.lives
        ]
        outages = [f"{outage.from_s - zero_s:+.1f} to {outage.to_s - zero_s:+.1f}" for outage in self._outages]
        heard = f"heard by {', '.join(sorted(who.workers)) or 'nobody, as far as is known'}"
        return f"    {heard}; killed {kills}; ready {lives}; without the engine {outages}"

    def _deadline_s(self, who: ObservedIdentity) -> float:
        """Return the end of the grace of one who has vanished, as late as killed workers may have made it."""
        assert who.gone_s is not None
        kills, deadline_s = self._deployment.kills, who.gone_s + self._grace_s
        if killed_between(kills, who.workers if who.connection_id else None, who.gone_s - self._grace_s, deadline_s):
            deadline_s += LOST_S
        for kill in kills:  # one with gaps in what it had told may have heard anyone, as far as the others can tell
            for outage in self._outages:
                has_gaps = outage.from_s - LEASE_S <= kill.at_s <= outage.to_s + HEARD_AGAIN_S
                if has_gaps and outage.from_s <= deadline_s:
                    deadline_s = max(deadline_s, max(kill.at_s, outage.to_s) + JUDGED_S + self._grace_s)
        return deadline_s

    def _could_be_judged(self, from_s: float, to_s: float, heard_s: float) -> bool:
        """Tell if a worker could judge one last heard at `heard_s` for more than three seconds in that time.

        It has to have begun before that, or a whole grace ago, and ten seconds ago. While the engine is down nobody can
        be judged, nor until the workers have told each other everything again.
        """
        for life in self._deployment.lives:
            can_s = life.ready_s + (LEASE_S if life.ready_s <= heard_s else max(LEASE_S, self._grace_s)) + 1
            start_s, end_s = max(can_s, from_s), min(life.ended_s, to_s)
            blocked = [one for one in self._outages if one.from_s < end_s and one.to_s + HEARD_AGAIN_S > start_s]
            for outage in blocked:
                if outage.from_s - start_s > JUDGED_S:
                    return True
                start_s = max(start_s, outage.to_s + HEARD_AGAIN_S)
            if end_s - start_s > JUDGED_S:
                return True
        return False
