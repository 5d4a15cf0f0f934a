"""Every value that VOLTHA gives on demand, by the name that voltctl has for it (sections 1.3 and 6.3, surprises 2 and 33). Pure.

Each says whom it asks, what it sends, how long that may take, and where the answer stands.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
from google.protobuf import json_format
from voltha_protos import extensions_pb2 as ext

from .._device import DeviceView
from .._errors import ServiceConfigError
from ._prometheus import Sample

if TYPE_CHECKING:
    from collections.abc import Iterator


__all__ = ["VALUES", "ValueKind", "port_label", "samples_from", "value_plain"]

_PORTS: Final = {"nni": ext.GetOltPortCounters.Port_ETHERNET_NNI, "pon": ext.GetOltPortCounters.Port_PON_OLT}
_APPS: Final = {
    "pppoe": ext.GetOffloadedAppsStatisticsRequest.PPPoeIA,
    "dhcpv4": ext.GetOffloadedAppsStatisticsRequest.DHCPv4RA,
    "dhcpv6": ext.GetOffloadedAppsStatisticsRequest.DHCPv6RA,
}
_WORDS: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_LABEL: Final = re.compile(r"(pon|nni)-(\d{1,10})")
#: Numbers in answers that say which thing was measured.
_NAMES: Final = frozenset(
    {"intf_id", "onu_id", "timestamp", "omci_ethernet_frame_extended_pm_format", "pon_port", "nni_port"}
)


class ValueKind(msgspec.Struct, frozen=True):
    """One kind of value. `target`: whom the request goes to; `device`: which device a caller names."""

    name: str
    device: Literal["olt", "onu"]
    target: Literal["olt", "onu"]
    #: The request's field, and the answer's.
    field: str
    answer: str
    #: Makes the request's content from the device and the caller's options.
    make: Callable[[DeviceView, Mapping[str, Any]], Any]
    options: tuple[str, ...] = ()
    #: Seconds that one answer may take (surprise 33).
    limit: float = 4.0
    #: Counters since the device started, in Prometheus' sense.
    counters: bool = True

    def request(self, device: DeviceView, options: Mapping[str, Any]) -> Any:
        """The message; raises `ServiceConfigError` for options that this value does not have."""
        unknown = sorted(set(options) - set(self.options))
        if unknown:
            raise ServiceConfigError(
                f"{self.name} takes no {', '.join(unknown)}",
                remedy=f"It takes {', '.join(self.options) or 'nothing'}",
            )
        target = device.id if self.target == self.device else device.parent_id
        content = ext.GetValueRequest(**{self.field: self.make(device, options)})
        return ext.SingleGetValueRequest(targetId=target, request=content)


def port_label(options: Mapping[str, Any], kind: str | None = None) -> str:
    """The port that options name (`port`), as VOLTHA's label; raises `ServiceConfigError`.

    A statistics request without a label, or by number, ends the OLT adapter (surprise 2), so a label is always there.
    """
    label = str(options.get("port", ""))
    match = _LABEL.fullmatch(label)
    if match is None or kind not in (None, match[1]):
        example = f"{kind or 'pon'}-{'16777216' if kind == 'nni' else '0'}"
        raise ServiceConfigError(f"port is {label!r}", remedy=f"Give the port's label, for example {example}")
    return label


def _port_counters(_: DeviceView, options: Mapping[str, Any]) -> Any:
    kind, number = port_label(options).split("-")
    return ext.GetOltPortCounters(portNo=int(number), portType=_PORTS[kind])


def _uni(options: Mapping[str, Any]) -> int:
    number = options.get("uni", 1)
    if not isinstance(number, int) or not 1 <= number <= 16:  # noqa: PLR2004 - UNIs of an ONU (section 3)
        raise ServiceConfigError(f"uni is {number!r}", remedy="Give the user port's number, 1 to 16")
    return number - 1


def _frames(onu: DeviceView, options: Mapping[str, Any]) -> Any:
    request = ext.GetOmciEthernetFrameExtendedPmRequest(onuDeviceId=onu.id, reset=bool(options.get("reset")))
    if "uni" in options:
        request.uniIndex.value = _uni(options)
    return request


def _apps(_: DeviceView, options: Mapping[str, Any]) -> Any:
    app = options.get("app", "dhcpv4")
    if app not in _APPS:
        raise ServiceConfigError(f"app is {app!r}", remedy=f"Give {', '.join(_APPS)}")
    return ext.GetOffloadedAppsStatisticsRequest(statsFor=_APPS[app])


_KINDS: Final[tuple[ValueKind, ...]] = (
    ValueKind(
        "onu_pon_optical_info",
        "onu",
        "onu",
        "onuOpticalInfo",
        "onuOpticalInfo",
        lambda _, __: ext.GetOnuPonOpticalInfo(empty={}),
        counters=False,
    ),
    ValueKind(
        "pon_rx_power",
        "olt",
        "olt",
        "oltRxPower",
        "oltRxPower",
        lambda _, options: ext.GetOltRxPowerRequest(
            port_label=port_label(options, "pon"), onu_sn=str(options.get("serial_number", ""))
        ),
        ("port", "serial_number"),
        counters=False,
    ),
    ValueKind(
        "rxpower",
        "onu",
        "olt",
        "rxPower",
        "rxPower",
        lambda onu, _: ext.GetRxPowerRequest(intf_id=onu.pon, onu_id=onu.onu_id),
        counters=False,
    ),
    ValueKind(
        "onu_distance",
        "onu",
        "olt",
        "distance",
        "distance",
        lambda onu, _: ext.GetDistanceRequest(onuDeviceId=onu.id),
        counters=False,
    ),
    ValueKind(
        "unistatus",
        "onu",
        "onu",
        "uniInfo",
        "uniInfo",
        lambda _, options: ext.GetOnuUniInfoRequest(uniIndex=_uni(options)),
        ("uni",),
        counters=False,
    ),
    ValueKind("portstats", "olt", "olt", "oltPortInfo", "portCoutners", _port_counters, ("port",), 5.0),
    ValueKind(
        "itu_pon_stats",
        "olt",
        "olt",
        "oltPonStats",
        "oltPonStatsResponse",
        lambda _, options: ext.GetPonStatsRequest(portLabel=port_label(options, "pon")),
        ("port",),
    ),
    ValueKind(
        "nni_statistics",
        "olt",
        "olt",
        "oltNniStats",
        "oltNniStatsResponse",
        lambda _, options: ext.GetNNIStatsRequest(portLabel=port_label(options, "nni")),
        ("port",),
    ),
    ValueKind(
        "onu_stats",
        "onu",
        "olt",
        "onuPonInfo",
        "onuPonCounters",
        lambda onu, _: ext.GetOnuCountersRequest(intf_id=onu.pon, onu_id=onu.onu_id),
    ),
    ValueKind("ethernet_frame_extended_pm", "onu", "onu", "onuInfo", "onuCounters", _frames, ("uni", "reset"), 12.0),
    ValueKind(
        "onu_omci_stats",
        "onu",
        "onu",
        "onuOmciStats",
        "onuOmciStats",
        lambda _, __: ext.GetOnuOmciTxRxStatsRequest(empty={}),
    ),
    ValueKind(
        "onu_omci_active_alarms",
        "onu",
        "onu",
        "onuActiveAlarms",
        "onuActiveAlarms",
        lambda _, __: ext.GetOnuOmciActiveAlarmsRequest(empty={}),
        limit=12.0,
        counters=False,
    ),
    ValueKind("offload_app_stats", "olt", "olt", "offloadedAppsStats", "offloadedAppsStats", _apps, ("app",)),
    ValueKind(
        "onu_gem_stats",
        "onu",
        "onu",
        "onuAllocGemStats",
        "onuAllocGemStatsResponse",
        lambda _, __: ext.GetOnuAllocGemHistoryRequest(empty={}),
        limit=15.0,
        counters=False,
    ),
    # It goes to the ONU: with the OLT's id VOLTHA looks for the OLT's parent and finds none (surprise 33).
    ValueKind(
        "onu_alloc_gem_from_olt",
        "onu",
        "onu",
        "onuStatsFromOlt",
        "onuStatsFromOltResponse",
        lambda onu, _: ext.GetOnuStatsFromOltRequest(intfId=onu.pon, onuId=onu.onu_id),
    ),
    ValueKind(
        "onu_fec_history",
        "onu",
        "onu",
        "fecHistory",
        "fecHistory",
        lambda _, __: ext.GetOnuFecHistory(empty={}),
        limit=15.0,
        counters=False,
    ),
)

#: By voltctl's name.
VALUES: Final[dict[str, ValueKind]] = {kind.name: kind for kind in _KINDS}


def value_plain(kind: ValueKind, response: Any) -> dict[str, Any]:
    """The answer's content as plain data, with 64-bit counters as numbers."""
    body = getattr(response, kind.answer)
    shown = json_format.MessageToDict(body, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    numbers: dict[str, Any] = _numbers(shown)
    return numbers


def _numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _numbers(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_numbers(each) for each in value]
    # 64-bit numbers are text in JSON; a serial number of digits only is not among the answers.
    return int(value) if isinstance(value, str) and value.isdecimal() else value


def samples_from(kind: ValueKind, plain: Mapping[str, Any], labels: Mapping[str, str]) -> list[Sample]:
    """The numbers of an answer under Prometheus names: `voltha_<value>_<field>`, `_total` for counters."""
    now = time.time()
    ending = "_total" if kind.counters else ""
    return [
        Sample(
            name=f"voltha_{kind.name}_{_snake(name)}{ending}",
            value=float(value),
            labels={**labels, **more},
            at=now,
        )
        for name, value, more in _leaves(plain, {})
    ]


def _leaves(value: Mapping[str, Any], labels: dict[str, str]) -> Iterator[tuple[str, float, dict[str, str]]]:
    for name, each in value.items():
        if isinstance(each, bool) or _snake(name) in _NAMES:
            continue
        if isinstance(each, int | float):
            yield name, each, labels
        elif isinstance(each, dict):
            direction = {"direction": name} if name in ("upstream", "downstream") else {}
            yield from _leaves(each, {**labels, **direction})


def _snake(name: str) -> str:
    return _WORDS.sub("_", name).lower()
