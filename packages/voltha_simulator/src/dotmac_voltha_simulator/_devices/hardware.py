"""The simulated hardware: OLTs at their addresses, with PONs and the ONUs connected to them."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

from .._images.slots import Slots

_FIRST_OLT_ID = 10  # BBSim's default: BBSIM_OLT_10, 0a:0a:0a:0a:0a:0a, BBSM000a0001
_MAX_OLTS = 246
_MAX_PONS = 16
_MAX_ONUS = 255
_MAX_UNIS = 16


@dataclass(slots=True, eq=False)
class OnuHardware:
    """One ONU and its fibre."""

    serial: str
    pon: int
    unis: int
    powered: bool = True
    slots: Slots = field(default_factory=Slots)

    def level(self, low: float, high: float, salt: str) -> float:
        """A value between two bounds that is always the same for this serial number."""
        share = zlib.crc32(f"{self.serial}/{salt}".encode()) / 0xFFFFFFFF
        return round(low + (high - low) * share, 3)


@dataclass(slots=True, eq=False)
class OltHardware:
    """One OLT: reachable or not, with its ONUs by PON."""

    serial: str
    mac: str
    address: str
    onus: list[list[OnuHardware]]
    link: bool = True
    restarting: bool = False
    #: how often it has restarted; an adapter that knew another run starts anew
    runs: int = 0
    disabled_pons: set[int] = field(default_factory=set)

    @property
    def answers(self) -> bool:
        """True when the adapter can reach it."""
        return self.link and not self.restarting

    def all_onus(self) -> list[OnuHardware]:
        """The ONUs of all PONs."""
        return [onu for pon in self.onus for onu in pon]


def build(olts: int, pons: int, onus: int, unis: int, first_address: str) -> list[OltHardware]:
    """``olts`` OLTs of ``pons`` PONs with ``onus`` ONUs each; OLT n answers at the port of the first plus n.

    Raises ``ValueError`` naming the number that is out of bounds.
    """
    _within("olts", olts, 0, _MAX_OLTS)
    _within("pons", pons, 1, _MAX_PONS)
    _within("onus", onus, 0, _MAX_ONUS)
    _within("unis", unis, 1, _MAX_UNIS)
    host, port = split_address(first_address)
    return [_olt(_FIRST_OLT_ID + n, f"{host}:{port + n}", pons, onus, unis) for n in range(olts)]


def split_address(address: str) -> tuple[str, int]:
    """``host:port`` in its parts; raises ``ValueError`` when it is none."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65535:  # noqa: PLR2004 - the largest port
        raise ValueError(f"{address!r} is not host:port, such as 127.0.0.1:50057")
    return host, int(port)


def _within(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} must be between {low} and {high}, not {value}")


def _olt(number: int, address: str, pons: int, onus: int, unis: int) -> OltHardware:
    connected = [
        [OnuHardware(f"BBSM{number:04x}{pon:02x}{onu:02x}", pon, unis) for onu in range(1, onus + 1)]
        for pon in range(pons)
    ]
    return OltHardware(f"BBSIM_OLT_{number}", f"0a:0a:0a:0a:0a:{number:02x}", address, connected)
