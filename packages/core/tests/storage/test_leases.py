from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from dotmac_isp.plugins.core.errors import LeaseLostError, StorageError

if TYPE_CHECKING:
    from dotmac_isp.plugins.core.storage import StorageEngine


async def test_a_lease_has_one_holder_until_it_is_given_back(engine: StorageEngine, other: StorageEngine) -> None:
    here, there = engine.scope("tenant", "plugin"), other.scope("tenant", "plugin")
    lease = await here.acquire_lease("turn", ttl=60)
    assert lease is not None
    assert lease.held
    assert lease.name == "turn"
    assert await here.acquire_lease("turn", ttl=60) is None
    assert await there.acquire_lease("turn", ttl=60) is None
    await lease.release()
    assert not lease.held
    second = await there.acquire_lease("turn", ttl=60)
    assert second is not None
    assert second.token > lease.token


async def test_leases_of_other_names_plugins_and_tenants_are_others(engine: StorageEngine) -> None:
    assert await engine.scope("a", "p").acquire_lease("turn", ttl=60)
    assert await engine.scope("a", "p").acquire_lease("turn2", ttl=60)
    assert await engine.scope("a", "q").acquire_lease("turn", ttl=60)
    assert await engine.scope("b", "p").acquire_lease("turn", ttl=60)
    assert await engine.scope(None, "p").acquire_lease("turn", ttl=60)


async def test_of_many_who_ask_at_once_one_gets_it(engine: StorageEngine, other: StorageEngine) -> None:
    both = [engine.scope("tenant", "plugin"), other.scope("tenant", "plugin")]
    leases = await asyncio.gather(*(both[n % 2].acquire_lease("turn", ttl=60) for n in range(20)))
    assert len([one for one in leases if one is not None]) == 1


async def test_a_lease_that_ran_out_fences_its_old_holder(engine: StorageEngine, other: StorageEngine) -> None:
    here, there = engine.scope("tenant", "plugin"), other.scope("tenant", "plugin")
    old = await here.acquire_lease("turn", ttl=0.2)
    assert old is not None
    await here.put("key", "while it was held", lease=old)
    await asyncio.sleep(0.25)
    assert not old.held
    new = await there.acquire_lease("turn", ttl=60)
    assert new is not None
    assert new.token > old.token
    for work in (
        here.put("key", "too late", lease=old),
        here.update("key", lambda _: "too late", lease=old),
        here.delete("key", lease=old),
        old.renew(),
    ):
        with pytest.raises(LeaseLostError, match="turn"):
            await work
    await old.release()
    read = await there.get("key")
    assert read is not None
    assert read.value == "while it was held"
    await there.put("key", "by the new one", lease=new)
    await new.renew()


async def test_a_lease_that_was_given_back_writes_no_more(engine: StorageEngine) -> None:
    storage = engine.scope("tenant", "plugin")
    lease = await storage.acquire_lease("turn", ttl=60)
    assert lease is not None
    await lease.release()
    await lease.release()
    with pytest.raises(LeaseLostError):
        await storage.put("key", 1, lease=lease)
    with pytest.raises(LeaseLostError):
        await lease.renew()
    assert await storage.get("key") is None


async def test_a_lease_of_another_tenant_guards_nothing_here(engine: StorageEngine) -> None:
    lease = await engine.scope("a", "plugin").acquire_lease("turn", ttl=60)
    with pytest.raises(LeaseLostError):
        await engine.scope("b", "plugin").put("key", 1, lease=lease)


async def test_renewing_keeps_others_out(engine: StorageEngine, other: StorageEngine) -> None:
    lease = await engine.scope("tenant", "plugin").acquire_lease("turn", ttl=0.6)
    assert lease is not None
    for _ in range(4):
        await asyncio.sleep(0.25)
        await lease.renew()
        assert lease.held
        assert await other.scope("tenant", "plugin").acquire_lease("turn", ttl=1) is None


async def test_a_with_block_gives_the_lease_back_also_after_an_error(engine: StorageEngine) -> None:
    storage = engine.scope("tenant", "plugin")
    first = await storage.acquire_lease("turn", ttl=60)
    assert first is not None

    async def fail() -> None:
        async with first as held:
            assert held.held
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    second = await storage.acquire_lease("turn", ttl=60)
    assert second is not None
    assert second.token > first.token


async def test_tokens_grow_also_over_the_removal_of_the_tenant(engine: StorageEngine) -> None:
    storage = engine.scope("tenant", "plugin")
    old = await storage.acquire_lease("turn", ttl=60)
    assert old is not None
    await engine.drop_tenant("tenant")
    new = await storage.acquire_lease("turn", ttl=60)
    assert new is not None
    assert new.token > old.token
    with pytest.raises(LeaseLostError):
        await storage.put("key", 1, lease=old)


@pytest.mark.parametrize("ttl", [0, -1, float("nan"), float("inf")])
async def test_a_time_to_live_that_is_none_is_refused(engine: StorageEngine, ttl: float) -> None:
    with pytest.raises(StorageError, match="seconds"):
        await engine.scope("tenant", "plugin").acquire_lease("turn", ttl=ttl)
