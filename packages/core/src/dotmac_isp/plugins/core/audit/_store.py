"""The database of the chains: one SQLite file for all tenants of a host.

Records and the sealed head of their chain are written in one transaction, which looks at the file's own last records first:
processes that write at the same time queue up at SQLite's lock, and none forks a chain.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import time
from typing import TYPE_CHECKING, Final

import msgspec

from .._wal import use_write_ahead_log
from ._chain import Head, Roster, genesis, link, seal_head, seal_roster, signed_well
from ._journal import JOURNALS, left_behind
from ._keys import open_signer
from ._record import AuditError, AuditRecord, canonical

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ._keys import Signer

__all__ = [
    "DATABASE",
    "TAMPERED",
    "ChainStore",
    "Row",
    "open_database",
    "read_claims",
    "take_left_behind",
]

_LOG: Final = logging.getLogger("dotmac.audit")
DATABASE: Final = "audit.sqlite3"
#: Action and outcome of the record that the trail writes about itself.
TAMPERED: Final = ("audit", "tampering found")
#: How long a writer waits for another process, in seconds.
_PATIENCE: Final = 5.0
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS records (
  tenant TEXT NOT NULL, sequence INTEGER NOT NULL, hash BLOB NOT NULL, record BLOB NOT NULL,
  PRIMARY KEY (tenant, sequence)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS journals (token TEXT PRIMARY KEY, taken INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS claims (
  kind TEXT NOT NULL, tenant TEXT NOT NULL, claim BLOB NOT NULL,
  PRIMARY KEY (kind, tenant)
) WITHOUT ROWID;
"""

_KEEP_CLAIM: Final = (
    "INSERT INTO claims VALUES (?, ?, ?) ON CONFLICT (kind, tenant) DO UPDATE SET claim = excluded.claim"
)
_KEEP_TAKEN: Final = "INSERT INTO journals VALUES (?, ?) ON CONFLICT (token) DO UPDATE SET taken = excluded.taken"
#: Sequence number, hash and bytes of one record.
Row = tuple[int, bytes, bytes]


def open_database(home: Path, *, write: bool) -> sqlite3.Connection:
    """Open the file; to write, make it where it is not. Raises `AuditError`."""
    path = home / DATABASE
    try:
        if write:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        elif not path.exists():
            raise AuditError(f"there is no audit trail in {home}", remedy="Name the host's folder with --home")
        mode = "rw"
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}",
            uri=True,
            isolation_level=None,
            timeout=_PATIENCE,
            check_same_thread=False,
        )
    except (OSError, sqlite3.Error) as error:
        raise AuditError(f"the audit trail {path} cannot be opened: {error}") from error
    try:
        if write:
            use_write_ahead_log(connection, patience=_PATIENCE)
            connection.executescript(_SCHEMA)
        else:
            connection.execute("PRAGMA query_only = ON")
            connection.execute("SELECT count(*) FROM claims")
    except sqlite3.Error as error:
        connection.close()
        raise AuditError(
            f"the audit trail {path} cannot be read: {error}", remedy="Restore it from a backup"
        ) from error
    return connection


def read_claims(connection: sqlite3.Connection, kind: str) -> dict[str, bytes]:
    """The signed statements of a kind by tenant, as they are written."""
    return dict(connection.execute("SELECT tenant, CAST(claim AS BLOB) FROM claims WHERE kind = ?", (kind,)))


def take_left_behind(home: Path) -> None:
    """Take into the chains what hosts that were killed left in their journals, as the next host would; where that can be done."""
    if any(home.glob(JOURNALS)):
        with contextlib.suppress(AuditError, sqlite3.Error, OSError):
            ChainStore(home, open_signer(home, create=False)).close()


