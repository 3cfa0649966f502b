"""The stepper's keys, and the help text about keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from textual.binding import Binding

BINDINGS: Sequence[Binding] = (
    # First, so it stays visible on a narrow screen.
    Binding("question_mark", "keys", "keys", key_display="?", tooltip="lists the keys"),
    Binding("right,n,l,space", "go(1)", "next", key_display="→", tooltip="a commit on"),
    Binding("left,p,h", "go(-1)", "prev", key_display="←", tooltip="a commit back"),
    Binding("pagedown", "go(10)", "+10", key_display="PgDn", tooltip="ten on"),
    Binding("pageup", "go(-10)", "-10", key_display="PgUp", tooltip="ten back"),
    Binding("home,g", "first", "first", key_display="g", tooltip="to where the log begins"),
    Binding("end,G", "last", "last", key_display="G", tooltip="to its last commit"),
    Binding("j,colon", "ask('jump')", "jump", key_display="j", tooltip="to a position, or a time"),
    Binding("b,slash", "ask('stop')", "stop at", key_display="b", tooltip="to the next commit of a kind"),
    Binding("f,enter", "find(1)", "find", key_display="f", tooltip="to the next one like that"),
    Binding("F", "find(-1)", "back", key_display="F", tooltip="to the one before"),
    Binding("r", "reload", "reload", tooltip="takes in what a running broker has appended"),
    Binding("t", "follow", "follow", tooltip="follows a log that grows, until a key leads elsewhere"),
    Binding("down", "scroll(1)", "scroll", show=False, tooltip="moves what is too long for the screen down"),
    Binding("up", "scroll(-1)", "scroll", show=False, tooltip="and up"),
    Binding("escape", "stop", "stop", show=False, tooltip="leaves a question or a search"),
    Binding("q,ctrl+c", "quit", "quit", key_display="q", tooltip="ends"),
)
QUESTIONS: Mapping[str, str] = {
    "jump": "position, or a time as in 14:03:22 or +90s",
    "stop": "stop at a filter, as in: room == 2370 and type == message_sent, person == Ida, waiting > 3, rejection",
}
KEY_NAMES: Mapping[str, str] = {
    "question_mark": "?",
    "right": "→",
    "left": "←",
    "pagedown": "PgDn",
    "pageup": "PgUp",
    "home": "Home",
    "end": "End",
    "colon": ":",
    "slash": "/",
    "enter": "Enter",
    "down": "↓",
    "up": "↑",
    "escape": "Esc",
    "ctrl+c": "Ctrl+C",
}
"""Key labels, if they differ from the names in Textual."""

UNBOUND = "that key does nothing; ? lists those that do"


def keys_of(bindings: Sequence[Binding]) -> frozenset[str]:
    """Return the keys of `bindings`, by their names in Textual."""
    return frozenset(key for binding in bindings for key in binding.key.split(","))


def keys_help(bindings: Sequence[Binding]) -> str:
    """Return the help text with all keys of `bindings`."""
    keys = (" ".join(KEY_NAMES.get(key, key) for key in binding.key.split(",")) for binding in bindings)
    return "; ".join(f"{names}  {binding.tooltip}" for names, binding in zip(keys, bindings, strict=True))
