"""The operator's settings."""

from __future__ import annotations

import pytest

from broker.config import (
    BOUNDS,
    DEFAULTS,
    OFF_AT_0,
    SERVED,
    Settings,
    commits_kept,
    serve_help,
    settings_from,
    unknown_variables,
)
from broker.errors import UsageError
from broker.flags import FLAGS, LISTS, SWITCHES
from broker.limits import MEANINGS
from broker.peers import LOOPBACK
from events.policy import LIMITS, Policy
from mcp_facade.cli import parser_for


def parsed(*arguments: str, **environment: str) -> Settings:
    """The settings of `chat-broker serve` with these flags and `CHAT_BROKER_` variables."""
    options = parser_for(["serve"]).parse_args(["serve", *arguments])
    return settings_from(options, {f"CHAT_BROKER_{name}": value for name, value in environment.items()})


def refusal(*arguments: str, **environment: str) -> str:
    """Return the reason for a refusal of `arguments`."""
    with pytest.raises(UsageError) as raised:
        parsed(*arguments, **environment)
    text = str(raised.value)
    assert text
    assert "\n" not in text
    return text


def test_without_a_word_there_are_defaults() -> None:
    """This machine only, in memory, and the default policy, but for the limits of a served broker."""
    assert parsed() == Settings()
    assert (Settings().host, Settings().port, Settings().log, Settings().policy) == (
        "127.0.0.1",
        8000,
        "memory:",
        Policy(**SERVED),
    )


def test_flags_are_taken() -> None:
    """Each of them."""
    flags = ["--host", "0.0.0.0", "--port", "0", "--log", "memory:", "--log-format", "json", "--log-level", "debug"]  # noqa: S104 - none listens
    assert parsed(*flags) == Settings(host="0.0.0.0", port=0, log_format="json", log_level="debug")  # noqa: S104 - none listens


def test_variables_are_taken() -> None:
    """The same names in capitals; the rest of the environment is no matter."""
    environment = {"CHAT_BROKER_PORT": "9000", "CHAT_BROKER_LOG_FORMAT": "json", "HOME": "/root", "PORT": "1"}
    settings = settings_from(parser_for(["serve"]).parse_args(["serve"]), environment)
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


@pytest.mark.parametrize("name", ["chat.example.com", "chat", "chat.example.com:8443", "[2001:db8::1]", "10.0.0.7:80"])
def test_a_host_is_a_name(name: str) -> None:
    """With a port or without; in small letters, as clients write it."""
    assert parsed("--allow-host", name.upper()).allow_hosts == (name,)


@pytest.mark.parametrize(
    "text", ["https://chat.example.com", "chat.example.com/mcp", "*", "a b", "a:b", "a:65536", "[1:2]", "::1", ""]
)
def test_a_host_is_no_address(text: str) -> None:
    """Nothing would ever match it, so the broker does not start."""
    expected = (
        "--allow-host (CHAT_BROKER_ALLOW_HOST) takes a name or an address, "
        "as in chat.example.com, 192.168.1.5 or [2001:db8::1], without https://"
    )
    assert refusal(f"--allow-host={text}") == expected
    if text:
        assert refusal(ALLOW_HOST=f"chat.example.com, {text}") == expected


@pytest.mark.parametrize("origin", ["https://page.example.com", "http://localhost:5173", "vscode-webview://abc"])
def test_an_origin_has_a_scheme(origin: str) -> None:
    """A slash at its end is no part of it, and it is in small letters, as browsers write it."""
    assert parsed("--allow-origin", f"{origin.upper()}/").allow_origins == (origin,)


@pytest.mark.parametrize("text", ["page.example", "https://page.example/app", "*", "null", "https://", "https://*", ""])
def test_an_origin_is_no_name(text: str) -> None:
    """Nor an address with a path: no browser sends it."""
    expected = (
        "--allow-origin (CHAT_BROKER_ALLOW_ORIGIN) takes what a page's address begins with, "
        "as in https://page.example.com, and no path"
    )
    assert refusal(f"--allow-origin={text}") == expected
    if text:
        assert refusal(ALLOW_ORIGIN=text) == expected


