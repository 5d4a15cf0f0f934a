"""What is read from where, what Vault may answer, and dynamic secrets with their leases."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from dotmac_isp.plugins.core.errors import SecretError

if TYPE_CHECKING:
    from dotmac_isp.plugins.core import PluginManager

NAMES = ("fibre-user", "fibre-password", "fibre-port")


async def value(host: PluginManager, name: str = "fibre-password", tenant: str | None = "t") -> str | None:
    found = await host.secret_reader("fibre", tenant_id=tenant).get(name)
    return found.reveal() if found is not None else None


@pytest.fixture(autouse=True)
def fibre(vendor: Any) -> None:
    vendor.install("fibre", "pass", required=(), optional=NAMES)


async def test_a_tenants_own_secret_goes_before_the_shared_one_and_never_to_another_tenant(
    space: Any, make_host: Any
) -> None:
    await space.put("dotmac/tenants/a/fibre-password", value="of-a")
    await space.put("dotmac/system/fibre-password", value="shared")
    async with make_host(space.address, token=await space.token(await space.reading()), kv_mount=space.mount) as host:
        assert await value(host, tenant="a") == "of-a"
        assert await value(host, tenant="b") == "shared"
        assert await value(host, tenant=None) == "shared"
    async with make_host(space.address, kv_mount=space.mount, system_path="") as host:
        assert await value(host, tenant="a") == "of-a"
        assert await value(host, tenant="b") is None


async def test_places_of_their_own_with_fields_of_any_type(space: Any, make_host: Any) -> None:
    await space.put("network/t/voltha", username="operator", port=8181, extra={"a": [1]}, empty="")
    places = {
        "fibre-user": "network/{tenant}/voltha#username",
        "fibre-port": "network/{tenant}/voltha#port",
        "fibre-password": "network/{tenant}/voltha#extra",
    }
    token = await space.token(await space.reading())
    async with make_host(space.address, token=token, kv_mount=space.mount, places=places) as host:
        assert await value(host, "fibre-user") == "operator"
        assert await value(host, "fibre-port") == "8181"
        assert await value(host) == '{"a": [1]}'
        assert await value(host, "fibre-user", None) is None, "the system tenant has no {tenant}"


async def test_a_field_that_is_not_there_is_none_and_the_log_names_those_there_are(
    space: Any, make_host: Any, caplog: pytest.LogCaptureFixture
) -> None:
    await space.put("dotmac/system/fibre-password", pasword="typo-secret")
    async with make_host(space.address, token=await space.token(await space.reading()), kv_mount=space.mount) as host:
        assert await value(host) is None
    assert "has no field 'value' for the secret 'fibre-password'; it has: pasword" in caplog.text
    assert "typo-secret" not in caplog.text


async def test_key_value_version_1(space: Any, make_host: Any, vendor: Any, until: Any) -> None:
    mount = await space.enable("mounts", f"{space.mount}-v1", {"type": "kv", "options": {"version": "1"}})
    await space.call("POST", f"{mount}/dotmac/system/fibre-password", {"value": "of-version-1"})
    await space.call("POST", f"{mount}/keys", {"legacy": "key"})
    places = {"fibre-user": {"engine": "kv1", "mount": mount, "path": "keys", "field": "legacy"}}
    options = {"kv_mount": mount, "kv_version": 1, "places": places}
    async with make_host(space.address, token=space.root, **options) as host:
        assert await value(host) == "of-version-1"
        assert await value(host, "fibre-user") == "key"
        assert await value(host, "fibre-port") is None


async def test_key_value_version_1_rotates_by_value(space: Any, make_host: Any, vendor: Any, until: Any) -> None:
    mount = await space.enable("mounts", f"{space.mount}-v1", {"type": "kv", "options": {"version": "1"}})
    await space.call("POST", f"{mount}/dotmac/system/olt-password", {"value": "one-password"})
    vendor.install("olt", required=("olt-password",), body=ROTATING_OLT)
    vendor.device.good = {"one-password", "two-password"}
    async with make_host(space.address, token=space.root, kv_mount=mount, kv_version=1) as host:
        await host.start_plugin("olt", tenant_id="t")
        await space.call("POST", f"{mount}/dotmac/system/olt-password", {"value": "two-password"})
        await until(lambda: vendor.device.logins == ["one-password", "two-password"])


ROTATING_OLT = """\
async def activate(self):
    device.log_in((await self.api.secrets.require("olt-password")).reveal())

