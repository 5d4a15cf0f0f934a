"""States out of which a device does not come by itself, found in what is listed again and again. Pure.

The reasons are those that operators of VOLTHA report (domain specification, section 10) and that were recorded (surprises 4, 24).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from .._device import DeviceView

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


__all__ = ["Stuck", "StuckWatch"]


class Stuck(msgspec.Struct, frozen=True, kw_only=True):
    """A device that hangs: the state's name, since when (Unix time), what it means and what helps."""

    name: str
    device: DeviceView
    since: float
    sentence: str
    remedy: str

    def plain(self) -> dict[str, Any]:
        """The finding as `stuck_devices` gives it."""
        return {
            "name": self.name,
            "since": self.since,
            "sentence": self.sentence,
            "remedy": self.remedy,
            **self.device.plain(),
        }


#: A state: its name, whether a device is in it, whether that alone is enough (or only when it lasts), what it means, what helps.
_State = tuple[str, "Callable[[DeviceView], bool]", bool, str, str]

_STATES: Final[tuple[_State, ...]] = (
    (
        "reconciling_failed",
        lambda device: device.oper == "RECONCILING_FAILED",
        True,
        "the adapter could not take it over after a restart",
        "Reboot its OLT (an ONU comes back with a new id then), or delete the device",
    ),
    (
        "technology_profile_refused",
        lambda device: device.reason == "tech-profile-config-download-failed",
        True,
        "the ONU refused the technology profile of its service",
        "Take a profile that this ONU has the queues and GEM ports for",
    ),
    (
        "failed",
        lambda device: device.oper == "FAILED",
        True,
        "VOLTHA gave it up",
        "Disable and enable it; look at the adapter's log for the cause",
    ),
    (
        "olt_does_not_answer",
        lambda device: device.is_olt and device.admin == "ENABLED" and device.oper == "ACTIVATING",
        False,
        "its adapter dials its address for ever and nothing answers there",
        "Check host_and_port and the OLT's agent; change the address, or delete the device",
    ),
    (
        "olt_stays_rebooted",
        lambda device: device.is_olt and device.oper == "REBOOTED",
        False,
        "it came back from a reboot and its adapter does not go on",
        "Reboot it again; if that does not help, delete it by force and create it again",
    ),
    (
        "olt_without_logical_device",
        lambda device: device.is_olt and device.is_active and not device.parent_id,
        False,
        "it works, and VOLTHA made no logical device for it, so nothing can be provisioned on it",
        "Disable and enable it",
    ),
    (
        "olt_does_not_come_back",
        lambda device: device.is_olt and device.admin == "ENABLED" and device.connect == "UNREACHABLE",
        False,
        "it does not answer its adapter any more",
        "Check its power and management link; a reboot that hangs needs somebody at the OLT",
    ),
    (
        "reconciling",
        lambda device: device.oper == "RECONCILING",
        False,
        "its adapter has been restarted and does not get through with taking it over",
        "Look at the adapter; restart it",
    ),
    (
        "onu_does_not_start",
        lambda device: (
            not device.is_olt
            and device.admin == "ENABLED"
            and device.connect == "REACHABLE"
            and device.oper in ("DISCOVERED", "ACTIVATING", "UNKNOWN")
        ),
        False,
        "its start does not get any further",
        "Reboot the ONU, or delete it: it is discovered again if it is connected",
    ),
    (
        "image_download",
        lambda device: device.admin == "DOWNLOADING_IMAGE",
        False,
        "a download of software over the old interface blocks it",
        "Cancel that download with the tool that began it, or reboot the device",
    ),
)


class StuckWatch:
    """Remembers since when each device is as it is. `take` looks at a list of all devices."""

    def __init__(self) -> None:
        self._since: dict[str, tuple[str, float]] = {}
        #: What hangs, by device id.
        self.found: dict[str, Stuck] = {}

    def take(self, devices: Sequence[DeviceView], now: float, *, patience: float) -> tuple[list[Stuck], list[Stuck]]:
        """Look at the devices at `now`; gives what hangs since this look, and what hung and does not any more."""
        former = self.found
        known = self._since
        self._since = {device.id: _continued(known.get(device.id), device.state, now) for device in devices}
        found = [_judge(device, self._since[device.id][1], now, patience) for device in devices]
        self.found = {each.device.id: each for each in (*found, *_doubles(devices, now)) if each is not None}
        fresh = [each for key, each in self.found.items() if key not in former or former[key].name != each.name]
        over = [each for key, each in former.items() if key not in self.found]
        return fresh, over


def _continued(former: tuple[str, float] | None, state: str, now: float) -> tuple[str, float]:
    return former if former is not None and former[0] == state else (state, now)


def _judge(device: DeviceView, since: float, now: float, patience: float) -> Stuck | None:
    if device.is_active and (device.parent_id or not device.is_olt):
        return None
    for name, fits, at_once, sentence, remedy in _STATES:
        if fits(device) and (at_once or now - since >= patience):
            text = f"{device.kind.upper()} {device.key} is {device.state}: {sentence}"
            return Stuck(name=name, device=device, since=since, sentence=text, remedy=remedy)
    return None


def _doubles(devices: Sequence[DeviceView], now: float) -> list[Stuck]:
    """Devices with the serial number of another one, as they are left after a crash of the core."""
    seen: dict[str, DeviceView] = {}
    found: list[Stuck] = []
    for device in devices:
        first = seen.setdefault(device.serial, device)
        if not device.serial or first is device:
            continue
        worse = device if first.is_active else first
        text = f"{device.kind.upper()} {device.serial} is listed twice, as {first.id} and {device.id}"
        found.append(
            Stuck(
                name="listed_twice",
                device=worse,
                since=now,
                sentence=text,
                remedy=f"Delete {worse.id} by force",
            )
        )
    return found
