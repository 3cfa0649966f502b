"""`replay --step`: an interactive view of a log, one commit at a time in both directions."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import ClassVar, TypeVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.events import Key
from textual.widgets import Footer, Input, Static

from broker.errors import UsageError
from broker.verification.safe_text import safe
from events.ids import Position
from log_debugger.reading.filter_parser import parse_filter
from log_debugger.reading.filters import MATCH_ALL, CommitFilter, filter_from_options, filter_text_of, when_asked
from log_debugger.reading.history_cache import HistoryCache
from log_debugger.reading.iterate import conversations_in
from log_debugger.reading.search import search
from log_debugger.reading.sources import LOG_ERRORS, Source
from log_debugger.reading.times import clock, position_of, timestamp
from log_debugger.telling.keybindings import BINDINGS, QUESTIONS, UNBOUND, keys_help, keys_of
from log_debugger.telling.panels import (
    PanelSection,
    RenderedPanel,
    changed_sections,
    commit_sections,
    note_sections,
    state_sections,
)
from log_debugger.terminal import Terminal

PROGRESS_SECONDS = 0.1
FOLLOW_SECONDS = 0.5
NOTES_SECONDS = 2.0
"""The time between two looks for notes: they come late in any case, and a store may look through all of them."""

FOLLOWS = "the log is followed; a key that leads elsewhere ends that"

T = TypeVar("T")


def step_through(
    source: Source, terminal: Terminal, options: argparse.Namespace, at: Position | None, start_ms: int
) -> int:
    """Run the stepper over `source`, starting at `at`; return the exit status.

    Args:
        source: the log.
        terminal: the command's terminal.
        options: the parsed filter arguments, for the first search.
        at: the first position; the first commit's if `None`.
        start_ms: the time of the log's first commit.

    Raises:
        UsageError: there is no suitable terminal, or a filter's room, connection or type does not exist.
    """
    terminal.check_interactive("--step", "without it, replay tells the log as lines")
    when, cache = when_asked(options), HistoryCache(source)
    Stepper(cache, filter_from_options(options, when, cache), filter_text_of(options), at, start_ms).run()
    return 0


def typed_filter(text: str, cache: HistoryCache) -> CommitFilter:
    """Return the filter typed in the stepper; one that matches all for an empty text.

    Raises:
        UsageError: it can't be parsed, or the log has no such room, connection or time.
    """
    return CommitFilter(when=parse_filter(text, "the filter")(cache)) if text else MATCH_ALL


class Stepper(App[None]):
    """Shows one position; keys move to others."""

    CSS = """
    #where { height: auto; background: $primary; color: $text; padding: 0 1; }
    #commit { width: 1fr; border-right: solid $primary; padding: 0 1; }
    #state { width: 1fr; padding: 0 1; }
    #note { height: auto; padding: 0 1; }
    #ask { display: none; }
    """
    ENABLE_COMMAND_PALETTE = False
    AUTO_FOCUS = None
    BINDINGS: ClassVar[list[BindingType]] = [*BINDINGS]

    def __init__(
        self, cache: HistoryCache, commit_filter: CommitFilter, filter_text: str, at: Position | None, start_ms: int
    ) -> None:
        super().__init__()
        self.position: Position = cache.first
        self.commit_filter, self.filter_text, self.noted = commit_filter, filter_text, ""
        self._cache, self._start_ms = cache, start_ms
        self._target: Position = at if at is not None else cache.first + 1  # the destination of the keys so far
        self._question = "jump"
        self._to_be_noted = ""  # on arrival
        self._told_at = time.monotonic()
        self._looked_for_notes_at = 0.0
        self.is_following = False

    def compose(self) -> ComposeResult:
        """Lay out the screen (called by Textual)."""
        yield Static(id="where")
        with Horizontal():
            for name in ("commit", "state"):
                with VerticalScroll(id=name, can_focus=False):
                    yield Static(id=f"{name}-text")
        yield Static(id="note")
        yield Input(id="ask")
        yield Footer(compact=True)

    def on_mount(self) -> None:
        """Show the first position (called by Textual)."""
        self.set_interval(FOLLOW_SECONDS, self._follow)
        self._go_to(self._target)

    def action_go(self, commits: int) -> None:
        """Move by so many commits."""
        self.is_following = False
        self._go_to(self._target + commits)

    def action_first(self) -> None:
        """Move to the beginning of the log."""
        self.is_following = False
        self._go_to(self._cache.first)

    def action_last(self) -> None:
        """Move to the last known commit."""
        self._go_to(self._cache.last)

    def action_ask(self, question: str) -> None:
        """Ask for a position to jump to, or a filter to stop at."""
        self.is_following = False
        self._question = question
        ask = self.query_one("#ask", Input)
        ask.value, ask.placeholder = "", QUESTIONS[question]
        ask.display = True
        ask.focus()

    def action_find(self, direction: int) -> None:
        """Move to the next match of the filter, or the one before; the search never wraps around."""
        self.is_following = False
        if self.commit_filter.matches_all:
            self._note("nothing is looked for yet: b says at what to stop")
            return
        self._work(lambda: self._find(direction))

    def action_reload(self) -> None:
        """Take in the commits appended by a running broker."""
        new = self._guarded(self._cache.reload)
        if new is not None:
            has_notes = self._cache.look_for_notes()
            self._go_to(self._cache.last if new else self.position)
            self._note(f"{new:,} commits more" if new else "new notes, but no commit" if has_notes else "nothing new")

    def action_follow(self) -> None:
        """Go to the last commit, and to each that a running broker appends."""
        self.is_following = True
        self.action_last()
        self._follow()

    def _follow(self) -> None:
        """Take in new commits, if they are followed; an error is shown, and the next call tries again."""
        if not self.is_following:
            return
        new = self._guarded(self._cache.reload)
        is_there = self._target == self.position
        has_notes = new is not None and self._has_notes()
        if new or (new is not None and is_there and (has_notes or not self.noted.startswith(FOLLOWS))):
            self._go_to(self._cache.last, FOLLOWS)

    def _has_notes(self) -> bool:
        """Look for new notes, unless the last look was just now."""
        now = time.monotonic()
        if now - self._looked_for_notes_at < NOTES_SECONDS:
            return False
        self._looked_for_notes_at = now
        return self._cache.look_for_notes()

    def action_scroll(self, lines: int) -> None:
        """Scroll the panels."""
        for name in ("commit", "state"):
            self.query_one(f"#{name}", VerticalScroll).scroll_relative(y=lines, animate=False)

    def action_stop(self) -> None:
        """Close the question, or cancel the search; follow no longer."""
        self.is_following = False
        self.query_one("#ask", Input).display = False
        self.set_focus(None)
        self.workers.cancel_group(self, "work")
        self._target, self._to_be_noted = self.position, ""
        self._note("")

    def action_keys(self) -> None:
        """List the keys."""
        self._note(keys_help(BINDINGS))

    def on_key(self, event: Key) -> None:
        """Report an unbound key (called by Textual)."""
        if event.key not in keys_of(BINDINGS) and not self.query_one("#ask", Input).display:
            self._note(UNBOUND)

    def on_input_submitted(self, answer: Input.Submitted) -> None:
        """Act on the answer (called by Textual); an answer with an error leaves the question open."""
        text = answer.value.strip()
        what_to_do = self._guarded(lambda: self._jump(text) if self._question == "jump" else self._stop_at(text))
        if what_to_do is not None:
            self.action_stop()
            self._guarded(what_to_do)

    def _jump(self, text: str) -> Callable[[], None]:
        cache = self._cache
        position = position_of(text, lambda: cache.span, cache.position_at) if text else self.position
        is_there = cache.first <= position <= cache.last
        note = "" if is_there else f"there is no position {position}: the log goes from {cache.first} to {cache.last}"
        return lambda: self._go_to(position, note)

    def _stop_at(self, text: str) -> Callable[[], None]:
        commit_filter = typed_filter(text, self._cache)

        def stop_at() -> None:
            self.commit_filter, self.filter_text = commit_filter, text
            self._show(self.position)
            if not commit_filter.matches_all:
                self.action_find(1)

        return stop_at

    def _go_to(self, position: Position, note: str = "") -> None:
        """Show `position`, or the nearest existing one, and then `note`; at once if it is near."""
        self._target, self._to_be_noted = max(self._cache.first, min(position, self._cache.last)), note
        self._note("")
        if self._cache.is_near(self._target):
            self.workers.cancel_group(self, "work")
            self._guarded(lambda: self._show(self._target))
        else:
            self._work(lambda: self._seek(self._target))

    def _work(self, task: Callable[[], Awaitable[None]]) -> None:
        """Run a long task in the background, in place of the one before."""

        async def guarded() -> None:
            try:
                await task()
            except (UsageError, *LOG_ERRORS) as error:
                self._note(str(error))

        self.run_worker(guarded(), group="work", exclusive=True)

    async def _seek(self, position: Position) -> None:
        await self._pass_to(position)
        self._show(position)

    async def _pass_to(self, position: Position) -> None:
        for passed in self._cache.seek(position):
            self._tell_progress(f"at position {passed:,} of {position:,}; Esc stops it")
            await asyncio.sleep(0)  # let the screen update

    async def _find(self, direction: int) -> None:
        found: Position | None = None
        async for one in search(self._cache, self.commit_filter, self.position, direction):
            if one.hit is not None:
                found = one.hit
                break
            self._tell_progress(f"looked up to position {one.passed:,}; Esc stops it")
        if found is not None:
            self._target = found
            self._show(found)
        else:
            self._note("there is none further on" if direction > 0 else "there is none before")

    def _show(self, position: Position) -> None:
        self.position = self._target = self._cache.clamp(position)
        cache = self._cache
        if self.position == cache.first:
            state = cache.state(cache.first)
            commit, shown = list[PanelSection](), state_sections(cache.names, state, conversations_in(state))
        else:
            step, conversations = cache.step(self.position)
            state = step.after
            commit, shown = (
                commit_sections(cache.names, step, conversations, cache.deliveries),
                changed_sections(cache.names, step, conversations),
            )
        commit[1:1] = note_sections(cache.names, state, cache.notes_after(self.position), self._start_ms)
        when = f", {timestamp(state.at_ms)} ({clock(state.at_ms - self._start_ms)})" if state.position else ""
        filter_text = f"; looks for {safe(self.filter_text)}" if self.filter_text else ""
        self._put("where", Text(f"position {self.position:,} of {cache.last:,}{when}{filter_text}"))
        self._put("commit-text", RenderedPanel(commit))
        self._put("state-text", RenderedPanel(shown))
        broken = f"the log can't be read on: {cache.broken}" if cache.broken and self.position == cache.last else ""
        self._note(broken or self._to_be_noted)
        self._to_be_noted = ""

    def _put(self, name: str, text: Text | RenderedPanel) -> None:
        self.query_one(f"#{name}", Static).update(text)

    def _tell_progress(self, text: str) -> None:
        now = time.monotonic()
        if now - self._told_at >= PROGRESS_SECONDS:
            self._told_at = now
            self._note(text)

    def _note(self, text: str) -> None:
        self.noted = text
        self._put("note", Text(text))

    def _guarded(self, action: Callable[[], T]) -> T | None:
        """Return the result of `action`; an expected error becomes the note, and the result `None`."""
        try:
            return action()
        except (UsageError, *LOG_ERRORS) as error:
            self._note(str(error))
            return None
