"""Unusable URLs of logs in NATS are refused in one line without their secrets."""

from __future__ import annotations

import asyncio
import gc
import weakref
from pathlib import Path

import pytest

from events.log import LogUnavailableError, UnusableLogError
from events.nats import client as client_module
from events.nats.address import Address, parse
from events.nats.client import Client, Connection, connect
from tests.support.certificates import certify
from tests.support.engines.nats import running
from tests.support.engines.nats_operator import Operator
from tests.support.process import free_port

PASSWORD = "s3cr3t-p4ss"
MALFORMED = {
    f"nats://u:{PASSWORD}@h:abc/": "has a host or a port that is none",
    f"nats://u:{PASSWORD}@h:0/": "has a host or a port that is none",
    f"nats://u:{PASSWORD}@h:99999/": "has a host or a port that is none",
    f"nats://:{PASSWORD}@h/": "a password without a user",
    "nats://u:@h/": "a user without a password",
    "nats://a..b/": "has the host 'a..b', which is none",
    "nats://[::1/": "is malformed",
    "nats://h/db": "has a path",
    "nats://h/?name=": "has the name ''",
    "nats://h/?name=a.b": "has the name 'a.b'",
    "nats://h/?name=A": "has the name 'A'",
    f"nats://u:{PASSWORD}?x@h/": "has an @ after its host; write / in a password as %2F",
    f"nats://u:{PASSWORD}?x=y@h/": "has an @ after its host",
    f"nats://u:x/{PASSWORD}@h/?name=x": "has an @ after its host",
    f"nats://u:{PASSWORD}#x@h/": "has an @ after its host",
    f"nats://u:{PASSWORD}@a,u:{PASSWORD}@b/": "has a user at several hosts; write it once, before the first host",
    "nats://a,,b/": "has a host or a port that is none",
    f"nats://{PASSWORD}@h/?nam=x": "has the unknown setting 'nam' (known: creds, name, replicas, synced)",
    "nats://h/?ssl_ca_certs=x": "has the unknown setting 'ssl_ca_certs'",
    "nats://h/?synced=yes": "has synced='yes', which may be always",
    "nats://h/?replicas=2": "has replicas='2', which may be 1 or 3",
    "tls://h/?ssl_ca_certs=/nowhere.pem": "names no file '/nowhere.pem' with ssl_ca_certs=",
    f"tls://h/?ssl_keyfile={__file__}": "has ssl_keyfile= without ssl_certfile=",
    f"tls://h/?ssl_ca_certs={__file__}": "names a certificate or a key that can't be read",
}


@pytest.mark.parametrize("url", MALFORMED)
def test_a_malformed_url_is_refused(url: str) -> None:
    """The line has the wrong part and how to write it, and no password."""
    with pytest.raises(UnusableLogError) as error:
        parse(url)
    text = str(error.value)
    assert MALFORMED[url] in text
    assert "write " in text
    assert "\n" not in text
    assert PASSWORD not in text


def test_a_url_may_leave_all_out() -> None:
    """The default is the name, the port and one replica; the servers' settings are not assumed."""
    address = parse("nats://h")
    assert address.servers == ("nats://h:4222",)
    assert (address.name, address.replicas, address.is_synced) == ("chat", 1, False)
    assert (address.user, address.password, address.token, address.credentials, address.tls) == (None,) * 5


def test_a_url_may_say_all() -> None:
    """Several servers of a cluster, credentials with escapes, and the settings of the log."""
    address = parse("nats://u:p%40ss@a,b:1,[::1]:2/?name=x-1&synced=always&replicas=3")
    assert address.servers == ("nats://a:4222", "nats://b:1", "nats://[::1]:2")
    assert (address.user, address.password) == ("u", "p@ss")
    assert (address.name, address.replicas, address.is_synced) == ("x-1", 3, True)
    assert address.layout.log_stream == "x-1_LOG"
    assert parse("nats://t%2F@h").token == "t/"
    assert parse("tls://h").tls is not None


async def _opened(address: Address) -> str:
    """Connect, ask JetStream something, and return the error's text; empty without an error."""
    client = Client(address)
    text = ""
    try:
        await client.open()
        await client.run(lambda js: js.account_info())
    except (UnusableLogError, LogUnavailableError) as error:
        text = str(error)
    finally:
        await client.close()
    assert "\n" not in text
    assert PASSWORD not in text
    assert "127.0.0.1" not in text
    return text


def opened(url: str) -> str:
    """Run `_opened` with a URL."""
    try:
        return opened_at(parse(url))
    except UnusableLogError as error:
        return str(error)


def opened_at(address: Address) -> str:
    """Run `_opened` by itself."""
    return asyncio.run(_opened(address))


def test_nothing_listens_at_the_url() -> None:
    """The text has no host, and each server of a list is tried."""
    assert opened(f"nats://127.0.0.1:{free_port()}") == "NATS can't be reached: Connection refused"
    with running() as server:
        assert opened(f"nats://127.0.0.1:{free_port()},127.0.0.1:{server.port}/") == ""


