"""An operator's own matching: its name, import, trial, guards and failures."""

from __future__ import annotations

import importlib
import linecache
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from unittest.mock import patch

import pytest
from structlog.testing import capture_logs

from broker.batch import Accepted
from broker.decide import decide
from broker.decision import Rejection
from broker.matching import OWN_MATCHINGS, MatchingError, Seeker, counted_as, matching_of, patience_steps_ms
from broker.own_matching import code_digest, matching_of_log, provide_matching
from broker.roster_link import DISAGREEMENT_MS
from events.codec import decode_commit, encode_commit
from events.commands import AdoptPolicy, EnterQueue
from events.commit import EMPTY_TIP, Facts, commit_after
from events.events import PolicyAdopted, RoomOpened
from events.ids import ConnectionId, RoomId
from events.policy import Policy
from projections.connections import Chatting
from projections.state import INITIAL_STATE, evolve, fold
from projections.view import StateView
from tests.support.bench import LENIENT, BrokerBench, two_brokers, with_broker
from tests.support.fake_clock import FakeClock
from tests.support.logs import FaultyLog, run
from tests.support.people import ANN, BOB, CAT, DAN, FRESH, ROOM, closed, enter, say
from tests.support.specs import NOON_MS, chatting, state_after, under, waiting

NAME = "kin.rules:shared"
OWN = Policy(matching=NAME, messages_per_10s_max=1_000, queue_commands_per_10s_max=1_000)
SHORTEST = """
    def shared(state, seeker, at_ms):
        others = [who for _, who in state.queue.entries.items() if who != seeker.connection_id]
        return others[-1] if others else None
"""
CHOOSY = """
    def shared(state, seeker, at_ms):
        if "boom" in seeker.interests:
            raise LookupError("no luck")
        others = [who for _, who in state.queue.entries.items() if who != seeker.connection_id]
        return others[-1] if others and seeker.interests else None
"""


@pytest.fixture(autouse=True)
def _own_matchings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget a test's registered and imported matchings."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    with patch.dict(OWN_MATCHINGS, clear=True), patch.dict(sys.modules):
        yield


def written(directory: Path, source: str, *, module: str = "kin/rules.py") -> None:
    """A module in `directory`, where Python looks for modules from now on."""
    path = directory / module
    path.parent.mkdir(exist_ok=True)
    path.write_text(dedent(source))
    if str(directory) not in sys.path:
        sys.path.insert(0, str(directory))


@pytest.mark.parametrize("name", ["kin:shared", "kin.rules:shared", "_a.b_1:C"])
def test_a_policy_names_a_function_of_a_module(name: str) -> None:
    """The module need not be here: a log can be read without it."""
    commit = commit_after(
        EMPTY_TIP, AdoptPolicy(Policy(matching=name)), Facts(0), [PolicyAdopted(Policy(matching=name))]
    )
    assert decode_commit(encode_commit(commit)) == commit
    assert fold([commit]).policy.matching == name


@pytest.mark.parametrize(
    "name", ["kin", "kin.shared", ":f", "kin:", "a b:c", "kin:f()", "1:f", "ä:f", "k:f\n", "k:" + "f" * 199, 5]
)
def test_another_name_is_no_matching(name: object) -> None:
    """The error says which names are valid."""
    with pytest.raises(ValueError, match=r"one of first-come, interests, or package\.module:function"):
        Policy(matching=name)


def test_an_own_matching_is_told_as_one_by_interests() -> None:
    """Clients need not know its name, and interests may count."""
    assert [counted_as(Policy(matching=name)) for name in ("first-come", "interests", NAME)] == [
        "first-come",
        "interests",
        "interests",
    ]


def test_patience_counts_under_an_own_matching() -> None:
    """It is asked again when the patience of a waiting connection ends."""
    assert patience_steps_ms(Policy(matching=NAME, interest_patience_ms=7)) == [7]


