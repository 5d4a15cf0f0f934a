"""Carrying out the admission of ONUs: the list in the store, and what the list asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from dotmac_isp.plugins.core.model import DeviceEvent

from .._client import identified
from .._errors import DeviceNotFoundError, VolthaError
from .._olt import enable
from ._admission import Admission, AdmissionAction, check_serial, judge_admission

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dotmac_isp.plugins.core.api import PluginAPI

    from .._device import DeviceView
    from .._session import Session

__all__ = ["Admissions"]

_ALLOWED: Final = "admission/allowed/"
_REJECTED: Final = "admission/rejected/"
_PAGE: Final = 500


class Admissions:
    """One stack's list of ONUs that may work. `session` gives the connection, `tell` relays an event."""

    def __init__(self, api: PluginAPI, *, session: Callable[[], Session], tell: Callable[[DeviceEvent], None]) -> None:
        self._api: Final = api
        self._session: Final = session
        self._tell: Final = tell
        self._allowed: dict[str, Admission] = {}
        self._rejected: set[str] = set()

    @property
    def _is_open(self) -> bool:
        return bool(self._api.settings.onu_admission == "automatic")

    @property
    def rejected(self) -> frozenset[str]:
        """The serial numbers that are disabled because they are not allowed."""
        return frozenset(self._rejected)

    async def load(self) -> None:
        """Read the list."""
        self._allowed = {entry["serial"]: msgspec.convert(entry, Admission) for entry in await self._values(_ALLOWED)}
        self._rejected = {entry["serial"] for entry in await self._values(_REJECTED)}

    async def _values(self, prefix: str) -> list[Any]:
        found: list[Any] = []
        after: str | None = None
        while page := await self._api.storage.list(prefix, limit=_PAGE, after=after):
            found += [document.value for document in page]
            after = page[-1].key
        return found

    async def allow(self, entry: Admission) -> None:
        """Put a serial number on the list, in place of its former entry."""
        await self._api.storage.put(_ALLOWED + check_serial(entry.serial), msgspec.to_builtins(entry))
        self._allowed[entry.serial] = entry

    async def forbid(self, serial: str) -> bool:
        """Take a serial number off the list; `False` when it was not on it."""
        self._allowed.pop(serial, None)
        return await self._api.storage.delete(_ALLOWED + check_serial(serial))

    def plain(self) -> list[dict[str, Any]]:
        """The list, by serial number, and which of them are disabled because they were not on it."""
        return [self._allowed[serial].plain() for serial in sorted(self._allowed)]

    def waiting(self, devices: Sequence[DeviceView]) -> list[dict[str, Any]]:
        """The ONUs that VOLTHA discovered and that may not work."""
        return [onu.plain() for onu in devices if not onu.is_olt and onu.serial in self._rejected]

    async def enforce(self, devices: Sequence[DeviceView]) -> None:
        """Disable what is not allowed, enable what has become so. A device that refuses is tried at the next look."""
        await self._forget_gone(devices)
        for action in judge_admission(devices, None if self._is_open else self._allowed, self._rejected):
            try:
                await (self._reject(action) if action.what == "reject" else self._admit(action))
            except VolthaError as error:
                self._api.logger.warning("ONU %s: %s failed: %s", action.onu.serial, action.what, error)

    async def _forget_gone(self, devices: Sequence[DeviceView]) -> None:
        """An ONU that somebody enabled on purpose, or that is gone, is not ours to enable any more."""
        disabled = {device.serial for device in devices if device.admin == "DISABLED"}
        for serial in self._rejected - disabled:
            await self._api.storage.delete(_REJECTED + serial)
        self._rejected &= disabled

    async def _reject(self, action: AdmissionAction) -> None:
        onu = action.onu
        # First remembered, then done: a crash between the two leaves an ONU that will be enabled when it is allowed.
        await self._api.storage.put(_REJECTED + onu.serial, {"serial": onu.serial, "why": action.why})
        try:
            await self._session().client.call("DisableDevice", identified(onu.id))
        except DeviceNotFoundError:
            return
        self._rejected.add(onu.serial)
        self._say(action, "onu_rejected", "warning")

    async def _admit(self, action: AdmissionAction) -> None:
        await enable(self._session(), action.onu)
        await self._api.storage.delete(_REJECTED + action.onu.serial)
        self._rejected.discard(action.onu.serial)
        self._say(action, "onu_admitted", "info")

    def _say(self, action: AdmissionAction, kind: str, severity: str) -> None:
        onu = action.onu
        self._api.logger.info("ONU %s %s: %s", onu.serial, kind.removeprefix("onu_"), action.why)
        self._tell(
            DeviceEvent(
                event_type=kind,
                device_id=onu.id,
                serial_number=onu.serial,
                source=self._api.plugin_id,
                tenant_id=self._api.tenant_id,
                severity=severity,
                message=f"ONU {onu.serial} {kind.removeprefix('onu_')}: {action.why}",
                attributes=onu.plain(),
            )
        )
