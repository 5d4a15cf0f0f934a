"""Vault is sealed, standby, overloaded, or not there: at the host's start, and while instances run."""

from __future__ import annotations

import asyncio
import gc
import ssl
import warnings
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from dotmac_isp.plugins.core import HealthStatus, PluginState
from dotmac_isp.plugins.core.errors import PluginError, SecretError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from dotmac_isp.plugins.core import PluginManager

PATH = "dotmac/system/fibre-password"


async def value(host: PluginManager) -> str | None:
    found = await host.secret_reader("fibre", tenant_id="t").get("fibre-password")
    return found.reveal() if found is not None else None


@pytest.fixture
async def token(server: Any, space: Any, vendor: Any) -> str:
    vendor.install("fibre")
    vendor.device.good = {"good-password", "new-password"}
    await space.put(PATH, value="good-password")
    return str(await space.token(await space.reading()))


@pytest.mark.parametrize("status", [412, 429, 472, 473, 500, 502, 503, 504])
async def test_what_passes_is_asked_again(server: Any, space: Any, token: str, make_host: Any, status: int) -> None:
    async with make_host(space.address, token=token, kv_mount=space.mount, poll_interval=60) as host:
        server.answering = (status, 2)
        assert await value(host) == "good-password"
        assert server.answering == (status, 0)


@pytest.mark.parametrize("status", [400, 403, 405])
async def test_what_will_not_change_is_not_asked_again(
    server: Any, space: Any, token: str, make_host: Any, status: int
) -> None:
    async with make_host(space.address, token=token, kv_mount=space.mount, poll_interval=60) as host:
        server.seen.clear()
        server.answering = (status, 1)
        with pytest.raises(SecretError):
            await value(host)
        assert server.count("/data/") == 1


async def test_retry_after_is_heeded(server: Any, space: Any, token: str, make_host: Any) -> None:
    options = {"kv_mount": space.mount, "poll_interval": 60, "patience": 5}
    async with make_host(space.address, token=token, **options) as host:
        server.answering, server.retry_after = (429, 1), "1"
        loop = asyncio.get_running_loop()
        before = loop.time()
        assert await value(host) == "good-password"
        assert loop.time() - before >= 1.0