@pytest.mark.parametrize("text", ["127.0.0.1", "10.0.0.0/8", "::1", "2001:db8::/32", "0.0.0.0/0"])
def test_a_proxy_is_an_address_or_a_network(text: str) -> None:
    """Repeated, or in a list."""
    assert parsed("--trust-proxy", text, "--trust-proxy", "192.0.2.1").trust_proxies == (text, "192.0.2.1")
    assert parsed(TRUST_PROXY=f"{text}, 192.0.2.1").trust_proxies == (text, "192.0.2.1")
    assert parsed().trust_proxies == ()


@pytest.mark.parametrize(
    "text", ["proxy.example", "*", "unix", "10.0.0.1/8", "10.0.0.0/33", "127.0.0.1:80", "[::1]", ""]
)
def test_a_proxy_is_no_name(text: str) -> None:
    """The broker does not start, since it could trust no address."""
    expected = "--trust-proxy (CHAT_BROKER_TRUST_PROXY) takes an address or a network, as in 127.0.0.1 or 10.0.0.0/8"
    assert refusal(f"--trust-proxy={text}") == expected
    if text:
        assert refusal(TRUST_PROXY=f"127.0.0.1,{text}") == expected


RULES = "https://chat.example.com/rules?lang=en#top"
CONTACT = "Abuse+chat@Example.com"


def test_some_settings_are_set_or_not() -> None:
    """By a flag or a variable, as it is written; `none` is the default, and undoes a variable."""
    settings = parsed("--deny-peers", "Denied.txt", "--rules-url", RULES, "--operator-contact", CONTACT)
    assert (settings.deny_peers, settings.rules_url, settings.operator_contact) == ("Denied.txt", RULES, CONTACT)
    settings = parsed(DENY_PEERS="Denied.txt", RULES_URL=RULES, OPERATOR_CONTACT=CONTACT)
    assert (settings.deny_peers, settings.rules_url, settings.operator_contact) == ("Denied.txt", RULES, CONTACT)
    assert parsed("--rules-url", "none", RULES_URL=RULES).rules_url is None


WEB_ADDRESSES = [
    *("https://chat.example.com", "http://localhost:8080/a/b.html", "HTTPS://Chat.Example/R%C3%A9gles;v=1", RULES),
    *("https://[2001:db8::1]/rules", "https://x/~a/(b)/c,d!e*f'g", "https://x/" + "a" * 490),
]
NO_WEB_ADDRESSES = [
    *(
        "",
        "rules",
        "chat.example.com/rules",
        "ftp://x/",
        "javascript:alert(1)",
        "https://",
        "https:///rules",
        "https:x",
    ),
    *("https://ann@x/", "https://ann:secret@x/", "https://x:99999/", "https://x/a b", "https://x/a\nb", "https://x\n"),
    *("https://x/\x00", "https://x/\x7f", "https://x/\u202e", "https://x/règles", "http\u017f://x/", "https://x/<b>"),
    *(" https://x/", "https://x/\n", 'https://x/"', "https://x/{y}", "https://x\\y", "https://x/" + "a" * 491),
]


@pytest.mark.parametrize("text", WEB_ADDRESSES)
def test_rules_are_on_a_page(text: str) -> None:
    """A URL of http or https is accepted with any port, path, query and fragment."""
    assert parsed("--rules-url", text).rules_url == text
    assert parsed("--operator-contact", text).operator_contact == text


@pytest.mark.parametrize("text", NO_WEB_ADDRESSES)
def test_what_is_no_page_is_refused(text: str) -> None:
    """Clients are told it, so it holds no other words, no password, and nothing invisible."""
    why = (
        "--rules-url (CHAT_BROKER_RULES_URL) takes the address of a page, as in https://chat.example.com/rules, "
        "in at most 500 ASCII characters, or none"
    )
    assert refusal(f"--rules-url={text}") == why
    assert refusal(RULES_URL=text) == why
    assert "--operator-contact (CHAT_BROKER_OPERATOR_CONTACT) takes a mail" in refusal(f"--operator-contact={text}")