async def on_secret_rotated(self, name):
    await self.activate()
"""


async def test_a_policy_without_metadata_rotates_as_well(space: Any, make_host: Any, vendor: Any, until: Any) -> None:
    await space.put("dotmac/system/olt-password", value="one-password")
    vendor.install("olt", required=("olt-password",), body=ROTATING_OLT)
    vendor.device.good = {"one-password", "two-password"}
    token = await space.token(await space.policy(**{"data/*": ["read"]}))
    async with make_host(space.address, token=token, kv_mount=space.mount) as host:
        await host.start_plugin("olt", tenant_id="t")
        await space.put("dotmac/system/olt-password", value="two-password")
        await until(lambda: vendor.device.logins == ["one-password", "two-password"])


async def test_a_forbidden_path_is_an_error_with_path_and_policies_and_no_other_provider_is_asked(
    space: Any, make_host: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIBRE_PASSWORD", "an-old-value")
    policy = await space.policy(**{"data/elsewhere/*": ["read"]})
    token = await space.token(policy)
    async with make_host(space.address, token=token, kv_mount=space.mount) as host:
        path = f"{space.mount}/data/dotmac/tenants/t/fibre-password"
        for _ in range(8):  # more often than the breaker would let a failing plugin go on
            with pytest.raises(SecretError) as refusal:
                await value(host)
        assert f"Vault forbids reading {path}; the token's policies are: default, {policy}" in str(refusal.value)
        assert token not in str(refusal.value)
        assert host.status("vault_secrets").breaker == "closed"
        await space.put("elsewhere/x", value="fine")


async def test_a_mount_that_is_not_there_is_a_mistake_and_not_a_missing_secret(space: Any, make_host: Any) -> None:
    nowhere = f"nowhere-{uuid.uuid4().hex[:6]}"
    async with make_host(space.address, token=space.root, kv_mount=nowhere) as host:
        with pytest.raises(SecretError, match=r"(?s)404.*Compare kv_mount, kv_version|403"):
            await value(host)


async def test_the_wrong_version_of_key_value_is_a_mistake_too(space: Any, make_host: Any) -> None:
    async with make_host(space.address, token=space.root, kv_mount=space.mount, kv_version=1) as host:
        with pytest.raises(SecretError, match="Compare kv_mount, kv_version"):
            await value(host)


async def test_a_namespace(space: Any, make_host: Any, live: Any) -> None:
    name = f"ns-{uuid.uuid4().hex[:6]}"
    try:
        await space.call("POST", f"sys/namespaces/{name}", {})
    except AssertionError as no:
        pytest.skip(f"this server has no namespaces ({no})")
    inside = type(space)(space.address, space.root)
    inside._http.headers["X-Vault-Namespace"] = name
    try:
        await inside.open()
        await inside.put("dotmac/system/fibre-password", value="in-the-namespace")
        options = {"kv_mount": inside.mount, "vault_namespace": name}
        async with make_host(space.address, token=space.root, **options) as host:
            assert await value(host) == "in-the-namespace"
            assert (await host.health_check("vault_secrets")).healthy
    finally:
        await inside.close()
        await space.call("DELETE", f"sys/namespaces/{name}")


# dynamic secrets

DYNAMIC = {"db-user": "dynamic:db/creds/writer#username", "db-password": "dynamic:db/creds/writer#password"}

DATABASE = """\
async def activate(self):
    user = (await self.api.secrets.require("db-user")).reveal()
    password = (await self.api.secrets.require("db-password")).reveal()
    device.logins.append((user, password))

