"""A file of credentials as the tools of NATS make it (`.creds`): a user's JWT, and the seed of the key that proves it.

A seed is base32 of two bytes for its kind, 32 bytes and a checksum (see nkeys, and ADR-14 of NATS).
"""

from __future__ import annotations

import base64
import binascii
import re
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_PARTS = re.compile(
    r"-+BEGIN NATS USER JWT-+\s*(?P<jwt>\S+)\s*-+END NATS USER JWT-+"
    r".*-+BEGIN USER NKEY SEED-+\s*(?P<seed>[A-Z2-7]+)\s*-+END USER NKEY SEED-+",
    re.DOTALL,
)
_KIND_BYTES, _KEY_BYTES, _CHECKSUM_BYTES = 2, 32, 2


class Credentials(NamedTuple):
    """A user's credentials. The key never goes to a server."""

    jwt: bytes
    key: Ed25519PrivateKey

    def signature(self, challenge: str) -> bytes:
        """Return the proof for a server's `challenge`, in base64."""
        return base64.b64encode(self.key.sign(challenge.encode()))


def read_credentials(path: str) -> Credentials:
    """Return the credentials in the file at `path`.

    Raises:
        OSError: it can't be read.
        ValueError: it holds none, or damaged ones.
    """
    found = _PARTS.search(Path(path).read_text("utf-8"))
    if found is None:
        raise ValueError("no credentials")
    seed = found["seed"]
    decoded = base64.b32decode(seed + "=" * (-len(seed) % 8))
    whole, checksum = decoded[:-_CHECKSUM_BYTES], decoded[-_CHECKSUM_BYTES:]
    if len(whole) != _KIND_BYTES + _KEY_BYTES or binascii.crc_hqx(whole, 0).to_bytes(2, "little") != checksum:
        raise ValueError("a damaged seed")
    return Credentials(found["jwt"].encode(), Ed25519PrivateKey.from_private_bytes(whole[_KIND_BYTES:]))
