"""A subscriber's service: what it may say (section 4.4), in one form whatever was given. Pure.

What VOLTHA, its adapters and real ONUs cannot carry is refused here, with what would be right; `_builder` makes the flows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, AliasChoices, BaseModel, ConfigDict, Field, ValidationError, model_validator

from .._errors import ServiceConfigError
from .._validation import explain
from ._meter import BandwidthProfile
from ._presets import with_preset

__all__ = ["ServiceConfig", "Tagging", "check_mac"]

#: Who puts which tag on, see `ServiceConfig`.
Tagging = Literal["single", "double", "transparent", "onu_translate", "olt_translate"]

_MAC: Final = re.compile(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}")
_GROUP_BIT: Final = 1


def check_mac(value: str) -> str:
    """A device's address in one form; raises `ValueError` for what is none, or a group's."""
    mac = value.strip().lower().replace("-", ":")
    if not _MAC.fullmatch(mac) or int(mac[:2], 16) & _GROUP_BIT or mac == "00:00:00:00:00:00":
        raise ValueError("no address of one device; give it like 02:00:00:00:00:01")
    return mac


VlanId = Annotated[int, Field(ge=1, le=4094)]
Priority = Annotated[int | None, Field(ge=0, le=7)]
Mac = Annotated[str, AfterValidator(check_mac)]


class ServiceConfig(BaseModel):
    """What `add_subscriber_flow` takes as `service_config`.

    `workflow` fills in what an operator's workflow says (`PRESETS`); without it the service is single-tagged. `tagging` is one of

    - `single`: tagged or not, the subscriber's frames pass the ONU; the OLT puts `s_tag` on (section 12.1);
    - `double`: the ONU puts `c_tag` on or translates `uni_tag` to it, the OLT puts `s_tag` on (Q-in-Q);
    - `transparent`: as `double`, but the OLT adds nothing;
    - `onu_translate`, `olt_translate`: `c_tag` at the user's port becomes `s_tag`, at the ONU or at the OLT.

    Speeds in kbit/s: `bandwidth_down` and `bandwidth_up`, or profiles in `downstream` and `upstream`, and where the OLT's differ
    `downstream_olt` and `upstream_olt`. `dhcp`, `dhcpv6`, `pppoe`, `igmp`, `eapol` hand those packets to whoever reads VOLTHA's
    packets. With `mac_learning` the data flows wait until the subscriber's MAC address is known, given as `mac_address` or
    learnt. Several services share a UNI when each has a `name`, and a technology profile of its own or the same speeds.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    name: str = Field(default="internet", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
    workflow: str | None = None
    tagging: Tagging = "single"
    s_tag: VlanId | None = Field(default=None, validation_alias=AliasChoices("s_tag", "vlan_id"))
    c_tag: VlanId | None = None
    uni_tag: VlanId | Literal["untagged"] | None = None
    us_c_priority: Priority = None
    us_s_priority: Priority = None
    ds_c_priority: Priority = None
    ds_s_priority: Priority = None
    technology_profile: int = Field(default=64, ge=64, le=255)
    uni: int = Field(default=1, ge=1, le=16)
    upstream: BandwidthProfile
    downstream: BandwidthProfile
    upstream_olt: BandwidthProfile | None = None
    downstream_olt: BandwidthProfile | None = None
    dhcp: bool = False
    dhcpv6: bool = False
    pppoe: bool = False
    igmp: bool = False
    eapol: bool = False
    mac_learning: bool = False
    mac_address: Mac | None = None

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        values = with_preset(dict(values))
        for short, full in (("bandwidth_up", "upstream"), ("bandwidth_down", "downstream")):
            if short in values:
                if full in values:
                    raise ValueError(f"give {short} or {full}, not both")
                values[full] = {"eir": values.pop(short)}
        if "vlan_id" in values:
            _take_vlan_id(values)
        return values

    @model_validator(mode="after")
    def _makes_sense(self) -> ServiceConfig:
        for wrong in _contradictions(self):
            raise ValueError(wrong)
        return self

    @classmethod
    def parse(cls, config: Any) -> ServiceConfig:
        """Check a configuration; raises `ServiceConfigError` that names each field, its value and what would be right."""
        if isinstance(config, ServiceConfig):
            return config
        try:
            return cls.model_validate(config)
        except ValidationError as error:
            known = (*cls.model_fields, "vlan_id", "bandwidth_up", "bandwidth_down")
            message = f"service_config cannot be used: {explain(error, known)}"
            raise ServiceConfigError(message, remedy=_EXAMPLE) from None

    def plain(self) -> dict[str, Any]:
        """The service as plain data, in one form whatever was given; two services are equal when these are."""
        always = {"s_tag": self.s_tag, "technology_profile": self.technology_profile, "uni": self.uni}
        shown = self.model_dump(exclude_defaults=True) | {
            key: value for key, value in always.items() if value is not None
        }
        return {name: shown[name] for name in type(self).model_fields if name in shown}

    @property
    def traps(self) -> tuple[str, ...]:
        """The packets that go to the controller."""
        return tuple(name for name in ("eapol", "dhcp", "dhcpv6", "pppoe", "igmp") if getattr(self, name))

    @property
    def waits_for_mac(self) -> bool:
        """Whether the data flows are held back."""
        return self.mac_learning and self.mac_address is None

    @property
    def match_tag(self) -> int | str:
        """What comes in at the user's port: a VLAN id, `untagged` or `any`."""
        if self.tagging == "single":
            return "any"
        if self.tagging in ("onu_translate", "olt_translate"):
            return self.c_tag or "any"
        return self.uni_tag or "untagged"


_EXAMPLE: Final = (
    'For example {"s_tag": 900, "bandwidth_down": 100000, "bandwidth_up": 50000} '
    '(kbit/s), or profiles: {"s_tag": 900, "downstream": {"cir": 50000, "eir": 50000}, "upstream": {"eir": 20000}}, '
    'or a workflow: {"workflow": "att", "c_tag": 901, "s_tag": 900, "bandwidth_down": 100000, "bandwidth_up": 50000}'
)


def _take_vlan_id(values: dict[str, Any]) -> None:
    """`vlan_id` is another name of `s_tag`; a preset's does not count as given twice."""
    given = values.pop("vlan_id")
    preset = with_preset({"workflow": values.get("workflow")}).get("s_tag")
    if "s_tag" in values and values["s_tag"] != preset:
        raise ValueError("give s_tag or vlan_id, not both")
    values["s_tag"] = given


def _contradictions(made: ServiceConfig) -> list[str]:
    """What cannot be, in words; the first is told."""
    return [*_wrong_tags(made), *_wrong_priorities(made), *_wrong_traps(made)]


def _wrong_tags(made: ServiceConfig) -> list[str]:
    kind, found = made.tagging, []
    if kind == "transparent" and made.s_tag is not None:
        found.append(f"s_tag is {made.s_tag}: with transparent tagging the OLT adds none; leave it out")
    if kind != "transparent" and made.s_tag is None:
        found.append("s_tag is missing")
    if kind == "single" and made.c_tag is not None:
        found.append(f"c_tag is {made.c_tag}: a single-tagged service has none; give tagging double, or a workflow")
    if kind != "single" and made.c_tag is None:
        found.append("c_tag is missing")
    if made.uni_tag is not None and kind not in ("double", "transparent"):
        found.append(f"uni_tag is {made.uni_tag}: with {kind} tagging it cannot be chosen; leave it out")
    return found


def _wrong_priorities(made: ServiceConfig) -> list[str]:
    if made.tagging != "single":
        return []
    names = [name for name in ("us_c_priority", "ds_c_priority") if getattr(made, name) is not None]
    return [f"{name} is for the inner tag, which a single-tagged service does not have" for name in names]


def _wrong_traps(made: ServiceConfig) -> list[str]:
    if made.tagging == "single" and made.traps:
        return [f"{made.traps[0]} needs a c_tag for the trapped packets; a single-tagged service has none"]
    if made.traps and made.upstream_olt is not None and made.upstream_olt.bands() != made.upstream.bands():
        return [f"upstream_olt differs from upstream: the trap of {made.traps[0]} has one meter for ONU and OLT"]
    if made.tagging == "onu_translate" and not made.mac_learning and made.mac_address is None:
        return ["mac_address is missing: a tag that the ONU translates is told apart by it; or give mac_learning"]
    return []
