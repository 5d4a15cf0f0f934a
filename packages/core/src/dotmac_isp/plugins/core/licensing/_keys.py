"""The public keys of vendors: Ed25519, each under an id that the tokens name, so that a vendor can change keys."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ..errors import LicenceError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

__all__ = ["REMEDY", "KeyRing", "VendorKey", "generate_key", "private_key"]

#: What to do where PyJWT and cryptography are not installed.
REMEDY: Final = 'python -m pip install "dotmac-plugins-core[licences]"'
_LONGEST_KEY: Final = 16_384


class VendorKey(msgspec.Struct, frozen=True, kw_only=True):
    """One public key. `plugins`: the only ones whose licences it may sign (`None`: any)."""

    id: str
    key: Any  # cryptography's Ed25519PublicKey
    source: str
    plugins: frozenset[str] | None = None


class KeyRing:
    """The keys that a host trusts. What the operator put into the folder cannot be replaced by what a plugin brings along."""

    def __init__(self) -> None:
        self._keys: dict[str, VendorKey] = {}
        #: What is wrong with keys that were not taken.
        self.problems: list[str] = []

    @classmethod
    def read(cls, folder: Path) -> KeyRing:
        """Every `*.pem`, `*.jwk` and `*.json` in a folder; a PEM file's name is its key's id. No folder: no keys."""
        ring = cls()
        for path in sorted(folder.glob("*")) if folder.is_dir() else ():
            if path.suffix in {".pem", ".jwk", ".json"}:
                try:
                    if path.stat().st_size > _LONGEST_KEY:
                        raise LicenceError("it is longer than any key")
                    ring.add(path.stem, path.read_bytes(), source=str(path))
                except (LicenceError, OSError) as error:
                    ring.problems.append(f"{path} is not used: {error}")
        return ring

    def add(self, key_id: str, data: bytes, *, source: str, plugins: Collection[str] | None = None) -> None:
        """Take keys in PEM, or a JWK or JWK set. Raises `LicenceError` for what is no Ed25519 public key, and for an id that is taken."""
        only = None if plugins is None else frozenset(plugins)
        for name, key in _public_keys(key_id, data):
            known = self._keys.get(name)
            if known is not None and _raw(known.key) != _raw(key):
                raise LicenceError(f"{source}: the key id {name!r} is taken by another key, from {known.source}")
            if known is None:
                self._keys[name] = VendorKey(id=name, key=key, source=source, plugins=only)

    def get(self, key_id: str) -> VendorKey | None:
        """The key of this id."""
        return self._keys.get(key_id)

    def forget(self, key_ids: Collection[str]) -> None:
        """Trust these no more."""
        for key_id in key_ids:
            self._keys.pop(key_id, None)

    def __iter__(self) -> Iterator[VendorKey]:
        return iter(self._keys.values())

    def __len__(self) -> int:
        return len(self._keys)


def _public_keys(key_id: str, data: bytes) -> Iterator[tuple[str, Any]]:
    text = data.strip()
    if text.startswith(b"-----BEGIN"):
        yield key_id, _from_pem(text)
        return
    try:
        found = json.loads(text)
    except ValueError:
        raise LicenceError("it is neither PEM nor JSON (JWK)") from None
    keys = found.get("keys") if isinstance(found, dict) and "keys" in found else [found]
    for one in keys if isinstance(keys, list) else [None]:
        if not isinstance(one, dict):
            raise LicenceError("it is no JWK")
        yield str(one.get("kid", key_id)), _from_jwk(one)


def _from_pem(data: bytes) -> Any:
    if b"PRIVATE KEY" in data:
        raise LicenceError(
            "it holds a private key, which the vendor alone must have", remedy="Put the public key there"
        )
    from_pem = _cryptography().load_pem_public_key
    try:
        key = from_pem(data)
    except Exception:  # noqa: BLE001 - the library raises several kinds
        raise LicenceError("it is no public key in PEM") from None
    return _checked(key)


def _from_jwk(jwk: Mapping[str, Any]) -> Any:
    if "d" in jwk:
        raise LicenceError(
            "it holds a private key, which the vendor alone must have", remedy="Put the public key there"
        )
    if jwk.get("kty") != "OKP" or jwk.get("crv") != "Ed25519":
        raise LicenceError("it is no Ed25519 key")
    try:
        from jwt.algorithms import OKPAlgorithm  # noqa: PLC0415 - loads only where licences are
    except ImportError:
        raise LicenceError("keys cannot be read: PyJWT is not installed", remedy=REMEDY) from None
    try:
        key = OKPAlgorithm.from_jwk(json.dumps(dict(jwk)))
    except Exception:  # noqa: BLE001 - the library raises several kinds
        raise LicenceError("it is no valid JWK") from None
    return _checked(key)


def _checked(key: Any) -> Any:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415

    if not isinstance(key, Ed25519PublicKey):
        raise LicenceError("it is no Ed25519 key")
    return key


def _raw(key: Any) -> bytes:
    raw: bytes = key.public_bytes_raw()
    return raw


def _cryptography() -> Any:
    try:
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - loads only where licences are
    except ImportError:
        raise LicenceError("keys cannot be read: cryptography is not installed", remedy=REMEDY) from None
    return serialization


def private_key(pem: bytes, password: bytes | None = None) -> Any:
    """A vendor's private key. Raises `LicenceError` that never shows it."""
    from_pem = _cryptography().load_pem_private_key
    try:
        key = from_pem(pem, password)
    except Exception:  # noqa: BLE001 - the library raises several kinds, some of which show what they were given
        raise LicenceError("it is no private key in PEM, or its password is another one") from None
    if not hasattr(key, "public_key") or type(key.public_key()).__name__.find("Ed25519") < 0:
        raise LicenceError("it is no Ed25519 private key", remedy="openssl genpkey -algorithm ed25519")
    return key


def generate_key(password: bytes | None = None) -> tuple[bytes, bytes]:
    """A new key pair in PEM: the private key (encrypted where there is a password), which the vendor keeps, and the public one."""
    serialization = _cryptography()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415

    key = Ed25519PrivateKey.generate()
    coat = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, coat)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private, public