@pytest.mark.parametrize("text", [CONTACT, "root@localhost", "a.b_c@mail.example.org", "mailto:abuse@example.com"])
def test_an_operator_has_a_mail_address(text: str) -> None:
    """It may be written as a URL."""
    assert parsed("--operator-contact", text).operator_contact == text
    assert "--rules-url" in refusal("--rules-url", text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "abuse",
            "@example.com",
            "abuse@",
            "a b@example.com",
            "a@b@example.com",
            "a@example.com\n",
            "a@[::1]",
            "a@b:25",
        ),
        *("Ann <a@example.com>", "a@example..com", "\x07@example.com", "é@example.com", "tel:+123", "a" * 65 + "@x"),
        *("mailto:", "mailto:a@example.com?subject=x", "a@" + "x." * 300 + "com", "a@example.com, b@example.com"),
    ],
)
def test_what_is_no_mail_address_is_refused(text: str) -> None:
    """It would be published as it stands."""
    assert refusal(OPERATOR_CONTACT=text) == (
        "--operator-contact (CHAT_BROKER_OPERATOR_CONTACT) takes a mail address or that of a page, "
        "as in abuse@example.com, in at most 500 ASCII characters, or none"
    )


@pytest.mark.parametrize("name", LIMITS)
def test_every_limit_can_be_set(name: str) -> None:
    """By its flag and by its variable."""
    flag = f"--{name.replace('_', '-')}"
    expected = Policy(**(SERVED | {name: 7}))
    assert parsed(flag, "7").policy == expected
    assert parsed(**{name.upper(): "7"}).policy == expected


@pytest.mark.parametrize("name", sorted(OFF_AT_0))
def test_some_limits_can_be_turned_off(name: str) -> None:
    """By 0, and by nothing less."""
    flag = f"--{name.replace('_', '-')}"
    settings = parsed(flag, "0")
    assert (getattr(settings, name) if name in BOUNDS else getattr(settings.policy, name)) == 0
    assert refusal(f"{flag}=-1").endswith("must be a whole number of at least 0")


@pytest.mark.parametrize("name", sorted(DEFAULTS.keys() - OFF_AT_0))
def test_the_other_limits_can_not(name: str) -> None:
    """Nothing would work any more."""
    assert refusal(**{name.upper(): "0"}).endswith("must be a whole number of at least 1")


def test_this_machine_is_exempt_unless_the_broker_is_public() -> None:
    """A name or a proxy makes it so: then callers from elsewhere have addresses of this machine too."""
    assert parsed().exempt_peers == LOOPBACK
    assert parsed("--allow-host", "chat.example.com").exempt_peers == ()
    assert parsed(TRUST_PROXY="127.0.0.1").exempt_peers == ()


def test_shared_addresses_can_be_exempt() -> None:
    """Repeated, or in a list; a name is refused."""
    office = ("192.0.2.7", "10.0.0.0/8")
    assert parsed("--peer-exempt", office[0], "--peer-exempt", office[1]).exempt_peers == (*LOOPBACK, *office)
    assert parsed("--allow-host", "chat.example.com", PEER_EXEMPT=",".join(office)).exempt_peers == office
    assert refusal("--peer-exempt", "office.example") == (
        "--peer-exempt (CHAT_BROKER_PEER_EXEMPT) takes an address or a network, as in 192.0.2.7 or 10.0.0.0/8"
    )


def test_addresses_are_logged_on_request_alone() -> None:
    """By a flag or a variable."""
    assert not parsed().log_peers
    assert parsed("--log-peers").log_peers
    assert parsed(LOG_PEERS="1").log_peers


@pytest.mark.parametrize("text", ["0", "-1", "+7", "1.5", "", " 7", "seven", "٧", "1_000", "9" * 5_000])
def test_a_limit_is_a_positive_whole_number(text: str) -> None:
    """The text names flag and variable."""
    for why in (refusal(f"--streams-max={text}"), refusal(STREAMS_MAX=text)):
        assert "--streams-max (CHAT_BROKER_STREAMS_MAX) must be a whole number" in why


