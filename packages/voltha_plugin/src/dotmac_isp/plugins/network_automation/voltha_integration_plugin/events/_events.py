"""VOLTHA's events while an instance is active: read, normalised, correlated, remembered, and told to the tenant's other plugins."""

from __future__ import annotations

import importlib
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from dotmac_isp.plugins.core.model import HealthReport, HealthStatus, MetricSample

from .._errors import VolthaConfigurationError, VolthaError
from ..metrics._kpi import LatestValues
from ._alarm import alarm_event, once_event, reported_once
from ._alarm_book import AlarmBook
from ._alarm_store import AlarmStore
from ._messages import MalformedEventError, VolthaEvent, decode
from ._network import Network
from ._notice import Notice, is_listed, known_subject, subject_of
from ._polled import polled_notices
from ._severity import Severity, severity_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from dotmac_isp.plugins.core.api import PluginAPI
    from dotmac_isp.plugins.core.model import DeviceEvent

    from .._device import DeviceView
    from .._settings import VolthaSettings
    from ..metrics._history import MetricHistory
    from ._alarm import Alarm
    from ._alarm_book import Transition
    from ._kafka import EventReader
    from ._messages import KpiSlice
    from ._notice import Subject

__all__ = ["Events"]

#: Events that say that the list of devices is not what it was.
_MOVING: Final = frozenset({"DEVICE_STATE_CHANGE", "ONU_DISCOVERY", "ONU_ACTIVATED", "ONU_DELETED", "OLT_DELETED"})
_RELIST_AFTER: Final = 1.0
_REMEMBERED_IDS: Final = 20_000
_RECENT: Final = 5_000
_RECENT_EACH: Final = 8
_UNREMARKABLE: Final = ("debug", "info")


class _Rules(msgspec.Struct):
    """What the settings say, looked up once for many events that are heard at `now`."""

    now: float
    flap_count: int
    flap_window: float
    overrides: Mapping[str, Severity]
    _known: dict[str, Severity] = msgspec.field(default_factory=dict)

    @classmethod
    def of(cls, settings: VolthaSettings) -> _Rules:
        return cls(time.time(), settings.alarm_flap_count, settings.alarm_flap_window, settings.alarm_severities)

    def severity(self, stem: str) -> Severity:
        found = self._known.get(stem)
        if found is None:
            found = self._known[stem] = severity_of(stem, self.overrides)
        return found


