"""A subscriber's service: what it may say, and the flows it stands for. Pure functions from service to values.

The single-tagged service of the domain specification, section 12.1: the subscriber's frames pass the ONU as they are, the OLT
puts the service tag on and takes it off. More kinds of service become more builders beside `single_tagged_flows`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, model_validator

from .._errors import ServiceConfigError
from .._validation import explain
from ._flow import ANY_VLAN, VLAN_PRESENT, Action, FlowSpec, metadata
from ._meter import BandwidthProfile

__all__ = ["COOKIE_PREFIX", "Place", "ServiceConfig", "cookie_base", "single_tagged_flows"]

_PRIORITY: Final = 1000
_ETHERTYPE_VLAN: Final = 0x8100  # the only one that does not end the OLT adapter (recordings, surprise 1)
#: The uppermost byte of every cookie of ours, by which foreign flows are told from our own.
COOKIE_PREFIX: Final = 0x5D


class ServiceConfig(BaseModel):
    """What `add_subscriber_flow` takes as `service_config`.

    `s_tag` (or `vlan_id`) is the service tag on the uplink; `uni` the ONU's user port, from 1. Speeds are given either as
    `bandwidth_down` and `bandwidth_up` in kbit/s, or as profiles in `downstream` and `upstream`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    s_tag: int = Field(ge=1, le=4094, validation_alias=AliasChoices("s_tag", "vlan_id"))
    technology_profile: int = Field(default=64, ge=64, le=255)
    uni: int = Field(default=1, ge=1, le=16)
    upstream: BandwidthProfile
    downstream: BandwidthProfile

    @model_validator(mode="before")
    @classmethod
    def _speeds_become_profiles(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        values = dict(values)
        for short, full in (("bandwidth_up", "upstream"), ("bandwidth_down", "downstream")):
            if short in values:
                if full in values:
                    raise ValueError(f"give {short} or {full}, not both")
                values[full] = {"eir": values.pop(short)}
        if "s_tag" in values and "vlan_id" in values:
            raise ValueError("give s_tag or vlan_id, not both")
        return values

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
        speeds = {name: getattr(self, name).model_dump(exclude_defaults=True) for name in ("upstream", "downstream")}
        return {"s_tag": self.s_tag, "technology_profile": self.technology_profile, "uni": self.uni, **speeds}


_EXAMPLE: Final = (
    'For example {"s_tag": 900, "bandwidth_down": 100000, "bandwidth_up": 50000} '
    '(kbit/s), or profiles: {"s_tag": 900, "downstream": {"cir": 50000, "eir": 50000}, "upstream": {"eir": 20000}}'
)


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a service is installed right now. Ids are VOLTHA's and may change; serial numbers are the keys."""

    olt_serial: str
    onu_serial: str
    olt_id: str
    onu_id: str
    logical_device_id: str
    uni_port: int
    nni_port: int


def cookie_base(*parts: str) -> int:
    """A cookie that belongs to one service: our prefix and 48 bits of what identifies it; the last byte numbers its flows."""
    digest = hashlib.sha256("\x00".join(parts).encode()).digest()
    return (COOKIE_PREFIX << 56) | (int.from_bytes(digest[:6], "big") << 8)


def single_tagged_flows(
    service: ServiceConfig, place: Place, *, up_meter: int, down_meter: int, cookie: int
) -> tuple[FlowSpec, ...]:
    """The four flows of a single-tagged service, in the order in which they are added (section 12.1)."""
    up = metadata(technology_profile=service.technology_profile)
    down = metadata(
        technology_profile=service.technology_profile, egress_port=place.uni_port, inner_vlan=ANY_VLAN
    )  # the inner tag 4096 says "none"; upstream it would make the service look double tagged
    tag = VLAN_PRESENT | service.s_tag
    return (
        _flow(place.uni_port, 0, cookie | 1, any_vlan=True, goto=1, meter=up_meter, write=up),
        _flow(
            place.uni_port,
            1,
            cookie | 2,
            any_vlan=True,
            meter=up_meter,
            write=up,
            actions=(
                Action("push_vlan", _ETHERTYPE_VLAN),
                Action("set_vlan", tag),
                Action("output", place.nni_port),
            ),
        ),
        _flow(
            place.nni_port,
            0,
            cookie | 3,
            vlan=tag,
            goto=1,
            meter=down_meter,
            write=down,
            actions=(Action("pop_vlan"),),
        ),
        _flow(
            place.nni_port,
            1,
            cookie | 4,
            any_vlan=True,
            metadata_match=place.uni_port,
            meter=down_meter,
            write=down,
            actions=(Action("output", place.uni_port),),
        ),
    )


def _flow(
    in_port: int,
    table: int,
    cookie: int,
    *,
    meter: int,
    write: int,
    any_vlan: bool = False,
    vlan: int | None = None,
    metadata_match: int | None = None,
    goto: int | None = None,
    actions: tuple[Action, ...] = (),
) -> FlowSpec:
    return FlowSpec(
        table=table,
        priority=_PRIORITY,
        cookie=cookie,
        in_port=in_port,
        vlan=ANY_VLAN if any_vlan else vlan,
        vlan_mask=ANY_VLAN if any_vlan else None,
        metadata_match=metadata_match,
        goto=goto,
        meter=meter,
        write_metadata=write,
        actions=actions,
    )
