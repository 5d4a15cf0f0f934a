"""What VOLTHA does not know of the network and the operator tells: splitters, cables, places (section 3). Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from .._errors import ServiceConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Location", "Place", "Plant", "Splitter", "check_splitter"]

_LONGEST: Final = 200
_LATITUDE: Final = 90.0
_LONGITUDE: Final = 180.0


class Location(msgspec.Struct, frozen=True, kw_only=True):
    """Where something is: in words, and as coordinates (WGS 84) where they are known."""

    text: str = ""
    latitude: float | None = None
    longitude: float | None = None

    @classmethod
    def parse(cls, value: Any) -> Location:
        """A location from text or from `{"text", "latitude", "longitude"}`; raises `ServiceConfigError`."""
        if isinstance(value, str):
            return cls(text=value[:_LONGEST])
        try:
            made = msgspec.convert(dict(value), cls)
        except (msgspec.ValidationError, TypeError, ValueError) as error:
            raise _bad_location(value) from error
        inside = -_LATITUDE <= (made.latitude or 0) <= _LATITUDE and -_LONGITUDE <= (made.longitude or 0) <= _LONGITUDE
        if not inside or (made.latitude is None) != (made.longitude is None):
            raise _bad_location(value)
        return made

    def plain(self) -> dict[str, Any]:
        return {key: value for key, value in msgspec.to_builtins(self).items() if value not in ("", None)}


def _bad_location(value: object) -> ServiceConfigError:
    return ServiceConfigError(
        f"location is {str(value)[:60]!r}",
        remedy='Give text, or {"text": "Main Street 1", "latitude": 48.2, "longitude": 16.4}',
    )


class Splitter(msgspec.Struct, frozen=True, kw_only=True):
    """A splitter on a PON, behind the PON itself or behind another splitter (`parent`). `ports` is into how many it splits."""

    id: str
    olt_serial: str
    pon: int
    ports: int = 0
    parent: str = ""
    location: Location = Location()
    cable: str = ""
    note: str = ""

    def plain(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "olt_serial_number": self.olt_serial,
            "pon": self.pon,
            "ports": self.ports,
            "parent": self.parent,
            "location": self.location.plain(),
            "cable": self.cable,
            "note": self.note,
        }


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator knows of a device, by serial number: where it is, behind which splitter, on which cable."""

    serial: str
    location: Location = Location()
    splitter: str = ""
    cable: str = ""
    note: str = ""

    def plain(self) -> dict[str, Any]:
        shown = {"location": self.location.plain(), "splitter": self.splitter, "cable": self.cable, "note": self.note}
        return {key: value for key, value in shown.items() if value}


class Plant(msgspec.Struct, kw_only=True):
    """All of it: splitters by id and places by serial number."""

    splitters: dict[str, Splitter] = msgspec.field(default_factory=dict)
    places: dict[str, Place] = msgspec.field(default_factory=dict)

    def of_pon(self, olt_serial: str, pon: int) -> list[Splitter]:
        """The splitters of a PON, each after the one that it is behind."""
        here = {one.id: one for one in self.splitters.values() if (one.olt_serial, one.pon) == (olt_serial, pon)}
        return sorted(here.values(), key=lambda one: (len(self.chain(one.id)), one.id))

    def chain(self, splitter_id: str) -> tuple[str, ...]:
        """A splitter and those that it is behind, from itself to the PON."""
        found: list[str] = []
        while splitter_id in self.splitters and splitter_id not in found:
            found.append(splitter_id)
            splitter_id = self.splitters[splitter_id].parent
        return tuple(found)

    def behind(self, serial: str) -> tuple[str, ...]:
        """The splitters between an ONU and its PON, nearest first."""
        place = self.places.get(serial)
        return () if place is None else self.chain(place.splitter)


def check_splitter(splitter: Splitter, plant: Plant) -> Splitter:
    """The splitter as it is; raises `ServiceConfigError` where it cannot be."""
    if not splitter.id or len(splitter.id) > _LONGEST or not splitter.id.isprintable():
        raise ServiceConfigError(f"{splitter.id[:40]!r} is no name of a splitter", remedy="Give 1 to 200 characters")
    if splitter.ports < 0:
        raise ServiceConfigError(f"ports is {splitter.ports}", remedy="Give into how many it splits, 8 for 1:8")
    if not splitter.parent:
        return splitter
    parent = plant.splitters.get(splitter.parent)
    if parent is None:
        raise ServiceConfigError(_no_such(splitter.parent, plant.splitters))
    if (parent.olt_serial, parent.pon) != (splitter.olt_serial, splitter.pon):
        raise ServiceConfigError(
            f"splitter {parent.id} is on OLT {parent.olt_serial}, PON {parent.pon}, not on this one"
        )
    if splitter.id in plant.chain(parent.id):
        raise ServiceConfigError(f"splitter {parent.id} is behind {splitter.id} itself")
    return splitter


def check_place(place: Place, plant: Plant) -> Place:
    """The place as it is; raises `ServiceConfigError` for a splitter that is not there."""
    if place.splitter and place.splitter not in plant.splitters:
        raise ServiceConfigError(_no_such(place.splitter, plant.splitters))
    return place


def _no_such(name: str, known: Mapping[str, Any] | Iterable[str]) -> str:
    return f"there is no splitter {name!r}; there are {', '.join(sorted(known)) or 'none'}"
