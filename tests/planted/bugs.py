"""The bugs: each a slip that a review could miss, as the code it replaces and what stands there instead."""

from __future__ import annotations

from typing import NamedTuple


class Bug(NamedTuple):
    """One slip."""

    name: str
    what: str
    path: str
    sound: str  # stands once in the file
    broken: str


BUGS = (
    Bug(
        "double-match",
        "a matched newcomer stays in the queue",
        "projections/state.py",
        """    for who in (event.first, event.second):
        now.waiting.remove(who)
""",
        """    now.waiting.remove(event.first)
    for who in (event.first, event.second):
""",
    ),
    Bug(
        "last-come",
        "who waited shortest is met first",
        "broker/matching.py",
        "return next((who for _, who in state.queue.entries.items() if who != seeker.connection_id), None)",
        "return next((who for _, who in [*state.queue.entries.items()][::-1] if who != seeker.connection_id), None)",
    ),
    Bug(
        "lost-wake-up",
        "what comes while a wait looks into the log does not wake it",
        "broker/waits.py",
        """                self._touched.clear()
                waited = await self._look()
                if waited is not None:
                    return waited
""",
        """                waited = await self._look()
                if waited is not None:
                    return waited
                self._touched.clear()
""",
    ),
    Bug(
        "cursor-past-page",
        "the cursor of a full page passes what is not in it",
        "broker/reads.py",
        "return Page(events, told[-1].position, missed=cursor < log.base.position)",
        "return Page(events, state.position, missed=cursor < log.base.position)",
    ),
    Bug(
        "cursor-off-by-one",
        "a page begins with what stands at its cursor",
        "projections/inbox.py",
        "found: list[Position] = [p for p in self.newest if p > cursor]",
        "found: list[Position] = [p for p in self.newest if p >= cursor]",
    ),
    Bug(
        "leaking-grace",
        "nobody looks again at someone whose last stream has closed",
        "broker/presence.py",
        """        trace.stream_closed_ms = self._clock.now_ms()
        self._schedule(connection_id, trace)
""",
        """        trace.stream_closed_ms = self._clock.now_ms()
""",
    ),
    Bug(
        "notify-before-append",
        "people are told before what they are told is stored",
        "broker/writer.py",
        """        draft, jumps, may_have_landed = self._drafted(batch), self._truncations, False
        while draft.commits:
            started_ms""",
        """        draft, jumps, may_have_landed = self._drafted(batch), self._truncations, False
        for step in draft.steps:
            if step.commit is not None:
                self._announce(step.commit, step.state)
        while draft.commits:
            started_ms""",
    ),
    Bug(
        "landed-append-repeated",
        "an append that timed out is decided anew, though it may have landed",
        "broker/writer.py",
        """                await sleep_until(self._clock, self._clock.now_ms() + RETRY_MS)
            else:""",
        """                await sleep_until(self._clock, self._clock.now_ms() + RETRY_MS)
                await self._catch_up()
                draft = self._drafted(batch)
            else:""",
    ),
    Bug(
        "repeat-after-end",
        "a message that is repeated after the chat has ended is refused",
        "broker/decide.py",
        """    repeated = command.client_message_id
    if repeated is not None and room.sent_at_ms(sender, repeated) is not None:
        return ALREADY_DONE
    if not room.is_open:
        return Rejection("chat_ended")
""",
        """    repeated = command.client_message_id
    if not room.is_open:
        return Rejection("chat_ended")
    if repeated is not None and room.sent_at_ms(sender, repeated) is not None:
        return ALREADY_DONE
""",
    ),
    Bug(
        "late-disconnect",
        "someone who came back is taken out by a decision made before",
        "broker/decide.py",
        "if known is None or known.last_position > command.since:",
        "if known is None:",
    ),
    Bug(
        "resumed-twice",
        "a stream that resumes within a position repeats what it had of it",
        "mcp_facade/streams/get_stream.py",
        "missed = [delivery for delivery in told if not resumption.includes(delivery)]",
        "missed = told",
    ),
    Bug(
        "backlog-swallowed",
        "a stream that is read too slowly drops what is too much, and goes on",
        "broker/streams.py",
        """            self._backlog.clear()
            self.end()
            self.abort()
            return
""",
        """            return
""",
    ),
    Bug(
        "closer-told",
        "whoever ends a conversation is told that it ended",
        "projections/notifications.py",
        "        return (event.other,)",
        "        return (event.closed_by,)",
    ),
    Bug(
        "ghost",
        "a handle that reached nobody waits on, to be met by its own client",
        "mcp_facade/http/exchange.py",
        """        if minted is not None and not self._answered:
            self._broker.abandon(minted)""",
        """        if minted is not None and self._answered:
            self._broker.abandon(minted)""",
    ),
)
