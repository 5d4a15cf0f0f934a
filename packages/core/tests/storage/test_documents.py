from __future__ import annotations

import asyncio
import datetime as dt
import time
from typing import TYPE_CHECKING, Any

import pytest

from dotmac_isp.plugins.core.errors import StorageConflictError, StorageError, TenantIdError

if TYPE_CHECKING:
    from dotmac_isp.plugins.core.storage import StorageEngine

ODD_KEYS = [
    "%",
    "_",
    "a%",
    "a_",
    "a",
    "A",
    "a\0",
    "a\0b",
    "ä",
    "é",
    "e\u0301",
    "\U0001f600",
    "\uffff",
    "z",
    "a/../b",
    "'; --",
]


async def test_what_was_put_is_what_is_read(engine: StorageEngine) -> None:
    storage = engine.scope("tenant", "plugin")
    value = {
        "text": "ä\0\n",
        "list": [1, 2.5, -0.0, None, True, {"deep": {}}],
        "large": 2**70,
        "small": -(2**70),
        "": "",
    }
    before = time.time() - 5
    written = await storage.put("a key", value)
    read = await storage.get("a key")
    assert read is not None
    assert read.value == value == written.value
    assert (read.key, read.version) == ("a key", written.version)
    assert read.updated_at == written.updated_at
    assert before < read.updated_at < time.time() + 5


async def test_what_is_not_there_is_none(engine: StorageEngine) -> None:
    assert await engine.scope("tenant", "plugin").get("nothing") is None


async def test_a_read_value_belongs_to_the_reader(engine: StorageEngine) -> None:
    storage = engine.scope("tenant", "plugin")
    value: dict[str, Any] = {"list": []}
    written = await storage.put("key", value)
    value["list"].append("later")
    written.value["list"].append("much later")
    read = await storage.get("key")
    assert read is not None
    assert read.value == {"list": []}


async def test_each_write_gives_a_greater_version_also_after_a_deletion(engine: StorageEngine) -> None:
    storage = engine.scope("tenant", "plugin")
    first = await storage.put("key", 1)
    second = await storage.put("key", 1)
    await storage.delete("key")
    third = await storage.put("key", 1)
    assert first.version < second.version < third.version


async def test_a_version_of_a_document_that_was_deleted_and_made_anew_is_refused(engine: StorageEngine) -> None:
    storage = engine.scope("tenant", "plugin")
    old = await storage.put("key", "old")
    await storage.delete("key")
    await storage.put("key", "new")
    with pytest.raises(StorageConflictError):
        await storage.put("key", "from the old one", expected_version=old.version)


async def test_a_write_with_the_expected_version_succeeds_once(engine: StorageEngine) -> None:
    storage = engine.scope("tenant", "plugin")
    first = await storage.put("key", 1, expected_version=0)
    second = await storage.put("key", 2, expected_version=first.version)
    with pytest.raises(
        StorageConflictError, match=rf"'key' was expected in version {first.version} and is in version {second.version}"
    ):
        await storage.put("key", 3, expected_version=first.version)
    with pytest.raises(StorageConflictError, match="must not exist"):
        await storage.put("key", 3, expected_version=0)
    with pytest.raises(StorageConflictError, match="does not exist"):
        await storage.put("nothing", 3, expected_version=7)
    read = await storage.get("key")
    assert read is not None
    assert read.value == 2
    assert await storage.get("nothing") is None


async def test_a_refused_write_does_not_harm_the_ones_beside_it(engine: StorageEngine) -> None:
    storage = engine.scope("tenant", "plugin")
    await storage.put("taken", 0)
    results = await asyncio.gather(
        *(storage.put(f"key{n}", n) for n in range(20)),
        *(storage.put("taken", 1, expected_version=0) for _ in range(5)),
        return_exceptions=True,
    )
    assert [type(one) for one in results[20:]] == [StorageConflictError] * 5
    assert sorted(one.value for one in await storage.list("key")) == list(range(20))


