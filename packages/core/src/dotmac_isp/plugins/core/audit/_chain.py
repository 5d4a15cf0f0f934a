"""The chain, as pure functions: how a record hangs on the one before it, and what is signed."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._keys import Signer

__all__ = ["Head", "Roster", "genesis", "link", "seal_head", "seal_roster", "sign_head", "signed_well"]

_BEGIN: Final = b"dotmac audit chain 1\n"
_ENCODER: Final = msgspec.json.Encoder(order="deterministic")


def genesis(tenant: str) -> bytes:
    """What the first record of a tenant hangs on; `tenant` is its label, `-` for the system tenant."""
    return hashlib.sha256(_BEGIN + tenant.encode()).digest()


def link(previous: bytes, sequence: int, record: bytes) -> bytes:
    """The hash of a record: SHA-256 over the hash before it, its number and its bytes."""
    return hashlib.sha256(previous + sequence.to_bytes(8, "big") + record).digest()


class Head(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """What a key vouches for: the tenant's chain has `sequence` records, and the last has this hash (hex).

    `kind` is `head`, or `anchor` for the end of what was archived. `at` is Unix time.
    """

    kind: str
    tenant: str
    sequence: int
    hash: str
    at: float
    key: str
    signature: bytes = b""


class Roster(msgspec.Struct, frozen=True, kw_only=True):
    """Every tenant that has a chain, so that none can go as a whole."""

    tenants: tuple[str, ...]
    key: str
    signature: bytes = b""


def _signed_bytes(claim: Head | Roster) -> bytes:
    return type(claim).__name__.encode() + b"\n" + _ENCODER.encode(msgspec.structs.replace(claim, signature=b""))


def seal_head(signer: Signer, tenant: str, sequence: int, digest: bytes, at: float) -> Head:
    """A chain's head as it stands in the host's database, which only the host's own key can check."""
    head = Head(kind="head", tenant=tenant, sequence=sequence, hash=digest.hex(), at=at, key=signer.key_id)
    return msgspec.structs.replace(head, signature=signer.seal(_signed_bytes(head)))


def sign_head(signer: Signer, head: Head) -> Head:
    """The same statement with a signature that others can check, for what leaves the host."""
    return msgspec.structs.replace(head, signature=signer.sign(_signed_bytes(head)))


def seal_roster(signer: Signer, tenants: Iterable[str]) -> Roster:
    """The host's list of tenants, sealed."""
    roster = Roster(tenants=tuple(sorted(tenants)), key=signer.key_id)
    return msgspec.structs.replace(roster, signature=signer.seal(_signed_bytes(roster)))


def signed_well(signer: Signer, claim: Head | Roster) -> bool:
    """Whether the signature or seal is the key's, for exactly this."""
    return claim.key == signer.key_id and signer.verify(_signed_bytes(claim), claim.signature)
