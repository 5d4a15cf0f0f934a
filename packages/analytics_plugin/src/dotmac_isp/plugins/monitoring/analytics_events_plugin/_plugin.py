"""The plugin: takes events, acknowledges them when they are on disk, and asks the collector everything else."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import msgspec

from dotmac_isp.plugins.core.errors import LifecycleError, NotReady, PluginError
from dotmac_isp.plugins.core.model import HealthReport, HealthStatus

from ._plain import EventError, as_mapping, shown
from ._privacy import dropped
from ._shapes import conversion, page_view, transaction
from ._tasks import ended
from .asking import Alerts, Dashboards, Questions, Reports
from .events import BatchResult, Event, Rejection, parse_event
from .spool import SpoolFullError, write_atomically

if TYPE_CHECKING:
    from decimal import Decimal

    from dotmac_isp.plugins.core.api import PluginAPI
    from dotmac_isp.plugins.core.model import DeviceEvent, PluginContext

    from .delivery import CollectorClient, Outbox, Sender

__all__ = ["AnalyticsEventsPlugin"]

_RECENT: Final = 50_000
#: After so many events of a batch, others get their turn on the loop.
_BREATH: Final = 250
_LAST_SECONDS: Final = 5.0
_ENCODER: Final = msgspec.json.Encoder()
_MARKER: Final = "collector.json"
_UNSAFE: Final = re.compile(r"[^a-z0-9]+")


class AnalyticsEventsPlugin(Questions, Reports, Dashboards, Alerts):
    """Event tracking, reports, dashboards and alerts for one tenant (specification, "Analytics Events Plugin")."""

    def __init__(self, api: PluginAPI) -> None:
        super().__init__(api)
        self._outbox: Outbox | None = None
        self._client: CollectorClient | None = None
        self._sender: Sender | None = None
        self._sending: asyncio.Task[Any] | None = None
        self._recent: OrderedDict[str, None] = OrderedDict()
        self._accepted = 0
        self._rejected = 0
        self._settings: Any = api.settings
        self._dropped: tuple[tuple[str, ...], ...] = ()
        self._patience = 0.0

    # -- lifecycle ---------------------------------------------------------------------------------------------------

    async def initialize(self) -> None:
        """Claim a folder for waiting events. No network."""
        # It brings tenacity and more; this module stays light.
        from .delivery import API_KEY, CollectorClient, Sender, claim_outbox  # noqa: PLC0415

        settings = self.api.settings
        self._settings = settings
        self._dropped = tuple(tuple(path.split(".")) for path in settings.drop_properties)
        self._patience = settings.request_timeout if settings.when_full == "wait" else 0.0
        await self.api.secrets.require(API_KEY)
        self._outbox = await asyncio.to_thread(claim_outbox, self.api.data_dir, settings.max_buffer_mb * 1024 * 1024)
        self._client = CollectorClient(settings, self.api.secrets, self.api.tenant_id)
        self._sender = Sender(self._client, self._outbox, settings, self.api.logger)

    async def activate(self) -> None:
        """Find the collector and begin to deliver.

        The first time it must be there; one that was there before may be away: events then wait on disk.
        """
        client, sender = self._client_of(), self._sender_of()
        try:
            about = await client.about()
            await client.call("GET", "/v1/whoami")
        except NotReady as error:
            if not await asyncio.to_thread(self._met_before, client.address):
                raise
            sender.last_error = str(error)
        else:
            marker = msgspec.json.encode({"address": client.address, **about})
            await asyncio.to_thread(write_atomically, self.api.data_dir / _MARKER, marker, sync=False)
        self._sending = self.api.spawn(sender.run(), name="deliver events")

    def _met_before(self, address: str) -> bool:
        with contextlib.suppress(FileNotFoundError, msgspec.DecodeError, AttributeError):
            marker = msgspec.json.decode((self.api.data_dir / _MARKER).read_bytes())
            return bool(marker.get("address") == address)
        return False

    async def deactivate(self) -> None:
        """Stop delivering; what cannot be delivered in a moment waits on disk for the next start."""
        sending, self._sending = self._sending, None
        await ended(sending)
        if self._sender is not None:
            with contextlib.suppress(PluginError, OSError, TimeoutError):
                async with asyncio.timeout(_LAST_SECONDS):
                    await self._sender.flush()

    async def cleanup(self) -> None:
        if self._client is not None:
            await self._client.close()
        if self._outbox is not None:
            await self._outbox.close()
        self._client = self._outbox = self._sender = None

    # -- events ------------------------------------------------------------------------------------------------------

    async def track_event(self, event: Any, context: PluginContext | None = None) -> str:
        """Take one event and return its id once it is on disk.

        A dict (`{"event_type": "page_view", "properties": {…}}`) or an object with such attributes. Raises `EventError` (a `ValueError`)
        for what cannot be understood, `NotReady` when the disk space for waiting events is used up.
        """
        parsed = self._parsed(event, context)
        await self._take([parsed])
        return parsed.event_id

    async def track_events_batch(self, events: Iterable[Any], context: PluginContext | None = None) -> dict[str, Any]:
        """Take many events; the good ones are on disk when this returns.

        Gives `accepted` (how many), `rejected` (list of `index`, `reason`, `event_id`), `duplicates` (ids taken before) and `event_ids`.
        """
        if isinstance(events, (str, bytes, Mapping)) or not isinstance(events, Iterable):
            raise EventError("events", events, "a list of events")
        good: list[Event] = []
        rejected: list[Rejection] = []
        for index, raw in enumerate(events):
            if index % _BREATH == _BREATH - 1:
                await asyncio.sleep(0)
            try:
                good.append(self._parsed(raw, context))
            except EventError as error:
                rejected.append(Rejection(index=index, reason=str(error), event_id=_id_of(raw)))
        self._rejected += len(rejected)
        fresh, duplicates = await self._take(good)
        result = BatchResult(
            accepted=len(fresh),
            rejected=rejected,
            duplicates=duplicates,
            event_ids=[event.event_id for event in fresh],
        )
        plain: dict[str, Any] = msgspec.to_builtins(result)
        return plain

    async def track_page_view(self, page: str, *, context: PluginContext | None = None, **fields: Any) -> str:
        """Take one page view; `fields` as in an event (`user_id`, `session_id`, `properties`, …). Raises as `track_event`."""
        return await self.track_event(page_view(page, fields), context)

    async def track_conversion(
        self,
        goal: str,
        *,
        amount: Decimal | str | int | None = None,
        currency: str = "",
        context: PluginContext | None = None,
        **fields: Any,
    ) -> str:
        """Take one reached goal, with what it is worth where that is known. Raises as `track_event`; a float is no amount."""
        return await self.track_event(conversion(goal, amount, currency, fields), context)

    async def track_transaction(
        self,
        amount: Decimal | str | int,
        currency: str,
        *,
        kind: str = "payment",
        context: PluginContext | None = None,
        **fields: Any,
    ) -> str:
        """Take money that moved: payment, charge, refund, credit or transaction; refunds and credits are stored negative.

        With a `transaction_id` the same transaction counts once, however often it is told. `amount` is exact, to six places;
        raises `EventError` for a float or without an ISO 4217 currency, else as `track_event`.
        """
        return await self.track_event(transaction(kind, amount, currency, fields), context)

    def _parsed(self, raw: Any, context: PluginContext | None) -> Event:
        fields = dict(as_mapping(raw))
        tenant = fields.pop("tenant_id", None)
        if tenant is not None and tenant != self.api.tenant_id:
            raise EventError("tenant_id", tenant, f"{shown(self.api.tenant_id)}, the tenant of this instance")
        if context is not None:
            if context.user_id and not fields.keys() & {"user_id", "userId", "user"}:
                fields["user_id"] = context.user_id
            if context.request_id and not fields.keys() & {"correlation_id", "request_id"}:
                fields["correlation_id"] = context.request_id
        event = parse_event(fields, max_age_days=self._settings.max_event_age_days)
        if self._dropped and event.properties:
            return msgspec.structs.replace(event, properties=dropped(event.properties, self._dropped))
        return event

    async def _take(self, events: Sequence[Event]) -> tuple[list[Event], list[str]]:
        """Put what is new on disk. Identifiers of a while ago are known here; the collector knows them all."""
        fresh: dict[str, Event] = {}
        duplicates: list[str] = []
        for event in events:
            if event.event_id in self._recent or event.event_id in fresh:
                duplicates.append(event.event_id)
            else:
                fresh[event.event_id] = event
        if fresh:
            await self._store(list(fresh.values()))
        return list(fresh.values()), duplicates

    async def _store(self, events: list[Event]) -> None:
        payload = _ENCODER.encode_lines(events)
        try:
            await self._outbox_of().put(len(events), payload, patience=self._patience)
        except SpoolFullError as error:
            raise NotReady(
                str(error),
                remedy="Events are taken again when the collector has received the waiting ones (or raise max_buffer_mb)",
            ) from error
        self._accepted += len(events)
        for event in events:
            self._recent[event.event_id] = None
        while len(self._recent) > _RECENT:
            self._recent.popitem(last=False)
        self._sender_of().notice(len(events))

    async def on_device_event(self, event: DeviceEvent, context: PluginContext | None = None) -> None:
        """Track what happened to a device as a technical event, so that network reports see it."""
        fields = {
            "event_name": event.event_type,
            "event_type": "device_event",
            "category": "technical",
            "severity": event.severity,
            "device_id": event.device_id,
            "source": event.source,
            "timestamp": event.timestamp,
            "properties": {"serial_number": event.serial_number, "message": event.message, **event.attributes},
        }
        try:
            await self.track_event(fields, context)
        except EventError as error:
            self.api.logger.warning("a device event is tracked in a plainer form: %s", error)
            told = {"message": event.message[:1000], "as_reported": repr(event.attributes)[:4000]}
            severity = {"severity": "info"} if error.field == "severity" else {}
            plainer = {**fields, **severity, "timestamp": None, "properties": told}
            await self.track_event(plainer, context)

    async def flush(self) -> dict[str, Any]:
        """Deliver what is buffered now. Raises `NotReady` or `CredentialsRefused` when the collector does not take it."""
        sender = self._sender_of()
        before = sender.sent
        await sender.flush()
        return {"delivered": sender.sent - before, "buffered": sender.buffered}

    # -- questions ---------------------------------------------------------------------------------------------------

    async def register_schema(
        self,
        event_name: str,
        schema: Mapping[str, Any] | None = None,
        *,
        mode: str | None = None,
        compatibility: str | None = None,
    ) -> dict[str, Any]:
        """Add the next version of the JSON Schema for an event's properties, or (without one) change what the latest does.

        Modes: accept, warn, quarantine (the default), reject. Compatibility with the version before: backward (the default), forward,
        full, none. Raises `EventError` for a schema that is none, goes beyond the bounds, or breaks the compatibility.
        """
        wish = {"event_name": event_name, "schema": schema, "mode": mode, "compatibility": compatibility}
        return dict(await self._asked("POST", "/v1/schemas", wish))

    async def schemas(self) -> list[dict[str, Any]]:
        """All versions of all schemas, by event name."""
        return list(await self._asked("GET", "/v1/schemas"))

    async def infer_schema(self, event_name: str, since: str = "7d") -> dict[str, Any] | None:
        """Propose a schema from the last thousand events of that name; `None` when there were none."""
        wish = {"event_name": event_name, "since": since}
        proposal: dict[str, Any] | None = await self._asked("POST", "/v1/schemas/infer", wish)
        return proposal

    async def quarantine(self, event_name: str = "", limit: int = 100) -> list[dict[str, Any]]:
        """Events that wait because they do not fit their schema, oldest first, each with the reasons."""
        wish = urlencode({"event_name": event_name, "limit": limit})
        return list(await self._asked("GET", f"/v1/quarantine?{wish}"))

    async def replay(
        self, event_ids: Sequence[str] = (), *, event_name: str = "", changes: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Take events from the quarantine after all, up to 1,000 at once, mended by `changes`.

        `{"rename": {old: new}, "drop": [name], "set": {name: value}}` change properties. Gives `replayed`, `duplicates` and
        `still_held` (with reasons); without ids, all of the name, or all.
        """
        wish = {"event_ids": list(event_ids), "event_name": event_name, "changes": dict(changes or {})}
        return dict(await self._asked("POST", "/v1/quarantine/replay", wish))

    async def rules(self) -> dict[str, Any]:
        """What happens to this tenant's events on their way in, and how long they are kept."""
        return dict(await self._asked("GET", "/v1/rules"))

    async def set_rules(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Change rules, from the next event on; what is left out stays.

        `{"privacy": {"hash": ["email", "user_id"], "drop": ["address.street"]}, "retention": {"*": 365, "security": 90},
        "late": "reject", "future": "reject"}`: properties by path (and user_id, customer_id, session_id, device_id to hash); days
        by category; late and future events are rejected, stamped with the time of receipt, or put into quarantine. Raises `EventError`.
        """
        return dict(await self._asked("POST", "/v1/rules", dict(changes)))

    async def export_customer(self, customer_id: str = "", *, user_id: str = "") -> str:
        """All that is stored about one customer (or user), as JSON lines, oldest first; what waits in quarantine at the end."""
        wish = {"customer_id": customer_id, "user_id": user_id, "format": "json"}
        await self._sender_of().flush()
        return (await self._client_of().page("/v1/customers/export", wish)).decode()

    async def delete_customer(self, customer_id: str = "", *, user_id: str = "") -> dict[str, Any]:
        """Delete one customer's (or user's) events for good: `deletion_id`, `deleted_events`, `state`, `proof`.

        They are gone when this returns; what was counted of them is put right within a minute (`state` is then `done`).
        """
        return dict(await self._asked("POST", "/v1/customers/delete", {"customer_id": customer_id, "user_id": user_id}))

    async def deletions(self) -> list[dict[str, Any]]:
        """The deletions of this tenant, oldest first."""
        return list(await self._asked("GET", "/v1/customers/deletions"))

    async def api_keys(self) -> list[dict[str, Any]]:
        """The tenant's keys at the collector: what each may do, until when, how fast. The keys themselves are nowhere."""
        return list(await self._asked("GET", "/v1/keys"))

    async def create_api_key(
        self,
        name: str,
        scopes: Sequence[str],
        *,
        expires_in: str = "",
        events_per_second: int = 0,
        requests_per_second: int = 0,
    ) -> dict[str, Any]:
        """Make a key for others who send or ask (`write`, `read`, `admin`); `key` is told this once. Raises `EventError`."""
        wish: dict[str, Any] = {"name": name, "scopes": list(scopes), "expires_in": expires_in}
        wish |= {"events_per_second": events_per_second, "requests_per_second": requests_per_second}
        return dict(await self._asked("POST", "/v1/keys", wish))

    async def rotate_api_key(self, key_id: str, *, overlap: str = "") -> dict[str, Any]:
        """A new key that may do the same; the old one goes on for the overlap (`24h`), else ends at once. Raises `PluginError`."""
        return dict(
            self._found(await self._asked("POST", f"/v1/keys/{_number(key_id)}/rotate", {"overlap": overlap}), key_id)
        )

    async def revoke_api_key(self, key_id: str) -> dict[str, Any]:
        """End a key now. Raises `PluginError` when the tenant has no such key of its own."""
        return dict(self._found(await self._asked("DELETE", f"/v1/keys/{_number(key_id)}"), key_id))

    @staticmethod
    def _found(answer: Any, key_id: str) -> Any:
        if answer is None:
            remedy = "Keys that the host or the operator gave are changed where they are kept; api_keys() lists them"
            raise PluginError(f"this tenant has no key of its own named {shown(key_id)}", remedy=remedy)
        return answer

    async def _asked(self, method: str, path: str, value: Any = None) -> Any:
        """Ask the collector, after everything that was acknowledged has reached it."""
        await self._sender_of().flush()
        return await self._client_of().call(method, path, value)

    def _waiting(self) -> int:
        return self._sender_of().buffered

    async def _page(self, path: str) -> bytes:
        return await self._client_of().page(path)

    # -- health ------------------------------------------------------------------------------------------------------

    async def health_check(self) -> HealthReport:
        """Whether the collector takes events; if not, how many wait."""
        sender, client = self._sender_of(), self._client_of()
        details: dict[str, Any] = {"collector": client.address, **await self.get_metrics()}
        try:
            await client.call("GET", "/v1/whoami")
            health = await client.call("GET", "/v1/health")
        except PluginError as error:
            message = f"{error.message}; {sender.buffered} events wait on disk"
            return HealthReport(
                status=HealthStatus.DEGRADED, message=message, details=details, vendor=HealthStatus.UNHEALTHY
            )
        details["collector_health"] = health
        if health["status"] != "healthy":
            return HealthReport(
                status=HealthStatus.DEGRADED, message=health["reason"], details=details, vendor=HealthStatus.DEGRADED
            )
        return HealthReport(
            status=HealthStatus.HEALTHY,
            message=f"collector at {client.address}",
            details=details,
            vendor=HealthStatus.HEALTHY,
        )

    async def get_metrics(self) -> Mapping[str, float]:
        """Numbers about the plugin itself."""
        sender = self._sender_of()
        return {
            "analytics_events_accepted_total": float(self._accepted),
            "analytics_events_rejected_total": float(self._rejected),
            "analytics_events_delivered_total": float(sender.sent),
            "analytics_events_duplicate_total": float(sender.duplicates),
            "analytics_events_refused_total": float(sender.refused),
            "analytics_events_buffered": float(sender.buffered),
            "analytics_batches_sent_total": float(sender.requests),
        }

    def _sender_of(self) -> Sender:
        if self._sender is None:
            raise LifecycleError("the analytics plugin is not initialised")
        return self._sender

    def _client_of(self) -> CollectorClient:
        if self._client is None:
            raise LifecycleError("the analytics plugin is not initialised")
        return self._client

    def _outbox_of(self) -> Outbox:
        if self._outbox is None:
            raise LifecycleError("the analytics plugin is not initialised")
        return self._outbox


def _number(key_id: str) -> str:
    if not re.fullmatch(r"[0-9a-z]{1,32}", str(key_id)):
        raise EventError("key_id", key_id, "a key's number, as api_keys() gives it")
    return str(key_id)


def _id_of(raw: Any) -> str:
    value = raw.get("event_id", "") if isinstance(raw, Mapping) else getattr(raw, "event_id", "")
    return str(value)[:256] if isinstance(value, (str, int)) else ""
