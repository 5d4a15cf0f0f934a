"""API keys: kept as keyed hashes, for one tenant and some scopes each, for a time, with limits.

A key that several tenants share is one entry for each of them. Several collectors before one server have their keys in common,
but for a host's own key, which its own collector alone knows.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import time
import uuid
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ..._plain import EventError
from ..._times import span
from ..._wire import HOST_OWNER

if TYPE_CHECKING:
    import sqlite3
    import threading
    from collections.abc import Iterator, Mapping, Sequence

    from ..sharing import Change, Documents

__all__ = ["SCOPES", "Access", "Keys"]

#: `sql` asks in SQL, which `read` alone does not; `admin` may do what the others may.
SCOPES: Final = ("write", "read", "sql", "admin")
_ALL: Final = frozenset(SCOPES)
_MOST_KEYS: Final = 1000
_MAX_NAME: Final = 100
_MAX_RATE: Final = 10_000_000
_KIND: Final = "key"


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """What one key may do for one tenant. Times are Unix time; 0 is no end and no limit."""

    key_id: str
    tenant: str
    name: str
    scopes: frozenset[str]
    created_at: float
    expires_at: float = 0.0
    events_per_second: int = 0
    requests_per_second: int = 0

    def allows(self, scope: str) -> bool:
        return scope in self.scopes or "admin" in self.scopes


class _Entry(msgspec.Struct, frozen=True):
    """A key as other collectors are told it."""

    hash: str
    owner: str
    access: Access


class Keys:
    """A table in the collector's small database, and what was found in it since it changed last.

    Every request asks, so what is revoked opens nothing from then on.

    :param secrets: what hashes are keyed with; keys hashed with a former one go on opening.
    """

    def __init__(
        self, db: sqlite3.Connection, lock: threading.Lock, documents: Documents, secrets: Sequence[bytes]
    ) -> None:
        self._db = db
        self._lock = lock
        self._documents = documents
        self.secrets = secrets
        #: By hashes. Whatever changes the table empties it.
        self._found: dict[tuple[bytes, ...], list[Access]] = {}
        db.execute(
            "CREATE TABLE IF NOT EXISTS keys (id TEXT, tenant TEXT, hash BLOB, owner TEXT, value BLOB, PRIMARY KEY (id, tenant))"
        )
        db.execute("CREATE INDEX IF NOT EXISTS keys_by_hash ON keys (hash)")

    def _hash(self, key: str) -> bytes:
        return _hashed(key, self.secrets[0])

    def admit(self, tenant: str, key: str, owner: str) -> None:
        """Let `key` do everything for `tenant`. An earlier key from the same owner (a host, or the operator) ends with it."""
        access = Access(key_id=f"{owner}", tenant=tenant, name=owner, scopes=_ALL, created_at=time.time())
        self._put(access, self._hash(key), owner)

    def dismiss(self, tenant: str, owner: str) -> None:
        """The owner's key for the tenant opens nothing any more."""
        with self._changing():
            self._db.execute("DELETE FROM keys WHERE tenant = ? AND owner = ? AND id = ?", (tenant, owner, owner))
        self._tell_gone(tenant, owner, owner)

    def opened_by(self, key: str) -> list[Access]:
        """What the key opens now, by tenant."""
        hashes = tuple(_hashed(key, secret) for secret in self.secrets)
        found = self._found.get(hashes)
        if found is None:
            found = self._looked_up(hashes)
        now = time.time()
        return [one for one in found if not one.expires_at or one.expires_at > now]

    def _looked_up(self, hashes: tuple[bytes, ...]) -> list[Access]:
        with self._lock:
            rows = self._db.execute(
                f"SELECT value FROM keys WHERE hash IN ({', '.join('?' * len(hashes))}) ORDER BY tenant",  # noqa: S608 - marks
                hashes,
            ).fetchall()
            found = [msgspec.json.decode(row[0], type=Access) for row in rows]
            if found:  # what opens nothing is not remembered: a guesser has no end of those
                self._found[hashes] = found
        return found

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """The table is changed inside, and asked anew afterwards."""
        with self._lock:
            try:
                yield
            finally:
                self._found.clear()

    def list(self, tenant: str) -> list[Access]:
        """The tenant's keys, without the keys themselves: those are nowhere."""
        with self._lock:
            rows = self._db.execute("SELECT value FROM keys WHERE tenant = ? ORDER BY id", (tenant,)).fetchall()
        return [msgspec.json.decode(row[0], type=Access) for row in rows]

    def make(self, tenant: str, wish: Mapping[str, Any]) -> tuple[Access, str]:
        """A new key as wished (`name`, `scopes`, `expires_in`, limits); it is told this once. Raises `EventError`."""
        if len(self.list(tenant)) >= _MOST_KEYS:
            raise EventError("key", "one more", f"at most {_MOST_KEYS} keys; revoke some")
        access = Access(
            key_id=uuid.uuid4().hex[:16],
            tenant=tenant,
            name=_name(wish.get("name")),
            scopes=_scopes(wish.get("scopes")),
            created_at=time.time(),
            expires_at=time.time() + span(wish["expires_in"], "expires_in") if wish.get("expires_in") else 0.0,
            events_per_second=_rate(wish, "events_per_second"),
            requests_per_second=_rate(wish, "requests_per_second"),
        )
        key = secrets.token_urlsafe(32)
        self._put(access, self._hash(key), "tenant")
        return access, key

    def rotate(self, tenant: str, key_id: str, overlap: float) -> tuple[Access, str] | None:
        """A new key that may do the same; the old one ends after `overlap` seconds. `None`: there is no such key of the tenant's own."""
        old = next((one for one in self.list(tenant) if one.key_id == key_id), None)
        if old is None or not self._is_own(tenant, key_id):
            return None
        fresh = msgspec.structs.replace(old, key_id=uuid.uuid4().hex[:16], created_at=time.time())
        key = secrets.token_urlsafe(32)
        end = time.time() + max(overlap, 0.001)
        ending = msgspec.structs.replace(old, expires_at=min(end, old.expires_at or end))
        with self._changing():
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute(
                "UPDATE keys SET value = ? WHERE id = ? AND tenant = ?", (msgspec.json.encode(ending), key_id, tenant)
            )
            self._insert(fresh, self._hash(key), "tenant")
            self._db.execute("COMMIT")
        for one in (key_id, fresh.key_id):
            self._tell(tenant, one)
        return fresh, key

    def revoke(self, tenant: str, key_id: str) -> bool:
        """The key opens nothing any more. `False`: there is no such key of the tenant's own."""
        with self._changing():
            cursor = self._db.execute(
                "DELETE FROM keys WHERE tenant = ? AND id = ? AND owner = 'tenant' RETURNING id", (tenant, key_id)
            )
            gone = bool(cursor.fetchall())
        if gone:
            self._tell_gone(tenant, key_id, "tenant")
        return gone

    def _is_own(self, tenant: str, key_id: str) -> bool:
        with self._lock:
            rows = self._db.execute("SELECT owner FROM keys WHERE tenant = ? AND id = ?", (tenant, key_id)).fetchall()
        return bool(rows) and rows[0][0] == "tenant"

    def _put(self, access: Access, hashed: bytes, owner: str) -> None:
        with self._changing():
            self._insert(access, hashed, owner)
        self._tell(access.tenant, access.key_id)

    def _insert(self, access: Access, hashed: bytes, owner: str) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO keys VALUES (?, ?, ?, ?, ?)",
            (access.key_id, access.tenant, hashed, owner, msgspec.json.encode(access)),
        )

    # -- with other collectors ---------------------------------------------------------------------------------------

    def _tell(self, tenant: str, key_id: str) -> None:
        with self._lock:
            rows = self._db.execute(
                "SELECT hash, owner, value FROM keys WHERE tenant = ? AND id = ? AND owner != ?",
                (tenant, key_id, HOST_OWNER),
            ).fetchall()
        for hashed, owner, value in rows:
            entry = _Entry(hashed.hex(), owner, msgspec.json.decode(value, type=Access))
            self._documents.put(_KIND, tenant, key_id, entry)

    def _tell_gone(self, tenant: str, key_id: str, owner: str) -> None:
        if owner != HOST_OWNER:
            self._documents.delete(_KIND, tenant, key_id)

    def tell_all(self) -> None:
        """Keys from before the collectors had anything in common are told to the others, too."""
        known = {(tenant, key_id) for tenant, key_id, _ in self._documents.list(_KIND)}
        with self._lock:
            rows = self._db.execute("SELECT tenant, id FROM keys").fetchall()
        for tenant, key_id in rows:
            if (tenant, key_id) not in known:
                self._tell(tenant, key_id)

    def heard(self, change: Change) -> None:
        """Another collector made, changed or ended a key."""
        with self._changing():
            if change.gone:
                self._db.execute("DELETE FROM keys WHERE tenant = ? AND id = ?", (change.tenant, change.id))
                return
            entry = msgspec.json.decode(change.value, type=_Entry)
            self._insert(entry.access, bytes.fromhex(entry.hash), entry.owner)


def _hashed(key: str, secret: bytes) -> bytes:
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), key=secret, digest_size=32).digest()


def _name(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_NAME or not value.isprintable():
        raise EventError("name", value, f"what the key is for, at most {_MAX_NAME} printable characters")
    return value


def _scopes(value: object) -> frozenset[str]:
    given = [value] if isinstance(value, str) else value
    if not isinstance(given, (list, tuple)) or not given or not all(one in SCOPES for one in given):
        raise EventError("scopes", value, "a list of " + ", ".join(SCOPES))
    return frozenset(given)


def _rate(wish: Mapping[str, Any], field: str) -> int:
    value = wish.get(field) or 0
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_RATE:
        raise EventError(field, value, f"a whole number from 1 to {_MAX_RATE}, or 0 for no limit")
    return value
