"""API keys: scopes, limits, rotation, revocation, and what strangers send as a key."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector._meta import Meta
from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector.access import Limits
from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector.access._guard import scope_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

_numbers = itertools.count()


class Tenant:
    """One tenant at the shared collector, with its operator's key."""

    def __init__(self, session: aiohttp.ClientSession, name: str) -> None:
        self.session = session
        self.name = name

    async def ask(self, method: str, path: str, value: Any = None, *, key: str = "") -> tuple[int, Any, Any]:
        headers = {"Authorization": f"Bearer {key or 'operator-' + self.name}"}
        async with self.session.request(method, path, json=value, headers=headers) as answer:
            body = await answer.read()
            return answer.status, json.loads(body) if body else None, answer.headers


@pytest.fixture
async def tenant(server: Any) -> AsyncIterator[Tenant]:
    name = f"access{next(_numbers)}"
    server.owner.admit(name, f"operator-{name}", "operator")
    async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as session:
        yield Tenant(session, name)


@pytest.fixture
def meta(tmp_path: Path) -> Iterator[Meta]:
    made = Meta(tmp_path)
    yield made
    made.close()


EVENT = [{"event_name": "tick"}]


async def test_a_key_may_do_what_its_scopes_say_and_no_more(tenant: Tenant) -> None:
    pytest.importorskip("sqlglot", reason="sqlglot is not installed (extra 'sql')")
    made = {}
    for scope in ("write", "read", "sql", "admin"):
        status, key, _ = await tenant.ask("POST", "/v1/keys", {"name": scope, "scopes": [scope]})
        assert status == 201
        made[scope] = key["key"]
    tries: list[tuple[str, str, Any, set[str]]] = [
        ("POST", "/v1/events", EVENT, {"write", "admin"}),
        ("POST", "/v1/query", {}, {"read", "admin"}),
        ("POST", "/v1/sql", {"sql": "SELECT 1 AS one"}, {"sql", "admin"}),
        ("GET", "/v1/schemas", None, {"read", "admin"}),
        ("POST", "/v1/schemas", {"event_name": "x", "schema": {}}, {"admin"}),
        ("GET", "/v1/keys", None, {"admin"}),
        ("GET", "/v1/rules", None, {"admin"}),
        ("POST", "/v1/customers/export", {"customer_id": "c"}, {"admin"}),
        ("GET", "/v1/whoami", None, {"write", "read", "sql", "admin"}),
    ]
    for method, path, value, allowed in tries:
        for scope, key in made.items():
            status, answer, _ = await tenant.ask(method, path, value, key=key)
            assert (status < 400) == (scope in allowed), (method, path, scope, status, answer)
            if scope not in allowed:
                assert status == 403
                assert f"the API key may {scope}; this needs" in answer["error"]


def test_what_nobody_thought_of_needs_the_widest_scope() -> None:
    assert scope_of("POST", "/v1/something/new") == "admin"
    assert scope_of("DELETE", "/v1/alerts/1") == "admin"
    assert scope_of("GET", "/v1/alerts") == "read"


async def test_a_rotated_key_goes_on_for_the_overlap_and_a_revoked_one_ends_at_once(tenant: Tenant) -> None:
    _, first, _ = await tenant.ask("POST", "/v1/keys", {"name": "portal", "scopes": ["write"]})
    status, second, _ = await tenant.ask("POST", f"/v1/keys/{first['key_id']}/rotate", {"overlap": "1h"})
    assert (status, second["scopes"], second["name"]) == (201, ["write"], "portal")
    for key in (first["key"], second["key"]):
        assert (await tenant.ask("POST", "/v1/events", EVENT, key=key))[0] == 202
    _, third, _ = await tenant.ask("POST", f"/v1/keys/{second['key_id']}/rotate")
    assert (await tenant.ask("POST", "/v1/events", EVENT, key=third["key"]))[0] == 202
    assert (await tenant.ask("POST", "/v1/events", EVENT, key=second["key"]))[0] == 401  # it had no overlap
    assert (await tenant.ask("DELETE", f"/v1/keys/{third['key_id']}"))[1] == {"revoked": True}
    assert (await tenant.ask("POST", "/v1/events", EVENT, key=third["key"]))[0] == 401
    assert (await tenant.ask("DELETE", f"/v1/keys/{third['key_id']}"))[0] == 404
    listed = (await tenant.ask("GET", "/v1/keys"))[1]
    assert all("key" not in one for one in listed)
    assert {one["name"] for one in listed} == {"operator", "portal"}


