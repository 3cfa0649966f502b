"""What an operator may set."""

from __future__ import annotations

import pytest

from broker.settings import (
    FLAGS,
    LISTS,
    Settings,
    UsageError,
    open_log,
    parse_arguments,
    serve_help,
    unknown_variables,
)
from events.memory_log import MemoryLog
from events.policy import Policy


def parsed(*arguments: str, **environment: str) -> Settings:
    """The settings of `chat-broker serve` with these flags and `CHAT_BROKER_` variables."""
    return parse_arguments(["serve", *arguments], {f"CHAT_BROKER_{name}": value for name, value in environment.items()})


def refusal(*arguments: str, **environment: str) -> str:
    """Why these are refused."""
    with pytest.raises(UsageError) as raised:
        parsed(*arguments, **environment)
    text = str(raised.value)
    assert text
    assert "\n" not in text
    return text


def test_without_a_word_there_are_defaults() -> None:
    """This machine only, in memory, and the default policy."""
    assert parsed() == Settings()
    assert (Settings().host, Settings().port, Settings().log, Settings().policy) == (
        "127.0.0.1",
        8000,
        "memory:",
        Policy(),
    )


def test_flags_are_taken() -> None:
    """Each of them."""
    flags = ["--host", "0.0.0.0", "--port", "0", "--log", "memory:", "--log-format", "json", "--log-level", "debug"]  # noqa: S104
    assert parsed(*flags) == Settings(host="0.0.0.0", port=0, log_format="json", log_level="debug")  # noqa: S104


def test_variables_are_taken() -> None:
    """The same names in capitals; the rest of the environment is no matter."""
    settings = parse_arguments(
        ["serve"], {"CHAT_BROKER_PORT": "9000", "CHAT_BROKER_LOG_FORMAT": "json", "HOME": "/root", "PORT": "1"}
    )
    assert settings == Settings(port=9000, log_format="json")


def test_a_flag_wins_over_its_variable() -> None:
    """It is nearer."""
    assert parsed("--port", "9001", PORT="9000").port == 9001
    assert parsed("--streams-max", "5", STREAMS_MAX="4").policy.streams_max == 5
    assert parsed("--allow-host", "a", ALLOW_HOST="b").allow_hosts == ("a",)


def test_lists_are_repeated_flags_or_a_variable_with_commas() -> None:
    """An origin has no slash at its end."""
    settings = parsed("--allow-host", "a.example", "--allow-host", "b.example", "--allow-origin", "https://a.example/")
    assert settings.allow_hosts == ("a.example", "b.example")
    assert settings.allow_origins == ("https://a.example",)
    settings = parsed(ALLOW_HOST="a.example, b.example,", ALLOW_ORIGIN="")
    assert (settings.allow_hosts, settings.allow_origins) == (("a.example", "b.example"), ())


@pytest.mark.parametrize("name", Policy.__struct_fields__)
def test_every_limit_can_be_set(name: str) -> None:
    """By its flag and by its variable."""
    flag = f"--{name.replace('_', '-')}"
    assert parsed(flag, "7").policy == Policy(**{name: 7})
    assert parsed(**{name.upper(): "7"}).policy == Policy(**{name: 7})


@pytest.mark.parametrize("text", ["0", "-1", "+7", "1.5", "", " 7", "seven", "٧", "1_000", "9" * 5_000])
def test_a_limit_is_a_positive_whole_number(text: str) -> None:
    """The text names flag and variable."""
    for why in (refusal(f"--streams-max={text}"), refusal(STREAMS_MAX=text)):
        assert "--streams-max (CHAT_BROKER_STREAMS_MAX) must be a whole number" in why


@pytest.mark.parametrize("text", ["-1", "65536", "", "http", "8000.0", "9" * 5_000])
def test_a_port_is_a_port(text: str) -> None:
    """From 0, which takes a free one."""
    assert "--port (CHAT_BROKER_PORT) must be a whole number from 0 to 65535" in refusal(f"--port={text}")
    assert parsed("--port", "65535").port == 65_535


def test_only_logs_that_there_are_can_be_named() -> None:
    """And the refusal says which."""
    assert "--log must be memory:" in refusal("--log", "redis://localhost")
    assert isinstance(open_log(parsed().log), MemoryLog)


@pytest.mark.parametrize(("flag", "value"), [("--log-format", "xml"), ("--log-level", "loud")])
def test_a_log_has_one_of_its_formats_and_levels(flag: str, value: str) -> None:
    """The refusal lists them."""
    assert "console or json" in refusal(flag, value)
    assert "debug, info, warning or error" in refusal(flag, value)


@pytest.mark.parametrize("flags", [["--nonsense"], ["--por", "1"], ["--port"], ["more"], ["--x\ny"]])
def test_an_unknown_flag_is_refused_in_one_line(flags: list[str]) -> None:
    """Which says where to look; nothing is guessed from an abbreviation."""
    assert "chat-broker serve --help" in refusal(*flags)


@pytest.mark.parametrize("arguments", [[], ["dance"], ["--port", "1"]])
def test_a_command_is_needed(arguments: list[str]) -> None:
    """There is one so far."""
    with pytest.raises(UsageError, match="serve"):
        parse_arguments(arguments, {})


def test_unknown_variables_are_found() -> None:
    """A slip of the pen among ours; what belongs to others is no matter."""
    environment = {
        "CHAT_BROKER_PROT": "1",
        "CHAT_BROKER_PORT": "1",
        "CHAT_BROKER_STREAMS_MAX": "1",
        "CHATBROKER_X": "1",
    }
    assert unknown_variables(environment | {"CHAT_BROKER_A": ""}) == ["CHAT_BROKER_A", "CHAT_BROKER_PROT"]


def test_help_names_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    """With what it is and its default, and exits 0."""
    with pytest.raises(SystemExit) as raised:
        parsed("--help")
    assert raised.value.code == 0
    text = capsys.readouterr().out
    for name in (*FLAGS, *LISTS, *(name.replace("_", "-") for name in Policy.__struct_fields__)):
        assert f"--{name}" in text
    assert "CHAT_BROKER_" in serve_help()


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """And exits 0."""
    with pytest.raises(SystemExit) as raised:
        parse_arguments(["--version"], {})
    assert raised.value.code == 0
    assert capsys.readouterr().out.startswith("chat-broker ")
