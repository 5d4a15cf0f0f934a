"""Reading the trail: records of a time, and the signed heads for safe keeping elsewhere. A host may be writing meanwhile."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING, Any

import msgspec

from ._chain import Head, sign_head, signed_well
from ._keys import open_signer
from ._record import AuditError, AuditRecord, decode
from ._store import DATABASE, open_database, read_claims, take_left_behind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ._store import Row

__all__ = ["Entry", "HeadFile", "exported_heads", "reading", "records", "rows", "tenants_in"]


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A record with its place in the chain."""

    sequence: int
    hash: str
    record: AuditRecord


class HeadFile(msgspec.Struct, frozen=True, kw_only=True):
    """The signed heads of all chains at a time. Kept where the host's owner cannot change it, it shows any truncation."""

    algorithm: str
    key: str
    public: str | None
    heads: tuple[Head, ...]


@contextlib.contextmanager
def reading(home: Path) -> Iterator[sqlite3.Connection]:
    """The database as it is at this moment. Raises `AuditError`, also for what SQLite says while it is read."""
    take_left_behind(home)
    connection = open_database(home, write=False)
    try:
        connection.execute("BEGIN")
        yield connection
    except sqlite3.Error as error:
        raise AuditError(
            f"the audit trail {home / DATABASE} cannot be read: {error}", remedy="Restore it from a backup"
        ) from error
    finally:
        connection.close()


def rows(connection: sqlite3.Connection, tenant: str, *, after: int = 0) -> Iterator[Row]:
    """The rows of a chain, in order; `tenant` is a label."""
    yield from connection.execute(
        # The casts: SQLite keeps whatever somebody else put there, of any type.
        "SELECT CAST(sequence AS INTEGER), CAST(hash AS BLOB), CAST(record AS BLOB)"
        " FROM records WHERE tenant = ? AND sequence > ? ORDER BY sequence",
        (tenant, after),
    )


def tenants_in(connection: sqlite3.Connection) -> set[str]:
    """The labels of all tenants that have records or a signed statement."""
    found = connection.execute("SELECT tenant FROM records UNION SELECT tenant FROM claims WHERE kind <> 'roster'")
    return {tenant for (tenant,) in found}


def records(
    home: Path, *, tenant: str | None = None, since: float | None = None, until: float | None = None, **fields: Any
) -> Iterator[Entry]:
    """The records of a tenant (a label, `-` for the system tenant; `None` for all), oldest first within each tenant.

    `since` and `until` are Unix times; `fields` are values that a record must have, such as `plugin_id=…` or `outcome=…`.
    Records that cannot be read are left out: `verify` names them. Raises `AuditError`.
    """
    with reading(home) as connection:
        for label in sorted(tenants_in(connection)) if tenant is None else [tenant]:
            for sequence, digest, data in rows(connection, label):
                with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
                    record = decode(data)
                    late = until is not None and record.at >= until
                    if late or (since is not None and record.at < since):
                        continue
                    if all(getattr(record, name) == value for name, value in fields.items()):
                        yield Entry(sequence=sequence, hash=digest.hex(), record=record)


def exported_heads(home: Path, *, tenant: str | None = None) -> HeadFile:
    """The heads, of a tenant (a label) or of all, signed for others to check. Raises `AuditError`, also for one that was changed."""
    signer = open_signer(home, create=False)
    with reading(home) as connection:
        claims = read_claims(connection, "head")
    try:
        heads = [msgspec.json.decode(claim, type=Head) for claim in claims.values()]
    except msgspec.MsgspecError as error:
        raise AuditError(f"a signed head cannot be read: {error}", remedy="dotmac-plugins audit verify") from error
    chosen = [head for head in sorted(heads, key=lambda one: one.tenant) if tenant in {None, head.tenant}]
    for head in chosen:
        if not signed_well(signer, head):  # signing it would vouch for what somebody else wrote
            what = f"the head of tenant {head.tenant} is not sealed with this host's key: it was changed"
            raise AuditError(what, remedy="dotmac-plugins audit verify")
    signed = tuple(sign_head(signer, head) for head in chosen)
    return HeadFile(algorithm=signer.algorithm, key=signer.key_id, public=signer.public, heads=signed)