async def test_delete_says_whether_there_was_something(engine: StorageEngine) -> None:
    storage = engine.scope("tenant", "plugin")
    document = await storage.put("key", 1)
    with pytest.raises(StorageConflictError):
        await storage.delete("key", expected_version=document.version + 1)
    assert await storage.delete("key", expected_version=document.version) is True
    assert await storage.delete("key") is False
    assert await storage.delete("key", expected_version=document.version) is False
    assert await storage.get("key") is None
    assert await storage.list() == []
    assert (await storage.put("key", 2, expected_version=0)).value == 2


async def test_update_gets_none_first_and_then_the_value(engine: StorageEngine) -> None:
    storage = engine.scope("tenant", "plugin")
    seen = []

    def change(value: Any) -> Any:
        seen.append(value)
        return (value or 0) + 1

    assert (await storage.update("key", change)).value == 1
    assert (await storage.update("key", change)).value == 2
    assert seen == [None, 1]


async def test_updates_of_many_tasks_and_two_hosts_lose_nothing(engine: StorageEngine, other: StorageEngine) -> None:
    both = [engine.scope("tenant", "plugin"), other.scope("tenant", "plugin")]
    await asyncio.gather(*(both[n % 2].update("key", lambda value: (value or 0) + 1) for n in range(60)))
    read = await both[0].get("key")
    assert read is not None
    assert read.value == 60


async def test_an_update_whose_function_raises_writes_nothing_and_lets_others_go_on(engine: StorageEngine) -> None:
    storage = engine.scope("tenant", "plugin")
    await storage.put("key", 1)
    with pytest.raises(ZeroDivisionError):
        await storage.update("key", lambda value: value / 0)
    assert (await storage.update("key", lambda value: value + 1)).value == 2


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (float("nan"), r"at \$: nan is no number of JSON"),
        ({"a": [1, {"b": float("inf")}]}, r"at \$\.a\[1\]\.b: inf"),
        ({"a": b"bytes"}, r"at \$\.a: a bytes is no JSON"),
        ({"a": {1: 2}}, r"at \$\.a: the key 1 is of type int"),
        ({"a": {1, 2}}, r"at \$\.a: a set is no JSON"),
        ([dt.datetime(2026, 1, 1, tzinfo=dt.UTC)], r"at \$\[0\]: a datetime is no JSON"),
        ({"a": object()}, r"at \$\.a: a object is no JSON"),
        ({"a": "\ud800"}, r"at \$\.a: the text has half a surrogate pair"),
    ],
)
async def test_what_is_no_json_is_refused_with_its_path(engine: StorageEngine, value: Any, told: str) -> None:
    storage = engine.scope("tenant", "plugin")
    with pytest.raises(StorageError, match=told):
        await storage.put("key", value)
    assert await storage.get("key") is None


async def test_a_value_that_contains_itself_is_refused(engine: StorageEngine) -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(StorageError, match="contains itself"):
        await engine.scope("tenant", "plugin").put("key", value)


async def test_tuples_are_stored_as_lists(engine: StorageEngine) -> None:
    assert (await engine.scope("tenant", "plugin").put("key", {"a": (1, 2)})).value == {"a": [1, 2]}


@pytest.mark.parametrize("key", ["", "k" * 513, "half \ud800"])
async def test_what_is_no_key_is_refused(engine: StorageEngine, key: str) -> None:
    storage = engine.scope("tenant", "plugin")
    for work in (storage.get(key), storage.put(key, 1), storage.delete(key), storage.acquire_lease(key, ttl=1)):
        with pytest.raises(StorageError):
            await work


async def test_keys_of_512_characters_of_any_width_work(engine: StorageEngine) -> None:
    storage = engine.scope("t" * 64, "p" * 128)
    for sign in ("k", "ä", "\U0001f600"):
        await storage.put(sign * 512, sign)
        read = await storage.get(sign * 512)
        assert read is not None
        assert read.value == sign


