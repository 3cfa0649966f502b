"""The page of settings and metrics agrees with the code."""

from __future__ import annotations

import re
import shlex

import pytest

from broker.config import settings_from
from broker.retention import SWEEP_MS
from events.policy import Policy
from mcp_facade.cli import parser_for
from mcp_facade.tools.arguments import WAIT_SECONDS_MAX
from tests import settings_page
from tests.support.pages import Page

PAGE = Page("docs/settings.md")
OPERATING = Page("docs/operating.md")


@pytest.mark.skipif(settings_page.HAS_NO_PROC, reason="the metrics of the process need /proc")
def test_the_page_is_current() -> None:
    """`make settings` would change nothing."""
    assert settings_page.current(PAGE.text) == PAGE.text


def test_a_stale_page_is_written_anew() -> None:
    """Its tables are replaced, and nothing else of it."""
    stale = PAGE.text.replace("`--port`", "`--prot`").replace("| `--host`", "| `--hots`")
    assert stale != PAGE.text
    assert settings_page.current(stale) == settings_page.current(PAGE.text)


def test_the_longest_wait_is_what_a_proxy_has_to_bear() -> None:
    """The operators' page gives the longest wait of the schema."""
    assert f"the longest wait, {WAIT_SECONDS_MAX} seconds" in OPERATING.section("Behind a proxy")


def test_the_command_of_the_steps_is_understood() -> None:
    """The command for a first broker has settings that there are, with values that they take."""
    (command,) = re.findall(r"^ +(chat-broker serve (?:.*\\\n)*.*)$", OPERATING.section("In order"), re.MULTILINE)
    arguments = shlex.split(command.replace("\\\n", " "))[1:]
    settings = settings_from(parser_for(["serve"]).parse_args(arguments), {})
    assert (settings.log, settings.admin_port, settings.allow_hosts) == ("sqlite:chat.db", 9000, ("chat.example.com",))


def test_how_often_texts_are_looked_for_is_said() -> None:
    """The operators' page says that texts are looked for once a minute."""
    assert SWEEP_MS == 60_000
    assert "looks once a minute" in OPERATING.section("A log that lasts")


def test_the_graces_are_the_defaults() -> None:
    """The page of the protocol gives the three graces in words."""
    policy = Policy()
    graces = (policy.stream_grace_ms, policy.idle_grace_queue_ms, policy.idle_grace_room_ms)
    assert graces == (30_000, 90_000, 5 * 60_000)
    for words in ("30 seconds from a closed stream", "90 seconds in the queue", "five minutes in a room"):
        assert words in Page("docs/protocol.md").section("Presence")
