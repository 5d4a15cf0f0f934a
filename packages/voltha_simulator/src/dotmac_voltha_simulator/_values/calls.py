"""extension.Extension and the older value calls of VolthaService (section 6.3; recording 09).

The values are made up, but the same for the same serial number, and such as a healthy line has them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf import json_format
from voltha_protos import extensions_pb2

from .._devices import onu_life
from .._serving.refusal import CrashRefusedError, RefusedError, not_found, unknown
from .._stack import delays
from .._stack.records import OltRecord, OnuRecord
from .._stack.stack import ADMIN, Stack
from . import counters

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Body = dict[str, Any]


class ExtensionCalls:
    """``GetExtValue`` and ``SetExtValue`` of the Extension service."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self._olt: dict[str, Callable[[OltRecord, Any], Awaitable[Body]]] = {
            "distance": self._distance,
            "oltPortInfo": self._olt_port_info,
            "oltRxPower": self._olt_rx_power,
            "rxPower": self._rx_power,
            "oltPonStats": self._statistics,
            "oltNniStats": self._statistics,
            "onuPonInfo": self._pon_counters,
            "offloadedAppsStats": self._offloaded,
            "subAppsStats": self._subscriber_apps,
        }
        self._onu: dict[str, Callable[[OnuRecord, Any], Awaitable[Body]]] = {
            "uniInfo": self._uni_info,
            "onuOpticalInfo": self._optical_info,
            "onuActiveAlarms": self._active_alarms,
            "onuInfo": self._frames,
            "onuOmciStats": self._omci,
            "fecHistory": self._fec,
            "onuAllocGemStats": self._alloc,
            "onuStatsFromOlt": self._from_olt,
        }

    async def get_ext_value(self, request: Any) -> Any:
        """GetExtValue: what the simulator does not have is answered ERROR/UNSUPPORTED, as real adapters do."""
        record = self.stack.devices.get(request.targetId)
        if record is None:
            raise not_found(f"target-id {request.targetId}")
        kind = request.request.WhichOneof("request") or ""
        wanted = getattr(request.request, kind) if kind else None
        if isinstance(record, OltRecord):
            _refuse_crash(kind, wanted)
            if kind == "onuStatsFromOlt":
                raise not_found(f"target-id {record.id}, parent-id {record.message.parent_id}")
            answer = self._olt.get(kind)
            return _response(await answer(record, wanted) if answer else error("UNSUPPORTED"))
        if isinstance(record, OnuRecord):
            handler = self._onu.get(kind)
            return _response(await handler(record, wanted) if handler else error("UNSUPPORTED"))
        return _response(error("UNSUPPORTED"))

    def set_ext_value(self, request: Any) -> Any:
        """SetExtValue: the adapters take the offloading of applications, and nothing else."""
        record = self.stack.devices.get(request.targetId)
        if record is None:
            raise not_found(f"target-id {request.targetId}")
        kind = request.request.WhichOneof("request")
        taken = kind == "app_offload_onu_config" or (kind == "app_offload_config" and isinstance(record, OltRecord))
        body = {"response": {"status": "OK"} if taken else error("UNSUPPORTED")}
        return json_format.ParseDict(body, extensions_pb2.SingleSetValueResponse())

    # of an OLT

    async def _distance(self, olt: OltRecord, wanted: Any) -> Body:
        onu = self.stack.devices.get(wanted.onuDeviceId)
        if not isinstance(onu, OnuRecord) or onu.olt_id != olt.id:
            return error("INVALID_DEVICE")
        metres = int(onu.hardware.level(300, 18_000, "distance"))
        return {"status": "OK", "distance": {"distance": metres}}

    async def _olt_port_info(self, _: OltRecord, wanted: Any) -> Body:
        if not wanted.portType:
            return error("INVALID_PORT_TYPE")
        await self.stack.timers.sleep(delays.OLT_PORT_TIMEOUT)
        return error("TIMEOUT")

    async def _olt_rx_power(self, olt: OltRecord, wanted: Any) -> Body:
        found = [
            {"onu_sn": onu.hardware.serial, **_received(onu)}
            for onu in self.stack.onus_of(olt)
            if f"pon-{onu.hardware.pon}" == wanted.port_label and wanted.onu_sn in ("", onu.hardware.serial)
        ]
        return {"status": "OK", "oltRxPower": {"rx_power": found}}

    async def _rx_power(self, olt: OltRecord, wanted: Any) -> Body:
        for onu in self.stack.onus_of(olt):
            if (onu.hardware.pon, onu.onu_id) == (wanted.intf_id, wanted.onu_id):
                place = {"intf_id": wanted.intf_id, "onu_id": wanted.onu_id}
                return {"status": "OK", "rxPower": {**place, **_received(onu)}}
        return error("INVALID_DEVICE")

    async def _statistics(self, _: OltRecord, __: Any) -> Body:
        return error("UNSUPPORTED")

    async def _pon_counters(self, olt: OltRecord, wanted: Any) -> Body:
        known = {(onu.hardware.pon, onu.onu_id) for onu in self.stack.onus_of(olt)}
        return _ok(counters.pon()) if (wanted.intf_id, wanted.onu_id) in known else error("INVALID_DEVICE")

    async def _offloaded(self, _: OltRecord, __: Any) -> Body:
        return _ok({"offloadedAppsStats": {}})

    async def _subscriber_apps(self, _: OltRecord, __: Any) -> Body:
        return error("INVALID_DEVICE_ID")

    # of an ONU

    async def _uni_info(self, onu: OnuRecord, wanted: Any) -> Body:
        if wanted.uniIndex >= onu.hardware.unis:
            return error("INVALID_PORT_TYPE")
        if not onu.omci_ready:
            return await self._silence()
        locked = onu.message.admin_state == ADMIN.DISABLED
        info = {
            "admState": "LOCKED" if locked else "UNLOCKED",
            "operState": "DISABLED" if locked else "ENABLED",
            "configInd": "GIGABIT_ETHERNET_FDX",
        }
        return {"status": "OK", "uniInfo": info}

    async def _optical_info(self, onu: OnuRecord, _: Any) -> Body:
        if not onu.omci_ready:
            return await self._silence()
        await self.stack.timers.sleep(delays.OPTICAL_INFO)
        level = onu.hardware.level
        info = {
            "powerFeedVoltage": level(3.24, 3.36, "voltage"),
            "receivedOpticalPower": level(-24.5, -14.0, "receive"),
            "meanOpticalLaunchPower": level(1.5, 4.5, "launch"),
            "laserBiasCurrent": level(8.0, 16.0, "bias"),
            "temperature": level(38.0, 52.0, "temperature"),
        }
        return {"status": "OK", "onuOpticalInfo": info}

    async def _active_alarms(self, onu: OnuRecord, _: Any) -> Body:
        if not onu.omci_ready:
            return await self._silence()
        await self.stack.timers.sleep(delays.ACTIVE_ALARMS)
        unis = onu_life.uni_numbers(onu)
        raised = "ONU_Ethernet_UNI" in onu.raised and bool(unis)
        alarm = {"class_id": 11, "instance_id": 257, "name": "ONU_Ethernet_UNI", "description": "LAN loss of signal"}
        return {"status": "OK", "onuActiveAlarms": {"active_alarms": [alarm] if raised else []}}

    async def _frames(self, onu: OnuRecord, wanted: Any) -> Body:
        index = wanted.uniIndex if wanted.HasField("uniIndex") else 0
        if index >= onu.hardware.unis:
            return error("INVALID_REQ_TYPE")
        if not onu.omci_ready:
            return await self._silence()
        return _ok(counters.frames(reset=wanted.reset))

    async def _omci(self, onu: OnuRecord, _: Any) -> Body:
        return _ok(counters.omci(onu))

    async def _fec(self, onu: OnuRecord, _: Any) -> Body:
        return await self._slowly(onu, counters.fec())

    async def _alloc(self, onu: OnuRecord, _: Any) -> Body:
        return await self._slowly(onu, counters.alloc())

    async def _slowly(self, onu: OnuRecord, body: Body) -> Body:
        """What the ONU adapter collects over OMCI for ten seconds (surprise 33)."""
        if not onu.omci_ready:
            return await self._silence()
        await self.stack.timers.sleep(delays.ONU_HISTORY)
        return _ok(body)

    async def _from_olt(self, _: OnuRecord, __: Any) -> Body:
        return _ok({"onuStatsFromOltResponse": {"allocGemStatsInfo": []}})

    async def _silence(self) -> Body:
        await self.stack.timers.sleep(delays.ONU_OFF_TIMEOUT)
        return error("TIMEOUT")


