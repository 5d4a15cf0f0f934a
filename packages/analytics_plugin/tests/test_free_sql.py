"""Free SQL: what is allowed is answered from the tenant's own events, everything else is refused before it reaches the engine."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dotmac_isp.plugins.monitoring.analytics_events_plugin import EventError
from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector.questions import free_sql

pytest.importorskip("sqlglot", reason="sqlglot is not installed (extra 'sql')")

REFUSED = [
    "SELECT * FROM merge('dotmac_analytics', '^events$')",
    "SELECT * FROM mergeTreeIndex('dotmac_analytics', 'events')",
    "SELECT * FROM file('/etc/passwd')",
    "SELECT * FROM url('http://127.0.0.1/', 'CSV', 'a String')",
    "SELECT * FROM remote('127.0.0.1', 'default', 'events')",
    "SELECT * FROM numbers(10)",
    "SELECT * FROM system.tables",
    "SELECT value FROM collector_documents",
    "SELECT * FROM dotmac_analytics.events",
    "SELECT * FROM `system`.`tables`",
    "SELECT * FROM other",
    "SELECT count() FROM events UNION ALL SELECT count() FROM system.parts",
    "SELECT count() FROM events WHERE user_id IN (SELECT name FROM system.users)",
    "SELECT count() FROM events WHERE user_id IN events_per_minute",
    "SELECT (SELECT count() FROM system.parts) FROM events",
    "WITH events AS (SELECT 1 AS tenant_id) SELECT * FROM events",
    "WITH x AS (SELECT * FROM merge('a', 'b')) SELECT * FROM x",
    "SELECT 1 SETTINGS readonly = 0",
    "SELECT count() FROM events SETTINGS additional_table_filters = {}",
    "SELECT count() FROM (SELECT 1 SETTINGS readonly = 0)",
    "SELECT 1 INTO OUTFILE '/tmp/x'",
    "SELECT 1 FORMAT Native",
    "SELECT count() FROM events FORMAT JSON",
    "SYSTEM SHUTDOWN",
    "DROP TABLE events",
    "INSERT INTO events SELECT * FROM events",
    "ALTER TABLE events DELETE WHERE 1",
    "CREATE TABLE x (a String) ENGINE = Memory",
    "SET readonly = 0",
    "USE system",
    "EXPLAIN SELECT 1",
    "DESCRIBE events",
    "SHOW TABLES",
    "SELECT 1; SELECT 2",
    "SELECT file('/etc/passwd')",
    "SELECT dictGet('d', 'a', 1)",
    "SELECT joinGet('j', 'a', 1)",
    "SELECT getSetting('readonly')",
    "SELECT currentUser(), hostName(), version()",
    "SELECT sleep(3)",
    "SELECT `file`('/etc/passwd')",
    "SELECT \"file\"('/etc/passwd')",
    "SELECT FILE('/etc/passwd')",
    "SELECT repeat('x', 1000000000)",
    "SELECT range(1000000000)",
    "SELECT {dotmac_tenant:String}",
    "SELECT {missing:String}",
    "SELECT {x:Identifier}",
    "SELECT tenant_id FROM events SETTINGS x = 1",
    "SELECT * FROM executable('x', TSV, 'a String')",
    "SELECT * FROM events, cluster('c', system.one)",
    "SELECT * FROM input('a String')",
    "SELECT * FROM values('a String', 'x')",
    "SELECT * FROM generateRandom('a String')",
    "SELECT " + "(" * 200 + "1" + ")" * 200,
    "SELECT '" + "x" * 10_000_000 + "'",
    "SELECT 'a\ud800'",
    "",
    "\x00",
    "SELECT",
    "/* */",
    "-- nothing",
]

ANSWERED = {
    "SELECT count() AS n FROM events": [{"n": 2}],
    "SELECT count() AS n FROM events AS e WHERE e.user_id != ''": [{"n": 2}],
    "SELECT event_name, count() AS n FROM events GROUP BY event_name ORDER BY event_name": [
        {"event_name": "own", "n": 1},
        {"event_name": "own2", "n": 1},
    ],
    "WITH a AS (SELECT user_id FROM events) SELECT count() AS n FROM a JOIN events AS b ON a.user_id = b.user_id": [
        {"n": 4}
    ],
    "SELECT sum(events) AS n FROM events_per_minute": [{"n": 2}],
    "SELECT countIf(event_name = 'secret') AS n FROM events WHERE 1 OR 1": [{"n": 0}],
    "SELECT count() AS n FROM events WHERE user_id IN (SELECT user_id FROM events)": [{"n": 2}],
    "SELECT count() AS n FROM events UNION ALL SELECT count() FROM events": [{"n": 2}, {"n": 2}],
    "SELECT sum(toFloat64OrNull(toString(properties.ms))) AS n FROM events": [{"n": 3.0}],
    "SELECT quantile(0.5)(toFloat64OrNull(toString(getSubcolumn(properties, 'ms')))) AS n FROM events": [{"n": 1.5}],
    "SELECT uniqExact(user_id) AS n, max(timestamp) > toDateTime('2020-01-01') AS late FROM events": [
        {"n": 1, "late": 1}
    ],
    "SELECT count() AS n FROM events WHERE timestamp > now() - INTERVAL 1 DAY": [{"n": 2}],
    "SELECT windowFunnel(3600)(toDateTime(timestamp), event_name = 'own', event_name = 'own2') AS n FROM events": [
        {"n": 2}
    ],
    "SELECT count() AS n FROM events /* {dotmac_tenant:String} */ -- SETTINGS": [{"n": 2}],
    "SELECT multiIf(1 > 2, 'a', 'SETTINGS readonly = 0') AS n": [{"n": "SETTINGS readonly = 0"}],
}


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: text[:40].encode("ascii", "replace").decode())
def test_what_is_not_on_the_list_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(EventError) as failed:
        free_sql(text, {}, "mine")
    assert len(str(failed.value)) < 600


def test_every_table_becomes_the_tenants_part_of_it() -> None:
    made = free_sql("SELECT count() FROM events AS a JOIN events_per_minute ON 1 = 1", {}, "x' OR 1 --")
    assert made.text.count("WHERE tenant_id = {dotmac_tenant: String}") == 2
    assert made.parameters == {"dotmac_tenant": "x' OR 1 --"}
    assert "OR 1" not in made.text


_WORDS = st.sampled_from(
    [
        "SELECT", "*", "FROM", "events", "system.tables", "merge('a','b')", "(", ")", "UNION ALL", "SETTINGS readonly = 0", "WHERE",
        "1", "--", "/*", "*/", "'", '"', "`", "FORMAT JSON", "INTO OUTFILE '/tmp/x'", ";", "IN", "JOIN", "WITH x AS", "file('/x')",
        "count()", "FINAL", "SAMPLE 1", "LIMIT 1", "{dotmac_tenant:String}", "tenant_id", ",", "AS", "events_per_minute", "=", "\\",
    ]
)  # fmt: skip


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(_WORDS, min_size=1, max_size=12).map(" ".join) | st.text(max_size=200))
def test_whatever_passes_names_tables_only_with_the_tenant_before_them(text: str) -> None:
    import sqlglot
    from sqlglot import exp

    for tried in (text, f"SELECT {text}", f"SELECT * FROM {text}", f"SELECT count() FROM events {text}"):
        try:
            made = free_sql(tried, {}, "mine")
        except EventError:
            continue
        tree = sqlglot.parse_one(made.text, dialect="clickhouse")
        names = {cte.alias for cte in tree.find_all(exp.CTE)}
        for table in tree.find_all(exp.Table):
            if table.name in names:
                continue
            select = table.find_ancestor(exp.Select)
            assert table.name in {"events", "events_per_minute"}
            assert select is not None
            assert select.args["where"].sql(dialect="clickhouse") == "WHERE tenant_id = {dotmac_tenant: String}"


async def test_sql_sees_the_tenants_own_events_only(shared: Any) -> None:
    mine, other = await shared.started("tenant_a"), await shared.started("tenant_b")
    await other.track_events_batch([{"event_name": "secret", "user_id": f"u{n}"} for n in range(3)])
    await other.flush()
    now = time.time()
    await mine.track_events_batch(
        [
            {"event_name": "own", "user_id": "me", "timestamp": now - 100, "properties": {"ms": 1}},
            {"event_name": "own2", "user_id": "me", "timestamp": now - 10, "properties": {"ms": 2}},
        ]
    )
    for text, rows in ANSWERED.items():
        assert (await mine.sql(text))["rows"] == rows, text
    rows = (await mine.sql("SELECT user_id AS who FROM events WHERE event_name = {n:String}", {"n": "own"}))["rows"]
    assert rows == [{"who": "me"}]
    assert len((await mine.sql("SELECT * FROM events"))["rows"]) == 2
    with pytest.raises(EventError, match="tenant_id"):
        await mine.sql("SELECT tenant_id FROM events SETTINGS a = 1")
    # The engine refuses what the list lets pass and it does not know: a sentence, and no other tenant's word in it.
    for text in (
        "SELECT tenant_id FROM events",
        "SELECT nothing FROM events",
        "SELECT match(user_id, '(') FROM events",
    ):
        with pytest.raises(Exception, match="refuse") as failed:
            await mine.sql(text)
        assert "secret" not in str(failed.value)
        assert "tenant_b" not in str(failed.value)
    assert (await mine.sql("SELECT 1 AS one"))["rows"] == [{"one": 1}]


@pytest.mark.slow
async def test_a_question_that_takes_too_long_is_ended_and_the_engine_goes_on(shared: Any) -> None:
    mine = await shared.started("tenant_a")
    with pytest.raises(Exception, match="more time or memory than it may"):
        await mine.sql(
            "WITH a AS (SELECT arrayJoin(arrayMap(x -> x, [1,2,3,4,5,6,7,8,9,10])) AS v) SELECT sum(a1.v) FROM a AS a1, "
            "a AS a2, a AS a3, a AS a4, a AS a5, a AS a6, a AS a7, a AS a8, a AS a9, a AS b, a AS c"
        )
    assert (await mine.sql("SELECT 1 AS one"))["rows"] == [{"one": 1}]
