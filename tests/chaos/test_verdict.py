"""The verdict of a chaos run finds each fault, and excuses mistakes that no worker could have avoided."""

import asyncio
from collections.abc import Iterator

import pytest

from benchmarks.chaos.deployment import Deployment, Kill, Life
from benchmarks.chaos.host import OpenStream
from benchmarks.chaos.options import ChaosOptions
from benchmarks.chaos.presence import ObservedIdentity
from benchmarks.chaos.run import ChaosRun
from benchmarks.chaos.verdict import LogJudge, Outage, ReadLog, Verdict
from events.codec import encode_commit
from events.commands import Command, Disconnect, EnterQueue, SendMessage
from events.commit import EMPTY_TIP, Commit, Facts, commit_after
from events.events import Event, MessageSent, QueueEntered, QueueLeft, RoomOpened
from events.ids import ConnectionId, RoomId

ANN, BOB, ROOM = ConnectionId("c_ann"), ConnectionId("c_bob"), RoomId("r_1")
START_S = 1_790_000_000.0
GRACE_S = ChaosOptions().grace_s


class Story:
    """A log built commit by commit, and the observations of its people."""

    def __init__(self) -> None:
        self.deployment = Deployment("redis://127.0.0.1:1", 1, [])
        self.run = ChaosRun(self.deployment, ChaosOptions(), 0)
        self.commits: list[Commit] = []
        self.outages: list[Outage] = []
        self.deployment.lives.append(Life("w1", START_S - 100, START_S + 1_000))
        self.ann, self.bob = self._person("ann", ANN), self._person("bob", BOB)

    def _person(self, name: str, connection_id: ConnectionId) -> ObservedIdentity:
        who = self.run.identity(name)
        who.connection_id = connection_id
        who.answered(START_S, 0.0, "w1")
        return who

    def then(self, after_s: float, command: Command, *events: Event) -> None:
        """Store a commit `after_s` after the beginning."""
        tip = self.commits[-1].tip if self.commits else EMPTY_TIP
        self.commits.append(
            commit_after(tip, command, Facts(round((START_S + after_s) * 1_000), salt="0" * 32), list(events))
        )

    def enter(self, who: ConnectionId, name: str, after_s: float) -> None:
        """Let `who` begin to wait."""
        self.then(after_s, EnterQueue(who, name, ()), QueueEntered(who, name, ()))

    def meet(self, after_s: float) -> None:
        """Let Bob enter and meet Ann, already waiting."""
        opened = RoomOpened(ROOM, ANN, BOB, "ann", "bob")
        self.then(after_s, EnterQueue(BOB, "bob", ()), QueueEntered(BOB, "bob", ()), opened)

    def say(self, after_s: float, text: str) -> None:
        """Let Ann speak, in the log alone."""
        self.then(after_s, SendMessage(ANN, ROOM, text, None), MessageSent(ROOM, ANN, BOB, text, None))

    def verdict(self) -> Verdict:
        """Judge the log."""
        log = ReadLog([encode_commit(commit) for commit in self.commits])
        judge = LogJudge(log, self.run, self.deployment, self.outages)
        judge.check_promises = lambda: None  # these logs are fragments
        return judge.judge()


@pytest.fixture
def story() -> Iterator[Story]:
    """Ann and Bob, heard once at the beginning, at a live worker."""

    async def made() -> Story:
        return Story()

    told = asyncio.run(made())
    yield told
    told.deployment.stop()
    told.deployment.remove()


def test_a_lost_message_is_found(story: Story) -> None:
    """A message is lost if it was acknowledged and the log lacks it."""
    story.say(1, "one")
    story.run.acknowledged[ANN] = ["one", "two"]
    assert story.verdict().lost == ["LOST: 'two'"]


def test_a_doubled_message_is_found(story: Story) -> None:
    """A message is doubled if the log has it twice."""
    story.say(1, "one")
    story.say(2, "one")
    story.run.acknowledged[ANN] = ["one"]
    assert story.verdict().lost == ["DOUBLED: 'one'"]