async def test_the_hosts_and_the_operators_keys_are_not_changed_by_a_tenant(tenant: Tenant) -> None:
    assert (await tenant.ask("DELETE", "/v1/keys/operator"))[0] == 404
    assert (await tenant.ask("POST", "/v1/keys/operator/rotate"))[0] == 404
    other = Tenant(tenant.session, "somebody-else")
    _, mine, _ = await tenant.ask("POST", "/v1/keys", {"name": "x", "scopes": "read"})
    assert (await other.ask("DELETE", f"/v1/keys/{mine['key_id']}"))[0] == 401
    assert (await tenant.ask("GET", "/v1/whoami", key=mine["key"]))[1]["tenant"] == tenant.name


async def test_a_key_that_sends_more_than_it_may_is_told_when_to_come_again(tenant: Tenant) -> None:
    wish = {"name": "slow", "scopes": ["write"], "events_per_second": 10}
    _, made, _ = await tenant.ask("POST", "/v1/keys", wish)
    batch = [{"event_name": "tick"} for _ in range(100)]
    assert (await tenant.ask("POST", "/v1/events", batch, key=made["key"]))[0] == 202
    status, answer, headers = await tenant.ask("POST", "/v1/events", batch, key=made["key"])
    assert (status, answer["error"]) == (429, "the API key may send 10 events a second")
    assert 1 <= int(headers["Retry-After"]) <= 9
    wish = {"name": "seldom", "scopes": ["read"], "requests_per_second": 1}
    _, made, _ = await tenant.ask("POST", "/v1/keys", wish)
    statuses = [(await tenant.ask("GET", "/v1/whoami", key=made["key"]))[0] for _ in range(5)]
    assert statuses[0] == 200
    assert statuses[-1] == 429


@pytest.mark.parametrize(
    ("wish", "field"),
    [
        ({"scopes": ["write"]}, "name"),
        ({"name": "x"}, "scopes"),
        ({"name": "x", "scopes": ["root"]}, "scopes"),
        ({"name": "x", "scopes": ["read"], "events_per_second": -1}, "events_per_second"),
        ({"name": "x", "scopes": ["read"], "expires_in": "soon"}, "expires_in"),
    ],
)
async def test_a_key_that_cannot_be_made_says_why(tenant: Tenant, wish: Any, field: str) -> None:
    status, answer, _ = await tenant.ask("POST", "/v1/keys", wish)
    assert (status, answer["field"]) == (422, field)


@given(st.text(max_size=300))
@settings(max_examples=60, deadline=None)
def test_no_text_opens_anything_but_the_key_itself(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    meta = Meta(tmp_path_factory.mktemp("meta"))
    meta.admit("t", "the-key", "host")
    assert [one.tenant for one in meta.keys.opened_by(text)] == (["t"] if text == "the-key" else [])
    meta.admit("t", text, "other")
    assert meta.keys.opened_by(text)
    meta.close()


def test_keys_are_not_to_be_found_in_what_lies_on_disk(meta: Meta, tmp_path: Path) -> None:
    access, key = meta.keys.make("t", {"name": "portal", "scopes": ["write"]})
    meta.admit("t", "host-key-0123456789", "host")
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert access.key_id.encode() in stored
    assert key.encode() not in stored
    assert b"host-key-0123456789" not in stored


def test_an_expired_key_opens_nothing(meta: Meta) -> None:
    _, key = meta.keys.make("t", {"name": "portal", "scopes": ["write"], "expires_in": 0.001})
    while meta.keys.opened_by(key):
        pass
    assert meta.keys.list("t")[0].name == "portal"


def test_a_bucket_fills_at_its_rate_and_a_large_batch_is_owed() -> None:
    now = [0.0]
    limits = Limits(lambda: now[0])
    bucket = ("t", "k", "events")
    assert limits.take(bucket, 50, 10) == 0
    assert limits.take(bucket, 1, 10) == 4
    now[0] = 3.1
    assert limits.take(bucket, 1, 10) == 0
    assert limits.take(bucket, 10**9, 0) == 0
