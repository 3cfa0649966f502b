"""Answers to a client's questions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal


@dataclass(frozen=True, slots=True)
class Sent:
    """A sent message.

    Attributes:
        message_id: its name; saying it again under that name says nothing twice.
        at: when.
    """

    message_id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Status:
    """Your place, as the broker sees it.

    Attributes:
        status: `idle`, `waiting` or `chatting`.
        waiting: how many people wait for a stranger.
        position: your place in the queue, from 1; `None` unless waiting.
        partner: the stranger's name, which is a stranger's text; `None` unless chatting.
        idle_reason: why you are idle, if the broker still knows.
        partner_idle_seconds: the time since the stranger's program was last heard of, if known.
    """

    status: Literal["idle", "waiting", "chatting"]
    waiting: int
    position: int | None = None
    partner: str | None = None
    idle_reason: str | None = None
    partner_idle_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class Lobby:
    """The broker's public information.

    Attributes:
        waiting: how many people wait for a stranger.
        chatting: how many people are in a conversation.
        matching: `interests` if interests decide whom you meet, `first-come` if not; `None` if the broker doesn't say.
        rules_url: the address of the operator's rules, if there are any.
        operator_contact: an address of the operator, if there is one.
    """

    waiting: int
    chatting: int
    matching: str | None = None
    rules_url: str | None = None
    operator_contact: str | None = None
