"""The statements for PostgreSQL. Each write tells the channel, in its own transaction, so a note never precedes it."""

# ruff: noqa: S608 - the statements are put together from the texts of this file only
from __future__ import annotations

from typing import Final

__all__ = ["CHANNEL", "CLEAN", "LOCK", "SCHEMA", "SQL"]

CHANNEL: Final = "dotmac_storage"

# Any number that all hosts share; "dotmac" as bytes.
LOCK: Final = "SELECT pg_advisory_xact_lock(110420335714659)"

SCHEMA: Final = (
    "CREATE SEQUENCE IF NOT EXISTS dotmac_versions",
    """CREATE TABLE IF NOT EXISTS dotmac_documents (
        tenant text NOT NULL, plugin text NOT NULL, key bytea NOT NULL,
        body text, version bigint NOT NULL, updated_at double precision NOT NULL,
        PRIMARY KEY (tenant, plugin, key))""",
    """CREATE INDEX IF NOT EXISTS dotmac_documents_deleted ON dotmac_documents (updated_at) WHERE body IS NULL""",
    """CREATE TABLE IF NOT EXISTS dotmac_leases (
        tenant text NOT NULL, plugin text NOT NULL, name bytea NOT NULL,
        token bigint NOT NULL, expires_at double precision NOT NULL,
        PRIMARY KEY (tenant, plugin, name))""",
)

_NOW: Final = "extract(epoch FROM clock_timestamp())::float8"
# The version is drawn again when the row exists: only then, with the row locked, is it greater than the one before.
_UPSERT: Final = f"""
    INSERT INTO dotmac_documents AS d VALUES ($1, $2, $3, $4, nextval('dotmac_versions'), {_NOW})
    ON CONFLICT (tenant, plugin, key) DO UPDATE
    SET body = excluded.body, version = nextval('dotmac_versions'), updated_at = {_NOW}"""
_WRITTEN: Final = " RETURNING version, updated_at"
_THIS: Final = "tenant = $1 AND plugin = $2 AND key = $3"


def _telling(write: str, note: int) -> str:
    return f"""WITH written AS ({write}{_WRITTEN})
    SELECT version, updated_at, pg_notify('{CHANNEL}', ${note}::text || version || ']') FROM written"""


SQL: Final = {
    "now": f"SELECT {_NOW}",
    "get": f"SELECT key, body, version, updated_at FROM dotmac_documents WHERE {_THIS}",
    "version": f"SELECT version FROM dotmac_documents WHERE {_THIS} AND body IS NOT NULL",
    "list": """SELECT key, body, version, updated_at FROM dotmac_documents WHERE tenant = $1 AND plugin = $2
        AND key >= $3 AND key < $4 AND key > $5 AND body IS NOT NULL ORDER BY key LIMIT $6""",
    "since": """SELECT key, body, version, updated_at FROM dotmac_documents WHERE tenant = $1 AND plugin = $2
        AND updated_at > $3 ORDER BY version""",
    "put": _telling(_UPSERT, 5),
    "create": _telling(_UPSERT + " WHERE d.body IS NULL", 5),
    "replace": _telling(
        f"""UPDATE dotmac_documents SET body = $4, version = nextval('dotmac_versions'), updated_at = {_NOW}
        WHERE {_THIS} AND version = $6 AND body IS NOT NULL""",
        5,
    ),
    "delete": _telling(
        f"""UPDATE dotmac_documents SET body = NULL, version = nextval('dotmac_versions'), updated_at = {_NOW}
        WHERE {_THIS} AND body IS NOT NULL AND ($4::bigint IS NULL OR version = $4)""",
        5,
    ),
    "fence": """SELECT 1 FROM dotmac_leases
        WHERE tenant = $1 AND plugin = $2 AND name = $3 AND token = $4 AND expires_at > 0 FOR SHARE""",
    "acquire": f"""INSERT INTO dotmac_leases AS l
        VALUES ($1, $2, $3, nextval('dotmac_versions'), {_NOW} + $4::float8)
        ON CONFLICT (tenant, plugin, name) DO UPDATE
        SET token = nextval('dotmac_versions'), expires_at = {_NOW} + $4::float8
        WHERE l.expires_at <= {_NOW} RETURNING token""",
    "renew": f"""UPDATE dotmac_leases SET expires_at = {_NOW} + $5::float8
        WHERE tenant = $1 AND plugin = $2 AND name = $3 AND token = $4 RETURNING token""",
    # The row stays, without a holder: the next one's token is drawn with this row locked, so that it is greater.
    "release": """UPDATE dotmac_leases SET token = 0, expires_at = 0
        WHERE tenant = $1 AND plugin = $2 AND name = $3 AND token = $4""",
    "drop leases": "DELETE FROM dotmac_leases WHERE tenant = $1 AND ($2::text IS NULL OR plugin = $2)",
    "drop documents": """WITH gone AS (
        DELETE FROM dotmac_documents WHERE tenant = $1 AND ($2::text IS NULL OR plugin = $2) RETURNING body)
        SELECT count(*) FROM gone WHERE body IS NOT NULL""",
}

#: Deletions are kept for an hour, for watchers that were cut off; leases without a holder for a day.
CLEAN: Final = (
    f"DELETE FROM dotmac_documents WHERE body IS NULL AND updated_at < {_NOW} - 3600",
    f"DELETE FROM dotmac_leases WHERE expires_at < {_NOW} - 86400",
)
