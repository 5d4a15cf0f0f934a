"""`configure_device`: what may be asked, and following it until the device is so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from ._client import identified
from ._errors import ServiceConfigError
from ._follow import Follower, Seen
from ._olt import change_address, check_address, enable, switch_pon
from ._onu import pon_index
from ._validation import explain
from .services._flow import pon_port_no

if TYPE_CHECKING:
    from ._device import DeviceView
    from ._session import Session

__all__ = ["DeviceConfig", "configure", "configure_enabled"]

_EXAMPLE: Final = 'For example {"enabled": false}, and for an OLT also {"pon_ports": {"0": true}} or {"host_and_port": "10.0.0.5:9191"}'


class DeviceConfig(BaseModel):
    """What `configure_device` takes: `enabled` for OLTs and ONUs; for an OLT also its address, and PON ports by index."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool | None = None
    host_and_port: str | None = None
    pon_ports: dict[int, bool] = {}

    @field_validator("host_and_port")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        return value if value is None else check_address(value)

    @field_validator("pon_ports", mode="before")
    @classmethod
    def _indices(cls, value: Any) -> Any:
        return {pon_index(key): on for key, on in value.items()} if isinstance(value, Mapping) else value

    @model_validator(mode="after")
    def _something(self) -> DeviceConfig:
        if self.enabled is None and self.host_and_port is None and not self.pon_ports:
            raise ValueError("nothing is asked for")
        return self

    @classmethod
    def parse(cls, config: Any, device: DeviceView) -> DeviceConfig:
        """Check a configuration for this device; raises `ServiceConfigError`."""
        try:
            made = cls.model_validate(config)
        except ValidationError as error:
            raise ServiceConfigError(
                f"config cannot be used: {explain(error, cls.model_fields)}", remedy=_EXAMPLE
            ) from None
        if not device.is_olt and (made.host_and_port or made.pon_ports):
            raise ServiceConfigError(f"{device.key} is an ONU: host_and_port and pon_ports are for OLTs")
        return made


async def configure(session: Session, device: DeviceView, config: DeviceConfig, follower: Follower) -> None:
    """Apply a configuration, address first and ports last; asking for what is so already changes nothing."""
    if config.host_and_port is not None:
        await change_address(session, device, config.host_and_port, follower)
    if config.enabled is not None:
        await configure_enabled(session, device, enabled=config.enabled, follower=follower)
    for index, on in config.pon_ports.items():
        await switch_pon(session, device, pon_port_no(index), enabled=on, follower=follower)


async def configure_enabled(session: Session, device: DeviceView, *, enabled: bool, follower: Follower) -> None:
    """Enable or disable a device and wait until it is so."""
    if enabled and device.admin != "ENABLED":
        await enable(session, device)
    elif not enabled and device.admin != "DISABLED":
        await session.client.call("DisableDevice", identified(device.id))

    async def look() -> tuple[Seen, bool]:
        now = await session.client.device(device.id)
        if now is None:
            return Seen(reached=False, state="gone from VOLTHA"), False
        reached = now.is_ready if enabled else now.is_switched_off
        return Seen(reached=reached, state=now.state), True

    wanted = "ENABLED/ACTIVE/REACHABLE and ready" if enabled else "DISABLED"
    await follower.until(f"{device.kind.upper()} {device.key} to be {wanted}", look)
