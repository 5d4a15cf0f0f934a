"""The last look at every request before it leaves: what is known to crash VOLTHA is refused here (section 12.4, surprises 1 to 3).

Each call of the client passes `admit`. Only the RPCs that this plugin needs are let through at all, so that none of the others
(some hang, reboot an ONU, or end an adapter) can be sent by a slip. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from voltha_protos import openflow_13_pb2 as of

from ._errors import ForbiddenRequestError
from .services._flow import is_nni
from .services._meter import METER_FIRST

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["admit"]

#: What may be sent, without a look at the content.
_HARMLESS: Final = frozenset(
    {
        "GetVoltha",
        "ListAdapters",
        "GetDeviceType",
        "ListDeviceTypes",
        "ListDevices",
        "GetDevice",
        "CreateDevice",
        "EnableDevice",
        "DisableDevice",
        "RebootDevice",
        "UpdateDevice",
        "ListDevicePorts",
        "DeleteDevice",
        "ForceDeleteDevice",
        "EnableOnuDevice",
        "DisableOnuDevice",
        "EnableOnuSerialNumber",
        "DisableOnuSerialNumber",
        "ListDeviceFlowGroups",
        "ListLogicalDeviceFlowGroups",
        "ReceiveChangeEvents",
        "ReceivePacketsIn",
        "ListDevicePmConfigs",
        "GetOnuImages",
        "EnablePort",
        "DisablePort",
        "ListDeviceFlows",
        "GetLogicalDevice",
        "ListLogicalDevices",
        "ListLogicalDevicePorts",
        "ListLogicalDeviceFlows",
        "ListLogicalDeviceMeters",
    }
)

#: Without ids of ONUs they never answer on an empty VOLTHA, and else mean every ONU (surprise 5).
_IMAGE_CALLS: Final = frozenset(
    {"DownloadImageToDevice", "GetImageStatus", "ActivateImage", "CommitImage", "AbortImageUpgradeToDevice"}
)

#: Values on demand that were seen to be answered, soon, and to end no process (recording 09).
_SAFE_VALUES: Final = frozenset(
    {
        "distance",
        "fecHistory",
        "offloadedAppsStats",
        "oltNniStats",
        "oltPonStats",
        "oltPortInfo",
        "oltRxPower",
        "onuActiveAlarms",
        "onuAllocGemStats",
        "onuInfo",
        "onuOmciStats",
        "onuOpticalInfo",
        "onuPonInfo",
        "onuStatsFromOlt",
        "rxPower",
        "uniInfo",
    }
)
#: What may be set on devices.
_SAFE_SETTINGS: Final = frozenset({"app_offload_config", "app_offload_onu_config"})
#: The field by which a request names a port; by number, or without one, the OLT adapter ends (surprise 2).
_LABELS: Final = {"oltRxPower": "port_label", "oltPonStats": "portLabel", "oltNniStats": "portLabel"}

_ETHERTYPE_VLAN: Final = 0x8100
_PORT_MASK: Final = 0x7FFFFFFF  # VOLTHA drops the sign bit of output ports
_MAX_BANDS: Final = 3
_CONTENT: Final = {
    of.OFPIT_GOTO_TABLE: "goto_table",
    of.OFPIT_WRITE_METADATA: "write_metadata",
    of.OFPIT_APPLY_ACTIONS: "actions",
    of.OFPIT_METER: "meter",
}


def admit(rpc: str, request: Any) -> None:
    """Let a request pass, or raise `ForbiddenRequestError` that says what it would do."""
    if rpc == "UpdateLogicalDeviceFlowTable":
        _check_flow_update(request)
    elif rpc == "UpdateLogicalDeviceMeterTable":
        _check_meter_update(request)
    elif rpc == "Extension/GetExtValue":
        _check_value_request(rpc, request)
    elif rpc == "Extension/SetExtValue":
        if request.request.WhichOneof("request") not in _SAFE_SETTINGS:
            raise _forbid(rpc, "it is not among the settings that this plugin makes")
    elif rpc in _IMAGE_CALLS:
        _check_image(rpc, request)
    elif rpc == "UpdateDevicePmConfigs":
        _check_pm(rpc, request)
    elif rpc not in _HARMLESS:
        raise ForbiddenRequestError(f"{rpc} is not among the calls that this plugin makes", rpc=rpc)


def _check_value_request(rpc: str, request: Any) -> None:
    kind = request.request.WhichOneof("request")
    if kind not in _SAFE_VALUES:
        raise _forbid(rpc, f"{kind or 'an empty request'} is not among the values that this plugin asks for")
    if kind in _LABELS and not getattr(getattr(request.request, kind), _LABELS[kind]):
        raise _forbid(rpc, f"{kind} without a port label ends the OLT adapter")


def _check_image(rpc: str, request: Any) -> None:
    if not request.device_id or not all(each.id for each in request.device_id):
        raise _forbid(rpc, "it names no ONU, so it means all of them or never answers")
    version = request.image.version if rpc == "DownloadImageToDevice" else request.version
    if not version:
        raise _forbid(rpc, "it names no version")


def _check_pm(rpc: str, configs: Any) -> None:
    """VOLTHA stores what it is sent as it is: what is left out is lost to the device (surprise 32)."""
    if not configs.id:
        raise _forbid(rpc, "it names no device")
    if not (configs.metrics or configs.groups):
        raise _forbid(rpc, "without its metrics and groups the device would lose them")
    if not configs.default_freq or configs.default_freq % 5:
        raise _forbid(rpc, f"a frequency of {configs.default_freq} s is no multiple of 5")


def _forbid(rpc: str, why: str) -> ForbiddenRequestError:
    return ForbiddenRequestError(f"{rpc} was not sent: {why}", rpc=rpc)


def _check_flow_update(update: Any) -> None:
    rpc = "UpdateLogicalDeviceFlowTable"
    if not update.HasField("flow_mod") or not update.flow_mod.HasField("match"):
        raise _forbid(rpc, "a flow without a match ends VOLTHA's core")
    mod = update.flow_mod
    if mod.command not in (of.OFPFC_ADD, of.OFPFC_DELETE_STRICT):
        raise _forbid(rpc, "only ADD and DELETE_STRICT touch exactly one flow")
    _check_match(rpc, mod)
    _check_instructions(rpc, mod)
    if mod.command == of.OFPFC_ADD:
        _check_added_flow(rpc, mod)


def _check_match(rpc: str, mod: Any) -> None:
    if mod.match.type != of.OFPMT_OXM:
        raise _forbid(rpc, "the match is no OXM match")
    for field in mod.match.oxm_fields:
        if field.oxm_class != of.OFPXMC_OPENFLOW_BASIC or field.WhichOneof("field") != "ofb_field":
            raise _forbid(rpc, "a match field is not of the OpenFlow basic class")
        if field.ofb_field.has_mask and field.ofb_field.WhichOneof("mask") is None:
            raise _forbid(rpc, "a match field says that it has a mask and brings none")


def _check_instructions(rpc: str, mod: Any) -> None:
    for step in mod.instructions:
        expected = _CONTENT.get(step.type)
        if expected is None or step.WhichOneof("data") != expected:
            raise _forbid(rpc, f"an instruction of type {step.type} has not the content of its type")
    _check_actions(rpc, list(_actions(mod)))


def _check_actions(rpc: str, actions: list[Any]) -> None:
    pushed = False
    for position, action in enumerate(actions):
        if action.type == of.OFPAT_PUSH_VLAN:
            pushed = True
            if action.push.ethertype != _ETHERTYPE_VLAN:
                raise _forbid(rpc, f"pushing ethertype {action.push.ethertype:#06x} ends the OLT adapter; only 0x8100")
            if not any(map(_sets_vlan, actions[position + 1 :])):
                raise _forbid(rpc, "a pushed tag needs a VLAN id after it, or the OLT adapter ends")
        elif pushed and _names_vlan(action) and not _sets_vlan(action):
            raise _forbid(rpc, "setting VLAN 0 on a pushed tag ends the OLT adapter")


def _names_vlan(action: Any) -> bool:
    return bool(action.type == of.OFPAT_SET_FIELD and action.set_field.field.ofb_field.type == of.OFPXMT_OFB_VLAN_VID)


def _sets_vlan(action: Any) -> bool:
    return _names_vlan(action) and bool(action.set_field.field.ofb_field.vlan_vid & 0xFFF)


def _check_added_flow(rpc: str, mod: Any) -> None:
    ports = {field.ofb_field.port for field in mod.match.oxm_fields if field.ofb_field.type == of.OFPXMT_OFB_IN_PORT}
    if len(ports) != 1:
        raise _forbid(rpc, "a flow needs exactly one input port")
    if mod.table_id != 0:
        return
    if not is_nni(ports.pop()):
        if not all(_meters(mod)) or not list(_meters(mod)):
            raise _forbid(rpc, "an upstream flow of table 0 without a meter ends the ONU adapter")
    elif not _is_trap(mod) and not _has_egress_port(mod):
        raise _forbid(rpc, "a downstream flow of table 0 without a port in write_metadata ends the OLT adapter")


def _is_trap(mod: Any) -> bool:
    """A flow from the uplink to the controller: it goes to no subscriber, so it has no port to name."""
    goes_on = any(step.type == of.OFPIT_GOTO_TABLE for step in mod.instructions)
    outputs = {action.output.port & _PORT_MASK for action in _actions(mod) if action.type == of.OFPAT_OUTPUT}
    return not goes_on and outputs == {of.OFPP_CONTROLLER & _PORT_MASK}


def _has_egress_port(mod: Any) -> bool:
    written = [
        step.write_metadata.metadata & 0xFFFFFFFF for step in mod.instructions if step.type == of.OFPIT_WRITE_METADATA
    ]
    return bool(written) and all(written)


def _meters(mod: Any) -> Iterable[int]:
    return (step.meter.meter_id for step in mod.instructions if step.type == of.OFPIT_METER)


def _actions(mod: Any) -> Iterable[Any]:
    return (
        action for step in mod.instructions if step.type == of.OFPIT_APPLY_ACTIONS for action in step.actions.actions
    )


def _check_meter_update(update: Any) -> None:
    rpc = "UpdateLogicalDeviceMeterTable"
    if not update.HasField("meter_mod"):
        raise _forbid(rpc, "it has no meter")
    mod = update.meter_mod
    if mod.command not in (of.OFPMC_ADD, of.OFPMC_DELETE):
        raise _forbid(rpc, "only ADD and DELETE are used; changing a meter does not reach the schedulers")
    if mod.meter_id < METER_FIRST:
        raise _forbid(rpc, f"meter {mod.meter_id} is not of our range (from {METER_FIRST}); it may be a controller's")
    if mod.command == of.OFPMC_ADD and not (1 <= len(mod.bands) <= _MAX_BANDS and all(_is_drop(b) for b in mod.bands)):
        raise _forbid(rpc, "a meter has one to three bands of type DROP with a rate above 0")


def _is_drop(band: Any) -> bool:
    return bool(band.type == of.OFPMBT_DROP and band.rate > 0)