async def on_secret_rotated(self, name):
    if name == "db-password":
        await self.activate()
"""


async def database(space: Any, **role: Any) -> str:
    await space.enable("mounts", "db", {"type": "database"})
    await space.call("POST", "db/roles/writer", {"default_ttl": "2s", "max_ttl": "60s", **role})
    policy = f"{space.mount}-db"
    rules = '{"path": {"db/creds/*": {"capabilities": ["read"]}}}'
    await space.call("PUT", f"sys/policies/acl/{policy}", {"policy": rules})
    return policy


@pytest.fixture
def db(vendor: Any) -> Any:
    vendor.install("db", DATABASE, required=("db-user", "db-password"))
    return vendor.device


async def test_user_and_password_come_from_one_lease_that_is_renewed(
    server: Any, space: Any, make_host: Any, db: Any, until: Any
) -> None:
    token = await space.token(await database(space))
    async with make_host(space.address, token=token, places=DYNAMIC) as host:
        await host.start_plugin("db", tenant_id="t")
        ((user, password),) = db.logins
        assert server.database == {user: password}
        await until(lambda: server.count("leases/renew") >= 2)
        assert server.database == {user: password}
        assert len(db.logins) == 1


@pytest.mark.parametrize("role", [{"renewable": False}, {"max_ttl": "3s"}], ids=["not renewable", "longest time near"])
async def test_a_lease_that_ends_brings_new_credentials_while_the_old_are_good(
    server: Any, space: Any, make_host: Any, db: Any, until: Any, role: dict[str, Any]
) -> None:
    token = await space.token(await database(space, **role))
    async with make_host(space.address, token=token, places=DYNAMIC) as host:
        await host.start_plugin("db", tenant_id="t")
        await until(lambda: len(db.logins) == 2)
        assert dict(db.logins).items() <= server.database.items(), "both are good for a while"


async def test_a_revoked_lease_brings_new_credentials(
    server: Any, space: Any, make_host: Any, db: Any, until: Any
) -> None:
    token = await space.token(await database(space, default_ttl="600s", max_ttl="600s"))
    async with make_host(space.address, token=token, places=DYNAMIC) as host:
        await host.start_plugin("db", tenant_id="t")
        (lease,) = server.leases
        await space.call("POST", "sys/leases/revoke", {"lease_id": lease})
        await until(lambda: len(db.logins) == 2)
        assert server.database == dict([db.logins[1]])


async def test_a_new_login_brings_new_credentials_before_the_old_token_takes_them_along(
    server: Any, space: Any, make_host: Any, db: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = await database(space, default_ttl="600s", max_ttl="600s")
    await space.enable("auth", "approle", {"type": "approle"})
    role = {"token_policies": [policy], "token_ttl": "2s", "token_max_ttl": "2s", "bind_secret_id": False}
    await space.call("POST", "auth/approle/role/host", role)
    role_id = (await space.call("GET", "auth/approle/role/host/role-id"))["data"]["role_id"]
    monkeypatch.setenv("VAULT_ROLE_ID", role_id)
    async with make_host(space.address, auth_method="approle", places=DYNAMIC) as host:
        await host.start_plugin("db", tenant_id="t")
        await until(lambda: len(db.logins) >= 2)
        assert dict(db.logins[:2]).items() <= server.database.items()


async def test_many_that_ask_at_once_cause_one_read(server: Any, space: Any, make_host: Any) -> None:
    await space.put("dotmac/system/fibre-password", value="x")
    token = await space.token(await space.reading())
    async with make_host(space.address, token=token, kv_mount=space.mount, cache_ttl=30, poll_interval=60) as host:
        assert await asyncio.gather(*(value(host, tenant=None) for _ in range(50))) == ["x"] * 50
        assert server.count("/data/dotmac/system/fibre-password") == 1