def test_an_own_matching_decides_once_it_is_registered() -> None:
    """The log has only its name, in the policy."""
    state = state_after(under(matching=NAME))
    with pytest.raises(MatchingError, match=f"names the matching {NAME}, which this process does not have"):
        decide(state, enter(ANN), Facts(NOON_MS, FRESH))
    OWN_MATCHINGS[NAME] = lambda state, seeker, at_ms: None
    assert matching_of(OWN) is OWN_MATCHINGS[NAME]
    assert decide(state, enter(ANN), Facts(NOON_MS, FRESH)) != []


class TestImport:
    """Import by an operator's setting, and for a log."""

    def test_it_is_imported_from_where_python_looks(self, tmp_path: Path) -> None:
        """And its answers are those of the function."""
        written(tmp_path, SHORTEST)
        provide_matching(OWN)
        state = state_after(waiting(BOB), under(matching="interests"), [(PolicyAdopted(OWN),)], waiting(CAT))
        assert matching_of(OWN)(state, Seeker(ANN, (), 0), NOON_MS) == CAT
        assert matching_of(OWN)(INITIAL_STATE, Seeker(ANN, (), 0), NOON_MS) is None

    def test_an_operators_is_found_in_the_working_directory(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A log's matching is not looked for there: the log may be a stranger's."""
        (tmp_path / "here.py").write_text(dedent(SHORTEST))
        monkeypatch.chdir(tmp_path)
        policy = Policy(matching="here:shared")
        with pytest.raises(MatchingError, match="this log is decided by the matching here:shared, and can't import"):
            matching_of_log(policy)
        provide_matching(policy)
        assert matching_of_log(policy) is OWN_MATCHINGS["here:shared"]

    def test_that_of_a_log_says_what_to_do(self) -> None:
        """In one line."""
        with pytest.raises(MatchingError) as caught:
            matching_of_log(OWN)
        assert str(caught.value) == (
            "this log is decided by the matching kin.rules:shared, and can't import kin.rules:shared: "
            "ModuleNotFoundError: \"No module named 'kin'\"; install it, or name its directory in PYTHONPATH"
        )

    def test_those_that_there_are_need_no_import(self) -> None:
        """Nothing is registered for them."""
        for name in ("first-come", "interests"):
            provide_matching(Policy(matching=name))
            assert matching_of_log(Policy(matching=name)) is matching_of(Policy(matching=name))
        assert OWN_MATCHINGS == {}

    @pytest.mark.parametrize(
        ("source", "says"),
        [
            ("", "can't import kin.rules:shared: AttributeError: "),
            ("shared = 5", "kin.rules:shared is no function"),
            ("raise RuntimeError('no\\nluck')", 'can\'t import kin.rules:shared: RuntimeError: "no\\nluck"'),
            ("import sys; sys.exit(0)", "can't import kin.rules:shared: SystemExit: "),
            ("def shared(", "can't import kin.rules:shared: SyntaxError: "),
            ("def shared(state, seeker): ...", "takes other arguments than (state, seeker, at_ms)"),
            ("def shared(state, seeker, at_ms) -> bool: ...", "gives back something else than a ConnectionId or None"),
            ("async def shared(state, seeker, at_ms): ...", "it is async, and a matching decides at once"),
            (
                "def shared(state, seeker, at_ms): return 5",
                "in a trial, asked for a newcomer while nobody waits, the matching kin.rules:shared returned some",
            ),
            ("def shared(state, seeker, at_ms): return 'c_x'", 'named "c_x", who does not wait'),
            ("def shared(state, seeker, at_ms): return seeker.connection_id", 'named "c_newcomer", the seeker itself'),
            ("def shared(state, seeker, at_ms): return state.queue.head()", 'named "c_waiting", the seeker itself'),
            ("from os.path import join as shared", "failed: TypeError: "),
            ("shared = max", "failed: TypeError: "),
            ("def shared(state, seeker, at_ms): raise SystemExit('bye')", 'failed: SystemExit: "bye"'),
            ("def shared(state, seeker, at_ms): return [][0]", "asked for a newcomer while nobody waits, the matching"),
            (
                "def shared(state, seeker, at_ms): return seeker.interests[0] and None",
                "asked for a newcomer without interests, the matching kin.rules:shared failed: IndexError: ",
            ),
            (
                "def shared(state, seeker, at_ms):\n"
                "    known = sorted(who for who, _ in state.connections.by_id.items() if who != seeker.connection_id)\n"
                "    return next(iter(known), None)",
                'asked for a newcomer, the matching kin.rules:shared named "c_guest", who does not wait',
            ),
            (
                "import itertools\ncount = itertools.count()\n"
                "def shared(state, seeker, at_ms):\n"
                "    return state.queue.head() if next(count) % 2 else None",
                "it named nobody, and c_waiting when it was asked the same again; it has to decide by its arguments",
            ),
            (
                "class Shared:\n    async def __call__(self, state, seeker, at_ms): ...\nshared = Shared()",
                "the matching kin.rules:shared is async, and a matching decides at once",
            ),
            ("def shared(state, seeker, at_ms): yield", "returned something of the type generator"),
            ("def shared(state, seeker, at_ms): return state.queue.head() and 5", "returned something of the type int"),
        ],
    )
    def test_what_is_no_matching_is_refused_in_one_line(self, source: str, says: str, tmp_path: Path) -> None:
        """Missing, failing, of another kind, or seen in a trial to return nonsense."""
        written(tmp_path, source)
        with pytest.raises(MatchingError) as caught:
            provide_matching(OWN)
        assert says in str(caught.value)
        assert "\n" not in str(caught.value)
        assert OWN_MATCHINGS == {}

    @pytest.mark.parametrize(
        "source",
        [
            "import functools\ndef last(n, state, seeker, at_ms): ...\nshared = functools.partial(last, -1)",
            "shared = lambda state, seeker, at_ms: None",
            "class Shared:\n    def __call__(self, state, seeker, at_ms): ...\nshared = Shared()",
            "class Shared:\n    def pick(self, state, seeker, at_ms): ...\nshared = Shared().pick",
            "def shared(*arguments, **options): ...",
        ],
    )
    def test_a_matching_may_be_anything_that_can_be_called(self, source: str, tmp_path: Path) -> None:
        """A partial function, a lambda, an object or its method."""
        written(tmp_path, source)
        provide_matching(OWN)
        assert matching_of(OWN)(INITIAL_STATE, Seeker(ANN, (), 0), NOON_MS) is None

    def test_a_logs_matching_need_not_pass_the_trial(self, tmp_path: Path) -> None:
        """What it decided in the log may be all that it can."""
        written(tmp_path, "def shared(state, seeker, at_ms): raise LookupError")
        with pytest.raises(MatchingError, match=r"the matching kin\.rules:shared failed: LookupError"):
            matching_of_log(OWN)(INITIAL_STATE, Seeker(ANN, (), 0), NOON_MS)

    def test_an_answer_is_a_plain_text(self, tmp_path: Path) -> None:
        """A commit with an enumeration's member in it could not be stored."""
        written(
            tmp_path,
            "import enum\nclass Known(str, enum.Enum): WAITING = 'c_waiting'\n"
            "def shared(state, seeker, at_ms):\n"
            "    waits = 'c_waiting' in state.queue.entered and seeker.connection_id != 'c_waiting'\n"
            "    return Known.WAITING if waits else None",
        )
        provide_matching(OWN)
        state = state_after(waiting(ConnectionId("c_waiting")))
        assert type(matching_of(OWN)(state, Seeker(ANN, (), 0), NOON_MS)) is str


class TestInABroker:
    """A broker with a policy that names an own matching."""

    def test_it_decides(self, tmp_path: Path) -> None:
        """The last one meets the next newcomer, which no built-in matching would do."""
        written(tmp_path, CHOOSY)
        provide_matching(OWN)

        @with_broker(OWN)
        async def scenario(bench: BrokerBench) -> None:
            await bench.do(enter(ANN))
            await bench.do(enter(BOB))
            await bench.do(enter(CAT, None, "tea"))
            assert bench.waits(ANN)
            assert bench.place_of(BOB) == bench.place_of(CAT)

        scenario()

    def test_a_failure_is_answered_and_nothing_is_stored(self, tmp_path: Path) -> None:
        """All others go on, also those of the same batch; the operator gets one traceback a minute."""
        written(tmp_path, CHOOSY)
        provide_matching(OWN)

        @with_broker(OWN)
        async def scenario(bench: BrokerBench) -> None:
            room = await _room_of_two(bench)
            tip = bench.broker.state.tip
            with capture_logs() as logged:
                failing = [enter(CAT, None, "boom"), say(ANN, "hello", None, room), enter(DAN, None, "boom")]
                futures = [bench.broker.writer.submit(command) for command in failing]
                answers = [await future for future in futures]
                assert [answers[0], answers[2]] == [Rejection("unavailable")] * 2
                assert isinstance(answers[1], Accepted)
                await bench.clock.advance(60_000)
                assert await bench.broker.writer.submit(enter(CAT, None, "boom")) == Rejection("unavailable")
            assert bench.broker.state.tip.position == tip.position + 1
            failed = [line for line in logged if line["event"] == "matching_failed"]
            assert [(line["log_level"], line["matching"], line["fault"]) for line in failed] == [
                ("error", NAME, "LookupError")
            ] * 2
            assert [line.get("suppressed") for line in failed] == [None, 1]
            assert all(isinstance(line["exc_info"], LookupError) for line in failed)
            assert [line for line in logged if line["event"] == "batch_failed"] == []

        scenario()

    def test_the_log_of_an_own_matching_is_not_taken_over_by_default(self, tmp_path: Path) -> None:
        """Without the flag, pairs would change by mistake; with a flag, they may change."""
        written(tmp_path, CHOOSY)
        provide_matching(OWN)

        async def scenario() -> None:
            log = FaultyLog()
            first = BrokerBench(log)
            await first.broker.start(OWN)
            forgotten = BrokerBench(log)
            with pytest.raises(MatchingError) as caught:
                await forgotten.broker.start(LENIENT)
            assert str(caught.value) == (
                "it is decided by the matching kin.rules:shared: name it with --matching kin.rules:shared "
                "(CHAT_BROKER_MATCHING), or name another to change to, as in --matching first-come"
            )
            assert (await log.inner.tip()).position == first.broker.state.position
            again = BrokerBench(log)
            await again.broker.start(OWN)
            changed = BrokerBench(log)
            await changed.broker.start(LENIENT, names_matching=True)
            assert changed.broker.state.policy.matching == "first-come"
            for bench in (first, forgotten, again, changed):
                await bench.broker.close()

        run(scenario)


async def _room_of_two(bench: BrokerBench) -> RoomId:
    """Let Ann and Bob meet by a shared interest."""
    await bench.do(enter(ANN, None, "tea"))
    await bench.do(enter(BOB, None, "tea"))
    place = bench.place_of(ANN)
    assert isinstance(place, Chatting)
    return place.room_id


class TestInSeveralBrokers:
    """Brokers of one log, started with different matchings."""

    def test_one_without_the_logs_matching_says_so(self, tmp_path: Path) -> None:
        """It answers undecidable commands with an error, and carries on with all else."""

        async def scenario() -> None:
            async with two_brokers() as (clock, here, there):
                room = await here.pair(ANN, BOB)
                await there.do(AdoptPolicy(OWN))
                await clock.advance(100)
                with capture_logs() as logged:
                    assert await here.broker.writer.submit(enter(CAT)) == Rejection("unavailable")
                    await here.do(say(ANN, "hello", None, room))
                (line,) = [line for line in logged if line["event"] == "matching_failed"]
                assert (line["matching"], line["fault"]) == (NAME, "MatchingError")
                assert NAME in str(line["exc_info"])

        run(scenario)

    @pytest.mark.parametrize(
        ("second", "code", "are_told"), [(LENIENT, SHORTEST, True), (OWN, CHOOSY, True), (OWN, SHORTEST, False)]
    )
    def test_other_names_and_other_code_disagree(
        self, second: Policy, code: str, are_told: bool, tmp_path: Path
    ) -> None:
        """Both are logged, as other limits are; the same code of the same name is not."""

        async def scenario() -> None:
            clock = FakeClock()
            benches = [BrokerBench(log, clock) for log in FaultyLog.shared(2)]
            with capture_logs() as logged:
                for bench, policy, source in zip(benches, (OWN, second), (SHORTEST, code), strict=True):
                    with patch.dict(sys.modules):  # as in a process of its own
                        written(tmp_path, source)
                        linecache.clearcache()
                        importlib.invalidate_caches()
                        provide_matching(policy)
                    await bench.broker.start(policy, names_matching=True)
                await clock.advance(2 * DISAGREEMENT_MS)
                for bench in benches:
                    await bench.broker.close()
            assert any(line["event"] == "brokers_disagree" for line in logged) is are_told

        run(scenario)

    def test_the_code_of_others_has_no_digest(self) -> None:
        """Brokers of one version have the same."""
        assert code_digest(LENIENT) == ""
        OWN_MATCHINGS[NAME] = lambda state, seeker, at_ms: None
        assert code_digest(OWN) == ""


def test_a_match_due_that_fails_is_asked_again(tmp_path: Path) -> None:
    """A second later, for as long as it waits."""
    written(tmp_path, CHOOSY)
    provide_matching(OWN)

    @with_broker(Policy(matching=NAME, interest_patience_ms=1_000))
    async def scenario(bench: BrokerBench) -> None:
        await bench.do(enter(ANN))
        with patch.dict(OWN_MATCHINGS, {NAME: lambda state, seeker, at_ms: None}):
            await bench.do(EnterQueue(BOB, "Bob", ("boom",)))
        asked = list[ConnectionId]()
        kept = OWN_MATCHINGS[NAME]

        def counted(state: object, seeker: Seeker, at_ms: int) -> ConnectionId | None:
            asked.append(seeker.connection_id)
            return kept(state, seeker, at_ms)

        with patch.dict(OWN_MATCHINGS, {NAME: counted}), capture_logs() as logged:
            await bench.clock.advance(5_500)
        assert asked.count(BOB) == 5
        assert asked.count(ANN) == 1
        assert [line.get("suppressed") for line in logged if line["event"] == "matching_failed"] == [None]

    scenario()


def test_a_matching_can_list_what_a_state_holds() -> None:
    """It can list a working copy too, and the copy goes on from there."""
    listed: list[tuple[set[ConnectionId], list[RoomId], list[RoomId], list[ConnectionId], list[ConnectionId]]] = []

    def never_twice(state: StateView, seeker: Seeker, at_ms: int) -> ConnectionId | None:
        met = [partner.connection_id for partner in state.connections.partners_of(seeker.connection_id)]
        listed.append(
            (
                {who for who, _ in state.connections.by_id.items()},
                [room_id for room_id, _ in state.rooms.by_id.items()],
                [room_id for _, room_id in state.rooms.closed.items()],
                [who for _, who in state.connections.idle.items()],
                met,
            )
        )
        return next((who for _, who in state.queue.entries.items() if who not in {seeker.connection_id, *met}), None)

    state = state_after(
        under(rematch_after_ms=1), chatting(ANN, BOB), [(closed(ANN, BOB, "left"),)], waiting(BOB), waiting(CAT)
    )
    copy = state.mutate()
    facts = Facts(state.at_ms, FRESH)
    for view in (state, copy, copy):
        decision = decide(view, enter(ANN), facts, matching=never_twice)
        assert isinstance(decision, list)
        assert [event.first for event in decision if isinstance(event, RoomOpened)] == [CAT]
    assert listed == [({ANN, BOB, CAT}, [ROOM], [ROOM], [ANN], [BOB])] * 3
    commit = commit_after(state.tip, enter(ANN), facts, decision)
    copy.fold(commit)
    assert copy.finish() == evolve(state, commit)
    assert state.connections.partners_of(DAN) == ()