def test_a_refused_connection_leaves_no_garbage_to_be_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that its own frame holds would stay, with all frames below it."""

    class RefusedError(OSError):
        """An error that can be watched."""

    errors = list[weakref.ref[RefusedError]]()

    def watched() -> RefusedError:
        error = RefusedError()
        errors.append(weakref.ref(error))
        return error

    async def refused(*_: object) -> Connection:
        raise watched()  # no name in this frame holds it

    async def attempt() -> bool:
        try:
            await connect(parse("nats://a,b"))
        except RefusedError:
            return True
        return False

    monkeypatch.setattr(client_module, "_connected_to", refused)
    gc.disable()
    try:
        assert asyncio.run(attempt())
        assert [error() is None for error in errors] == [True, True]
    finally:
        gc.enable()


def test_a_user_or_a_token_that_the_server_does_not_know() -> None:
    """An operator has to change it; waiting does not help."""
    with running(f"authorization {{ user: u, password: {PASSWORD} }}") as server:
        assert opened(server.url(user=f"u:{PASSWORD}@")) == ""
        for user in ("", f"x:{PASSWORD}@", f"{PASSWORD}@"):
            assert opened(server.url(user=user)).startswith("NATS refuses the user, the password, the token")
    with running(f"authorization {{ token: {PASSWORD} }}") as server:
        assert opened(server.url(user=f"{PASSWORD}@")) == ""


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """A self-signed certificate for localhost, and its key."""
    certify(tmp_path)
    return tmp_path


def test_a_log_behind_tls(certificates: Path) -> None:
    """The server's certificate and its name are checked, and the texts say what to do."""
    pem, key = certificates / "certificate.pem", certificates / "key.pem"
    with running(f"tls {{ cert_file: '{pem}', key_file: '{key}' }}") as server:
        assert "ssl_ca_certs=" in opened(server.url(scheme="tls"))
        trusting = f"{server.url(scheme='tls')}&ssl_ca_certs={pem}"
        assert "ssl_ca_certs=" in opened(trusting)  # the certificate is of another name
        assert opened(trusting.replace("127.0.0.1", "localhost")) == ""


def test_a_secret_is_not_sent_without_tls() -> None:
    """A server without TLS gets no password of a tls:// URL."""
    with running(f"authorization {{ user: u, password: {PASSWORD} }}") as server:
        assert opened(server.url(scheme="tls", user=f"u:{PASSWORD}@")).startswith("NATS here does not speak TLS")


def test_a_file_of_credentials(tmp_path: Path) -> None:
    """It is read for each connection, so it can be renewed; one that the server refuses is the operator's to change."""
    operator, file = Operator(), tmp_path / "user.creds"
    with running(operator.settings) as server:
        url = f"{server.url()}&creds={file}"
        file.write_text(operator.credentials())
        assert opened(url) == ""
        assert opened(server.url()).startswith("NATS refuses the user, the password, the token or the file of creds=")
        file.write_text(Operator().credentials())
        assert opened(url).startswith("NATS refuses the user, the password, the token or the file of creds=")
        address = parse(url)
        file.unlink()
        assert opened_at(address) == "the file of creds= can't be read now; put it back"
        file.write_text(operator.credentials())
        assert opened_at(address) == ""
    with running() as server:  # without a challenge, nothing of the file is sent
        assert opened(f"{server.url(scheme='tls')}&creds={file}").startswith("NATS here does not speak TLS")


def test_a_file_without_credentials_is_refused(tmp_path: Path) -> None:
    """It is missing, or another file, or its seed was mistyped."""
    whole = Operator().credentials()
    seed = whole.partition("SEED-----\n")[2].partition("\n")[0]
    file = tmp_path / "user.creds"
    url = f"nats://h/?creds={file}"
    with pytest.raises(UnusableLogError, match="names no file"):
        parse(url)
    for content in ("", whole.replace("USER JWT", "ACCOUNT JWT"), whole.replace(seed, seed[:-1]), "\xff"):
        file.write_bytes(content.encode("latin-1"))
        with pytest.raises(UnusableLogError, match="names a file without readable credentials") as refused:
            parse(url)
        assert seed not in str(refused.value)
    file.write_text(whole)
    for user in ("u:p@", "t@"):
        with pytest.raises(UnusableLogError, match="has a user or a token, and creds= too"):
            parse(url.replace("//", f"//{user}"))


def test_a_call_that_the_end_of_the_server_cuts_is_refused_at_once() -> None:
    """The next call connects again."""

    async def scenario() -> None:
        with running() as server:
            client = Client(parse(server.url()))
            await client.open()
            endless = asyncio.ensure_future(client.run(lambda _: asyncio.Event().wait()))
            await asyncio.sleep(0)
            server.kill()
            with pytest.raises(LogUnavailableError, match="no connection"):
                await endless
            with pytest.raises(LogUnavailableError, match="refused"):
                await client.run(lambda js: js.account_info())
            server.start()
            assert await client.run(lambda js: js.account_info())
            await client.close()

    asyncio.run(scenario())
