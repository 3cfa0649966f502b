"""An operator of NATS with one account and one user: signed documents (JWT) in the place of passwords."""

from __future__ import annotations

import base64
import binascii
import hashlib
import time
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

OPERATOR, ACCOUNT, USER = 14 << 3, 0, 20 << 3
SEED = 18 << 3
LIMITS = "subs", "data", "payload", "imports", "exports", "conn", "leaf"
JETSTREAM = "mem_storage", "disk_storage", "streams", "consumer"


class Key:
    """A key of a kind of nkeys."""

    def __init__(self, kind: int) -> None:
        self._kind = kind
        self.private = Ed25519PrivateKey.generate()

    @property
    def public(self) -> str:
        """The public key, as documents name it."""
        raw = self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return _checked(bytes([self._kind]) + raw)

    @property
    def seed(self) -> str:
        """The private key, as a file of credentials has it."""
        first = bytes([SEED | self._kind >> 5, (self._kind & 31) << 3])
        return _checked(first + self.private.private_bytes_raw())

    def signed(self, subject: Key, claims: dict[str, Any], lasts_s: int | None = None) -> str:
        """Return the document with which this key vouches for `subject`; it may expire."""
        now = int(time.time())
        body: dict[str, Any] = {
            "iss": self.public,
            "sub": subject.public,
            "iat": now,
            "name": "x",
            "nats": claims | {"version": 2},
        }
        if lasts_s is not None:
            body["exp"] = now + lasts_s
        body["jti"] = base64.b32encode(hashlib.sha256(msgspec.json.encode(body)).digest()).decode().rstrip("=")
        text = f"{_url(msgspec.json.encode({'typ': 'JWT', 'alg': 'ed25519-nkey'}))}.{_url(msgspec.json.encode(body))}"
        return f"{text}.{_url(self.private.sign(text.encode()))}"


class Operator:
    """The operator, with an account for the log and one for the server itself."""

    def __init__(self) -> None:
        self._operator, self._account, system = Key(OPERATOR), Key(ACCOUNT), Key(ACCOUNT)
        limits = dict.fromkeys(LIMITS, -1) | {"wildcards": True}
        documents = {
            key.public: self._operator.signed(key, {"type": "account", "limits": limits | of_jetstream})
            for key, of_jetstream in ((self._account, dict.fromkeys(JETSTREAM, -1)), (system, {}))
        }
        preloaded = "\n".join(f"{name}: {document}" for name, document in documents.items())
        self.settings = (
            f"operator: {self._operator.signed(self._operator, {'type': 'operator'})}\nresolver: MEMORY\n"
            f"system_account: {system.public}\nresolver_preload {{\n{preloaded}\n}}\n"
        )
        """Settings of a server."""

    def credentials(self, lasts_s: int | None = None) -> str:
        """Return the content of a file of credentials for a new user."""
        user = Key(USER)
        document = self._account.signed(user, {"type": "user", "subs": -1, "data": -1, "payload": -1}, lasts_s)
        return (
            f"-----BEGIN NATS USER JWT-----\n{document}\n------END NATS USER JWT------\n\n"
            "************************* IMPORTANT *************************\n"
            f"-----BEGIN USER NKEY SEED-----\n{user.seed}\n------END USER NKEY SEED------\n"
        )


def _checked(raw: bytes) -> str:
    return base64.b32encode(raw + binascii.crc_hqx(raw, 0).to_bytes(2, "little")).decode().rstrip("=")


def _url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
