"""Which alarms are raised: raise and clear joined, repeats merged, late events put in their place, flaps damped. Pure.

Kafka keeps no order between partitions, so an event counts only when it is newer than the last one of its alarm (surprise 31).
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from ._alarm import Alarm, opened
from ._messages import Stamp

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ._messages import VolthaEvent
    from ._notice import Notice, Subject

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
#: Subjects of alarms that are over are remembered, to know late events of them: at least so many, at most twice as many.
_REMEMBERED: Final = 10_000


class Transition(msgspec.Struct, frozen=True, gc=False):
    """What a notice changed. `told`: other plugins hear of it; a flapping alarm changes in silence."""

    what: Literal["raised", "cleared", "flapping", "changed"]
    alarm: Alarm

    @property
    def told(self) -> bool:
        return self.what != "changed"


class _Track(msgspec.Struct):
    """What is remembered of one alarm of one subject, raised or not."""

    alarm: Alarm | None = None
    #: The newest event that ended it.
    over: Stamp | None = None
    #: When it was raised, by VOLTHA's clock, and when we heard of it last, by ours.
    raises: list[float] | None = None
    heard: float = 0.0
    #: The alarm's own end while it flaps, which is told when it is quiet.
    cleared: Alarm | None = None
    damped: bool = False


class AlarmBook:
    """The raised alarms. An alarm raised `flap_count` times within `flap_window` seconds flaps, until it was quiet for as long."""

    def __init__(self, alarms: Iterable[Alarm] = ()) -> None:
        self.active: Final[dict[str, Alarm]] = {alarm.key: alarm for alarm in alarms}
        #: By subject and name of the alarm.
        self._tracks: Final[dict[str, dict[str, _Track]]] = {}
        #: Before that (Unix time) no flapping can be over.
        self._quiet_at = 0.0
        for alarm in self.active.values():
            self._tracks.setdefault(alarm.subject.key, {})[alarm.name] = _Track(alarm)

    def take(self, notice: Notice, now: float, *, flap_count: int, flap_window: float) -> list[Transition]:
        """Work a notice in, heard at `now` (Unix time), and give what it changed."""
        key = notice.subject.key
        tracks = self._tracks.get(key)
        if tracks is None:
            tracks = self._tracks[key] = {}
        event = notice.event
        if event.action == "once":
            return self._once(notice, tracks)
        track = tracks.get(event.stem)
        if track is None:
            track = tracks[event.stem] = _Track()
        if event.action == "raise":
            return self._raise(notice, track, now, flap_count, flap_window)
        return self._clear(notice, track, tracks)

    def settle(self, now: float, flap_window: float) -> list[Transition]:
        """End the flapping of alarms that were quiet for `flap_window` seconds before `now`; told once, as they are then."""
        if now < self._quiet_at:
            return []
        changes: list[Transition] = []
        next_quiet = now + flap_window
        for tracks in self._tracks.values():
            for track in tracks.values():
                if track.raises is None:
                    continue
                if now - track.heard < flap_window:
                    next_quiet = min(next_quiet, track.heard + flap_window)
                else:
                    changes += self._settled(track)
        self._quiet_at = next_quiet
        self._forget_some()
        return changes

    def _settled(self, track: _Track) -> list[Transition]:
        cleared, damped = track.cleared, track.damped
        track.raises, track.cleared, track.damped = None, None, False
        if not damped or track.alarm is None:
            return []
        if cleared is not None:
            self._over(track, cleared.key, cleared.stamp)
            return [Transition("cleared", cleared)]
        alarm = track.alarm = self.active[track.alarm.key] = msgspec.structs.replace(track.alarm, flapping=False)
        return [Transition("raised", alarm)]

    def _forget_some(self) -> None:
        """Of the subjects without an alarm the oldest ones, when there are too many."""
        idle = [key for key, tracks in self._tracks.items() if not any(map(_is_alive, tracks.values()))]
        if len(idle) > 2 * _REMEMBERED:
            for key in islice(idle, len(idle) - _REMEMBERED):
                del self._tracks[key]

    def _raise(
        self, notice: Notice, track: _Track, now: float, flap_count: int, flap_window: float
    ) -> list[Transition]:
        event, known, ended = notice.event, track.alarm, track.cleared
        if known is not None and ended is None:
            return self._again(track, known, event)
        if track.over is not None and event.stamp <= track.over:
            return []  # a late one: it was cleared already
        if ended is not None and event.stamp <= ended.stamp:
            return []
        damped = _counted(track, event.at, now, flap_count, flap_window)
        if known is None:
            alarm = opened(notice, flapping=damped is not None)
        else:  # it flaps: it stays at its place, and goes on since it was raised first
            alarm = msgspec.structs.replace(
                opened(notice, flapping=True),
                subject=known.subject,
                occurrences=known.occurrences + 1,
                raised_at=known.raised_at,
            )
        track.over, track.alarm = None, alarm
        self.active[alarm.key] = alarm
        if damped is None:
            return [Transition("raised", alarm)]
        return [Transition("changed" if damped else "flapping", alarm)]

    def _again(self, track: _Track, known: Alarm, event: VolthaEvent) -> list[Transition]:
        """The same alarm from the other adapter, or once more: nobody is told twice."""
        repeated = event.reporter in known.reporters
        if repeated and event.stamp <= known.stamp and event.at >= known.raised_at:
            return []  # a record that Kafka gives twice
        alarm = track.alarm = self.active[known.key] = msgspec.structs.replace(
            known,
            stamp=max(known.stamp, event.stamp),
            raised_at=min(known.raised_at, event.at),
            reporters=tuple(sorted({*known.reporters, event.reporter})),
            occurrences=known.occurrences + (repeated and event.stamp > known.stamp),
        )
        return [Transition("changed", alarm)]

    def _clear(self, notice: Notice, track: _Track, tracks: dict[str, _Track]) -> list[Transition]:
        event = notice.event
        changes = self._end(track, event, "clear")
        if track.over is None or track.over < event.stamp:
            track.over = event.stamp
        if not notice.subject.port and event.stem.startswith("OLT_"):
            # Clears without a port name it for none: they end those of every port (surprise 30).
            changes += self._end_all(self._of_olt(notice.subject, event.stem), event, "clear")
        if event.stem == "ONU_LOSS_OF_SIGNAL" and (gasp := tracks.get("ONU_DYING_GASP")) is not None:
            changes += self._end(gasp, event, event.stem)
        return changes

    def _of_olt(self, olt: Subject, stem: str) -> list[_Track]:
        """The alarms of this name of all ports of an OLT."""
        return [
            track
            for key, tracks in self._tracks.items()
            if key.startswith(olt.key) and (track := tracks.get(stem)) is not None
        ]

    def _once(self, notice: Notice, tracks: dict[str, _Track]) -> list[Transition]:
        event = notice.event
        if event.stem == "ONU_DELETED":
            return self._end_all(tracks.values(), event, event.stem)
        if event.stem == "OLT_DELETED":
            olt = notice.subject.olt_id
            alarms = (track for tracks in self._tracks.values() for track in tracks.values())
            gone = [track for track in alarms if track.alarm is not None and track.alarm.subject.olt_id == olt]
            return self._end_all(gone, event, event.stem)
        if event.stem == "ONU_ACTIVATED" or (event.stem == "DEVICE_STATE_CHANGE" and _shows_active(event.context)):
            return self._end_all([tracks[name] for name in _ENDED_BY_ACTIVATION if name in tracks], event, event.stem)
        return []

    def _end_all(self, tracks: Iterable[_Track], event: VolthaEvent, by: str) -> list[Transition]:
        return [change for track in tracks for change in self._end(track, event, by)]

    def _end(self, track: _Track, event: VolthaEvent, by: str) -> list[Transition]:
        alarm = track.alarm
        if alarm is None or event.stamp < alarm.stamp:
            return []
        if track.damped and track.cleared is not None:
            return []
        ended = msgspec.structs.replace(
            alarm, stamp=event.stamp, cleared_at=max(event.at, alarm.raised_at), cleared_by=by
        )
        if track.damped:
            track.cleared = ended
            return []
        self._over(track, alarm.key, event.stamp)
        return [Transition("cleared", ended)]

    def _over(self, track: _Track, key: str, stamp: Stamp) -> None:
        track.alarm = None
        self.active.pop(key, None)
        if track.over is None or track.over < stamp:
            track.over = stamp


def _is_alive(track: _Track) -> bool:
    return track.alarm is not None or track.raises is not None


def _counted(track: _Track, at: float, now: float, flap_count: int, window: float) -> bool | None:
    """Count a raise at `at`, heard at `now`: `None` when it does not flap, else whether it did before."""
    track.cleared, track.heard = None, now
    before, first = track.damped, at - window
    raises = track.raises = [*(one for one in track.raises if one >= first), at] if track.raises else [at]
    track.damped = before or len(raises) >= flap_count
    return before if track.damped else None


def _shows_active(context: Mapping[str, str]) -> bool:
    return (
        context.get("is-root") == "false"
        and context.get("oper-state") == "ACTIVE"
        and context.get("connect-state") == "REACHABLE"
    )
