"""From a secret's name and a tenant to the places in Vault where it may be, in the order they are looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from .settings import Place, VaultSettings

__all__ = ["Address", "Spot", "spots_for"]


@dataclass(frozen=True, slots=True)
class Address:
    """What one read of Vault gives: a KV document, or a dynamic secret."""

    engine: Literal["kv1", "kv2", "dynamic"]
    #: Empty for `dynamic`, whose path includes it.
    mount: str
    path: str

    @property
    def api_path(self) -> str:
        """The path as Vault's policies and audit log name it."""
        if self.engine == "dynamic":
            return self.path
        return f"{self.mount}/data/{self.path}" if self.engine == "kv2" else f"{self.mount}/{self.path}"


@dataclass(frozen=True, slots=True)
class Spot:
    """One field of what lies at an address."""

    address: Address
    field: str


def spots_for(settings: VaultSettings, name: str, tenant: str | None) -> tuple[Spot, ...]:
    """Where the secret may be: its own place where the settings name one, else the tenant's path and then the system's."""
    place = settings.places.get(name)
    if place is not None:
        return _in_place(settings, place, name, tenant)
    paths = [settings.tenant_path.format(tenant=tenant, name=name)] if tenant is not None else []
    paths += [settings.system_path.format(name=name)] if settings.system_path else []
    engine: Literal["kv1", "kv2"] = "kv2" if settings.kv_version == 2 else "kv1"  # noqa: PLR2004 - the version's number
    return tuple(Spot(Address(engine, settings.kv_mount, path), settings.field) for path in paths)


def _in_place(settings: VaultSettings, place: Place, name: str, tenant: str | None) -> tuple[Spot, ...]:
    if tenant is None and "{tenant}" in place.path:
        return ()
    path = place.path.format(tenant=tenant, name=name)
    field = place.field or settings.field
    if place.engine == "dynamic":
        return (Spot(Address("dynamic", "", path), field),)
    engine: Literal["kv1", "kv2"] = "kv1" if place.engine == "kv1" else "kv2"
    if place.engine == "kv" and settings.kv_version == 1:
        engine = "kv1"
    return (Spot(Address(engine, place.mount or settings.kv_mount, path), field),)
