"""The calls of VolthaService on logical devices and on the core itself (section 1.2)."""

from __future__ import annotations

import json
import random
import time
from typing import Any

from google.protobuf import empty_pb2
from voltha_protos import adapter_pb2, device_pb2, logical_device_pb2, voltha_pb2
from voltha_protos import openflow_13_pb2 as of

from .._serving.refusal import invalid_argument, not_found
from .._stack.stack import ADAPTER_ENDPOINTS, OLT_TYPE, ONU_TYPE, Stack
from . import meters, table

_EMPTY = empty_pb2.Empty()
_ONU_VENDORS = "OPEN ALCL BRCM TWSH ALPH ISKT SFAA BBSM SCOM ARPX DACM ERSN HWTC CIGG ADTN ARCA AVMG LEOX ZYXE"
_ADAPTER_VENDORS = {OLT_TYPE: "VOLTHA OpenOLT", ONU_TYPE: "VOLTHA OpenONUGo"}
_VERSION_KEYS = ("version", "goversion", "vcsref", "vcsdirty", "buildtime", "os", "arch")


class LogicalCalls:
    """Methods named as the RPCs; each takes the request and answers the response, or raises ``RefusedError``."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack

    # the core

    def get_voltha(self, _: Any) -> Any:
        """GetVoltha: only the version, as JSON text."""
        values = dict.fromkeys(_VERSION_KEYS, "simulated")
        return voltha_pb2.Voltha(version=json.dumps(values, separators=(",", ":")))

    def list_adapters(self, _: Any) -> Any:
        """ListAdapters: also those that are down."""
        adapters = adapter_pb2.Adapters()
        for kind, vendor in _ADAPTER_VENDORS.items():
            adapters.items.add(
                id=f"{kind}_1",
                vendor=vendor,
                version="simulated",
                type=kind,
                endpoint=ADAPTER_ENDPOINTS[kind],
                currentReplica=1,
                totalReplicas=1,
                last_communication=int(time.time()),
            )
        return adapters

    def list_device_types(self, _: Any) -> Any:
        """ListDeviceTypes."""
        return device_pb2.DeviceTypes(items=[_device_type(kind) for kind in (ONU_TYPE, OLT_TYPE)])

    def get_device_type(self, request: Any) -> Any:
        """GetDeviceType."""
        if request.id not in ADAPTER_ENDPOINTS:
            raise not_found(f"device_type-{request.id}")
        return _device_type(request.id)

    # logical devices

    def list_logical_devices(self, _: Any) -> Any:
        """ListLogicalDevices."""
        return logical_device_pb2.LogicalDevices(items=[record.message for record in self.stack.logical.values()])

    def get_logical_device(self, request: Any) -> Any:
        """GetLogicalDevice."""
        record = self.stack.logical.get(request.id)
        if record is None:
            raise not_found(f'id:"{request.id}"' if request.id else "")
        return record.message

    def list_logical_device_ports(self, request: Any) -> Any:
        """ListLogicalDevicePorts: in no order, as the real core answers it."""
        ports = list(self.stack.logical_device(request.id).ports.values())
        random.shuffle(ports)
        return logical_device_pb2.LogicalPorts(items=ports)

    def get_logical_device_port(self, request: Any) -> Any:
        """GetLogicalDevicePort: by its label, such as ``uni-256``."""
        for port in self.stack.logical_device(request.id).ports.values():
            if port.id == request.port_id:
                return port
        raise not_found(f"{request.id}-{request.port_id}")

    def enable_logical_device_port(self, request: Any) -> Any:
        """EnableLogicalDevicePort: by its number; only the flag of the port changes."""
        return self._set_down(request, down=False)

    def disable_logical_device_port(self, request: Any) -> Any:
        """DisableLogicalDevicePort: by its number; only the flag of the port changes."""
        return self._set_down(request, down=True)

    def _set_down(self, request: Any, *, down: bool) -> Any:
        logical = self.stack.logical_device(request.id)
        if not request.port_id.isdigit():
            raise invalid_argument(f"failed to parse {request.port_id} as a number")
        port = logical.ports.get(int(request.port_id))
        if port is None:
            raise not_found(f"port-{request.port_id}-not-exist")
        up = port.ofp_port.config & ~of.OFPPC_PORT_DOWN
        port.ofp_port.config = up | of.OFPPC_PORT_DOWN if down else up
        self.stack.port_changed(logical, port, of.OFPPR_MODIFY)
        return _EMPTY

    # tables

    def list_logical_device_flows(self, request: Any) -> Any:
        """ListLogicalDeviceFlows."""
        return of.Flows(items=self.stack.logical_device(request.id).flows.values())

    def list_logical_device_meters(self, request: Any) -> Any:
        """ListLogicalDeviceMeters."""
        return of.Meters(items=self.stack.logical_device(request.id).meters.values())

    def list_logical_device_flow_groups(self, request: Any) -> Any:
        """ListLogicalDeviceFlowGroups."""
        return of.FlowGroups(items=self.stack.logical_device(request.id).groups.values())

    async def update_logical_device_flow_table(self, request: Any) -> Any:
        """UpdateLogicalDeviceFlowTable."""
        await table.update(self.stack, request)
        return _EMPTY

    def update_logical_device_meter_table(self, request: Any) -> Any:
        """UpdateLogicalDeviceMeterTable."""
        meters.update_meter(self.stack, request)
        return _EMPTY

    def update_logical_device_flow_group_table(self, request: Any) -> Any:
        """UpdateLogicalDeviceFlowGroupTable."""
        meters.update_group(self.stack, request)
        return _EMPTY


def _device_type(kind: str) -> Any:
    vendors = _ONU_VENDORS.split() if kind == ONU_TYPE else []
    return device_pb2.DeviceType(
        id=kind, adapter=kind, adapter_type=kind, accepts_add_remove_flow_updates=True, vendor_ids=vendors
    )
