"""The key that vouches for the heads of the chains: Ed25519 where `cryptography` is installed, else HMAC-SHA256.

What stays in the host's own database is sealed with an HMAC, by a key that is derived from it: an Ed25519 signature in every
transaction costs a fifth of a quick disk's commit. What leaves the host, for others to check, is signed.

It lies in the host's folder, readable by its owner only, and is made at the first start. Which of the two it is stays as it was
made: an Ed25519 key wants `cryptography` from then on.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import importlib.util
import logging
import os
import secrets
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from ._record import AuditError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

__all__ = ["KEY_FILE", "Signer", "open_signer", "public_verifier"]

_LOG: Final = logging.getLogger("dotmac.audit")
KEY_FILE: Final = "audit.key"
_SIZE: Final = 32
_OTHERS: Final = 0o077


class Signer(Protocol):
    """Signs what leaves the host, seals what stays, and checks both; one made of a public key only checks signatures."""

    algorithm: str
    key_id: str
    public: str | None

    def sign(self, data: bytes) -> bytes: ...
    def seal(self, data: bytes) -> bytes: ...
    def verify(self, data: bytes, signature: bytes) -> bool:
        """Whether it is this key's signature or seal of exactly this."""


class _KeyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    algorithm: str
    key: bytes


class _Ed25519:
    """Anybody may check what it signs, with the public key."""

    algorithm = "ed25519"

    def __init__(self, private: Ed25519PrivateKey | None, public: Ed25519PublicKey) -> None:
        self._private: Final = private
        self._public: Final = public
        self._sealer: Final = None if private is None else _Hmac(_sealing_key(private.private_bytes_raw()))
        raw = public.public_bytes_raw()
        self.public: str | None = base64.b64encode(raw).decode()
        self.key_id = hashlib.sha256(raw).hexdigest()[:16]

    def sign(self, data: bytes) -> bytes:
        if self._private is None:
            raise AuditError("a public key cannot sign")
        return self._private.sign(data)

    def seal(self, data: bytes) -> bytes:
        if self._sealer is None:
            raise AuditError("a public key cannot seal")
        return self._sealer.sign(data)

    def verify(self, data: bytes, signature: bytes) -> bool:
        if len(signature) == _SIZE:  # a seal; signatures are twice as long
            return self._sealer is not None and self._sealer.verify(data, signature)
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - an extra

        try:
            self._public.verify(signature, data)
        except InvalidSignature:
            return False
        return True


class _Hmac:
    """Only who has the key can check what it signs."""

    algorithm = "hmac-sha256"
    public: str | None = None

    def __init__(self, key: bytes) -> None:
        self._key: Final = key
        self.key_id = hmac.digest(key, b"dotmac audit key id", "sha256").hex()[:16]

    def sign(self, data: bytes) -> bytes:
        return hmac.digest(self._key, data, "sha256")

    seal = sign

    def verify(self, data: bytes, signature: bytes) -> bool:
        return hmac.compare_digest(self.sign(data), signature)


def open_signer(home: Path, *, create: bool = True) -> Signer:
    """The host's key; made where there is none. Raises `AuditError` when there is none, or it cannot be used."""
    path = home / KEY_FILE
    if create and not path.exists():
        _make(path)
    try:
        found = path.stat()
        data = path.read_bytes()
    except OSError as error:
        raise AuditError(
            f"the audit key {path} cannot be read: {error.strerror}",
            remedy="Restore it: without it nobody can tell whether the trail was changed",
        ) from error
    if stat.S_IMODE(found.st_mode) & _OTHERS:
        _LOG.warning("the audit key %s could be read by others; it is its owner's only from now on", path)
        path.chmod(0o600)
    try:
        return _signer(msgspec.json.decode(data, type=_KeyFile))
    except (msgspec.MsgspecError, ValueError) as error:
        raise AuditError(f"{path} is no audit key: {error}", remedy="Restore it from a backup") from error


def public_verifier(algorithm: str, public: str) -> Signer:
    """Checks what the owner of a public key signed. Raises `AuditError`."""
    if algorithm != _Ed25519.algorithm:
        raise AuditError(f"signatures of {algorithm!r} can only be checked with the host's own key")
    kind = _ed25519().Ed25519PublicKey
    try:
        return _Ed25519(None, kind.from_public_bytes(base64.b64decode(public)))
    except ValueError as error:
        raise AuditError(f"this is no Ed25519 public key: {error}") from error


def _sealing_key(private: bytes) -> bytes:
    return hmac.digest(private, b"dotmac audit seal", "sha256")


def _signer(file: _KeyFile) -> Signer:
    if file.algorithm == _Ed25519.algorithm:
        private = _ed25519().Ed25519PrivateKey.from_private_bytes(file.key)
        return _Ed25519(private, private.public_key())
    if file.algorithm == _Hmac.algorithm and len(file.key) >= _SIZE:
        return _Hmac(file.key)
    raise ValueError(f"unknown algorithm {file.algorithm!r} or a key that is too short")


def _ed25519() -> Any:
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise AuditError(
            "the audit key is an Ed25519 key, and cryptography is not installed",
            remedy="pip install 'dotmac-plugins-core[audit]'",
        ) from error
    return ed25519


def _make(path: Path) -> None:
    """Write it whole or not at all; where two hosts do so at once, both use the one that was first."""
    known = importlib.util.find_spec("cryptography") is not None
    algorithm = _Ed25519.algorithm if known else _Hmac.algorithm
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".audit.key.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(_KeyFile(algorithm, secrets.token_bytes(_SIZE))))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(temporary)
    finally:
        temporary.unlink()
