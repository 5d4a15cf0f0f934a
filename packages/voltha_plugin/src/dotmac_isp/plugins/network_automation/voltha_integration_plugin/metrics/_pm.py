"""What VOLTHA measures by itself and how often: reading and changing PM configurations (section 5.5, surprises 3 and 32). Pure.

The core stores what it is sent as it is, so a change is always made on a whole copy; a name that the device does not have is refused
here, for an unknown metric of an OLT ends its adapter.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from voltha_protos import device_pb2

from .._errors import ServiceConfigError
from .._validation import explain

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["PmChange", "changed", "pm_plain"]

_STEP: Final = 5
_HISTORY: Final = 900


class GroupChange(BaseModel):
    """What is to be different in one group of metrics. `freq` in seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool | None = None
    freq: int | None = Field(default=None, ge=_STEP, multiple_of=_STEP)
    metrics: dict[str, bool] = {}


class PmChange(BaseModel):
    """What is to be different in a device's PM configuration. Times are in seconds, multiples of 5."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    default_freq: int | None = Field(default=None, ge=_STEP, multiple_of=_STEP)
    max_skew: int | None = Field(default=None, ge=0)
    #: For a device without groups (an OLT): metrics by name, on or off.
    metrics: dict[str, bool] = {}
    #: For a device with groups (an ONU): groups by name, on or off or in detail.
    groups: dict[str, GroupChange | bool] = {}

    @classmethod
    def parse(cls, value: Any) -> PmChange:
        """Check a change; raises `ServiceConfigError`."""
        try:
            made = cls.model_validate(dict(value) if isinstance(value, Mapping) else value)
        except ValidationError as error:
            raise ServiceConfigError(
                f"the PM configuration cannot be used: {explain(error, cls.model_fields)}",
                remedy='For example {"default_freq": 300, "groups": {"PON_Optical": {"enabled": true, "freq": 60}}}',
            ) from None
        if made == cls():
            raise ServiceConfigError("nothing is to be changed in the PM configuration")
        return made


def changed(configs: Any, change: PmChange) -> Any:
    """A whole copy of `device.PmConfigs` with the change in it; raises `ServiceConfigError` for what the device does not have."""
    made = device_pb2.PmConfigs()
    made.CopyFrom(configs)
    if change.default_freq is not None:
        made.default_freq = change.default_freq
    if change.max_skew is not None:
        made.max_skew = change.max_skew
    _switch("metric", {metric.name: metric for metric in made.metrics}, change.metrics)
    groups = {group.group_name: group for group in made.groups}
    for name, wanted in change.groups.items():
        group = _named("group", groups, name)
        _change_group(group, GroupChange(enabled=wanted) if isinstance(wanted, bool) else wanted)
    return made


def _change_group(group: Any, wanted: GroupChange) -> None:
    if wanted.freq is not None and wanted.freq != group.group_freq:
        if group.group_name.endswith("_History"):
            raise ServiceConfigError(
                f"group {group.group_name} is counted in intervals of {_HISTORY} s, which cannot be changed",
                remedy="Leave out its freq",
            )
        group.group_freq = wanted.freq
        for metric in group.metrics:
            metric.sample_freq = wanted.freq
    if wanted.enabled is not None:
        group.enabled = wanted.enabled
    _switch("metric", {metric.name: metric for metric in group.metrics}, wanted.metrics)


def _switch(what: str, known: Mapping[str, Any], wanted: Mapping[str, bool]) -> None:
    for name, on in wanted.items():
        _named(what, known, name).enabled = on


def _named(what: str, known: Mapping[str, Any], name: str) -> Any:
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"it has {_listed(known)}"
    raise ServiceConfigError(f"the device has no {what} {name!r} ({hint})")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


def pm_plain(configs: Any) -> dict[str, Any]:
    """A PM configuration as `get_pm_config` gives it."""
    return {
        "device_id": configs.id,
        "default_freq": configs.default_freq,
        "max_skew": configs.max_skew,
        "grouped": configs.grouped,
        "freq_override": configs.freq_override,
        "metrics": {metric.name: metric.enabled for metric in configs.metrics},
        "groups": {
            group.group_name: {
                "enabled": group.enabled,
                "freq": group.group_freq,
                "metrics": {metric.name: metric.enabled for metric in group.metrics},
            }
            for group in configs.groups
        },
    }