@pytest.mark.parametrize("text", ["-1", "65536", "", "http", "8000.0", "9" * 5_000])
def test_a_port_is_a_port(text: str) -> None:
    """The lowest is 0, for any free port."""
    assert "--port (CHAT_BROKER_PORT) must be a whole number from 0 to 65535" in refusal(f"--port={text}")
    assert parsed("--port", "65535").port == 65_535


def test_several_workers_need_a_log_that_they_can_share() -> None:
    """A log in memory or in a file is one process's own."""
    assert parsed().workers == 1
    assert parsed("--workers", "4", LOG="redis://localhost").workers == 4
    assert parsed(WORKERS="2", LOG="postgresql://localhost/chat").workers == 2
    for url in ("memory:", "sqlite:chat.db"):
        assert refusal("--workers", "2", "--log", url) == (
            "several workers need a log that they can share: --log redis://..., postgresql://... or nats://..."
        )
    assert parsed("--workers", "1").workers == 1


@pytest.mark.parametrize("text", ["0", "-1", "two", "", "257"])
def test_workers_are_a_few(text: str) -> None:
    """At least one, and not more than a machine has use for."""
    assert "--workers (CHAT_BROKER_WORKERS)" in refusal(f"--workers={text}", LOG="redis://localhost")


def test_operators_may_have_a_port_of_their_own() -> None:
    """On this machine alone, unless they name an address; each worker has one more."""
    assert (parsed().admin_port, parsed().admin_host) == (None, "127.0.0.1")
    settings = parsed("--admin-port", "9000", ADMIN_HOST="10.0.0.1")
    assert (settings.admin_port, settings.admin_host) == (9000, "10.0.0.1")
    for text in ("0", "65536", "-1", "http"):
        assert "--admin-port (CHAT_BROKER_ADMIN_PORT) must be a whole number from 1 to 65535" in refusal(
            f"--admin-port={text}"
        )
    assert parsed("--admin-port", "65535").admin_port == 65_535
    assert "is at most 65531" in refusal("--admin-port", "65532", "--workers", "4", LOG="redis://localhost")


def test_only_logs_that_there_are_can_be_named() -> None:
    """The refusal lists them."""
    for url in ("mysql://localhost", "redis:localhost", "sqlite:", "chat.db", ""):
        assert "--log (CHAT_BROKER_LOG) is memory:, sqlite:PATH, redis://HOST, " in refusal("--log", url)
    assert refusal("--log", "chat.db").endswith("; write sqlite:chat.db")
    for url in ("sqlite:chat.db", "redis://localhost", "rediss://a.example", "postgresql://a.example/chat"):
        assert parsed("--log", url).log == url


def test_only_a_log_in_memory_is_bounded() -> None:
    """The bound applies to the broker's and the engine's; a file or a database is trimmed only by its operator."""
    assert commits_kept(parsed()) == commits_kept(parsed("--log", "redis://localhost")) == Policy().log_commits_max
    for url in ("sqlite:chat.db", "postgresql://localhost/chat"):
        assert commits_kept(parsed("--log", url)) is None


@pytest.mark.parametrize(
    ("text", "ms"), [("7d", 604_800_000), ("12h", 43_200_000), ("30m", 1_800_000), ("90s", 90_000)]
)
def test_texts_may_be_kept_for_a_time(text: str, ms: int) -> None:
    """In days, hours, minutes or seconds."""
    assert parsed("--redact-after", text).redact_after_ms == ms
    assert parsed(REDACT_AFTER=text).redact_after_ms == ms


def test_texts_are_kept_unless_somebody_says_otherwise() -> None:
    """`never` is the default."""
    assert parsed().redact_after_ms is None
    assert parsed("--redact-after", "never").redact_after_ms is None


@pytest.mark.parametrize("text", ["7", "d", "0s", "-1d", "1.5h", "7 d", "7w", "", "1d2h", "9" * 50 + "d"])
def test_a_time_has_a_unit(text: str) -> None:
    """The refusal shows how."""
    assert "is a time like 7d, 12h, 30m or 90s, or never" in refusal(f"--redact-after={text}")


