"""Settings and places: pure, without a server."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from dotmac_isp.plugins.secrets.vault_secrets_plugin import Place, VaultSettings
from dotmac_isp.plugins.secrets.vault_secrets_plugin._documents import current_version
from dotmac_isp.plugins.secrets.vault_secrets_plugin._places import spots_for


def paths(settings: VaultSettings, name: str, tenant: str | None) -> list[str]:
    return [f"{spot.address.api_path}#{spot.field}" for spot in spots_for(settings, name, tenant)]


def test_a_tenants_path_comes_before_the_systems() -> None:
    settings = VaultSettings()
    assert paths(settings, "voltha-username", "tenant_123") == [
        "secret/data/dotmac/tenants/tenant_123/voltha-username#value",
        "secret/data/dotmac/system/voltha-username#value",
    ]
    assert paths(settings, "voltha-username", None) == ["secret/data/dotmac/system/voltha-username#value"]


def test_tenants_cannot_have_the_systems_path_whatever_they_are_called() -> None:
    assert paths(VaultSettings(), "a", "system")[0] == "secret/data/dotmac/tenants/system/a#value"


def test_places_in_their_short_and_long_forms() -> None:
    settings = VaultSettings(
        kv_version=1,
        places={
            "a": Place.model_validate("network/{tenant}/voltha#user"),
            "b": Place.model_validate("dynamic:database/creds/{tenant}#password"),
            "c": Place(path="x/{name}", engine="kv2", mount="team/kv"),
        },
    )
    assert paths(settings, "a", "t") == ["secret/network/t/voltha#user"]
    assert paths(settings, "a", None) == []
    assert paths(settings, "b", "t") == ["database/creds/t#password"]
    assert paths(settings, "c", None) == ["team/kv/data/x/c#value"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"vault_addr": "vault.example.net:8200"}, "looks like https://"),
        ({"vault_addr": "https://user:pw@vault"}, "looks like https://"),
        ({"tenant_path": "dotmac/{name}"}, "tenants would read each other's"),
        ({"tenant_path": "dotmac/{tenant}/{name}/{user}"}, "names {user}"),
        ({"tenant_path": "../{tenant}/{name}"}, "'..' part"),
        ({"tenant_path": "a//{tenant}/{name}"}, "an empty"),
        ({"tenant_path": "{tenant/{name}"}, "brace"),
        ({"system_path": "fixed"}, "needs {name}"),
        ({"system_path": "{tenant}/{name}"}, "names {tenant}"),
        ({"kv_mount": "../sys"}, "kv_mount"),
        ({"kv_version": 3}, "kv_version"),
        ({"auth_method": "userpass"}, "needs username"),
        ({"auth_method": "kubernetes"}, "needs kubernetes_role"),
        ({"auth_method": "ldap"}, "auth_method"),
        ({"vault_client_key": "key.pem"}, "needs vault_client_cert"),
        ({"poll_interval": 0}, "poll_interval"),
        ({"max_stale": -1}, "max_stale"),
        ({"places": {"a": "dynamic:nomount#x"}}, "mount in its path"),
        ({"places": {"a": "#field"}}, "is no path"),
        ({"places": {"a": {"path": "x", "engine": "pki"}}}, "engine"),
        ({"kv_mounts": "x"}, "kv_mounts"),
    ],
)
def test_settings_that_cannot_be_are_refused_with_what_would_be_right(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        VaultSettings(**given)
    assert told in str(refusal.value)


@pytest.mark.parametrize(
    ("metadata", "version"),
    [
        ({"data": {"current_version": 2, "versions": {"2": {"deletion_time": "", "destroyed": False}}}}, 2),
        ({"data": {"current_version": 2, "versions": {"2": {"deletion_time": "2026-01-01T00:00:00Z"}}}}, None),
        ({"data": {"current_version": 2, "versions": {"2": {"deletion_time": "", "destroyed": True}}}}, None),
        ({"data": {"current_version": 0, "versions": {}}}, None),
        ({}, None),
    ],
)
def test_the_version_that_a_read_would_give(metadata: dict[str, Any], version: int | None) -> None:
    assert current_version(metadata) == version