class Events:
    """One instance's events. `tell` relays one, `listed` gives the devices as listed last, `relist` lists them anew."""

    def __init__(
        self,
        api: PluginAPI,
        *,
        tell: Callable[[DeviceEvent], None],
        listed: Callable[[], list[DeviceView]],
        relist: Callable[[], Awaitable[list[DeviceView]]],
        look_soon: Callable[[], None],
        history: MetricHistory,
    ) -> None:
        self._api: Final = api
        self._tell: Final = tell
        self._listed: Final = listed
        self._relist: Final = relist
        self._look_soon: Final = look_soon
        self._history: Final = history
        self._store: Final = AlarmStore(api.storage)
        self._network = Network()
        self._source: list[DeviceView] | None = None
        self._relisted_at = 0.0
        self._ids: set[str] = set()
        self._older_ids: set[str] = set()
        self.reader: EventReader | None = None
        self.book = AlarmBook()
        #: What KPI events said last.
        self.latest: Final = LatestValues()
        #: The last failures that were reported once, by serial number; since this instance runs.
        self.recent: Final[dict[str, tuple[str, ...]]] = {}
        self._samples: list[MetricSample] = []
        self.received = self.malformed = 0

    @property
    def _settings(self) -> VolthaSettings:
        settings: VolthaSettings = self._api.settings
        return settings

    async def start(self) -> None:
        """Read the alarms that are remembered and make the reader, when Kafka is configured."""
        settings = self._settings
        self.book = AlarmBook(await self._store.load())
        if not settings.kafka_bootstrap:
            return
        self.reader = _reader_class()(
            settings.kafka_bootstrap,
            f"dotmac-voltha/{self._api.tenant_id or 'system'}/{settings.voltha_host}:{settings.voltha_port}",
            take=self.take,
            checkpoint=self.checkpoint,
            fetch_wait=settings.kafka_fetch_wait,
            logger=self._api.logger,
        )

    async def look(self, devices: Sequence[DeviceView]) -> None:
        """Make alarms of what polling shows, where no events come from Kafka."""
        if self.reader is not None:
            return
        rules = _Rules.of(self._settings)
        for notice in list(polled_notices(devices, self.book.active.values(), rules.now, rules.severity)):
            changes = self.book.take(notice, rules.now, flap_count=rules.flap_count, flap_window=rules.flap_window)
            self._apply(changes)
        await self.checkpoint()

    async def take(self, values: Sequence[bytes | None]) -> None:
        """Work in the values of some records. Nothing in them can stop the reader."""
        self._follow_monitor()
        rules = _Rules.of(self._settings)
        for value in values:
            self.received += 1
            try:
                event = decode(value)
                if isinstance(event, VolthaEvent):
                    if event.action == "once" and self._is_repeat(event.id):
                        continue
                    subject = known_subject(event, self._network) or await self._subject_of(event)
                    self._take_event(Notice(event, subject, rules.severity(event.stem)), rules)
                elif event:
                    self._take_values(event)
            except MalformedEventError as error:
                self._refuse(error)
            except Exception:  # an event that we do not understand is no reason to miss the next
                self.malformed += 1
                self._api.logger.exception("an event of %d bytes could not be worked in", len(value or b""))
        await self._publish()

    def _take_values(self, slices: list[KpiSlice]) -> None:
        for device_id, serial, samples in self.latest.take(slices):
            device = self._network.find(device_id)
            self._history.note(serial or (device.key if device is not None else ""), samples)
            self._samples += [
                MetricSample(
                    name=sample.name,
                    value=sample.value,
                    labels={**sample.labels, "device_id": device_id, "serial_number": serial},
                    timestamp=sample.at,
                )
                for sample in samples
            ]

    async def _publish(self) -> None:
        """Tell the tenant's other plugins the values of the last records; what they do with them is theirs."""
        samples, self._samples = self._samples, []
        if samples:
            await self._api.hooks.on_metrics(samples=samples)

    def _refuse(self, error: MalformedEventError) -> None:
        self.malformed += 1
        if self.malformed.bit_count() == 1:  # 1, 2, 4, 8, …: said, but not a thousand times
            self._api.logger.warning("event left out (%d so far): %s", self.malformed, error)

    async def _subject_of(self, event: VolthaEvent) -> Subject:
        subject = subject_of(event, self._network)
        if not is_listed(subject, self._network) and await self._relist_devices():
            return subject_of(event, self._network)
        return subject

    def _take_event(self, notice: Notice, rules: _Rules) -> None:
        event = notice.event
        changes = self.book.take(notice, rules.now, flap_count=rules.flap_count, flap_window=rules.flap_window)
        if event.action == "once":
            self._announce_once(notice)
            if notice.severity not in _UNREMARKABLE:
                self._store.note_once(reported_once(notice))
                self._note_recent(notice)
        if event.stem in _MOVING:
            self._look_soon()
        self._apply(changes)

    def _note_recent(self, notice: Notice) -> None:
        serial = notice.subject.serial
        self.recent[serial] = (*self.recent.pop(serial, ()), notice.event.stem)[-_RECENT_EACH:]
        if len(self.recent) > _RECENT:
            del self.recent[next(iter(self.recent))]

    def _is_repeat(self, event_id: str) -> bool:
        """Kafka may give a record twice; an alarm knows that by its stamp."""
        if event_id in self._ids or event_id in self._older_ids:
            return True
        if event_id:
            self._ids.add(event_id)
            if len(self._ids) >= _REMEMBERED_IDS:
                self._ids, self._older_ids = set(), self._ids
        return False

    def _apply(self, changes: list[Transition]) -> None:
        for change in changes:
            self._store.note(change)
            if change.told:
                self._announce(change)

    def _announce(self, change: Transition) -> None:
        self._tell(alarm_event(change.what, change.alarm, source=self._api.plugin_id, tenant_id=self._api.tenant_id))

    def _announce_once(self, notice: Notice) -> None:
        self._tell(once_event(notice, source=self._api.plugin_id, tenant_id=self._api.tenant_id))

    def _follow_monitor(self) -> None:
        devices = self._listed()
        if devices is not self._source:
            self._source, self._network = devices, Network(devices)

    async def _relist_devices(self) -> bool:
        """Whether the devices were listed anew; not more often than once a second."""
        now = time.monotonic()
        if now - self._relisted_at < _RELIST_AFTER:
            return False
        self._relisted_at = now
        try:
            self._network = Network(await self._relist())
        except VolthaError as error:
            self._api.logger.debug("devices cannot be listed for an event: %s", error)
            return False
        return True

    async def checkpoint(self) -> None:
        """End flaps that are over and write what changed. A store that refuses gets it at the next checkpoint."""
        settings = self._settings
        self._apply(self.book.settle(time.time(), settings.alarm_flap_window))
        try:
            await self._store.flush(settings.alarm_history_limit)
            await self._history.flush()
        except Exception:  # they stay in memory; reading goes on
            self._api.logger.exception("alarms or values could not be stored; this is tried again")

    async def active(self, names: set[str] | None) -> list[dict[str, Any]]:
        """The raised alarms, of all devices or of those named, newest last."""
        found = [alarm for alarm in self.book.active.values() if names is None or alarm.concerns(names)]
        return [alarm.plain() for alarm in sorted(found, key=lambda alarm: alarm.raised_at)]

    async def history(self, names: set[str] | None, since: float, limit: int) -> list[dict[str, Any]]:
        """Alarms that are over and what happened once, newest first."""
        await self.checkpoint()
        found: list[Alarm] = [
            alarm
            for alarm in await self._store.history()
            if (alarm.cleared_at or 0) >= since and (names is None or alarm.concerns(names))
        ]
        found.sort(key=lambda alarm: alarm.cleared_at or 0, reverse=True)
        return [alarm.plain() for alarm in found[:limit]]

    def health(self, report: HealthReport) -> HealthReport:
        """VOLTHA's health, degraded while its events do not come."""
        reader = self.reader
        if reader is None:
            return report
        events = {
            "state": reader.state,
            "bootstrap": reader.bootstrap,
            "received": self.received,
            "malformed": self.malformed,
            **({"error": reader.error} if reader.error else {}),
        }
        details = {**report.details, "events": events}
        if reader.state != "away" or report.status is not HealthStatus.HEALTHY:
            return msgspec.structs.replace(report, details=details)
        message = f"{report.message}, and no events come from Kafka at {reader.bootstrap}: {reader.error}"
        return msgspec.structs.replace(report, status=HealthStatus.DEGRADED, message=message, details=details)

    def metrics(self) -> dict[str, float]:
        """Numbers about the alarms, and with Kafka about the events."""
        if self.reader is None:
            return {"voltha_alarms_active": float(len(self.book.active))}
        return {
            "voltha_alarms_active": float(len(self.book.active)),
            "voltha_events_total": float(self.received),
            "voltha_events_malformed_total": float(self.malformed),
            "voltha_events_connected": float(self.reader.state == "connected"),
        }


def _reader_class() -> type[EventReader]:
    try:
        module = importlib.import_module("._kafka", __package__)
    except ModuleNotFoundError as missing:
        raise VolthaConfigurationError(
            f"kafka_bootstrap is set, and the module {missing.name!r} is not installed",
            field="kafka_bootstrap",
            remedy="pip install 'dotmac-plugin-voltha[kafka]', or leave kafka_bootstrap empty",
        ) from None
    reader: type[EventReader] = module.EventReader
    return reader
