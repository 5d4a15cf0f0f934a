"""The tables, and what makes a repeated insert harmless: the same statements for one engine and for a cluster, but for the wrapping.

Every block goes in with a token. The events table drops a token that it has seen, and so does each rollup: a materialised view's
target needs a window of its own and the insert the setting `deduplicate_blocks_in_dependent_materialized_views`, or the rollup would count
a repeated block twice.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

from ._rollups import ROLLUPS

if TYPE_CHECKING:
    from ._rollups import Rollup

__all__ = ["DOCUMENTS", "EVENTS", "EVENT_COLUMNS", "INSERT_SETTINGS", "MEMBERS", "TENANT_SETTING", "Layout"]

EVENTS: Final = "events"
#: What several collectors before one server have in common, and who they are.
DOCUMENTS: Final = "collector_documents"
MEMBERS: Final = "collector_members"
#: The custom setting that says for whom a query runs; the row policies compare with it.
TENANT_SETTING: Final = "SQL_dotmac_tenant"
_READER: Final = "dotmac_analytics_reader"
_POLICY: Final = "dotmac_analytics_tenant"

#: Name and type, in the order of the table.
EVENT_COLUMNS: Final[dict[str, str]] = {
    "tenant_id": "LowCardinality(String)",
    "event_id": "String",
    "event_name": "LowCardinality(String)",
    "event_type": "LowCardinality(String)",
    "category": "LowCardinality(String)",
    "severity": "LowCardinality(String)",
    "timestamp": "DateTime64(3, 'UTC')",
    "received_at": "DateTime64(3, 'UTC')",
    "user_id": "String",
    "customer_id": "String",
    "session_id": "String",
    "correlation_id": "String",
    "device_id": "String",
    "source": "LowCardinality(String)",
    "tags": "Array(String)",
    "amount": "Nullable(Decimal(18, 6))",
    "currency": "LowCardinality(String)",
    "properties": "JSON(max_dynamic_paths = 256)",
}

#: Blocks, not time: more than can ever be in flight.
_WINDOW: Final = 1000
#: The engine's default trusts the operating system's cache; the spool is only released after these have reached the disk.
_DURABLE: Final = "fsync_after_insert = 1, fsync_part_directory = 1"
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,62}")

INSERT_SETTINGS: Final[dict[str, str | int]] = {
    "deduplicate_blocks_in_dependent_materialized_views": 1,
    "date_time_input_format": "best_effort",
    # Text that looks like a date stays the text that it is.
    "input_format_try_infer_dates": 0,
    "input_format_try_infer_datetimes": 0,
    # {"a.b": 1, "a": {"b": 2}} is one path twice; the first wins instead of the whole block being refused.
    "type_json_skip_duplicated_paths": 1,
    # One token is one block: nothing may cut it differently the second time.
    "input_format_parallel_parsing": 0,
    "max_insert_threads": 1,
}


class Layout(msgspec.Struct, frozen=True):
    """Where the tables are: on one engine (`cluster` empty), or sharded by tenant and replicated on a cluster of this name.

    On a cluster, `events` and each rollup are `Distributed` tables over `…_local`, in which the rows are.
    """

    cluster: str = ""

    def __post_init__(self) -> None:
        if self.cluster and not _NAME.fullmatch(self.cluster):
            raise ValueError(f"{self.cluster!r} is no name of a cluster")

    def local(self, table: str) -> str:
        """The table that has the rows."""
        return f"{table}_local" if self.cluster else table

    @property
    def everywhere(self) -> str:
        """What a statement about local tables carries behind their name."""
        return f" ON CLUSTER '{self.cluster}'" if self.cluster else ""

    @property
    def insert_settings(self) -> dict[str, str | int]:
        """A block is acknowledged when every shard has it, and on most replicas where there are several."""
        waiting: dict[str, str | int] = {"distributed_foreground_insert": 1, "insert_quorum": "auto"}
        return {**INSERT_SETTINGS, **(waiting if self.cluster else {})}

    def statements(self) -> list[str]:
        """What makes the tables where they are missing. Repeating it does no harm."""
        made = [
            self._table(EVENTS, EVENT_COLUMNS, "Replacing", "timestamp", "tenant_id, event_name, timestamp, event_id")
        ]
        for rollup in ROLLUPS:
            kinds = {"tenant_id": "LowCardinality(String)", rollup.bucket: "DateTime('UTC')", **rollup.keys}
            kinds |= {name: kind for name, (kind, _) in rollup.sums.items()}
            made.append(
                self._table(rollup.name, kinds, f"Summing:{rollup.sums_in_order}", rollup.bucket, rollup.grouping)
            )
            made.append(self._view(rollup))
        if self.cluster:
            made += [self._distributed(table) for table in (EVENTS, *(rollup.name for rollup in ROLLUPS))]
        return made

    def sharing_statements(self) -> list[str]:
        """What makes the tables that several collectors need; on a cluster every node has them whole."""
        documents = (
            "kind LowCardinality(String), tenant_id String, id String, value String, version UInt64, gone UInt8, "
            "written DateTime64(3, 'UTC') DEFAULT now64(3)"
        )
        members = "collector String, beat UInt64, claimed UInt64, seen DateTime64(3, 'UTC') DEFAULT now64(3)"
        forgotten = "toDateTime(written) + INTERVAL 90 DAY DELETE WHERE gone = 1"
        left = "toDateTime(seen) + INTERVAL 30 DAY"
        return [
            self._whole(
                DOCUMENTS, documents, "version", f"ORDER BY (kind, tenant_id, id) TTL {forgotten} SETTINGS {_DURABLE}"
            ),
            self._whole(MEMBERS, members, "beat", f"ORDER BY collector TTL {left}"),
        ]

    def _whole(self, table: str, columns: str, version: str, rest: str) -> str:
        engine = f"ReplacingMergeTree({version})"
        if self.cluster:
            place = "'/clickhouse/tables/{uuid}/all', '{shard}_{replica}'"
            engine = f"ReplicatedReplacingMergeTree({place}, {version})"
        return f"CREATE TABLE IF NOT EXISTS {table}{self.everywhere} ({columns}) ENGINE = {engine} {rest}"

    def _table(self, name: str, columns: dict[str, str], kind: str, time: str, order: str) -> str:
        family, _, sums = kind.partition(":")
        listed = ",\n  ".join(f"{column} {kind}" for column, kind in columns.items())
        return (
            f"CREATE TABLE IF NOT EXISTS {self.local(name)}{self.everywhere} (\n  {listed}\n) "
            f"ENGINE = {self._engine(family, sums)} PARTITION BY toYYYYMM({time}) ORDER BY ({order}) "
            f"SETTINGS {self._window}, {_DURABLE}"
        )

    def _engine(self, family: str, sums: str) -> str:
        arguments = f"({sums})" if "," in sums else sums
        if not self.cluster:
            return f"{family}MergeTree({arguments})"
        place = "'/clickhouse/tables/{uuid}/{shard}', '{replica}'"
        return f"Replicated{family}MergeTree({place}{f', {arguments}' if arguments else ''})"

    @property
    def _window(self) -> str:
        return f"{'replicated' if self.cluster else 'non_replicated'}_deduplication_window = {_WINDOW}"

    def _view(self, rollup: Rollup) -> str:
        return (
            f"CREATE MATERIALIZED VIEW IF NOT EXISTS {rollup.name}_mv{self.everywhere} TO {self.local(rollup.name)} AS "
            f"{rollup.select(self.local(EVENTS))}"
        )

    def _distributed(self, table: str) -> str:
        """A tenant's rows lie on one shard: the same token goes to the same shard, and a question of one tenant asks it alone."""
        return (
            f"CREATE TABLE IF NOT EXISTS {table}{self.everywhere} AS {self.local(table)} "
            f"ENGINE = Distributed('{self.cluster}', currentDatabase(), '{self.local(table)}', cityHash64(tenant_id))"
        )

    def walls(self, database: str) -> list[str]:
        """Row policies: who reads as this role sees the rows of the tenant that the query names, whatever the statement says."""
        tables = [EVENTS, *(rollup.name for rollup in ROLLUPS)]
        everywhere = self.everywhere
        return [
            f"CREATE ROLE IF NOT EXISTS {_READER}{everywhere}",
            *(f"GRANT{everywhere} SELECT ON `{database}`.{table} TO {_READER}" for table in tables),
            # Earlier versions let it read the whole database, in which other collectors' keys are now, as hashes.
            *(self._refused(database, table) for table in (DOCUMENTS, MEMBERS)),
            f"GRANT{everywhere} {_READER} TO CURRENT_USER",
            *(
                f"CREATE ROW POLICY IF NOT EXISTS {_POLICY}{everywhere} ON `{database}`.{table} "
                f"USING tenant_id = getSetting('{TENANT_SETTING}') TO {_READER}"
                for table in tables
            ),
        ]

    def _refused(self, database: str, table: str) -> str:
        return f"REVOKE{self.everywhere} SELECT ON `{database}`.{table} FROM {_READER}"  # noqa: S608 - our own names

    @staticmethod
    def reading_as(tenant: str) -> dict[str, str]:
        """Settings of a query behind the walls."""
        literal = tenant.replace("\\", "\\\\").replace("'", "\\'")
        return {TENANT_SETTING: f"'{literal}'", "role": _READER}
