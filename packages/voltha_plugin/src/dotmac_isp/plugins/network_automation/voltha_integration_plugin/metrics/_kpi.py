"""KPI events 2 and 3 as the latest values under Prometheus names with units (domain specification, section 5.5). Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from ._prometheus import Sample

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..events._messages import KpiSlice

__all__ = ["LatestValues", "samples_of"]

#: The optical values: their name and what makes the unit a base unit.
_OPTICAL: Final[dict[str, tuple[str, float]]] = {
    "transmit_power_dBm": ("voltha_onu_transmit_power_dbm", 1.0),
    "receive_power_dBm": ("voltha_onu_receive_power_dbm", 1.0),
    "supply_voltage_Volts": ("voltha_onu_supply_voltage_volts", 1.0),
    "laser_bias_current_mA": ("voltha_onu_laser_bias_current_amperes", 0.001),
    "temperature_Celsius": ("voltha_onu_temperature_celsius", 1.0),
}
#: Values that say which thing was measured, not how much.
_LABELS: Final = frozenset(
    {
        "ani_g_instance_id",
        "uni_port_no",
        "me_class_id",
        "entity_id",
        "class_id",
        "parent_class_id",
        "parent_entity_id",
        "upstream",
    }
)
_LEFT_OUT: Final = frozenset({"interval_end_time"})
#: Counters since the device started; history values are those of one 15-minute interval, so they are no counters.
_CUMULATIVE: Final = {"PONStats": "voltha_pon", "NNIStats": "voltha_nni", "ONUStats": "voltha_olt_onu"}
_WORDS: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+")
#: Values of so many things are kept; the ones heard of longest ago go first.
_KEPT: Final = 200_000


def samples_of(item: KpiSlice) -> list[Sample]:
    """The values of one slice. Labels are what identifies the thing on its device (port, UNI)."""
    labels = {_snake(name): f"{value:g}" for name, value in item.metrics.items() if name in _LABELS}
    if port := item.context.get("portlabel"):
        labels["port"] = port
    for name, label in (("gemId", "gem_id"), ("onuId", "onu_id")):
        if item.title in _CUMULATIVE and name in item.context:
            labels[label] = item.context[name]
    return [
        Sample(name=_name(item.title, name)[0], value=value * _name(item.title, name)[1], labels=labels, at=item.at)
        for name, value in item.metrics.items()
        if name not in _LABELS | _LEFT_OUT
    ]


def _name(title: str, metric: str) -> tuple[str, float]:
    if title == "PON_Optical" and metric in _OPTICAL:
        return _OPTICAL[metric]
    if title in _CUMULATIVE:
        return f"{_CUMULATIVE[title]}_{_snake(metric).removesuffix('_total')}_total", 1.0
    if title == "UNI_Status":
        return f"voltha_uni_{_snake(metric)}", 1.0
    return f"voltha_{_snake(title)}_{_snake(metric)}", 1.0


def _snake(name: str) -> str:
    return _WORDS.sub("_", name).strip("_").lower()


class LatestValues:
    """The last value of each thing, by the device's id in VOLTHA."""

    def __init__(self) -> None:
        self._by_device: Final[dict[str, dict[Any, Sample]]] = {}
        self.count = 0

    def take(self, slices: Iterable[KpiSlice]) -> list[tuple[str, str, list[Sample]]]:
        """Keep what is newer than what is known; partitions keep no order. Gives the values by device id and serial number."""
        taken: list[tuple[str, str, list[Sample]]] = []
        for item in slices:
            known = self._by_device.setdefault(item.device_id, {})
            samples = samples_of(item)
            taken.append((item.device_id, item.serial, samples))
            for sample in samples:
                former = known.get(sample.key)
                if former is None or former.at <= sample.at:
                    known[sample.key] = sample
                    self.count += former is None
        while self.count > _KEPT:
            self.count -= len(self._by_device.pop(next(iter(self._by_device))))
        return taken

    def of(self, device_id: str) -> list[Sample]:
        """The latest values of a device."""
        return list(self._by_device.get(device_id, {}).values())

    def keep_only(self, device_ids: set[str]) -> None:
        """Forget devices that are gone."""
        for device_id in self._by_device.keys() - device_ids:
            self.count -= len(self._by_device.pop(device_id))