def test_reordered_messages_are_found(story: Story) -> None:
    """Messages are reordered if the log has them in another order than the sender."""
    story.say(1, "two")
    story.say(2, "one")
    story.run.acknowledged[ANN] = ["one", "two"]
    assert story.verdict().lost == [f"REORDERED: {ANN} at 1 after 2"]


def leave(story: Story, after_s: float) -> list[str]:
    """Remove Ann for a timeout `after_s` after the beginning; return the wrong removals."""
    story.enter(ANN, "ann", 0)
    story.then(after_s, Disconnect(ANN, "timeout", 1), QueueLeft(ANN, "timeout"))
    return story.verdict().taken_out


def test_one_who_was_heard_within_the_grace_is_missed(story: Story) -> None:
    """A removal is wrong if a call arrived within the grace."""
    story.ann.answered(START_S + 5, 0.0, "w1")
    assert len(leave(story, GRACE_S + 1)) == 1


def test_one_with_a_stream_is_missed(story: Story) -> None:
    """A removal is wrong during an open stream, however long ago the last call was."""
    story.ann.listens(OpenStream("w1", START_S), START_S)
    assert len(leave(story, 100)) == 1


def test_one_who_was_silent_for_a_grace_is_not_missed(story: Story) -> None:
    """A removal after a silent grace is right, even a moment after the return."""
    story.ann.answered(START_S + GRACE_S + 1, 0.0, "w1")
    assert leave(story, GRACE_S + 2) == []


def test_one_who_has_come_back_long_ago_is_missed(story: Story) -> None:
    """A removal is wrong more than three seconds after the return."""
    story.ann.answered(START_S + GRACE_S + 1, 0.0, "w1")
    assert len(leave(story, GRACE_S + 5)) == 1


def test_a_call_right_before_the_end_of_its_worker_does_not_count(story: Story) -> None:
    """A call in the last second of a worker may be unknown to the others, so the removal is right."""
    story.ann.answered(START_S + 5, 0.0, "w1")
    story.deployment.kills.append(Kill("w1", START_S + 5.5))
    assert leave(story, GRACE_S + 1) == []


def test_a_stream_counts_until_its_worker_was_killed(story: Story) -> None:
    """The grace begins shortly before the end of the worker, so an earlier removal is wrong."""
    story.ann.listens(OpenStream("w1", START_S, START_S + 20), START_S)
    story.deployment.kills.append(Kill("w1", START_S + 20))
    assert len(leave(story, 20 + GRACE_S - 2)) == 1


def match(story: Story, after_s: float) -> list[str]:
    """Let Ann vanish at the beginning and meet Bob `after_s` later; return the wrong matches."""
    story.ann.gone_s = START_S
    story.enter(ANN, "ann", 0)
    story.meet(after_s)
    return story.verdict().matched


def test_one_long_gone_who_is_matched_is_found(story: Story) -> None:
    """A match is wrong more than three seconds after the grace."""
    assert len(match(story, GRACE_S + 3.5)) == 1


def test_one_just_gone_who_is_matched_is_not_found(story: Story) -> None:
    """A match within three seconds after the grace is excused."""
    assert match(story, GRACE_S + 2.5) == []


def test_a_killed_worker_may_have_heard_the_gone(story: Story) -> None:
    """A killed worker extends the time by six seconds, and no longer."""
    story.deployment.kills.append(Kill("w1", START_S + 1))
    assert match(story, GRACE_S + 8) == []
    assert len(match(story, GRACE_S + 10)) >= 1


def test_without_an_engine_nobody_is_judged(story: Story) -> None:
    """A match is excused until the workers have exchanged everything again after an outage."""
    story.outages.append(Outage(START_S + GRACE_S, START_S + GRACE_S + 20))
    assert match(story, GRACE_S + 26) == []
    assert len(match(story, GRACE_S + 30)) >= 1


def test_a_worker_that_has_just_begun_judges_nobody(story: Story) -> None:
    """A worker may match the vanished until it has listened for a whole grace."""
    story.deployment.lives[:] = [Life("w1", START_S + 10, START_S + 1_000)]
    assert match(story, 10 + GRACE_S + 3) == []
    assert len(match(story, 10 + GRACE_S + 5)) >= 1
