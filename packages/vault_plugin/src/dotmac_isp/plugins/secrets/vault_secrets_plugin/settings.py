"""The plugin's settings: where Vault is, how to log in, and where each secret lies."""

from __future__ import annotations

from string import Formatter
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from dotmac_isp.plugins.core.settings import PluginSettings

__all__ = ["Place", "VaultSettings"]

_DYNAMIC: Final = "dynamic:"
Mount = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)*$")]


def _check_path(text: str, allowed: frozenset[str]) -> str:
    """The path without slashes around it. Raises `ValueError` for one that Vault could take for another."""
    path = text.strip("/")
    if any(part in {"", ".", ".."} for part in path.split("/")):
        raise ValueError(f"{text!r} is no path below a mount: it is empty, or has an empty, '.' or '..' part")
    try:
        named = {field for _, field, _, _ in Formatter().parse(path) if field is not None}
    except ValueError as error:
        raise ValueError(f"{text!r} has a lonely brace: {error}") from None
    if named - allowed:
        raise ValueError(f"{text!r} names {{{sorted(named - allowed)[0]}}}; known are {{tenant}} and {{name}}")
    return path


class Place(BaseModel):
    """Where one secret lies. Short form: `PATH#FIELD` below the KV mount, or `dynamic:PATH#FIELD`.

    `{tenant}` in the path is the tenant that asks; such a place has nothing for the system tenant.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: Below the mount for KV; the whole path with its mount for `dynamic` (`database/creds/reader`).
    path: str
    #: Which of the fields under the path; empty: the one that the setting `field` names.
    field: str = ""
    #: `kv`: in the version that `kv_version` says. `dynamic`: whatever a read answers, with its lease (databases, clouds, …).
    engine: Literal["kv", "kv1", "kv2", "dynamic"] = "kv"
    #: A KV mount other than `kv_mount`.
    mount: Mount | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, given: Any) -> Any:
        if not isinstance(given, str):
            return given
        path, _, field = given.removeprefix(_DYNAMIC).partition("#")
        return {"path": path, "field": field, "engine": "dynamic" if given.startswith(_DYNAMIC) else "kv"}

    @field_validator("path")
    @classmethod
    def _is_path(cls, path: str) -> str:
        return _check_path(path, frozenset({"tenant", "name"}))

    @model_validator(mode="after")
    def _has_its_mount(self) -> Self:
        if self.engine == "dynamic" and (self.mount is not None or "/" not in self.path):
            raise ValueError("a dynamic place has its mount in its path, such as 'database/creds/reader'")
        return self


class VaultSettings(PluginSettings):
    """Settings of `vault_secrets`. Times are in seconds."""

    #: `https://host:port`. Empty: there is no Vault, and the host asks the next provider.
    vault_addr: str = ""
    #: Of Vault Enterprise and OpenBao.
    vault_namespace: str = ""
    #: PEM file with the private CA that signed the server's certificate; empty: the CAs that requests trusts.
    vault_cacert: str = ""
    #: PEM files by which this host shows who it is, where the server asks for it.
    vault_client_cert: str = ""
    vault_client_key: str = ""

    auth_method: Literal["token", "approle", "kubernetes", "userpass"] = "token"
    #: Where the method is mounted below `auth/`; default its own name.
    auth_mount: Mount | None = None
    #: The user of `userpass`.
    username: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.@-]*$")] = ""
    #: The role of `kubernetes`.
    kubernetes_role: str = ""
    #: The service account's token; read at each login, because the cluster replaces it.
    kubernetes_jwt_file: str = "/var/run/secrets/kubernetes.io/serviceaccount/token"

    kv_mount: Mount = "secret"
    kv_version: Literal[1, 2] = 2
    #: Where a tenant's secrets are, below `kv_mount`.
    tenant_path: str = "dotmac/tenants/{tenant}/{name}"
    #: Where the system tenant's are, which serve every tenant that has none of its own; empty: tenants have only their own.
    system_path: str = "dotmac/system/{name}"
    #: The field that holds the value.
    field: str = "value"
    #: Secrets that lie elsewhere, by name.
    places: dict[str, Place] = Field(default_factory=dict)

    #: How often secrets that were given out are looked at for changes.
    poll_interval: Annotated[float, Field(gt=0, le=86_400)] = 30.0
    #: For how long a value that was read serves further calls.
    cache_ttl: Annotated[float, Field(ge=0, le=3_600)] = 5.0
    #: For how long values serve while Vault is away. After that, instances that use them stop until it is back.
    max_stale: Annotated[float, Field(ge=0)] = 86_400.0
    #: The most that one request takes.
    timeout: Annotated[float, Field(gt=0, le=300)] = 5.0
    #: For how long a request is repeated that Vault could not serve now.
    patience: Annotated[float, Field(ge=0, le=300)] = 10.0

    @field_validator("vault_addr")
    @classmethod
    def _is_address(cls, address: str) -> str:
        if not address:
            return ""
        parts = urlsplit(address)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.query:
            raise ValueError("an address looks like https://vault.example.net:8200")
        return address.rstrip("/")

    @field_validator("tenant_path")
    @classmethod
    def _is_tenant_path(cls, path: str) -> str:
        checked = _check_path(path, frozenset({"tenant", "name"}))
        if "{tenant}" not in checked or "{name}" not in checked:
            raise ValueError("tenant_path needs {tenant} and {name}, or tenants would read each other's secrets")
        return checked

    @field_validator("system_path")
    @classmethod
    def _is_system_path(cls, path: str) -> str:
        if not path:
            return ""
        checked = _check_path(path, frozenset({"name"}))
        if "{name}" not in checked:
            raise ValueError("system_path needs {name}")
        return checked

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if self.auth_method == "userpass" and not self.username:
            raise ValueError("auth_method 'userpass' needs username")
        if self.auth_method == "kubernetes" and not self.kubernetes_role:
            raise ValueError("auth_method 'kubernetes' needs kubernetes_role")
        if bool(self.vault_client_key) and not self.vault_client_cert:
            raise ValueError("vault_client_key needs vault_client_cert")
        return self
