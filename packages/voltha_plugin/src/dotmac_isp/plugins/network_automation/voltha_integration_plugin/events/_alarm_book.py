"""Which alarms are raised: raise and clear joined, repeats merged, late events put in their place, flaps damped. Pure.

Kafka keeps no order between partitions, so an event counts only when it is newer than the last one of its alarm (surprise 31).
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from ._alarm import Alarm, opened

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._messages import Stamp
    from ._notice import Notice

__all__ = ["AlarmBook", "Transition"]

#: Alarms of an ONU that cannot be raised while it is active; some are never cleared otherwise (surprises 29, 30).
_ENDED_BY_ACTIVATION: Final = (
    "ONU_DYING_GASP",
    "ONU_LOSS_OF_SIGNAL",
    "ONU_LOSS_OF_BURST",
    "ONU_LOSS_OF_FRAME",
    "ONU_LOSS_OF_PLOAM",
    "ONU_STARTUP_FAIL",
    "ONU_Ethernet_UNI",  # the adapter begins anew with an empty list of alarms, and says nothing of it
)
#: How many alarms that are over are remembered, to know late events of them.
_REMEMBERED: Final = 20_000


class Transition(msgspec.Struct, frozen=True, gc=False):
    """What a notice changed. `told`: other plugins hear of it; a flapping alarm changes in silence."""

    what: Literal["raised", "cleared", "flapping", "changed"]
    alarm: Alarm

    @property
    def told(self) -> bool:
        return self.what != "changed"


class _Flaps(msgspec.Struct):
    #: When it was raised, by VOLTHA's clock, and when we heard of it last, by ours.
    raises: deque[float]
    heard: float
    #: The alarm's own end, which is told when it is quiet.
    cleared: Alarm | None = None
    damped: bool = False


class AlarmBook:
    """The raised alarms. An alarm raised `flap_count` times within `flap_window` seconds flaps, until it was quiet for as long."""

    def __init__(self, alarms: Iterable[Alarm] = ()) -> None:
        self.active: Final[dict[str, Alarm]] = {alarm.key: alarm for alarm in alarms}
        self._over: Final[OrderedDict[str, Stamp]] = OrderedDict()
        self._flaps: Final[dict[str, _Flaps]] = {}

    def take(self, notice: Notice, now: float, *, flap_count: int, flap_window: float) -> list[Transition]:
        """Work a notice in, heard at `now` (Unix time), and give what it changed."""
        match notice.action:
            case "raise":
                return self._raise(notice, now, flap_count, flap_window)
            case "clear":
                return self._clear(notice)
            case "once":
                return self._once(notice)

    def settle(self, now: float, flap_window: float) -> list[Transition]:
        """End the flapping of alarms that were quiet for `flap_window` seconds before `now`; told once, as they are then."""
        changes: list[Transition] = []
        for key, flaps in list(self._flaps.items()):
            if now - flaps.heard < flap_window:
                continue
            del self._flaps[key]
            if not flaps.damped:
                continue
            alarm = self.active.get(key)
            if flaps.cleared is not None:
                self._forget(key, flaps.cleared.stamp)
                changes.append(Transition("cleared", flaps.cleared))
            elif alarm is not None:
                self.active[key] = msgspec.structs.replace(alarm, flapping=False)
                changes.append(Transition("raised", self.active[key]))
        return changes

    def _raise(self, notice: Notice, now: float, flap_count: int, flap_window: float) -> list[Transition]:
        key = notice.key
        known = self.active.get(key)
        flaps = self._flaps.get(key)
        ended = flaps.cleared if flaps is not None else None
        if known is not None and ended is None:
            return self._again(known, notice)
        over = self._over.get(key)
        if over is not None and notice.stamp <= over:
            return []  # a late one: it was cleared already
        if ended is not None and notice.stamp <= ended.stamp:
            return []
        occurrences = 1 if known is None else known.occurrences + 1
        alarm = msgspec.structs.replace(opened(notice), occurrences=occurrences)
        damped = self._count(notice, now, flap_count, flap_window)
        if damped is not None:
            alarm = msgspec.structs.replace(alarm, flapping=True, raised_at=known.raised_at if known else notice.at)
        self.active[key] = alarm
        self._over.pop(key, None)
        if damped is None:
            return [Transition("raised", alarm)]
        return [Transition("changed" if damped else "flapping", alarm)]

    def _again(self, known: Alarm, notice: Notice) -> list[Transition]:
        """The same alarm from the other adapter, or once more: nobody is told twice."""
        alarm = msgspec.structs.replace(
            known,
            stamp=max(known.stamp, notice.stamp),
            raised_at=min(known.raised_at, notice.at),
            reporters=tuple(sorted({*known.reporters, notice.reporter})),
            occurrences=known.occurrences + (notice.reporter in known.reporters),
        )
        self.active[alarm.key] = alarm
        return [Transition("changed", alarm)]

    def _count(self, notice: Notice, now: float, flap_count: int, window: float) -> bool | None:
        """Count a raise: `None` when it does not flap, else whether it did before."""
        flaps = self._flaps.setdefault(notice.key, _Flaps(deque(), now))
        flaps.cleared, flaps.heard = None, now
        flaps.raises.append(notice.at)
        while flaps.raises[0] < notice.at - window:
            flaps.raises.popleft()
        before = flaps.damped
        flaps.damped = before or len(flaps.raises) >= flap_count
        return before if flaps.damped else None

    def _clear(self, notice: Notice) -> list[Transition]:
        self._note_over(notice.key, notice.stamp)
        changes = self._end(notice.key, notice, "clear")
        if not notice.subject.port and notice.stem.startswith("OLT_"):
            # Clears without a port name it for none: they end those of every port (surprise 30).
            prefix = notice.key
            changes += [
                each for key in list(self.active) if key.startswith(prefix) for each in self._end(key, notice, "clear")
            ]
        if notice.stem == "ONU_LOSS_OF_SIGNAL":
            changes += self._end(f"ONU_DYING_GASP/{notice.subject.key}", notice, notice.stem)
        return changes

    def _once(self, notice: Notice) -> list[Transition]:
        subject = notice.subject.key
        if notice.stem in ("ONU_DELETED", "OLT_DELETED"):
            olt = notice.subject.olt_id if notice.stem == "OLT_DELETED" else None
            gone = [
                key
                for key, alarm in self.active.items()
                if (alarm.subject.olt_id == olt if olt else alarm.subject.key == subject)
            ]
            return [each for key in gone for each in self._end(key, notice, notice.stem)]
        if notice.stem == "ONU_ACTIVATED" or _shows_active(notice):
            keys = [f"{stem}/{subject}" for stem in _ENDED_BY_ACTIVATION]
            return [each for key in keys if key in self.active for each in self._end(key, notice, notice.stem)]
        return []

    def _end(self, key: str, notice: Notice, by: str) -> list[Transition]:
        alarm = self.active.get(key)
        if alarm is None or notice.stamp < alarm.stamp:
            return []
        flaps = self._flaps.get(key)
        ended = msgspec.structs.replace(
            alarm, stamp=notice.stamp, cleared_at=max(notice.at, alarm.raised_at), cleared_by=by
        )
        if flaps is not None and flaps.damped:
            if flaps.cleared is not None:
                return []
            flaps.cleared = ended
            return []
        self._forget(key, notice.stamp)
        return [Transition("cleared", ended)]

    def _forget(self, key: str, stamp: Stamp) -> None:
        self.active.pop(key, None)
        self._note_over(key, stamp)

    def _note_over(self, key: str, stamp: Stamp) -> None:
        self._over[key] = max(stamp, self._over.pop(key, stamp))
        while len(self._over) > _REMEMBERED:
            self._over.popitem(last=False)


def _shows_active(notice: Notice) -> bool:
    context = notice.context
    return (
        notice.stem == "DEVICE_STATE_CHANGE"
        and context.get("is-root") == "false"
        and context.get("oper-state") == "ACTIVE"
        and context.get("connect-state") == "REACHABLE"
    )
