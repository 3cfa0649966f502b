"""The roster: which connections the other brokers of a shared log hear, as far as their notes say.

Pure: it folds notes, and takes the clock's reading as an argument. Each broker writes the rows of the connections that
it hears itself, as edges, and is kept alive as a whole by at least one note a second. A gap in a broker's numbers
makes its rows incomplete until it has told all of them.

Freshness: a broker also receives its own notes. Whatever the others said before it wrote the newest of those has come
by then, so nobody is judged by a later clock than that, less a margin for what was about to be said. While the channel
stalls, nobody is judged.

Loss: a broker silent for `LEASE_MS` is lost. Its rows stay. The connections that it heard count as heard until just
after its last note, and the times of those gone as `LINGER_MS_MAX` later, since it may have heard them again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import NamedTuple

from broker.notes import Confirmed, Gone, Note, Part
from events.ids import ConnectionId

FLUSH_MS = 100
"""The time between two notes of a broker that has something to say."""

BEAT_MS = 1_000
"""The longest time between two notes of a broker."""

LEASE_MS = 10_000
"""The silence after which a broker is lost, and the time before a new one judges."""

MARGIN_MS = 3 * FLUSH_MS
JUDGE_LAG_MS = BEAT_MS + MARGIN_MS + FLUSH_MS
"""A deadline can usually be judged so much later."""

LINGER_MS_MAX = 5_000
NEVER = -1.0


class Heard(NamedTuple):
    """What other brokers know of one connection. Times are readings of this broker's clock."""

    is_heard: bool
    stream_closed_ms: float
    call_over_ms: float


NOT_HEARD = Heard(is_heard=False, stream_closed_ms=NEVER, call_over_ms=NEVER)