def test_a_matching_of_ones_own_is_a_function_of_a_module() -> None:
    """It need not be there: only a broker imports it."""
    settings = parsed("--matching", "my.rules:fair")
    assert (settings.policy.matching, settings.names_matching) == ("my.rules:fair", True)
    assert parsed(MATCHING="my.rules:fair") == settings


def test_a_matching_left_to_its_default_is_told_from_one_that_is_named() -> None:
    """Even if it is the same."""
    assert not parsed().names_matching
    assert parsed("--matching", "first-come").names_matching


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--log-format", "console or json"),
        ("--log-level", "debug, info, warning or error"),
        ("--log-synchronous", "full or normal"),
        ("--matching", "first-come, interests, or package.module:function"),
    ],
)
def test_some_settings_are_one_of_a_few_words(flag: str, words: str) -> None:
    """The refusal lists them, and names the variable."""
    variable = f"CHAT_BROKER_{flag.removeprefix('--').replace('-', '_').upper()}"
    for value in ("xml", "", words):
        assert refusal(f"{flag}={value}") == f"{flag} ({variable}) is {words}"


@pytest.mark.parametrize("flags", [["--nonsense"], ["--por", "1"], ["--port"], ["more"], ["--x\ny"]])
def test_an_unknown_flag_is_refused_in_one_line(flags: list[str]) -> None:
    """The line points to the help, and abbreviations are refused."""
    assert "chat-broker serve --help" in refusal(*flags)


@pytest.mark.parametrize("arguments", [[], ["dance"], ["--port", "1"]])
def test_a_command_is_needed(arguments: list[str]) -> None:
    """The refusal says where they are listed."""
    with pytest.raises(UsageError, match="chat-broker --help"):
        parser_for(arguments).parse_args(arguments)


@pytest.mark.parametrize(("variable", "fast_lane"), [("1", False), ("0", True), ("", True)])
def test_the_fast_lane_can_be_switched_off(variable: str, fast_lane: bool) -> None:
    """The flag and its variable do the same; the value 0 leaves the lane on."""
    assert parsed().fast_lane
    assert not parsed("--no-fast-lane").fast_lane
    assert parsed(NO_FAST_LANE=variable).fast_lane is fast_lane
    assert not parsed("--no-fast-lane", NO_FAST_LANE=variable).fast_lane


def test_a_switch_is_on_or_off() -> None:
    """Nothing else can be meant."""
    assert refusal(NO_FAST_LANE="yes") == "CHAT_BROKER_NO_FAST_LANE is 1 or 0"


def test_unknown_variables_are_found() -> None:
    """A misspelt variable of ours is found; foreign ones are ignored."""
    environment = {
        "CHAT_BROKER_PROT": "1",
        "CHAT_BROKER_PORT": "1",
        "CHAT_BROKER_STREAMS_MAX": "1",
        "CHATBROKER_X": "1",
    }
    assert unknown_variables(environment | {"CHAT_BROKER_A": ""}) == ["CHAT_BROKER_A", "CHAT_BROKER_PROT"]


def test_help_names_every_setting(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has its meaning and its default; the exit code is 0."""
    monkeypatch.setenv("COLUMNS", "1000")  # no line is wrapped
    with pytest.raises(SystemExit) as raised:
        parsed("--help")
    assert raised.value.code == 0
    text = capsys.readouterr().out
    for name in (*FLAGS, *SWITCHES, *LISTS, *(name.replace("_", "-") for name in DEFAULTS)):
        assert f"--{name}" in text
    assert "(default 100; 0 is off)" in text
    assert all(meaning in text for meaning in MEANINGS.values())
    assert set(MEANINGS) == set(DEFAULTS)
    assert "CHAT_BROKER_" in serve_help()


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """And exits 0."""
    with pytest.raises(SystemExit) as raised:
        parser_for(["--version"]).parse_args(["--version"])
    assert raised.value.code == 0
    assert capsys.readouterr().out.startswith("chat-broker ")
