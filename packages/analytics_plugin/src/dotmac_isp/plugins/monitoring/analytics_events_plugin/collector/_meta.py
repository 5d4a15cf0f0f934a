"""What the collector remembers beside events: API keys (as keyed hashes), dashboards, alert rules and their states."""

from __future__ import annotations

import hashlib
import os
import secrets
from typing import TYPE_CHECKING, Any, Final

from .access import Keys
from .sharing import SECRET, Documents

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Meta"]

_SECRET_BYTES: Final = 32


def _server_secret(path: Path) -> bytes:
    """The key of the hashes: made once, readable by the owner only."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_bytes()
    _fill(descriptor, secrets.token_bytes(_SECRET_BYTES))
    return path.read_bytes()


def _fill(descriptor: int, secret: bytes) -> None:
    with os.fdopen(descriptor, "wb") as file:
        file.write(secret)
        file.flush()
        os.fsync(file.fileno())


class Meta(Documents):
    """Documents, keys, and the secret of hashes, pseudonyms and signatures."""

    def __init__(self, folder: Path, *, shared: bool = False) -> None:
        super().__init__(folder / "meta.sqlite", shared=shared)
        self._secret_file = folder / "keys.secret"
        self.secret = _server_secret(self._secret_file)
        self.keys = Keys(self._db, self._lock, self, self._secrets())
        #: What pseudonyms and proofs are keyed with, and may have been before; it is not the key of the API keys' hashes.
        self.pseudonym_secrets = self._for_pseudonyms()

    def _secrets(self) -> tuple[bytes, ...]:
        """The one that is used, and those that other collectors before the same server used before they had one in common."""
        others = (bytes.fromhex(value) for _, _, value in self.list(SECRET))
        return tuple(dict.fromkeys((self.secret, *others)))

    def _for_pseudonyms(self) -> tuple[bytes, ...]:
        return tuple(hashlib.blake2b(b"pseudonyms", key=one, digest_size=64).digest() for one in self._secrets())

    def heard_secret(self, _: Any = None) -> None:
        """Another collector told the secret that its keys and pseudonyms were made with."""
        self.keys.secrets = self._secrets()
        self.pseudonym_secrets = self._for_pseudonyms()

    def adopt(self, secret: bytes) -> None:
        """Use the secret that the collectors of a server have in common, and remember the former one."""
        if secret == self.secret:
            return
        part = self._secret_file.with_suffix(".new")
        _fill(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), secret)
        part.rename(self._secret_file)
        self.secret = secret
        self.heard_secret()

    def sign(self, purpose: bytes, value: bytes) -> str:
        """A signature that only collectors with this secret can make; for one purpose it says nothing about another."""
        key = hashlib.blake2b(purpose, key=self.secret, digest_size=32).digest()
        return hashlib.blake2b(value, key=key, digest_size=24).hexdigest()

    def admit(self, tenant: str, key: str, owner: str) -> None:
        """Let `key` do everything for `tenant`."""
        self.keys.admit(tenant, key, owner)

    def dismiss(self, tenant: str, owner: str) -> None:
        """The owner's key for the tenant opens nothing any more."""
        self.keys.dismiss(tenant, owner)
