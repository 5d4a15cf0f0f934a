"""Licences as tokens: JWS compact, `alg` EdDSA (RFC 7515, RFC 8037), made and verified by PyJWT."""

from __future__ import annotations

import base64
import binascii
import re
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ._keys import REMEDY, private_key
from ._licence import Licence, LicenceRefusedError, as_claims, decode_claims, refusal

if TYPE_CHECKING:
    from collections.abc import Collection

    from ._keys import KeyRing, VendorKey

__all__ = ["Inspection", "inspect_licence", "issue_licence", "read_token", "verify_licence"]

#: A licence with a thousand tenants fits.
LONGEST: Final = 65_536
TYPE: Final = "dotmac-licence+jwt"
ALGORITHM: Final = "EdDSA"
_PARTS: Final = 3
#: A signature of Ed25519 has 64 bytes: so many characters.
_SIGNATURE: Final = 86
_ALPHABET: Final = re.compile(r"[A-Za-z0-9_-]*")


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    # No `crit`, no keys inside the token: what is not known here is refused.
    alg: str
    kid: str = ""
    typ: str = TYPE


class Inspection(msgspec.Struct, frozen=True, kw_only=True):
    """What a token says of itself. Nothing of it is proven: see `verify_licence`."""

    algorithm: str
    key_id: str
    licence: Licence


def issue_licence(licence: Licence, *, private_key_pem: bytes, key_id: str, password: bytes | None = None) -> str:
    """Sign a licence with the vendor's private key; `key_id` is what hosts know the public key by."""
    decode_claims(msgspec.json.encode(licence))  # what would be refused is not signed
    key = private_key(private_key_pem, password)
    token: str = _jwt().encode(as_claims(licence), key, algorithm=ALGORITHM, headers={"kid": key_id, "typ": TYPE})
    if len(token) > LONGEST:
        raise LicenceRefusedError("too long", f"the licence would have {len(token)} characters; hosts take {LONGEST}")
    return token


def inspect_licence(token: str) -> Inspection:
    """Read a token without verifying it. Raises `LicenceRefusedError` for what is no licence."""
    header, payload, _ = _split(token)
    return Inspection(algorithm=header.alg, key_id=header.kid, licence=decode_claims(payload))


def verify_licence(
    token: str,
    keys: KeyRing,
    *,
    plugin_id: str | None = None,
    version: str = "",
    tenant_id: str | None = None,
    any_tenant: bool = False,
    feature: str = "",
    revoked: Collection[str] = (),
    now: float | None = None,
) -> Licence:
    """A token's licence, when its signature is right and it covers what is asked. Raises `LicenceRefusedError` that says why not.

    Without `plugin_id` the licence's own plugin counts, with `any_tenant` its own tenants; without `version` any version.
    """
    licence = read_token(token, keys)
    tenant = tenant_id
    if any_tenant:
        tenant = next((None if one == "-" else one for one in licence.tenants), None)
    why = refusal(
        licence if version else msgspec.structs.replace(licence, versions=""),
        plugin_id=licence.plugin if plugin_id is None else plugin_id,
        version=version or "0",
        tenant_id=tenant,
        feature=feature,
        now=time.time() if now is None else now,
        revoked=revoked,
    )
    if why is not None:
        raise why
    return licence


def read_token(token: str, keys: KeyRing) -> Licence:
    """The licence of a token whose signature one of the keys made. Raises `LicenceRefusedError`."""
    header, payload, signature = _split(token)
    if header.alg.lower() == "none":
        raise LicenceRefusedError("not signed", "the licence is not signed (its algorithm is 'none')")
    if header.alg != ALGORITHM:
        raise LicenceRefusedError(
            "algorithm", f"the licence is signed with {header.alg[:20]!r}; only {ALGORITHM} (Ed25519) counts"
        )
    if len(signature) != _SIGNATURE:
        raise LicenceRefusedError(
            "truncated", f"the licence's signature has {len(signature)} characters of {_SIGNATURE}: it is cut off"
        )
    _decoded(signature)
    key = keys.get(header.kid)
    if key is None:
        known = ", ".join(sorted(one.id for one in keys)) or "none"
        raise LicenceRefusedError(
            "unknown key",
            f"the licence is signed with the key {header.kid[:80]!r}, which is not among the trusted ones ({known})",
            remedy="Put the vendor's public key into licences/keys",
        )
    if not _fits(token, key):
        raise _wrong_signature(token, key, keys)
    licence = decode_claims(payload)
    if key.plugins is not None and licence.plugin not in key.plugins:
        own = ", ".join(sorted(key.plugins))
        raise LicenceRefusedError(
            "unknown key",
            f"the licence for {licence.plugin} is signed with the key {key.id!r}, which came with {own} and counts for nothing else",
        )
    return licence


def _fits(token: str, key: VendorKey) -> bool:
    library = _jwt()
    try:
        library.PyJWS(algorithms=[ALGORITHM]).decode(token, key.key, algorithms=[ALGORITHM])
    except library.InvalidTokenError:
        return False
    return True


def _wrong_signature(token: str, key: VendorKey, keys: KeyRing) -> LicenceRefusedError:
    """Which of two it is: another known key made it, or the token is not what was signed."""
    other = next((one.id for one in keys if one is not key and _fits(token, one)), None)
    if other is not None:
        text = f"the licence names the key {key.id!r}, and was signed with another one, {other!r}"
        return LicenceRefusedError("other key", text)
    return LicenceRefusedError(
        "altered",
        f"the licence's signature does not fit: it was altered after it was signed, or signed with another key than {key.id!r}",
        remedy="Install it anew as the vendor sent it",
    )


def _split(token: str) -> tuple[_Header, bytes, str]:
    """Header, payload and signature, before anything is believed."""
    if len(token) > LONGEST:
        raise LicenceRefusedError("too long", f"it has {len(token)} characters; a licence has at most {LONGEST}")
    parts = token.split(".")
    if len(parts) < _PARTS and parts[0].startswith("ey"):
        raise LicenceRefusedError("truncated", f"the licence has {len(parts)} of its {_PARTS} parts: it is cut off")
    if len(parts) != _PARTS:
        raise LicenceRefusedError("malformed", "it is no licence: a licence has three parts with dots between them")
    header, payload = (_decoded(part) for part in parts[:2])
    try:
        return msgspec.json.decode(header, type=_Header), payload, parts[2]
    except msgspec.DecodeError as error:
        text = str(error).replace("`", "'")
        raise LicenceRefusedError("malformed", f"it is no licence: its header cannot be read: {text}") from None


def _decoded(part: str) -> bytes:
    try:
        if not _ALPHABET.fullmatch(part):
            raise ValueError
        data = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
        if base64.urlsafe_b64encode(data).rstrip(b"=").decode() != part:
            raise ValueError  # bits that decoders drop: one licence would have several forms
        return data
    except (ValueError, binascii.Error):
        raise LicenceRefusedError("malformed", "it is no licence: its parts are not base64url") from None


def _jwt() -> Any:
    try:
        import jwt  # noqa: PLC0415 - loads only where licences are
    except ImportError:
        raise LicenceRefusedError(
            "not verifiable", "licences cannot be verified: PyJWT is not installed", remedy=REMEDY
        ) from None
    return jwt
