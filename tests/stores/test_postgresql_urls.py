"""Unusable URLs of logs in PostgreSQL are refused in one line, and no text for clients names the database."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path

import asyncpg
import pytest

from events.commit import EMPTY_TIP
from events.log import LogRolledBackError, LogUnavailableError, UnusableLogError
from events.postgresql.address import address_of
from events.postgresql.errors import refused_connection, translated
from events.postgresql.open import init_log, open_loading, open_log, open_reader
from events.postgresql.url_checks import TARGETS
from tests.support.certificates import certify
from tests.support.engines.postgresql import new_name, server
from tests.support.limits import HUNG_SECONDS
from tests.support.log_contract import PickledStates, chain
from tests.support.process import free_port, started

CODEC = PickledStates()
PASSWORD = "s3cr3t-p4ss"
MALFORMED = {
    f"postgresql://u:{PASSWORD}@h:abc/db": "a port that is none",
    "postgresql://u@h:/db": "a port that is none",
    "postgresql://u@h:0/db": "a port that is none",
    "postgresql://u@h:99999/db": "a port that is none",
    "postgresql://u@h:٣/db": "a port that is none",
    "postgresql://h1,h2:5433:5/db": "a port that is none",
    "postgresql://h1,,h2/db": "'' is no host",
    "postgresql://:5432/db": "is no host",
    "postgresql://[::1]x:5432/db": "",
    "postgresql://a..b/db": "'a..b' is no host",
    f"postgresql://{'a' * 64}/db": "is no host",
    f"postgresql://u:{PASSWORD}@ss@h/db": "%40",
    "postgresql:///db?host=a..b": "'a..b' is no host",
    "postgresql:///db?host=h:x": "a port that is none",
    "postgresql:///db?host=h&port=5432,x": "a port that is none",
    "postgresql:///db?host=h&port=1,2": "check the URL",
    "postgresql://h/db?sslmode": "name=value",
    "postgresql://h/db%00": "%00",
    "postgresql://h/db?target_session_attrs=maybe": f"one of {', '.join(TARGETS)}, not 'maybe'",
}


async def refused(url: str) -> str:
    """Return the one line with which a broker, a reader, a loader and `log init` refuse `url`."""
    texts = set()
    for opening in (
        open_log(url, CODEC, synchronous="full"),
        open_reader(url),
        open_loading(url, CODEC),
        init_log(url),
    ):
        with pytest.raises(UnusableLogError) as error:
            await opening
        texts.add(str(error.value))
    (text,) = texts
    assert "\n" not in text
    assert PASSWORD not in text
    return text


@pytest.mark.parametrize("url", MALFORMED)
def test_a_malformed_url_is_refused(url: str) -> None:
    """The refusal comes before any connection and names the wrong part."""
    assert MALFORMED[url] in asyncio.run(refused(url))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql:///db",
        "postgresql://u:p%40ss@h1:5432,h2:5433/db?target_session_attrs=primary&sslmode=require",
        "postgresql://[::1]:5432/db",
        "postgresql://%2Frun%2Fpostgresql/db",
        "postgresql:///db?host=/run/postgresql&port=5433",
        "postgresql://bücher.example/db?application_name=",
    ],
)
def test_a_url_of_the_client_library_is_taken(url: str) -> None:
    """Several hosts, IPv6, sockets, and names of any language."""
    assert address_of(url).schema == "chat"


def test_a_password_among_the_parameters_is_not_shown() -> None:
    """It is hidden at any place in the URL."""
    address = address_of(f"postgresql://h/db?password={PASSWORD}")
    assert str(translated(asyncpg.DataError(f"not {PASSWORD}"), address)) == "not ***; it can't be stored"


@pytest.mark.slow
@pytest.mark.parametrize("command", ["serve", "verify"])
def test_a_command_ends_with_one_line(command: str) -> None:
    """Its status is 2, since another try does not help."""

    async def scenario() -> None:
        url = f"postgresql://u:{PASSWORD}@h:abc/db"
        arguments = ("--port", f"{free_port()}", "--log", url) if command == "serve" else (url,)
        process = await started(command, *arguments)
        async with asyncio.timeout(HUNG_SECONDS):
            _, said = await process.communicate()
        assert process.returncode == 2
        assert "a port that is none" in said.decode().splitlines()[-1]
        assert "Traceback" not in said.decode()
        assert PASSWORD not in said.decode()

    asyncio.run(scenario())


class TestFiles:
    """The files of TLS named by a URL."""

    @pytest.mark.parametrize("name", ["sslrootcert", "sslcert", "sslkey", "sslcrl"])
    def test_a_missing_file_is_named(self, name: str, tmp_path: Path) -> None:
        """It is looked for before any connection."""
        url = f"postgresql://h/db?sslmode=verify-full&{name}={tmp_path}/none.pem"
        text = asyncio.run(refused(url))
        assert f"none.pem' of {name} can't be read: No such file" in text

    def test_a_file_of_something_else_is_named(self, tmp_path: Path) -> None:
        """A certificate is looked for in it; a certificate and its key have to match."""
        certify(tmp_path)
        other = tmp_path / "other"
        other.mkdir()
        certify(other)
        (tmp_path / "text").write_text("hello")
        for name in ("sslrootcert", "sslcrl", "sslcert"):
            assert f"holds nothing for {name}" in asyncio.run(refused(f"postgresql://h/db?{name}={tmp_path}/text"))
        pair = f"postgresql://h/db?sslcert={tmp_path}/certificate.pem&sslkey="
        assert "has no key: check sslkey" in asyncio.run(refused(f"{pair}{other}/key.pem"))
        assert "has no key: check sslkey" in asyncio.run(refused(pair.removesuffix("&sslkey=")))
        good = f"{pair}{tmp_path}/key.pem&sslrootcert={tmp_path}/certificate.pem"
        assert address_of(good).dsn == good

    def test_a_handshake_that_fails_is_refused(self) -> None:
        """The server accepts TLS, but answers in another protocol."""

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(8)
            writer.write(b"S")
            await reader.read(1)
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            await reader.read()
            writer.close()

        async def scenario() -> None:
            silly = await asyncio.start_server(answer, "127.0.0.1", 0)
            port = silly.sockets[0].getsockname()[1]
            with pytest.raises(UnusableLogError, match="TLS fails: wrong version number; check sslmode"):
                await open_log(f"postgresql://u:p@127.0.0.1:{port}/db?sslmode=require", CODEC, synchronous="full")
            silly.close()

        asyncio.run(scenario())


class TestTexts:
    """Error texts for `/readyz` and for an operator."""

    @pytest.mark.parametrize(
        ("error", "text"),
        [
            (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "Name or service not known"),
            (ssl.SSLEOFError(8, "[SSL: UNEXPECTED_EOF_WHILE_READING] EOF occurred"), "broken TLS"),
            (TimeoutError(), "does not answer in time"),
            (
                ConnectionRefusedError(111, "Connect call failed ('10.0.0.5', 5432)"),
                "can't be reached: Connection refused",
            ),
        ],
    )
    def test_a_server_that_can_not_be_reached_may_be_later(self, error: Exception, text: str) -> None:
        """The reason is in plain words, without the address."""
        said = translated(error, address_of("postgresql://10.0.0.5/db"))
        assert isinstance(said, LogUnavailableError)
        assert text in str(said)
        assert "10.0.0.5" not in str(said)

    def test_what_the_client_library_can_not_do_is_for_the_operator(self) -> None:
        """An unknown way to log in is one; a connection broken at its start is tried again."""
        address = address_of(f"postgresql://u:{PASSWORD}@h/db")
        unknown = refused_connection(asyncpg.InterfaceError("unsupported authentication method"), address)
        assert str(unknown) == "unsupported authentication method; check the URL"
        broke = asyncpg.InterfaceError("the underlying connection is closed")
        assert refused_connection(broke, address) is broke
        assert str(translated(broke, address)) == "the connection to the server was lost"

    def test_a_broken_log_does_not_name_its_database(self) -> None:
        """A client may see why a broker is not ready, and not where its log is."""

        async def scenario() -> None:
            name, commits = new_name(), chain(5)
            log = await open_log(server().url(name), CODEC, synchronous="full")
            await log.append(commits, expected=EMPTY_TIP)
            await server().sql(f"DELETE FROM {name}.commits WHERE position IN (3, 5) RETURNING 1")
            with pytest.raises(UnusableLogError) as damaged:
                await log.read(0, 10)
            with pytest.raises(LogRolledBackError) as rolled_back:
                await log.append([], expected=commits[4].tip)
            await server().sql(f"ALTER TABLE {name}.meta RENAME TO elsewhere")
            with pytest.raises(UnusableLogError) as lost:
                await log.probe()
            said = [str(error.value) for error in (damaged, rolled_back, lost)]
            assert not [text for text in said if "127.0.0.1" in text or "postgresql:" in text]
            with pytest.raises(UnusableLogError, match=r"in postgresql://127\.0\.0\.1"):
                await open_log(server().url(name), CODEC, synchronous="full")
            await log.close()

        asyncio.run(scenario())
