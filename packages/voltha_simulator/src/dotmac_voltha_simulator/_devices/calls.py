"""The device calls of VolthaService (section 1.2): thin answers over ``olt_life`` and ``onu_life``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf import empty_pb2
from voltha_protos import common_pb2, device_pb2
from voltha_protos import openflow_13_pb2 as of

from .._events.messages import rpc_error
from .._serving.refusal import (
    CrashRefusedError,
    RefusedError,
    failed_precondition,
    invalid_argument,
    not_found,
    unknown,
)
from .._stack import delays
from .._stack.records import DeviceRecord, OltRecord, OnuRecord
from .._stack.stack import ADAPTER_ENDPOINTS, ADMIN, CONNECT, OPER, Stack
from . import olt_life, onu_life
from .pm import olt_update_refusal, onu_update_errors

if TYPE_CHECKING:
    from collections.abc import Iterable

_EMPTY = empty_pb2.Empty()


class DeviceCalls:
    """Methods named as the RPCs; each takes the request and answers the response, or raises ``RefusedError``."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack

    # reading

    def list_devices(self, _: Any) -> Any:
        """ListDevices: OLTs and ONUs together."""
        return device_pb2.Devices(items=[record.message for record in self.stack.devices.values()])

    def list_device_ids(self, _: Any) -> Any:
        """ListDeviceIds."""
        return common_pb2.IDs(items=[common_pb2.ID(id=device_id) for device_id in self.stack.devices])

    def get_device(self, request: Any) -> Any:
        """GetDevice."""
        return self.stack.device(request.id).message

    def list_device_ports(self, request: Any) -> Any:
        """ListDevicePorts."""
        return device_pb2.Ports(items=self._with_prefix(request.id).ports.values())

    def list_device_flows(self, request: Any) -> Any:
        """ListDeviceFlows."""
        return of.Flows(items=self._with_prefix(request.id).flows.values())

    def list_device_flow_groups(self, request: Any) -> Any:
        """ListDeviceFlowGroups."""
        return of.FlowGroups(items=self._with_prefix(request.id).groups.values())

    def list_device_pm_configs(self, request: Any) -> Any:
        """ListDevicePmConfigs."""
        return self.stack.device(request.id).message.pm_configs

    def get_images(self, request: Any) -> Any:
        """GetImages: neither adapter reports any."""
        self.stack.device(request.id)
        return device_pb2.Images()

    def _with_prefix(self, device_id: str) -> DeviceRecord:
        record = self.stack.devices.get(device_id)
        if record is None:
            raise not_found(f"device-{device_id}")
        return record

    # life

    def create_device(self, request: Any) -> Any:
        """CreateDevice: stored as sent, whatever it is; only the address is asked for (surprise 17)."""
        if not request.mac_address and not request.host_and_port:
            raise unknown("no-device-info-present; MAC or HOSTIP&PORT")
        if any(_same_device(record.message, request) for record in self.stack.olts()):
            raise unknown("device is already pre-provisioned")
        device = device_pb2.Device()
        device.CopyFrom(request)
        device.id = request.id or self.stack.new_id()
        device.root, device.admin_state = True, ADMIN.PREPROVISIONED
        self.stack.remember(OltRecord(device, self.stack.timers.group()))
        return device

    def enable_device(self, request: Any) -> Any:
        """EnableDevice: answers at once, the states follow."""
        record = self.stack.idle_device(request.id)
        device = record.message
        if device.type not in ADAPTER_ENDPOINTS:
            raise unknown(f"adapter-not-registered-for-device-type {device.type}")
        if device.admin_state == ADMIN.ENABLED and device.oper_status != OPER.FAILED:
            raise failed_precondition(f"cannot-enable-an-already-enabled-device: {record.id}")
        self._require_adapter(record)
        if isinstance(record, OltRecord):
            olt_life.enable(self.stack, record)
        elif isinstance(record, OnuRecord):
            onu_life.enable(self.stack, record)
        return _EMPTY

    def disable_device(self, request: Any) -> Any:
        """DisableDevice: a disabled device stays as it is."""
        record = self.stack.idle_device(request.id)
        if record.message.admin_state == ADMIN.PREPROVISIONED:
            raise failed_precondition(f"deviceId:{record.id}, invalid-admin-state:PREPROVISIONED")
        if record.message.admin_state == ADMIN.DISABLED:
            return _EMPTY
        self._require_adapter(record)
        if isinstance(record, OltRecord):
            olt_life.disable(self.stack, record)
        elif isinstance(record, OnuRecord):
            onu_life.disable(self.stack, record)
        return _EMPTY

    def reboot_device(self, request: Any) -> Any:
        """RebootDevice: only what is REACHABLE can be told to."""
        record = self.stack.idle_device(request.id)
        device = record.message
        if device.connect_status != CONNECT.REACHABLE:
            oper, connect = OPER.Types.Name(device.oper_status), CONNECT.Types.Name(device.connect_status)
            raise failed_precondition(
                f"cannot complete operation as device :{record.id} is in operstatus:{oper} ,connect-status:{connect}"
            )
        self._require_adapter(record)
        if isinstance(record, OltRecord):
            olt_life.reboot(self.stack, record)
        elif isinstance(record, OnuRecord):
            onu_life.reboot(self.stack, record)
        return _EMPTY

    async def delete_device(self, request: Any) -> Any:
        """DeleteDevice: answers when it is done, 5 s for an ONU, 2 s for an OLT that was enabled.

        An OLT hangs while more than 100 change events wait for a reader (surprise 4); a client that goes away does not
        stop it.
        """
        record = self.stack.idle_device(request.id)
        self._require_adapter(record)
        record.busy = "DELETING_FROM_ADAPTER"
        await self.stack.carry_through(self._delete(record))
        return _EMPTY

    async def _delete(self, record: DeviceRecord) -> None:
        stack = self.stack
        if isinstance(record, OnuRecord):
            was_rebooted = record.message.reason == "rebooting"
            await stack.timers.sleep(delays.ONU_DELETE)
            if was_rebooted:  # its adapter never answers, and the ONU stays (section 12.5)
                record.busy = ""
                raise RefusedError(grpc.StatusCode.DEADLINE_EXCEEDED, "context deadline exceeded")
            if record.id in stack.devices:
                onu_life.remove(stack, record, rediscover=True)
        elif isinstance(record, OltRecord):
            await self._delete_olt(record)

    async def _delete_olt(self, olt: OltRecord) -> None:
        stack = self.stack
        if olt.message.admin_state == ADMIN.PREPROVISIONED:
            olt_life.remove(stack, olt)
            return
        olt_life.restart_hardware(stack, olt)
        olt_life.lose_onus(stack, olt)
        await stack.timers.sleep(delays.OLT_DELETE)
        olt_life.clear(stack, olt)
        await stack.change_events.room()
        if olt.id in stack.devices:
            olt_life.remove(stack, olt)

    def force_delete_device(self, request: Any) -> Any:
        """ForceDeleteDevice: gone from the core at once, whatever the adapter says."""
        record = self.stack.device(request.id)
        if isinstance(record, OnuRecord):
            onu_life.remove(self.stack, record, rediscover=True)
        elif isinstance(record, OltRecord):
            if record.message.admin_state != ADMIN.PREPROVISIONED:
                olt_life.restart_hardware(self.stack, record)
            olt_life.remove(self.stack, record)
        return _EMPTY

    def update_device(self, request: Any) -> Any:
        """UpdateDevice: another address for an OLT that an adapter already owns."""
        if not request.id or request.WhichOneof("address") is None:
            raise invalid_argument("missing device id or address")
        record = self._with_prefix(request.id)
        if not isinstance(record, OltRecord):
            raise invalid_argument("device-update-only-supported-for-olt-devices")
        address = request.host_and_port
        if address == record.message.host_and_port:
            raise invalid_argument("no change in device address")
        if any(other.message.host_and_port == address for other in self.stack.olts()):
            raise RefusedError(grpc.StatusCode.ALREADY_EXISTS, "ip address already in use")
        if not record.message.adapter_endpoint:
            raise unknown("endpoint-cannot-be-empty")
        record.message.host_and_port = address
        if record.message.connect_status == CONNECT.UNKNOWN and record.message.admin_state == ADMIN.ENABLED:
            record.timers.later(delays.OLT_DIAL, olt_life.dial, self.stack, record)
        return _EMPTY

    def reconcile_devices(self, request: Any) -> Any:
        """ReconcileDevices: nothing to do where nothing is lost."""
        if not request.items:
            raise invalid_argument("empty-list-of-ids")
        known = sum(item.id in self.stack.devices for item in request.items)
        if known < len(request.items):
            details = f"less-device-reconciled-than-requested:{known}/{len(request.items)}"
            raise RefusedError(grpc.StatusCode.DATA_LOSS, details)
        return _EMPTY

    # ports

    def enable_port(self, request: Any) -> Any:
        """EnablePort: PONs only."""
        return self._switch_port(request, enabled=True)

    def disable_port(self, request: Any) -> Any:
        """DisablePort: PONs only."""
        return self._switch_port(request, enabled=False)

    def _switch_port(self, request: Any, *, enabled: bool) -> Any:
        record = self.stack.idle_device(request.device_id)
        port = record.ports.get(request.port_no)
        if port is None:
            raise invalid_argument(str(request.port_no))
        if port.type != device_pb2.Port.PON_OLT or not isinstance(record, OltRecord):
            kind, verb = device_pb2.Port.PortType.Name(port.type), "enabling" if enabled else "disabling"
            raise RefusedError(grpc.StatusCode.UNIMPLEMENTED, f"{verb} of Port Type {kind} unimplemented")
        olt_life.set_pon(self.stack, record, request.port_no, enabled=enabled)
        return _EMPTY

    # ONUs at PLOAM level

    def disable_onu_device(self, request: Any) -> Any:
        """DisableOnuDevice."""
        self._switch_onu(self._onu(request.id), enabled=False)
        return _EMPTY

    def enable_onu_device(self, request: Any) -> Any:
        """EnableOnuDevice."""
        self._switch_onu(self._onu(request.id), enabled=True)
        return _EMPTY

    def disable_onu_serial_number(self, request: Any) -> Any:
        """DisableOnuSerialNumber."""
        self._switch_onu(self._onu_on(request), enabled=False)
        return _EMPTY

    def enable_onu_serial_number(self, request: Any) -> Any:
        """EnableOnuSerialNumber."""
        self._switch_onu(self._onu_on(request), enabled=True)
        return _EMPTY

    def _onu(self, device_id: str) -> OnuRecord:
        record = self.stack.device(device_id)
        if not isinstance(record, OnuRecord):
            # The core looks for the parent of what it was given; an OLT's parent is its logical device.
            raise not_found(record.message.parent_id)
        return record

    def _onu_on(self, request: Any) -> OnuRecord:
        olt = self.stack.devices.get(request.olt_device_id.id)
        if not isinstance(olt, OltRecord):
            raise not_found(f'id:"{request.olt_device_id.id}"')
        for onu in self.stack.onus_of(olt):
            if onu.hardware.serial == request.serial_number:
                return onu
        raise not_found(f"onu-device-id-not-found-for-serial-number-{request.serial_number}")

    def _switch_onu(self, onu: OnuRecord, *, enabled: bool) -> None:
        if onu.ploam_disabled != enabled:
            raise failed_precondition(f"device-already-{'enabled' if enabled else 'disabled'}: {onu.id}")
        onu.ploam_disabled = not enabled
        if not enabled:
            onu_life.lose(self.stack, onu)
            return
        olt = self.stack.olt_of(onu)
        if olt is not None:
            onu_life.discover(self.stack, olt, onu.hardware)

    # the rest

    def update_device_pm_configs(self, request: Any) -> Any:
        """UpdateDevicePmConfigs: synchronous; what the adapter takes is stored as it was sent (surprise 32)."""
        if not request.id:
            raise failed_precondition("invalid-device-Id")
        record = self.stack.idle_device(request.id)
        if isinstance(record, OltRecord):
            metric = olt_update_refusal(request)
            if metric:
                raise CrashRefusedError(
                    f"the PM metric {metric!r}, unknown to the OLT adapter, ends it; send known names"
                )
        else:
            errors = onu_update_errors(request)
            if errors:
                words = f"errors-handling-one-or-more-pm-config, errors:[{' '.join(errors)}]"
                self.stack.emit(rpc_error("UpdateDevicePmConfigs", record.id, words, {}))
                raise unknown(words)
        record.message.pm_configs.CopyFrom(request)
        if isinstance(record, OnuRecord):
            record.measures = any(group.enabled for group in request.groups)
        return _EMPTY

    def simulate_alarm(self, request: Any) -> Any:
        """SimulateAlarm: always well received, never done; the bus says so."""
        record = self.stack.device(request.id)
        words = "rpc error: code = Unknown desc = not-implemented"
        self.stack.emit(rpc_error("SimulateAlarm", record.id, words, {}))
        return common_pb2.OperationResp(code=common_pb2.OperationResp.OPERATION_SUCCESS)

    def start_omci_test_action(self, request: Any) -> Any:
        """StartOmciTestAction: no adapter has it."""
        self.stack.device(request.id)
        raise unknown("unImplemented")

    def _require_adapter(self, record: DeviceRecord) -> None:
        if record.message.type in self.stack.faults.adapters_down:
            raise unknown(f"no connection to {ADAPTER_ENDPOINTS.get(record.message.type, '')}")


def _same_device(known: Any, wanted: Any) -> bool:
    pairs: Iterable[tuple[str, str]] = (
        (known.id, wanted.id),
        (known.mac_address, wanted.mac_address),
        (known.host_and_port, wanted.host_and_port),
    )
    return any(left and left == right for left, right in pairs)
