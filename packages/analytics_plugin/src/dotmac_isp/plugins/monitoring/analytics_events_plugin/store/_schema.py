"""The tables, and what makes a repeated insert harmless.

Every block goes in with a token. The events table drops a token that it has seen, and so does each rollup: a materialised view's
target needs a window of its own and the insert the setting `deduplicate_blocks_in_dependent_materialized_views`, or the rollup would count
a repeated block twice.
"""

from __future__ import annotations

from typing import Final

__all__ = ["EVENTS", "EVENT_COLUMNS", "INSERT_SETTINGS", "PER_MINUTE", "statements"]

EVENTS: Final = "events"
PER_MINUTE: Final = "events_per_minute"

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
_WINDOW: Final = "non_replicated_deduplication_window = 1000"
#: The engine's default trusts the operating system's cache; the spool is only released after these have reached the disk.
_DURABLE: Final = "fsync_after_insert = 1, fsync_part_directory = 1"

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


def statements() -> list[str]:
    """What makes the tables where they are missing. Repeating it does no harm."""
    columns = ",\n  ".join(f"{name} {kind}" for name, kind in EVENT_COLUMNS.items())
    return [
        (
            f"CREATE TABLE IF NOT EXISTS {EVENTS} (\n  {columns}\n) ENGINE = MergeTree "
            "PARTITION BY toYYYYMM(timestamp) ORDER BY (tenant_id, event_name, timestamp, event_id) "
            f"SETTINGS {_WINDOW}, {_DURABLE}"
        ),
        (
            f"CREATE TABLE IF NOT EXISTS {PER_MINUTE} (tenant_id LowCardinality(String), minute DateTime('UTC'), "
            "category LowCardinality(String), event_name LowCardinality(String), events UInt64) "
            "ENGINE = SummingMergeTree(events) PARTITION BY toYYYYMM(minute) "
            f"ORDER BY (tenant_id, minute, category, event_name) SETTINGS {_WINDOW}, {_DURABLE}"
        ),
        (
            f"CREATE MATERIALIZED VIEW IF NOT EXISTS {PER_MINUTE}_mv TO {PER_MINUTE} AS "  # noqa: S608
            "SELECT tenant_id, toStartOfMinute(timestamp) AS minute, category, event_name, count() AS events "
            f"FROM {EVENTS} GROUP BY tenant_id, minute, category, event_name"
        ),
    ]