class _Other:
    """Another broker's rows."""

    __slots__ = ("all_rows_to_come", "gone", "heard_ms", "here", "is_complete", "is_lost", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.heard_ms = NEVER
        self.here: set[ConnectionId] = set()
        self.gone: dict[ConnectionId, tuple[float, float]] = {}  # when its stream closed, when its call was over
        self.is_complete = False
        self.is_lost = False
        self.all_rows_to_come: tuple[int, set[ConnectionId]] | None = None  # the next part, and the rows so far


class Roster:
    """The other brokers' rows, and how far they can be relied on."""

    def __init__(self, broker_id: bytes, now_ms: float) -> None:
        self.broker_id = broker_id
        self._began_ms = now_ms
        self._sent_ms: dict[int, float] = {}  # by the number of an own note not received yet
        self._fresh_ms = NEVER
        self._others: dict[bytes, _Other] = {}
        self._ended: dict[bytes, float] = {}  # those that said bye, and when
        self._named_among: list[bytes] = [broker_id]
        self.anew_ms = now_ms
        """Every grace begins here at the earliest: what was heard before is not known."""
        self.lost_ms = now_ms
        """When a broker was lost last, or this one began: signs of life it had not told of are not known."""
        self.gaps = 0
        """How often notes of others were missed, or may have been."""

    # What this broker does

    def sent(self, number: int, now_ms: float) -> None:
        """Note that the own note of `number` was written at `now_ms`."""
        self._sent_ms[number] = now_ms

    def receive(self, note: Note, now_ms: float) -> tuple[Confirmed, ...]:
        """Fold `note`; return the signs of life in it that confirm matches."""
        if note.broker == self.broker_id:
            self._receive_own(note.number)
            return ()
        if note.broker in self._ended:
            return ()
        other = self._others.get(note.broker)
        if other is None:
            other = self._others[note.broker] = _Other(note.number - 1)
            other.is_complete = note.number == 1  # it has just begun, and heard nobody
            self.gaps += not other.is_complete
        if note.number != other.number + 1 or other.is_lost:
            self.gaps += 1
            other.is_complete, other.all_rows_to_come = note.number == 1, None
        other.number, other.heard_ms, other.is_lost = note.number, now_ms, False
        self._fold_rows(other, note, now_ms)
        if note.is_bye:
            self._end(note.broker, other, now_ms)
        self._name_again()
        return note.confirmed

    def subscribed(self, now_ms: float) -> None:
        """Note that a new subscription delivers, and that notes before it may be missing."""
        self.gaps += 1
        if self._fresh_ms == NEVER:
            self._began_ms = self.anew_ms = self.lost_ms = now_ms
        for other in self._living():
            other.is_complete, other.all_rows_to_come = False, None
            other.heard_ms = now_ms  # it may have lived until now

    def check_lost(self, now_ms: float) -> list[ConnectionId]:
        """Find the brokers lost by now, and return the connections that they heard.

        A broker that does not even receive its own notes finds none.
        """
        found: list[ConnectionId] = []
        if self._fresh_ms <= now_ms - 3 * BEAT_MS:
            return found
        for other in self._living():
            if now_ms - other.heard_ms > LEASE_MS:
                other.is_lost, self.lost_ms = True, now_ms
                self.gaps += 1  # it may not have told all
                if not other.is_complete:
                    self.anew_ms = max(self.anew_ms, other.heard_ms + BEAT_MS + FLUSH_MS)
                found += sorted(other.here)
                self._name_again()
        return found

    def forget(self, is_idle: Callable[[ConnectionId], bool], longest_grace_ms: float, now_ms: float) -> None:
        """Drop rows that say nothing any more: of idle connections, and of brokers lost for long."""
        for broker_id, other in tuple(self._others.items()):
            for who in [who for who in other.gone if is_idle(who)]:
                del other.gone[who]
            if (other.is_lost or broker_id in self._ended) and now_ms - other.heard_ms > longest_grace_ms + LEASE_MS:
                del self._others[broker_id]
        for broker_id, ended_ms in tuple(self._ended.items()):
            if broker_id not in self._others and now_ms - ended_ms > 10 * LEASE_MS:
                del self._ended[broker_id]
        self._name_again()

    # What is asked of it

    @property
    def lacks_rows(self) -> bool:
        """Return whether a living broker should be asked for all its rows."""
        return any(not other.is_complete for other in self._living())

    def fresh_age_ms(self, now_ms: float) -> float:
        """Return the age of the newest own note that came back, or of this broker's beginning."""
        return now_ms - max(self._fresh_ms, self._began_ms)

    def judged_by_ms(self, now_ms: float) -> float:
        """Return the time up to which deadlines can be judged; `NEVER` while it can't be told."""
        if now_ms - self._began_ms < LEASE_MS or self.lacks_rows:
            return NEVER
        return self._fresh_ms - MARGIN_MS

    def heard(self, who: ConnectionId) -> Heard:
        """Return what the other brokers know of `who`."""
        is_heard, stream_closed_ms, call_over_ms = False, NEVER, NEVER
        for other in self._others.values():
            if who in other.here:
                is_heard = is_heard or not other.is_lost
                until_ms = other.heard_ms + BEAT_MS + FLUSH_MS
                stream_closed_ms, call_over_ms = max(stream_closed_ms, until_ms), max(call_over_ms, until_ms)
            gone = other.gone.get(who)
            if gone is not None:
                more_ms = LINGER_MS_MAX if other.is_lost else 0
                stream_closed_ms = max(stream_closed_ms, gone[0] + more_ms if gone[0] != NEVER else NEVER)
                call_over_ms = max(call_over_ms, gone[1] + more_ms if gone[1] != NEVER else NEVER)
        if not is_heard and stream_closed_ms == call_over_ms == NEVER:
            return NOT_HEARD
        return Heard(is_heard, stream_closed_ms, call_over_ms)

    def is_named(self, who: str) -> bool:
        """Return whether this broker is the one to act for `who`, by the brokers it knows to live."""
        named = self._named_among
        return len(named) == 1 or max(named, key=lambda each: _rank(who, each)) == self.broker_id

    @property
    def is_caretaker(self) -> bool:
        """Return whether this broker does what one broker suffices for: the one with the smallest id."""
        return self._named_among[0] == self.broker_id

    @property
    def brokers(self) -> int:
        """Return how many brokers live, this one included."""
        return len(self._named_among)

    def _living(self) -> list[_Other]:
        return [
            other for broker_id, other in self._others.items() if not other.is_lost and broker_id not in self._ended
        ]

    def _receive_own(self, number: int) -> None:
        sent_ms = self._sent_ms.pop(number, None)
        if sent_ms is not None:
            self._fresh_ms = max(self._fresh_ms, sent_ms)
        for earlier in [each for each in self._sent_ms if each < number]:
            del self._sent_ms[earlier]  # lost on the way

    def _fold_rows(self, other: _Other, note: Note, now_ms: float) -> None:
        if note.all_rows is not None:
            self._fold_all(other, note.here, note.all_rows)
        else:
            other.here.update(note.here)
            for who in note.here:
                other.gone.pop(who, None)
        for row in note.gone:
            other.here.discard(row.connection_id)
            _fold_gone(other, row, now_ms)

    def _fold_all(self, other: _Other, here: Iterable[ConnectionId], part: Part) -> None:
        if part.number == 1:
            other.all_rows_to_come = 1, set()
        coming = other.all_rows_to_come
        if coming is None or coming[0] != part.number:
            other.all_rows_to_come = None
            return
        coming[1].update(here)
        if part.number < part.of:
            other.all_rows_to_come = part.number + 1, coming[1]
            return
        other.here, other.is_complete, other.all_rows_to_come = coming[1], True, None

    def _end(self, broker_id: bytes, other: _Other, now_ms: float) -> None:
        for who in other.here:
            _fold_gone(other, Gone(who, 0, 0), now_ms)
        other.here = set()
        self._ended[broker_id] = now_ms

    def _name_again(self) -> None:
        living = (each for each, other in self._others.items() if not other.is_lost and each not in self._ended)
        self._named_among = sorted((self.broker_id, *living))


def _fold_gone(other: _Other, row: Gone, now_ms: float) -> None:
    stream_closed_ms, call_over_ms = other.gone.get(row.connection_id, (NEVER, NEVER))
    if row.stream_ms is not None:
        stream_closed_ms = max(stream_closed_ms, now_ms - row.stream_ms)
    if row.call_ms is not None:
        call_over_ms = max(call_over_ms, now_ms - row.call_ms)
    other.gone[row.connection_id] = stream_closed_ms, call_over_ms


def _rank(who: str, broker_id: bytes) -> bytes:
    return blake2b(who.encode() + broker_id, digest_size=8).digest()