async def test_odd_keys_are_only_themselves_and_sorted_as_texts(engine: StorageEngine) -> None:
    storage = engine.scope("tenant", "plugin")
    for key in ODD_KEYS:
        await storage.put(key, key)
    assert [one.key for one in await storage.list()] == sorted(ODD_KEYS)
    for prefix in (*ODD_KEYS, ""):
        assert [one.value for one in await storage.list(prefix)] == sorted(k for k in ODD_KEYS if k.startswith(prefix))


async def test_a_listing_is_paged_by_the_last_key(engine: StorageEngine) -> None:
    storage = engine.scope("tenant", "plugin")
    keys = [f"onu/{n:02}" for n in range(10)]
    for key in [*keys, "olt/0", "onv"]:
        await storage.put(key, None)
    pages = []
    after: str | None = None
    while page := await storage.list("onu/", limit=4, after=after):
        pages.append([one.key for one in page])
        after = page[-1].key
        await storage.delete(after)
    assert pages == [keys[:4], keys[4:8], keys[8:]]
    assert list(await storage.list("onu/", limit=0)) == []
    with pytest.raises(StorageError, match="limit of -1"):
        await storage.list(limit=-1)


async def test_tenants_plugins_and_the_system_tenant_have_documents_of_their_own(engine: StorageEngine) -> None:
    scopes = [(tenant, plugin) for tenant in (None, "a", "A", "a.b", "b") for plugin in ("p", "a.p")]
    for scope in scopes:
        await engine.scope(*scope).put("key", str(scope))
    for scope in scopes:
        read = await engine.scope(*scope).get("key")
        assert read is not None
        assert read.value == str(scope)
        assert len(await engine.scope(*scope).list()) == 1


@pytest.mark.parametrize("tenant", ["", "a/b", "..", "a\0", "x" * 65, "-"])
async def test_what_is_no_tenant_id_names_no_scope(engine: StorageEngine, tenant: str) -> None:
    with pytest.raises(TenantIdError):
        engine.scope(tenant, "plugin")
    with pytest.raises(TenantIdError):
        await engine.drop_tenant(tenant)


async def test_dropping_removes_just_that(engine: StorageEngine) -> None:
    for tenant in (None, "a", "b"):
        for plugin in ("p", "q"):
            await engine.scope(tenant, plugin).put("key", 1)
            await engine.scope(tenant, plugin).put("gone", 1)
            await engine.scope(tenant, plugin).delete("gone")
            assert await engine.scope(tenant, plugin).acquire_lease("lease", ttl=60)
    assert await engine.drop_tenant("a") == 2
    assert await engine.drop("b", "p") == 1
    assert await engine.drop(None, "q") == 1
    left = [(t, p) for t in (None, "a", "b") for p in ("p", "q") if await engine.scope(t, p).get("key")]
    assert left == [(None, "p"), ("b", "q")]
    assert await engine.scope("a", "p").acquire_lease("lease", ttl=60)
    assert await engine.scope("b", "q").acquire_lease("lease", ttl=60) is None


async def test_a_closed_store_says_so(engine: StorageEngine) -> None:
    storage = engine.scope("tenant", "plugin")
    await storage.put("key", 1)
    await engine.close()
    await engine.close()
    for work in (storage.get("key"), storage.put("key", 2), storage.list(), storage.acquire_lease("l", ttl=1)):
        with pytest.raises(StorageError, match="closed"):
            await work
    with pytest.raises(StorageError, match="closed"):
        storage.watch()


async def test_writes_under_way_are_finished_when_the_store_closes(engine: StorageEngine, other: StorageEngine) -> None:
    storage = engine.scope("tenant", "plugin")
    writes = [asyncio.create_task(storage.put(f"key{n}", n)) for n in range(50)]
    await asyncio.sleep(0)
    await engine.close()
    results = await asyncio.gather(*writes, return_exceptions=True)
    acknowledged = {one.key for one in results if not isinstance(one, BaseException)}
    assert {type(one) for one in results if isinstance(one, BaseException)} <= {StorageError}
    assert acknowledged <= {one.key for one in await other.scope("tenant", "plugin").list()}