async def test_a_sealed_vault_at_the_start_is_waited_for(
    server: Any, space: Any, token: str, make_host: Any, vendor: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIBRE_PASSWORD", "an-old-value")
    server.sealed = True
    async with make_host(space.address, token=token, kv_mount=space.mount) as host:
        assert host.status("vault_secrets").state is PluginState.RETRYING
        assert "Vault is sealed" in host.status("vault_secrets").reason
        with pytest.raises(PluginError, match=r"vault_secrets is retrying.*Vault is sealed"):
            await host.start_plugin("fibre", tenant_id="t")
        assert host.status("fibre", tenant_id="t").state is PluginState.RETRYING
        server.sealed = False
        await until(lambda: host.status("fibre", tenant_id="t").state is PluginState.ACTIVE, seconds=20)
        assert vendor.device.logins == ["good-password"], "the environment's old value was never tried"


async def test_no_server_at_all_at_the_start(token: str, space: Any, server: Any, make_host: Any) -> None:
    await server.stop()
    async with make_host(space.address, token=token, kv_mount=space.mount) as host:
        status = host.status("vault_secrets")
        assert status.state is PluginState.RETRYING
        assert "Vault cannot be reached" in status.reason
        assert "object at 0x" not in status.reason
        await server.start()
        await host.start_plugin("vault_secrets")
        assert await value(host) == "good-password"


async def test_running_instances_keep_what_they_have_while_vault_is_away_and_rotate_when_it_is_back(
    server: Any, space: Any, token: str, make_host: Any, vendor: Any, until: Any
) -> None:
    async with make_host(space.address, token=token, kv_mount=space.mount, cache_ttl=0) as host:
        await host.start_plugin("fibre", tenant_id="t")
        await server.stop()
        for _ in range(6):
            assert await value(host) == "good-password"
            assert await host.get("fibre", tenant_id="t").work()
        assert host.status("vault_secrets").state is PluginState.ACTIVE
        await host.restart_plugin("fibre", tenant_id="t")
        report = await host.health_check("vault_secrets")
        assert report.status is HealthStatus.DEGRADED
        assert "values that were read serve for 86" in report.message
        await server.start()
        await space.put(PATH, value="new-password")
        await until(lambda: vendor.device.logins[-1] == "new-password", seconds=15)
        assert (await host.health_check("vault_secrets")).status is HealthStatus.HEALTHY


async def test_what_was_never_read_is_an_error_while_vault_is_away_and_the_breaker_stays_closed(
    server: Any, space: Any, token: str, make_host: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIBRE_PASSWORD", "an-old-value")
    async with make_host(space.address, token=token, kv_mount=space.mount, patience=0) as host:
        server.sealed = True
        for _ in range(20):
            with pytest.raises(SecretError, match="Vault is sealed"):
                await value(host)
        assert host.status("vault_secrets").breaker == "closed"
        server.sealed = False
        assert await value(host) == "good-password"


async def test_the_operators_limit_stops_instances_until_vault_is_back(
    server: Any, space: Any, token: str, make_host: Any, until: Any
) -> None:
    async with make_host(space.address, token=token, kv_mount=space.mount, max_stale=0.5) as host:
        await host.start_plugin("fibre", tenant_id="t")
        server.sealed = True
        await until(lambda: host.status("fibre", tenant_id="t").state is PluginState.RETRYING, seconds=15)
        assert "Vault is sealed" in host.status("fibre", tenant_id="t").reason
        assert (await host.health_check("vault_secrets")).status is HealthStatus.UNHEALTHY
        server.sealed = False
        await until(lambda: host.status("fibre", tenant_id="t").state is PluginState.ACTIVE, seconds=20)


async def test_a_standby_sends_us_to_the_active_node(server: Any, space: Any, token: str, make_host: Any) -> None:
    standby = type(server)()
    standby.redirect_to = server.url
    await standby.start()
    try:
        async with make_host(standby.url, token=token, kv_mount=space.mount) as host:
            assert await value(host) == "good-password"
    finally:
        await standby.stop()


@pytest.fixture
async def authority(tmp_path: Path) -> AsyncIterator[tuple[ssl.SSLContext, Path]]:
    made = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.issue_cert("localhost").configure_cert(context)
    file = tmp_path / "ca.pem"
    made.cert_pem.write_to_path(str(file))
    yield context, file
    await asyncio.sleep(0.05)
    with warnings.catch_warnings():
        # asyncio leaves the transports of TLS connections that a client broke off to the garbage collector.
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


async def test_tls_with_a_private_ca_and_never_without_it(
    server: Any, token: str, make_host: Any, authority: tuple[ssl.SSLContext, Path], space: Any
) -> None:
    context, file = authority
    await server.stop()
    server.port = 0
    await server.start(tls=context)
    async with make_host(server.url, token=token, kv_mount=space.mount, vault_cacert=str(file)) as host:
        assert await value(host) == "good-password"
    server.seen.clear()
    async with make_host(server.url, token=token, kv_mount=space.mount) as host:
        assert host.status("vault_secrets").state is PluginState.RETRYING
        assert "certificate verify failed" in host.status("vault_secrets").reason
    assert server.seen == []
    await server.stop()
    server.port = 0
    await server.start()
    space.address = server.url


async def test_the_token_is_not_sent_from_tls_to_plain_text(
    server: Any, token: str, make_host: Any, authority: tuple[ssl.SSLContext, Path], space: Any
) -> None:
    context, file = authority
    secure = type(server)()
    secure.redirect_to = server.url
    await secure.start(tls=context)
    server.seen.clear()
    try:
        async with make_host(secure.url, token=token, vault_cacert=str(file)) as host:
            assert "the token is not sent there" in host.status("vault_secrets").reason
        assert server.seen == []
    finally:
        await secure.stop()


async def test_what_is_no_vault_is_said_to_be_none(make_host: Any, live: Any, vendor: Any) -> None:
    if live:
        pytest.skip("needs a server that is no Vault")
    from aiohttp import web

    async def page(request: web.Request) -> web.Response:
        return web.Response(text="<h1>Welcome</h1>", content_type="text/html")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", page)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "localhost", 0)
    await site.start()
    try:
        async with make_host(f"http://localhost:{runner.addresses[0][1]}", token="any-token") as host:
            assert "no Vault" in host.status("vault_secrets").reason
    finally:
        await runner.cleanup()
