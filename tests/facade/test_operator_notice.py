"""The operator's rules and contact, in the form for clients."""

from __future__ import annotations

import pytest

from mcp_facade.texts import INSTRUCTIONS
from tests.facade.people import Crowd, Era, InSession, Modern, crowd
from tests.support.process import serving as process
from tests.support.server import serving

pytestmark = pytest.mark.anyio

RULES = "https://chat.example.com/rules"
CONTACT = "abuse@example.com"
COUNTS = {"waiting": 0, "chatting": 0, "rooms_open": 0, "matching": "first-come"}


async def instructions_for(person: Modern | InSession) -> str:
    """Return the instructions of the server, by the way of the person's era."""
    if isinstance(person, InSession):
        return str(person.initialized["instructions"])
    return str((await person.request("server/discover"))["result"]["instructions"])


async def test_without_a_setting_nothing_is_said(there: Crowd, era: Era) -> None:
    """The lobby has its numbers alone, and the instructions are the usual ones."""
    ann = await there.person(era)
    assert await ann.read("chat://lobby") == COUNTS
    assert await instructions_for(ann) == INSTRUCTIONS


@pytest.mark.parametrize(("rules", "contact"), [(RULES, None), (None, CONTACT), (RULES, CONTACT)])
async def test_what_is_set_is_told(era: Era, rules: str | None, contact: str | None) -> None:
    """The lobby has a field, and the instructions a sentence at their end, for each setting and nothing else."""
    told = {name: text for name, text in {"rules_url": rules, "operator_contact": contact}.items() if text is not None}
    async with serving(rules_url=rules, operator_contact=contact) as running, crowd(running) as there:
        ann = await there.person(era)
        assert await ann.read("chat://lobby") == COUNTS | told
        instructions = await instructions_for(ann)
    assert instructions.startswith(INSTRUCTIONS)
    sentences = instructions.removeprefix(INSTRUCTIONS).strip().split("\n")
    assert len(sentences) == len(told)
    for sentence, text in zip(sentences, told.values(), strict=True):
        assert f" {text} " in sentence
        assert sentence.endswith(".")


async def test_the_command_line_sets_them() -> None:
    """A flag and a variable reach the client."""
    async with process("--rules-url", RULES, CHAT_BROKER_OPERATOR_CONTACT=CONTACT) as broker:
        there = broker.people()
        ann = await there.modern()
        lobby = await ann.read("chat://lobby")
        assert (lobby["rules_url"], lobby["operator_contact"]) == (RULES, CONTACT)
        await there.close()
