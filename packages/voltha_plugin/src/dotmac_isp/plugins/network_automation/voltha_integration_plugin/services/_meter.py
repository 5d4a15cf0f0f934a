"""Bandwidth profiles and the meters made of them (domain specification, section 4.3). Pure.

Rates are in kbit/s, burst sizes as VOLTHA takes them (passed through to the adapters unchanged).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import msgspec
from pydantic import BaseModel, ConfigDict, Field, model_validator

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["METER_FIRST", "METER_LAST", "Band", "BandwidthProfile", "MeterSpec", "choose_meter_id"]

#: Our own range: controllers count from 1 upward, and ADD of a taken id is silently ignored (section 7.3).
METER_FIRST: Final = 0x10000
METER_LAST: Final = 0xFFFFFF

_RATE_LIMIT: Final = 400_000_000  # 400 Gbit/s: more is a slip of the unit


class Band(msgspec.Struct, frozen=True):
    """One band of a meter: rate in kbit/s, and burst size."""

    rate: int
    burst: int


class MeterSpec(msgspec.Struct, frozen=True):
    """A meter: its id on the logical device, and its bands in order."""

    id: int
    bands: tuple[Band, ...]


class BandwidthProfile(BaseModel):
    """Rates of one direction, in kbit/s: committed (`cir`), excess (`eir`), peak (`pir`), guaranteed (`gir`), additional (`air`).

    Omitted burst sizes (`cbs`, `ebs`, `pbs`) become a tenth of their rate, as in the recordings.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    cir: int = Field(default=0, ge=0, le=_RATE_LIMIT)
    cbs: int | None = Field(default=None, ge=0)
    eir: int = Field(default=0, ge=0, le=_RATE_LIMIT)
    ebs: int | None = Field(default=None, ge=0)
    pir: int | None = Field(default=None, ge=0, le=_RATE_LIMIT)
    pbs: int | None = Field(default=None, ge=0)
    gir: int = Field(default=0, ge=0, le=_RATE_LIMIT)
    air: int = Field(default=0, ge=0, le=_RATE_LIMIT)

    @model_validator(mode="after")
    def _readable_by_the_adapters(self) -> BandwidthProfile:
        bands = self.bands()
        if max(band.rate for band in bands) == 0:
            raise ValueError("no rate is above 0; give cir, eir, pir, gir or air in kbit/s")
        if not _is_valid(bands):
            shown = ", ".join(f"{band.rate}/{band.burst}" for band in bands)
            raise ValueError(f"the bands {shown} (rate/burst) fit no T-CONT type; give cbs and ebs above 0")
        return self

    @classmethod
    def best_effort(cls, rate: int) -> BandwidthProfile:
        """A plain speed: up to `rate` kbit/s, nothing assured (T-CONT type 4)."""
        return cls(eir=rate)

    def bands(self) -> tuple[Band, ...]:
        """The bands as both known controllers build them."""
        cbs = self.cir // 10 if self.cbs is None else self.cbs
        ebs = self.eir // 10 if self.ebs is None else self.ebs
        air = 0 if self.gir else self.air
        peak = self.eir + self.cir + self.gir + air if self.pir is None else self.pir
        burst = ebs + cbs if self.pbs is None else self.pbs
        bands = [Band(peak, burst)]
        if self.cir:
            bands.insert(0, Band(self.cir, cbs))
        if self.gir or air:
            bands.append(Band(self.gir or air, 0))
        return tuple(bands)


def _is_valid(bands: tuple[Band, ...]) -> bool:
    """Whether an adapter can read them; anything else ends in `invalid-meter-config` when a flow uses the meter."""
    fixed = sum(band.burst == 0 for band in bands)
    match len(bands):
        case 1:
            return True
        case 2:
            return fixed == 0 or (fixed == len(bands) and bands[0].rate == bands[1].rate)
        case _:
            return fixed == 1


def choose_meter_id(bands: tuple[Band, ...], taken: Mapping[int, tuple[Band, ...]], *, owner: str) -> int:
    """The id for a meter with these bands: the same for the same owner and bands, past ids that hold other bands.

    Deciding it by content lets two hosts add the same meter at once without harm. `owner` (the tenant) keeps tenants
    that share an OLT from sharing meters, so that one removing its last user takes nothing from the other.
    """
    text = owner + "|" + ",".join(f"{band.rate}/{band.burst}" for band in bands)
    size = METER_LAST - METER_FIRST + 1
    start = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % size
    for step in range(size):
        candidate = METER_FIRST + (start + step) % size
        if taken.get(candidate, bands) == bands:
            return candidate
    raise ValueError("every meter id of our range is taken by other bands")
