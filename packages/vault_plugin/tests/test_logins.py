"""Logging in, staying logged in, and what happens when Vault says no."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from dotmac_isp.plugins.core import PluginManager, PluginState
from dotmac_isp.plugins.core.errors import ConfigurationError, CredentialsRefused, SecretError

if TYPE_CHECKING:
    from pathlib import Path

PATH = "dotmac/system/fibre-password"


async def value(host: PluginManager, name: str = "fibre-password", tenant: str | None = "t") -> str | None:
    found = await host.secret_reader("fibre", tenant_id=tenant).get(name)
    return found.reveal() if found is not None else None


@pytest.fixture(autouse=True)
def fibre(vendor: Any) -> None:
    vendor.install("fibre", "pass", required=(), optional=("fibre-password",))


async def test_a_token(space: Any, make_host: Any) -> None:
    await space.put(PATH, value="by-token")
    token = await space.token(await space.reading())
    async with make_host(space.address, token=token, kv_mount=space.mount) as host:
        assert await value(host) == "by-token"


async def test_a_token_from_a_file_as_vault_agent_writes_it(space: Any, make_host: Any, home: Path) -> None:
    await space.put(PATH, value="by-file")
    (home / "secrets").mkdir()
    (home / "secrets" / "vault-token").write_text(await space.token(await space.reading()) + "\n")
    async with make_host(space.address, kv_mount=space.mount) as host:
        assert await value(host) == "by-file"


async def app_role(space: Any, **role: Any) -> tuple[str, str, str]:
    mount = await space.enable("auth", f"{space.mount}-approle", {"type": "approle"})
    await space.call("POST", f"auth/{mount}/role/host", {"token_policies": [await space.reading()], **role})
    role_id = (await space.call("GET", f"auth/{mount}/role/host/role-id"))["data"]["role_id"]
    secret_id = (await space.call("POST", f"auth/{mount}/role/host/secret-id"))["data"]["secret_id"]
    return mount, role_id, secret_id


async def test_an_app_role(space: Any, make_host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    await space.put(PATH, value="by-role")
    mount, role_id, secret_id = await app_role(space)
    monkeypatch.setenv("VAULT_ROLE_ID", role_id)
    monkeypatch.setenv("VAULT_SECRET_ID", secret_id)
    host = make_host(space.address, kv_mount=space.mount, auth_method="approle", auth_mount=mount)
    async with host:
        assert await value(host) == "by-role"


async def test_a_wrong_secret_id_waits_for_the_right_one(
    space: Any, make_host: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await space.put(PATH, value="by-role")
    mount, role_id, secret_id = await app_role(space)
    monkeypatch.setenv("VAULT_ROLE_ID", role_id)
    monkeypatch.setenv("VAULT_SECRET_ID", "00000000-0000-0000-0000-000000000000")
    async with make_host(space.address, kv_mount=space.mount, auth_method="approle", auth_mount=mount) as host:
        status = host.status("vault_secrets")
        assert status.state is PluginState.AWAITING_SECRET
        assert "invalid role or secret ID" in status.reason
        monkeypatch.setenv("VAULT_SECRET_ID", secret_id)
        await host.rotate_secret("vault-secret-id")
        assert host.status("vault_secrets").state is PluginState.ACTIVE
        assert await value(host) == "by-role"


async def test_a_user_with_a_password(space: Any, make_host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    await space.put(PATH, value="by-user")
    mount = await space.enable("auth", f"{space.mount}-userpass", {"type": "userpass"})
    body = {"password": "host-password", "token_policies": [await space.reading()]}
    await space.call("POST", f"auth/{mount}/users/host", body)
    monkeypatch.setenv("VAULT_PASSWORD", "host-password")
    login = {"auth_method": "userpass", "auth_mount": mount, "username": "host"}
    async with make_host(space.address, kv_mount=space.mount, **login) as host:
        assert await value(host) == "by-user"


async def test_a_kubernetes_service_account(server: Any, space: Any, make_host: Any, tmp_path: Path) -> None:
    await space.put(PATH, value="by-pod")
    await space.enable("auth", "kubernetes", {"type": "kubernetes"})
    await space.call("POST", "auth/kubernetes/role/host", {"token_policies": [await space.reading()]})
    jwt = tmp_path / "jwt"
    jwt.write_text("header.payload.signature\n")
    server.service_accounts = {"header.payload.signature"}
    login = {"auth_method": "kubernetes", "kubernetes_role": "host", "kubernetes_jwt_file": str(jwt)}
    async with make_host(space.address, kv_mount=space.mount, **login) as host:
        assert await value(host) == "by-pod"


async def test_missing_credentials_are_named(space: Any, make_host: Any) -> None:
    async with make_host(space.address) as host:
        with pytest.raises(CredentialsRefused, match=r"lacks the secret 'vault-token'\. Set VAULT_TOKEN"):
            await host.start_plugin("vault_secrets")
        assert host.status("vault_secrets").state is PluginState.AWAITING_SECRET


async def test_a_refused_token_is_never_shown(space: Any, make_host: Any) -> None:
    async with make_host(space.address, token="hvs.no-such-token") as host:
        with pytest.raises(CredentialsRefused, match="Vault refuses the login by token") as refusal:
            await host.start_plugin("vault_secrets")
        assert "no-such-token" not in str(refusal.value)


async def test_a_login_that_vault_does_not_have_is_a_wrong_setting(
    space: Any, make_host: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAULT_ROLE_ID", "any")
    async with make_host(space.address, auth_method="approle", auth_mount="nowhere") as host:
        with pytest.raises((ConfigurationError, CredentialsRefused)):  # real servers answer 403 or 404
            await host.start_plugin("vault_secrets")


async def test_a_token_outlives_its_time_to_live_by_renewal(space: Any, make_host: Any) -> None:
    await space.put(PATH, value="still-here")
    token = await space.token(await space.reading(), ttl="3s")
    async with make_host(space.address, token=token, kv_mount=space.mount, cache_ttl=0) as host:
        await asyncio.sleep(4.5)
        assert await value(host) == "still-here"


async def test_a_new_login_follows_where_renewal_ends(
    space: Any, make_host: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await space.put(PATH, value="still-here")
    mount, role_id, secret_id = await app_role(space, token_ttl="2s", token_max_ttl="3s")
    monkeypatch.setenv("VAULT_ROLE_ID", role_id)
    monkeypatch.setenv("VAULT_SECRET_ID", secret_id)
    login = {"auth_method": "approle", "auth_mount": mount}
    async with make_host(space.address, kv_mount=space.mount, cache_ttl=0, **login) as host:
        await asyncio.sleep(4.5)
        assert await value(host) == "still-here"


async def test_renewal_and_new_login_as_the_server_saw_them(
    server: Any, space: Any, make_host: Any, monkeypatch: pytest.MonkeyPatch, until: Any
) -> None:
    await space.put(PATH, value="x")
    mount, role_id, secret_id = await app_role(space, token_ttl="2s", token_max_ttl="3s")
    monkeypatch.setenv("VAULT_ROLE_ID", role_id)
    monkeypatch.setenv("VAULT_SECRET_ID", secret_id)
    login = {"auth_method": "approle", "auth_mount": mount}
    async with make_host(space.address, kv_mount=space.mount, **login):
        await until(lambda: server.count("renew-self") == 1)
        assert server.count(f"{mount}/login") == 1
        await until(lambda: server.count(f"{mount}/login") == 2)


async def test_a_revoked_token_is_replaced_when_it_is_refused(space: Any, make_host: Any, home: Path) -> None:
    await space.put(PATH, value="before")
    policy = await space.reading()
    first = await space.token(policy)
    (home / "secrets").mkdir()
    file = home / "secrets" / "vault-token"
    file.write_text(first)
    async with make_host(space.address, kv_mount=space.mount, cache_ttl=0) as host:
        assert await value(host) == "before"
        file.write_text(await space.token(policy))
        await space.call("POST", "auth/token/revoke", {"token": first})
        await space.put(PATH, value="after")
        assert await value(host) == "after"


async def test_credentials_that_were_refused_are_not_shown_again_and_again(
    server: Any, space: Any, make_host: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await space.put(PATH, value="x")
    mount = await space.enable("auth", "userpass", {"type": "userpass"})
    body = {"password": "host-password", "token_policies": [await space.reading()], "token_ttl": "600s"}
    await space.call("POST", f"auth/{mount}/users/host", body)
    monkeypatch.setenv("VAULT_PASSWORD", "host-password")
    login = {"auth_method": "userpass", "username": "host"}
    async with make_host(space.address, kv_mount=space.mount, cache_ttl=0, poll_interval=60, **login) as host:
        assert await value(host) == "x"
        await space.call("POST", f"auth/{mount}/users/host", {"password": "changed"})
        for token in [one for one in server.tokens.values() if one.id != server.root]:
            server.tokens.pop(token.id)
        for _ in range(5):
            with pytest.raises(Exception, match="refuses the login by userpass"):
                await value(host)
        assert server.count("userpass/login") == 2, "the good login, and one that was refused"
        assert host.status("vault_secrets").state is PluginState.ACTIVE
        assert (await host.health_check("vault_secrets")).status.value in {"healthy", "degraded", "unhealthy"}
        monkeypatch.setenv("VAULT_PASSWORD", "changed")
        assert await value(host) == "x"


async def test_instances_of_other_tenants_have_nothing_to_do(space: Any, make_host: Any) -> None:
    token = await space.token(await space.reading())
    async with make_host(space.address, token=token, kv_mount=space.mount) as host:
        await host.start_plugin("vault_secrets", tenant_id="t")
        assert "system tenant" in (await host.health_check("vault_secrets", tenant_id="t")).message
        assert await host.hooks("t").provide_secret(reference="fibre-password", tenant="t") is None
        with pytest.raises(AttributeError, match="provide_secret"):
            await host.get("vault_secrets", tenant_id="t").provide_secret("fibre-password", "t")


async def test_without_an_address_the_other_settings_are_an_error_and_no_other_provider_is_asked(
    make_host: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIBRE_PASSWORD", "from-the-environment")
    async with make_host(None) as host:
        with pytest.raises(ConfigurationError, match="no Vault is configured"):
            await host.start_plugin("vault_secrets")
        assert host.status("vault_secrets").state is PluginState.MISCONFIGURED
        with pytest.raises(SecretError, match="no Vault is configured"):
            await value(host)


async def test_an_installed_provider_that_nobody_configured_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("VAULT_ADDR", "VAULT_NAMESPACE", "VAULT_CACERT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FIBRE_PASSWORD", "from-the-environment")
    async with PluginManager(home=tmp_path / "empty") as host:
        assert host.list() == []
        assert await value(host) == "from-the-environment"
