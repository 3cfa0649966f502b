"""`replay --step`: a log in the terminal, forwards and backwards, and what each commit changed."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import ClassVar, TypeVar

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.events import Key
from textual.widgets import Footer, Input, Static

from broker.errors import UsageError
from broker.verification.safe_text import safe
from events.codec import UnreadableCommitError
from events.commit import BrokenChainError
from events.ids import Position
from events.log import LogUnavailableError, UnusableLogError
from log_debugger.reading.filters import CommitFilter, filter_from_options, parse_filter
from log_debugger.reading.history_cache import HistoryCache
from log_debugger.reading.iterate import conversations_in
from log_debugger.reading.search import search
from log_debugger.reading.sources import Source
from log_debugger.reading.times import clock, position_of, timestamp
from log_debugger.telling.keybindings import BINDINGS, BOUND_KEYS, KEYS_HELP, QUESTIONS
from log_debugger.telling.panels import PanelSection, changed_sections, commit_sections, state_sections
from log_debugger.terminal import Terminal

LOG_ERRORS = (LogUnavailableError, UnusableLogError, UnreadableCommitError, BrokenChainError)
STYLES = {"+": "green", "-": "red strike", "~": "yellow"}
INDENT = 3
"""Columns: a mark between two spaces."""

PROGRESS_SECONDS = 0.1

T = TypeVar("T")


def step_through(
    source: Source, terminal: Terminal, options: argparse.Namespace, at: Position | None, start_ms: int
) -> int:
    """Let somebody step through `source`, from position `at` on, until they have enough; the exit status.

    Raises:
        UsageError: there is no terminal that could show it, or something asked for is not there.
    """
    if not (sys.stdin.isatty() and terminal.out.isatty() and terminal.err.isatty()):
        raise UsageError("--step needs a terminal for its input and output; without it, replay tells the log as lines")
    if os.environ.get("TERM", "") in ("", "dumb"):
        raise UsageError("--step needs a terminal that can do more than lines, and TERM says that this one can't")
    cache = HistoryCache(source)
    Stepper(cache, filter_from_options(options, cache.names), filter_text_of(options), at, start_ms).run()
    return 0


def filter_text_of(options: argparse.Namespace) -> str:
    """What `options` look for, as it is typed at the question where to stop."""
    asked = [f"{name} {value}" for name in ("room", "connection") if (value := getattr(options, name)) is not None]
    asked += [f"type {name}" for name in options.type] + ["rejection"] * options.rejection
    return ", ".join(asked + ([options.when] if options.when is not None else []))


class Stepper(App[None]):
    """Shows one position; keys lead to others."""

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
        self._target: Position = at if at is not None else cache.first + 1  # where the keys have led so far
        self._question = "jump"
        self._to_be_noted = ""  # on arrival
        self._told_at = time.monotonic()

    def compose(self) -> ComposeResult:
        """Textual's hook: what there is to see."""
        yield Static(id="where")
        with Horizontal():
            for name in ("commit", "state"):
                with VerticalScroll(id=name, can_focus=False):
                    yield Static(id=f"{name}-text")
        yield Static(id="note")
        yield Input(id="ask")
        yield Footer(compact=True)

    def on_mount(self) -> None:
        """Textual's hook: begin where it was asked for."""
        self._go_to(self._target)

    def action_go(self, commits: int) -> None:
        """So many commits on, or back."""
        self._go_to(self._target + commits)

    def action_first(self) -> None:
        """To where the log begins."""
        self._go_to(self._cache.first)

    def action_last(self) -> None:
        """To the last commit that is known."""
        self._go_to(self._cache.last)

    def action_ask(self, question: str) -> None:
        """Ask where to jump or to stop."""
        self._question = question
        ask = self.query_one("#ask", Input)
        ask.value, ask.placeholder = "", QUESTIONS[question]
        ask.display = True
        ask.focus()

    def action_find(self, direction: int) -> None:
        """To the next commit that is wanted, or the one before; never around the end."""
        if self.commit_filter.matches_all:
            self._note("nothing is looked for yet: b says at what to stop")
            return
        self._work(lambda: self._find(direction))

    def action_reload(self) -> None:
        """Take in what a running broker has appended."""
        new = self._guarded(self._cache.reload)
        if new is not None:
            self._go_to(self._cache.last if new else self.position)
            self._note(f"{new:,} commits more" if new else "nothing new")

    def action_scroll(self, lines: int) -> None:
        """Move what is shown up or down."""
        for name in ("commit", "state"):
            self.query_one(f"#{name}", VerticalScroll).scroll_relative(y=lines, animate=False)

    def action_stop(self) -> None:
        """Leave the question, or the search."""
        self.query_one("#ask", Input).display = False
        self.set_focus(None)
        self.workers.cancel_group(self, "work")
        self._target, self._to_be_noted = self.position, ""
        self._note("")

    def action_keys(self) -> None:
        """List the keys."""
        self._note(KEYS_HELP)

    def on_key(self, event: Key) -> None:
        """Textual's hook: say that a key means nothing."""
        if event.key not in BOUND_KEYS and not self.query_one("#ask", Input).display:
            self._note("that key does nothing; ? lists those that do")

    def on_input_submitted(self, answer: Input.Submitted) -> None:
        """Textual's hook: do what was asked for; if it can't be read, the question stays."""
        text = answer.value.strip()
        what_to_do = self._guarded(lambda: self._jump(text) if self._question == "jump" else self._stop_at(text))
        if what_to_do is not None:
            self.action_stop()
            self._guarded(what_to_do)

    def _jump(self, text: str) -> Callable[[], None]:
        cache = self._cache
        position = position_of(text, self._start_ms, cache.position_at) if text else self.position
        is_there = cache.first <= position <= cache.last
        note = "" if is_there else f"there is no position {position}: the log goes from {cache.first} to {cache.last}"
        return lambda: self._go_to(position, note)

    def _stop_at(self, text: str) -> Callable[[], None]:
        commit_filter = parse_filter(text, self._cache.names)

        def stop_at() -> None:
            self.commit_filter, self.filter_text = commit_filter, text
            self._show(self.position)
            if not commit_filter.matches_all:
                self.action_find(1)

        return stop_at

    def _go_to(self, position: Position, note: str = "") -> None:
        """Show `position`, or the nearest there is, and then `note`; at once if it is near."""
        self._target, self._to_be_noted = max(self._cache.first, min(position, self._cache.last)), note
        self._note("")
        if self._cache.is_near(self._target):
            self.workers.cancel_group(self, "work")
            self._guarded(lambda: self._show(self._target))
        else:
            self._work(lambda: self._seek(self._target))

    def _work(self, task: Callable[[], Awaitable[None]]) -> None:
        """Do what takes long beside the keys, one such thing at a time."""

        async def guarded() -> None:
            try:
                await task()
            except LOG_ERRORS as error:
                self._note(str(error))

        self.run_worker(guarded(), group="work", exclusive=True)

    async def _seek(self, position: Position) -> None:
        await self._pass_to(position)
        self._show(position)

    async def _pass_to(self, position: Position) -> None:
        for passed in self._cache.seek(position):
            self._tell_progress(f"at position {passed:,} of {position:,}; Esc stops it")
            await asyncio.sleep(0)  # the screen has a turn

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
            commit, shown = [], state_sections(cache.names, state, conversations_in(state))
        else:
            step, conversations = cache.step(self.position)
            state = step.after
            commit, shown = (
                commit_sections(cache.names, step, conversations),
                changed_sections(cache.names, step, conversations),
            )
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
        """What `action` answers; what is wrong is noted."""
        try:
            return action()
        except (UsageError, *LOG_ERRORS) as error:
            self._note(str(error))
            return None


class RenderedPanel:
    """Sections as they are shown: what is too long for a line goes on below its beginning. Nothing is markup."""

    def __init__(self, sections: Sequence[PanelSection]) -> None:
        self._sections = sections

    def __str__(self) -> str:
        """All of it, whatever the width."""
        rows = ([section.title, *(f" {row.mark} {row.text}" for row in section.rows), ""] for section in self._sections)
        return "".join(f"{line}\n" for lines in rows for line in lines)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Rich's hook."""
        for section in self._sections:
            yield Text(section.title, style="bold")
            for mark, text in section.rows:
                style = STYLES.get(mark, "")
                lines = Text(text, style).wrap(console, max(1, options.max_width - INDENT))
                for number, line in enumerate(lines):
                    yield Text.assemble(" ", (mark if number == 0 else " ", style), " ", line)
            yield Text()
