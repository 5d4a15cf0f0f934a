"""The tables on one engine and on a cluster. The cluster's statements are read by the engine's own parser; there is none to run them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dotmac_isp.plugins.monitoring.analytics_events_plugin.store import (
    EVENTS,
    ROLLUPS,
    EngineProcess,
    Layout,
    Store,
    parse_connection,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def store(engine: None, tmp_path: Path) -> AsyncIterator[Store]:
    made = Store(EngineProcess(tmp_path / "engine", tmp_path / "engine.log"))
    await made.start()
    yield made
    await made.stop()


async def test_the_engines_parser_understands_every_statement_for_one_engine_and_for_a_cluster(store: Store) -> None:
    statements = [
        statement
        for layout in (Layout(), Layout("main"))
        for statement in (
            *layout.statements(),
            *layout.sharing_statements(),
            *layout.walls("dotmac_analytics"),
        )
    ]
    for statement in statements:
        rows = (await store.query("SELECT formatQuerySingleLine({q:String})", {"q": statement})).rows
        assert rows[0][0].startswith(("CREATE", "GRANT", "REVOKE"))
    wrong = "CREATE TABLE t ON CLUSTER 'main' ORDER tenant_id"
    with pytest.raises(Exception, match="Syntax error"):
        await store.query("SELECT formatQuery({q:String})", {"q": wrong})


async def test_a_cluster_has_the_same_columns_keys_and_views_as_one_engine_in_its_own_wrapping(store: Store) -> None:
    single, cluster = Layout().statements(), Layout("main").statements()
    unwrapped = []
    for statement in cluster[: len(single)]:
        plainer = statement.replace(" ON CLUSTER 'main'", "").replace("_local", "")
        plainer = plainer.replace("'/clickhouse/tables/{uuid}/{shard}', '{replica}', ", "")
        plainer = plainer.replace("'/clickhouse/tables/{uuid}/{shard}', '{replica}'", "")
        plainer = plainer.replace("= Replicated", "= ").replace(" replicated_dedup", " non_replicated_dedup")
        unwrapped.append(plainer)
    assert unwrapped == single
    assert [statement.split()[5] for statement in cluster[len(single) :]] == [EVENTS, *(one.name for one in ROLLUPS)]
    tables = {row[0] for row in (await store.query("SELECT name FROM system.tables WHERE database = 'default'")).rows}
    assert {EVENTS, *(one.name for one in ROLLUPS), *(f"{one.name}_mv" for one in ROLLUPS)} <= tables


def test_the_connection_says_how_the_tables_are_laid_out() -> None:
    plain = parse_connection("clickhouse://u:p@h/d")
    assert (plain.layout, plain.walls) == (Layout(), False)
    cluster = parse_connection("clickhouse://u:p@h/d?cluster=main&row_policies=1")
    assert (cluster.layout, cluster.walls) == (Layout("main"), True)
    for wrong in ("?cluster=a'b", "?clutser=main", "?row_policies=maybe"):
        with pytest.raises(ValueError, match=r"clu|row_policies"):
            parse_connection(f"clickhouse://u:hidden@h/d{wrong}")


def test_a_tenants_name_cannot_leave_the_literal_that_the_row_policies_compare_with() -> None:
    assert Layout.reading_as("a'b\\")["SQL_dotmac_tenant"] == "'a\\'b\\\\'"
