"""End to end: a plugin's credentials come from Vault and change while it works."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from dotmac_isp.plugins.core import CredentialsRefused, PluginState
from dotmac_isp.plugins.core.errors import LifecycleError, PluginError, SecretError

TENANT = "tenant_123"
PATH = f"dotmac/tenants/{TENANT}/fibre-password"


async def keep_working(handle: Any, stop: asyncio.Event) -> list[Exception]:
    """Call without a pause, and say which calls were lost."""
    lost: list[Exception] = []
    while not stop.is_set():
        try:
            await handle.work()
        except Exception as error:
            lost.append(error)
        await asyncio.sleep(0)
    return lost


async def test_a_password_rotates_without_a_lost_call(space: Any, vendor: Any, make_host: Any, until: Any) -> None:
    vendor.install("fibre")
    device = vendor.device
    device.good = {"first-password", "second-password"}
    await space.put(PATH, value="first-password")
    token = await space.token(await space.reading())
    async with make_host(space.address, token=token, kv_mount=space.mount) as host:
        await host.start_plugin("fibre", tenant_id=TENANT)
        stop = asyncio.Event()
        working = asyncio.create_task(keep_working(host.get("fibre", tenant_id=TENANT), stop))
        await until(lambda: "first-password" in device.calls)
        await space.put(PATH, value="second-password")
        await until(lambda: "second-password" in device.calls)
        device.good = {"second-password"}
        device.calls.clear()
        await until(lambda: len(device.calls) > 10)
        stop.set()
        assert await working == []
        status = host.status("fibre", tenant_id=TENANT)
        assert [one.state for one in status.history].count(PluginState.ACTIVATING) == 1, "it was not restarted"


async def test_a_wrong_new_password_stops_the_instance_until_it_is_right_again(
    space: Any, vendor: Any, make_host: Any, until: Any
) -> None:
    vendor.install("fibre")
    vendor.device.good = {"right-password"}
    await space.put(PATH, value="right-password")
    token = await space.token(await space.reading())
    async with make_host(space.address, token=token, kv_mount=space.mount) as host:
        await host.start_plugin("fibre", tenant_id=TENANT)
        await space.put(PATH, value="wrong-password")
        await until(lambda: host.status("fibre", tenant_id=TENANT).state is PluginState.AWAITING_SECRET)
        assert "refuses the password" in host.status("fibre", tenant_id=TENANT).reason
        with pytest.raises((LifecycleError, PluginError), match="refuses the password"):
            await host.get("fibre", tenant_id=TENANT).work()
        await space.put(PATH, value="right-password")
        await until(lambda: host.status("fibre", tenant_id=TENANT).state is PluginState.ACTIVE)
        assert await host.get("fibre", tenant_id=TENANT).work() == 1


async def test_a_plugin_that_is_not_told_is_restarted_with_the_new_password(
    space: Any, vendor: Any, make_host: Any, until: Any
) -> None:
    body = "async def activate(self):\n    device.log_in((await self.api.secrets.require('fibre-password')).reveal())\n"
    vendor.install("fibre", body)
    vendor.device.good = {"first-password", "second-password"}
    await space.put(PATH, value="first-password")
    token = await space.token(await space.reading())
    async with make_host(space.address, token=token, kv_mount=space.mount) as host:
        await host.start_plugin("fibre", tenant_id=TENANT)
        await space.put(PATH, value="second-password")
        await until(lambda: "second-password" in vendor.device.logins)
        await until(lambda: host.status("fibre", tenant_id=TENANT).state is PluginState.ACTIVE)


async def test_a_password_for_all_tenants_rotates_for_each_and_for_nobody_who_has_an_own_one(
    space: Any, vendor: Any, make_host: Any, until: Any
) -> None:
    vendor.install("fibre")
    device = vendor.device
    device.good = {"shared-1", "shared-2", "own-password"}
    await space.put("dotmac/system/fibre-password", value="shared-1")
    await space.put("dotmac/tenants/special/fibre-password", value="own-password")
    token = await space.token(await space.reading())
    async with make_host(space.address, token=token, kv_mount=space.mount) as host:
        for tenant in ("a", "b", "special"):
            await host.start_plugin("fibre", tenant_id=tenant)
        device.logins.clear()
        await space.put("dotmac/system/fibre-password", value="shared-2")
        await until(lambda: device.logins == ["shared-2", "shared-2"])
        await asyncio.sleep(0.3)
        assert device.logins == ["shared-2", "shared-2"], "the tenant with its own password was not disturbed"


async def test_an_own_password_that_appears_takes_the_place_of_the_shared_one_and_back(
    space: Any, vendor: Any, make_host: Any, until: Any
) -> None:
    vendor.install("fibre")
    vendor.device.good = {"shared-1", "own-password"}
    await space.put("dotmac/system/fibre-password", value="shared-1")
    token = await space.token(await space.reading())
    async with make_host(space.address, token=token, kv_mount=space.mount) as host:
        await host.start_plugin("fibre", tenant_id=TENANT)
        await space.put(PATH, value="own-password")
        await until(lambda: vendor.device.logins == ["shared-1", "own-password"])
        await space.delete(PATH)
        await until(lambda: vendor.device.logins == ["shared-1", "own-password", "shared-1"])


async def test_a_new_version_with_the_same_value_disturbs_nobody(
    server: Any, space: Any, vendor: Any, make_host: Any, until: Any
) -> None:
    vendor.install("fibre")
    vendor.device.good = {"first-password"}
    await space.put(PATH, value="first-password")
    token = await space.token(await space.reading())
    async with make_host(space.address, token=token, kv_mount=space.mount) as host:
        await host.start_plugin("fibre", tenant_id=TENANT)
        await space.put(PATH, value="first-password", comment="written again")
        reads = server.count(f"/data/{PATH}")
        await until(lambda: server.count(f"/data/{PATH}") > reads)
        looks = server.count(f"metadata/{PATH}")
        await until(lambda: server.count(f"metadata/{PATH}") > looks + 1)
        assert vendor.device.logins == ["first-password"]


async def test_versions_are_looked_at_without_reading_values(
    server: Any, space: Any, vendor: Any, make_host: Any, until: Any
) -> None:
    vendor.install("fibre")
    vendor.device.good = {"first-password"}
    await space.put(PATH, value="first-password")
    token = await space.token(await space.reading())
    async with make_host(space.address, token=token, kv_mount=space.mount, cache_ttl=60) as host:
        await host.start_plugin("fibre", tenant_id=TENANT)
        reads = server.count(f"/data/{PATH}")
        looks = server.count(f"metadata/{PATH}")
        await until(lambda: server.count(f"metadata/{PATH}") > looks + 2)
        assert server.count(f"/data/{PATH}") == reads


async def test_a_missing_required_secret_is_found_as_soon_as_it_is_there(
    space: Any, vendor: Any, make_host: Any, until: Any
) -> None:
    vendor.install("fibre")
    vendor.device.good = {"first-password"}
    token = await space.token(await space.reading())
    async with make_host(space.address, token=token, kv_mount=space.mount) as host:
        with pytest.raises(SecretError, match="lacks the secret 'fibre-password'"):
            await host.start_plugin("fibre", tenant_id=TENANT)
        assert host.status("fibre", tenant_id=TENANT).state is PluginState.AWAITING_SECRET
        await space.put(PATH, value="first-password")
        await until(
            lambda: host.status("fibre", tenant_id=TENANT).state in {PluginState.INITIALIZED, PluginState.ACTIVE}
        )


async def test_a_secret_that_is_deleted_falls_back_to_the_next_provider(
    space: Any, vendor: Any, make_host: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor.install("fibre")
    vendor.device.good = {"first-password", "from-the-environment"}
    monkeypatch.setenv("FIBRE_PASSWORD", "from-the-environment")
    await space.put(PATH, value="first-password")
    token = await space.token(await space.reading())
    async with make_host(space.address, token=token, kv_mount=space.mount) as host:
        await host.start_plugin("fibre", tenant_id=TENANT)
        await space.delete(PATH)
        await until(lambda: vendor.device.logins == ["first-password", "from-the-environment"])


async def test_the_operators_order_puts_the_environment_before_vault(
    space: Any, vendor: Any, make_host: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor.install("fibre")
    vendor.device.good = {"in-vault", "from-the-environment"}
    monkeypatch.setenv("FIBRE_PASSWORD__TENANT_123", "from-the-environment")
    monkeypatch.setenv("DOTMAC_SECRET_ORDER", "environment,plugins")
    await space.put(PATH, value="in-vault")
    await space.put("dotmac/tenants/other/fibre-password", value="in-vault")
    token = await space.token(await space.reading())
    async with make_host(space.address, token=token, kv_mount=space.mount) as host:
        await host.start_plugin("fibre", tenant_id=TENANT)
        await host.start_plugin("fibre", tenant_id="other")
    assert vendor.device.logins == ["from-the-environment", "in-vault"]


async def test_refused_credentials_at_the_start_wait_for_the_secret(
    space: Any, vendor: Any, make_host: Any, until: Any
) -> None:
    vendor.install("fibre")
    vendor.device.good = {"right-password"}
    await space.put(PATH, value="wrong-password")
    token = await space.token(await space.reading())
    async with make_host(space.address, token=token, kv_mount=space.mount) as host:
        with pytest.raises(CredentialsRefused):
            await host.start_plugin("fibre", tenant_id=TENANT)
        await space.put(PATH, value="right-password")
        await until(lambda: host.status("fibre", tenant_id=TENANT).state is PluginState.ACTIVE)
