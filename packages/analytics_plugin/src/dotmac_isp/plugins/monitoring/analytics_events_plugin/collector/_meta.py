"""What the collector remembers beside events: API keys (as keyed hashes), dashboards, alert rules and their states."""

from __future__ import annotations

import hashlib
import os
import secrets
import sqlite3
import threading
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from .access import Keys

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["Meta"]

_SECRET_BYTES: Final = 32


def _server_secret(path: Path) -> bytes:
    """The key of the hashes: made once, readable by the owner only."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_bytes()
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_bytes(_SECRET_BYTES))
        file.flush()
        os.fsync(file.fileno())
    return path.read_bytes()


class Meta:
    """A small SQLite database; calls take a few microseconds to a few milliseconds and may come from any thread."""

    def __init__(self, folder: Path) -> None:
        secret = self._secret = _server_secret(folder / "keys.secret")
        #: What pseudonyms and proofs are keyed with; it is not the key of the API keys' hashes.
        self.pseudonym_secret = hashlib.blake2b(b"pseudonyms", key=secret, digest_size=64).digest()
        self._lock = threading.Lock()
        self._db = sqlite3.connect(folder / "meta.sqlite", isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self.keys = Keys(self._db, self._lock, secret)
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS documents (kind TEXT, tenant TEXT, id TEXT, value BLOB, updated REAL, "
            "PRIMARY KEY (kind, tenant, id))"
        )

    def _run(self, sql: str, parameters: tuple[Any, ...] = ()) -> list[Any]:
        with self._lock:
            return self._db.execute(sql, parameters).fetchall()

    def sign(self, purpose: bytes, value: bytes) -> str:
        """A signature that only this collector can make; for one purpose it says nothing about another."""
        key = hashlib.blake2b(purpose, key=self._secret, digest_size=32).digest()
        return hashlib.blake2b(value, key=key, digest_size=24).hexdigest()

    def admit(self, tenant: str, key: str, owner: str) -> None:
        """Let `key` do everything for `tenant`."""
        self.keys.admit(tenant, key, owner)

    def dismiss(self, tenant: str, owner: str) -> None:
        """The owner's key for the tenant opens nothing any more."""
        self.keys.dismiss(tenant, owner)

    def put(self, kind: str, tenant: str, document_id: str, value: Any) -> None:
        self._run(
            "INSERT OR REPLACE INTO documents VALUES (?, ?, ?, ?, ?)",
            (kind, tenant, document_id, msgspec.json.encode(value), time.time()),
        )

    def put_many(self, kind: str, tenant: str, values: Mapping[str, Any]) -> None:
        """Several at once, all or none, with one flush of the disk."""
        now = time.time()
        rows = [(kind, tenant, key, msgspec.json.encode(value), now) for key, value in values.items()]
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany("INSERT OR REPLACE INTO documents VALUES (?, ?, ?, ?, ?)", rows)
            self._db.execute("COMMIT")

    def get(self, kind: str, tenant: str, document_id: str) -> Any | None:
        rows = self._run(
            "SELECT value FROM documents WHERE kind = ? AND tenant = ? AND id = ?", (kind, tenant, document_id)
        )
        return msgspec.json.decode(rows[0][0]) if rows else None

    def delete(self, kind: str, tenant: str, document_id: str) -> bool:
        rows = self._run(
            "DELETE FROM documents WHERE kind = ? AND tenant = ? AND id = ? RETURNING id", (kind, tenant, document_id)
        )
        return bool(rows)

    def list(self, kind: str, tenant: str | None = None) -> list[tuple[str, str, Any]]:
        """`(tenant, id, value)` of one tenant, or of all for the collector's own work."""
        rows = self._run(
            "SELECT tenant, id, value FROM documents WHERE kind = ? AND (? IS NULL OR tenant = ?) ORDER BY tenant, id",
            (kind, tenant, tenant),
        )
        return [(row[0], row[1], msgspec.json.decode(row[2])) for row in rows]

    def close(self) -> None:
        with self._lock:
            self._db.close()