class ChainStore:
    """Appends records. Used by one thread at a time."""

    def __init__(self, home: Path, signer: Signer, *, durable: bool = False) -> None:
        self.signer: Final = signer
        self._connection: Final = open_database(home, write=True)
        # NORMAL: what is committed outlives the process; FULL: it also outlives the machine's power.
        self._connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        #: The ends of the chains, as long as nobody else writes the file.
        self._ends: dict[str, tuple[int, bytes]] = {}
        self._version = -1
        self._take_left_behind(home)

    def append(self, batch: Sequence[tuple[str, bytes]], *, taken: tuple[str, int] | None = None) -> None:
        """Write (tenant label, record) pairs in one transaction. Raises `sqlite3.Error`; then none is written.

        `taken`: a journal's token, and the number of its last entry that is in the chain with them.
        """
        try:
            with self.transaction() as connection:
                self._append(batch)
                if taken is not None:
                    connection.execute(_KEEP_TAKEN, taken)
        except BaseException:
            self._ends.clear()
            raise

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Nobody else writes meanwhile."""
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            ((version,),) = connection.execute("PRAGMA data_version")
            if version != self._version:
                self._ends.clear()
                self._version = version
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def claim(self, claim: Head | Roster) -> None:
        """Keep a signed statement in place of the one before it."""
        kind, tenant = (claim.kind, claim.tenant) if isinstance(claim, Head) else ("roster", "")
        self._connection.execute(_KEEP_CLAIM, (kind, tenant, msgspec.json.encode(claim)))

    def close(self) -> None:
        self._connection.close()

    def _take_left_behind(self, home: Path) -> None:
        """What a host that died had on the disk and not in the chain yet."""
        for path, token, entries in left_behind(home, self.signer):
            row = self._connection.execute("SELECT taken FROM journals WHERE token = ?", (token,)).fetchone()
            there = row[0] if row else 0
            missing = [(tenant, record) for number, tenant, record in entries if number > there]
            if missing:
                self.append(missing, taken=(token, entries[-1][0]))
                _LOG.warning("%d audit records of a host that was killed were taken from %s", len(missing), path.name)
            # Its line in the database stays: a copy of the file that somebody puts back is not taken a second time.
            path.unlink(missing_ok=True)

    def _append(self, batch: Sequence[tuple[str, bytes]]) -> None:
        rows: list[tuple[str, int, bytes, bytes]] = []
        touched: dict[str, tuple[int, bytes]] = {}
        for tenant, record in batch:
            end = touched.get(tenant) or self._ends.get(tenant) or self._find_end(tenant, rows)
            sequence = end[0] + 1
            digest = link(end[1], sequence, record)
            rows.append((tenant, sequence, digest, record))
            touched[tenant] = (sequence, digest)
        self._connection.executemany("INSERT INTO records VALUES (?, ?, ?, ?)", rows)
        at = time.time()
        for tenant, (sequence, digest) in touched.items():
            self.claim(seal_head(self.signer, tenant, sequence, digest, at))
        self._ends |= touched

    def _find_end(self, tenant: str, rows: list[tuple[str, int, bytes, bytes]]) -> tuple[int, bytes]:
        """Where a chain goes on. One whose end is not as signed goes on in a way that leaves the damage visible, and says so."""
        end, why = self._look(tenant)
        if why is None:
            return end
        _LOG.error("the audit trail of tenant %s was tampered with: %s", tenant, why)
        named = None if tenant == "-" else tenant
        record = canonical(AuditRecord(action=TAMPERED[0], outcome=TAMPERED[1], tenant_id=named, detail=why))
        sequence = end[0] + 1
        digest = link(end[1], sequence, record)
        rows.append((tenant, sequence, digest, record))
        return sequence, digest

    def _look(self, tenant: str) -> tuple[tuple[int, bytes], str | None]:
        row = self._connection.execute(
            "SELECT CAST(sequence AS INTEGER), CAST(hash AS BLOB) FROM records WHERE tenant = ? ORDER BY sequence DESC LIMIT 1",
            (tenant,),
        ).fetchone()
        last: tuple[int, bytes] | None = row
        head = self._signed("head", tenant)
        if not isinstance(head, Head):
            why = head or (self._enrol(tenant) if last is None else "its signed head was gone")
            return last or (0, genesis(tenant)), why
        signed = (head.sequence, bytes.fromhex(head.hash))
        if last is None:
            anchor = self._signed("anchor", tenant)
            last = (anchor.sequence, bytes.fromhex(anchor.hash)) if isinstance(anchor, Head) else (0, genesis(tenant))
        if last == signed:
            return signed, None
        if last[0] < head.sequence:
            return signed, f"records {last[0] + 1} to {head.sequence} were gone"
        return last, f"its end, record {last[0]}, was not the one that was signed (record {head.sequence})"

    def _signed(self, kind: str, tenant: str) -> Head | str | None:
        found = self._claim_of(kind, tenant)
        if found is None:
            return None
        try:
            head = msgspec.json.decode(found, type=Head)
        except msgspec.DecodeError:
            return f"its signed {kind} could not be read"
        if head.tenant != tenant or head.kind != kind or not signed_well(self.signer, head):
            return f"its {kind} was not signed with this host's key"
        return head

    def _claim_of(self, kind: str, tenant: str) -> bytes | None:
        query = "SELECT CAST(claim AS BLOB) FROM claims WHERE kind = ? AND tenant = ?"
        row = self._connection.execute(query, (kind, tenant)).fetchone()
        return None if row is None else row[0]

    def _enrol(self, tenant: str) -> str | None:
        """Take a new tenant into the signed list of those that have a chain. Gives what is wrong with that list."""
        found = self._claim_of("roster", "")
        why = None
        tenants: set[str] = set()
        if found is None:
            tenants = set(read_claims(self._connection, "head"))
            why = "the signed list of tenants was gone" if tenants else None
        else:
            try:
                roster = msgspec.json.decode(found, type=Roster)
            except msgspec.DecodeError:
                why = "the signed list of tenants could not be read"
            else:
                tenants = set(roster.tenants)
                if not signed_well(self.signer, roster):
                    why = "the list of tenants was not signed with this host's key"
        if why is None and tenant in tenants:
            return "its whole chain was gone"
        self.claim(seal_roster(self.signer, {*tenants, tenant}))
        return why