class ValueCalls:
    """``GetExtValue`` and ``SetExtValue`` of VolthaService: nothing comes of them (surprise 34)."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack

    def get_ext_value(self, request: Any) -> Any:
        """GetExtValue: unsupported for an ONU, refused for an OLT."""
        record = self._device(request.id)
        if isinstance(record, OltRecord):
            # The core looks for the parent of what it was given; an OLT's parent is its logical device.
            details = f"rpc error: code = NotFound desc = {record.message.parent_id}"
            raise RefusedError(grpc.StatusCode.ABORTED, details)
        return extensions_pb2.ReturnValues(Unsupported=request.value)

    def set_ext_value(self, request: Any) -> Any:
        """SetExtValue: no adapter has it."""
        self._device(request.id)
        raise unknown("unImplemented")

    def _device(self, device_id: str) -> Any:
        record = self.stack.devices.get(device_id)
        if record is None:
            raise RefusedError(grpc.StatusCode.ABORTED, f"rpc error: code = NotFound desc = {device_id}")
        return record


def _ok(body: Body) -> Body:
    return {"status": "OK", **body}


def error(reason: str) -> Body:
    """An answer that says why there is none."""
    return {"status": "ERROR", "errReason": reason}


def _received(onu: OnuRecord) -> Body:
    if not onu.hardware.powered:
        return {"status": "failed", "fail_reason": "FAIL_REASON_NONE", "rx_power": 0}
    power = onu.hardware.level(-27.0, -17.0, "olt-receive")
    return {"status": "success", "fail_reason": "FAIL_REASON_NONE", "rx_power": power}


def _refuse_crash(kind: str, wanted: Any) -> None:
    if kind == "oltRxPower" and not wanted.port_label:
        raise CrashRefusedError("oltRxPower without a port label ends the OLT adapter; send one, such as pon-0")
    if kind in ("oltPonStats", "oltNniStats") and wanted.WhichOneof("portInfo") == "portId":
        raise CrashRefusedError(f"{kind} by port id ends the OLT adapter; send the port label, such as pon-0 or nni-0")


def _response(body: Body) -> Any:
    return json_format.ParseDict({"response": body}, extensions_pb2.SingleGetValueResponse())
