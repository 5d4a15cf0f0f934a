"""The plugin: takes events, acknowledges them when they are on disk, and asks the collector everything else."""

from __future__ import annotations

import asyncio
import contextlib
import re
from base64 import b64decode
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import msgspec

from dotmac_isp.plugins.core.base import MonitoringPlugin
from dotmac_isp.plugins.core.errors import LifecycleError, NotReady, PluginError
from dotmac_isp.plugins.core.model import HealthReport, HealthStatus

from ._plain import EventError, as_mapping, shown
from ._privacy import dropped
from ._shapes import conversion, page_view, transaction
from ._tasks import ended
from .events import BatchResult, Event, Rejection, parse_event
from .spool import SpoolFullError, write_atomically

if TYPE_CHECKING:
    from decimal import Decimal
    from pathlib import Path

    from dotmac_isp.plugins.core.api import PluginAPI
    from dotmac_isp.plugins.core.model import Alert, AlertStatus, DeviceEvent, PluginContext

    from .delivery import CollectorClient, Outbox, Sender

__all__ = ["AnalyticsEventsPlugin"]

_RECENT: Final = 50_000
#: After so many events of a batch, others get their turn on the loop.
_BREATH: Final = 250
_LAST_SECONDS: Final = 5.0
_ENCODER: Final = msgspec.json.Encoder()
_MARKER: Final = "collector.json"
_UNSAFE: Final = re.compile(r"[^a-z0-9]+")


class AnalyticsEventsPlugin(MonitoringPlugin):
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

    async def query(self, query: Mapping[str, Any]) -> dict[str, Any]:
        """Ask: `{"metric": "count", "event_name": …, "since": "24h", "group_by": […], "interval": "1h"}` gives columns and rows.

        Metrics: count, unique_users and the like, unique and approx_unique (of `field`), sum, avg, min, max, percentiles (p95, p99.9);
        `top` is how many rows. `{"kind": "funnel", "steps": […], "window": "24h"}`, `{"kind": "retention", "event": …, "periods": [1, 7]}`
        and `{"kind": "sessions", "gap": "30m"}` ask about people; `{"kind": "timeline", "limit": 20}` gives the latest events. Raises `EventError` for what cannot be asked.
        """
        return dict(await self._asked("POST", "/v1/query", query))

    async def sql(self, text: str, parameters: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Ask in ClickHouse's SQL: one SELECT over `events` and `events_per_minute`, which show this tenant's rows only.

        `{name:Type}` in the text takes its value from `parameters`. At most 10,000 rows, 10 seconds, 1 GB of memory. A permission of its
        own (`analytics.sql.query`). Raises `EventError` for what is not on the list of what is allowed.
        """
        return dict(await self._asked("POST", "/v1/sql", {"sql": text, "parameters": dict(parameters or {})}))

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

    async def generate_report(self, report_type: str, parameters: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Make a report over what was acknowledged until now.

        Types: summary, business, user_behavior, conversion, retention, performance, security, network. Parameters: `since`, `until`,
        `limit`, `steps` and `window` (conversion), `event`, `period` and `periods` (retention), `field` (performance), `revenue_events`,
        `signup_events` and `churn_events` (business), `down_events`, `up_events` and `subscribers` (network), and `format`: html, pdf,
        png, csv or parquet write a file too, whose `path` is in the answer. Raises `EventError` for what is not understood.
        """
        wish = {"report_type": report_type, "parameters": dict(parameters or {}), "embed": True}
        report = dict(await self._asked("POST", "/v1/reports", wish))
        report["rows"] = report["sections"][0]["rows"] if report["sections"] else []
        body = report["html"].encode() if "html" in report else b64decode(report.pop("file", ""))
        if body:
            stamp = report["generated_at"].replace(":", "").replace("-", "")
            path = self.api.data_dir / "reports" / f"{report['report_type']}-{stamp}.{report.get('format', 'html')}"
            report["path"] = await _written(path, body)
        return report

    async def report_types(self) -> dict[str, str]:
        """The types that `generate_report` knows, each with its title."""
        return dict(await self._asked("GET", "/v1/reports"))

    async def schedule_report(self, schedule: Mapping[str, Any]) -> dict[str, Any]:
        """Have a report made and sent again and again.

        `{"report_type": "business", "schedule": "0 6 * * MON", "timezone": "Europe/Berlin", "format": "pdf", "notify": ["mailto://…"],
        "parameters": {"since": "7d"}}`. `notify` are addresses as for alerts. Raises `EventError`.
        """
        return dict(await self._asked("POST", "/v1/reports/schedules", dict(schedule)))

    async def report_schedules(self) -> list[dict[str, Any]]:
        """The scheduled reports, each with `next_at`, `last_at` and `last_error`."""
        return list(await self._asked("GET", "/v1/reports/schedules"))

    async def run_scheduled_report(self, schedule_id: str) -> dict[str, Any] | None:
        """Make and send a scheduled report now: `sent` counts the addresses that took it. `None`: there is no such schedule."""
        if not re.fullmatch(r"[0-9a-f]{32}", str(schedule_id)):
            return None
        done: dict[str, Any] | None = await self._asked("POST", f"/v1/reports/schedules/{schedule_id}/run")
        return done

    async def unschedule_report(self, schedule_id: str) -> bool:
        """Make it no more. `False`: there is no such schedule."""
        if not re.fullmatch(r"[0-9a-f]{32}", str(schedule_id)):
            return False
        return (await self._asked("DELETE", f"/v1/reports/schedules/{schedule_id}")) is not None

    async def create_dashboard(self, dashboard_config: Mapping[str, Any]) -> dict[str, Any]:
        """Store a dashboard and draw it as one HTML file that opens offline.

        `{"title": …, "time_range": "24h", "panels": [{"title": …, "metric": "page_view", "chart": "line", "group_by": […]}]}`. A panel asks
        anything that `query` takes; `queries` names questions for several panels; charts are line, area, bar, pie, number, table, funnel,
        heatmap, and `vega` with a Vega-Lite `spec` of your own. `{"template": "network_operations"}` (sales, support) takes a ready-made
        one. Gives `dashboard_id`, `title`, `path` of the page and `panels`.
        """
        made = await self._asked("POST", "/v1/dashboards", dict(as_mapping(dashboard_config, "dashboard_config")))
        return await self._drawn(made)

    async def dashboards(self) -> list[dict[str, Any]]:
        """The stored dashboards, each with `id`, `title` and `panels`."""
        return list(await self._asked("GET", "/v1/dashboards"))

    async def dashboard_templates(self) -> list[dict[str, Any]]:
        """The ready-made dashboards: `create_dashboard({"template": "network_operations"})`."""
        return list(await self._asked("GET", "/v1/dashboards/templates"))

    async def refresh_dashboard(self, dashboard_id: str) -> dict[str, Any]:
        """Draw a stored dashboard again with today's numbers. Raises `PluginError` when there is no such dashboard."""
        return await self._drawn(await self._known_dashboard(dashboard_id))

    async def change_dashboard(self, dashboard_id: str, dashboard_config: Mapping[str, Any]) -> dict[str, Any]:
        """Put another dashboard in the place of one; its links go on. Raises `PluginError` when there is no such dashboard."""
        await self._known_dashboard(dashboard_id)
        wish = dict(as_mapping(dashboard_config, "dashboard_config"))
        return await self._drawn(await self._asked("PUT", f"/v1/dashboards/{dashboard_id}", wish))

    async def delete_dashboard(self, dashboard_id: str) -> bool:
        """Forget a dashboard and end its links. `False`: there is no such dashboard."""
        if not re.fullmatch(r"[0-9a-f]{32}", str(dashboard_id)):
            return False
        return (await self._asked("DELETE", f"/v1/dashboards/{dashboard_id}")) is not None

    async def export_dashboard(self, dashboard_id: str, form: str = "png") -> dict[str, Any]:
        """Write a dashboard to a file: png, pdf or html. Gives `path`. Raises `PluginError` when there is no such dashboard."""
        made = await self._known_dashboard(dashboard_id)
        if form not in {"png", "pdf", "html"}:
            raise EventError("form", form, "png, pdf or html")
        body = await self._client_of().page(f"/v1/dashboards/{dashboard_id}?format={form}")
        path = self._place("dashboards", f"{made['title']}-{made['id'][:8]}", form)
        return {"dashboard_id": made["id"], "title": made["title"], "path": await _written(path, body)}

    async def share_dashboard(self, dashboard_id: str, expires_in: Any = "7d") -> dict[str, Any]:
        """Make a link under which a browser shows the dashboard, live, without a key: `url`, `share_id`, `expires_at`.

        It opens this dashboard only, until it expires or `unshare_dashboard` ends it. Raises `PluginError` when there is no such dashboard.
        """
        await self._known_dashboard(dashboard_id)
        wish = {"expires_in": expires_in}
        return dict(await self._asked("POST", f"/v1/dashboards/{dashboard_id}/shares", wish))

    async def unshare_dashboard(self, dashboard_id: str, share_id: str) -> bool:
        """End a link now. `False`: there is no such link."""
        if not all(re.fullmatch(r"[0-9a-f]{32}", str(one)) for one in (dashboard_id, share_id)):
            return False
        return (await self._asked("DELETE", f"/v1/dashboards/{dashboard_id}/shares/{share_id}")) is not None

    async def _known_dashboard(self, dashboard_id: str) -> dict[str, Any]:
        known: dict[str, dict[str, Any]] = {item["id"]: item for item in await self._asked("GET", "/v1/dashboards")}
        if dashboard_id not in known:
            raise PluginError(
                f"there is no dashboard {shown(dashboard_id)}", remedy=f"Known: {', '.join(known) or 'none'}"
            )
        return known[dashboard_id]

    def _place(self, folder: str, name: str, form: str) -> Path:
        return self.api.data_dir / folder / f"{_UNSAFE.sub('-', name.lower()).strip('-')[:60] or folder}.{form}"

    async def _drawn(self, made: Mapping[str, Any]) -> dict[str, Any]:
        page = await self._client_of().page(f"/v1/dashboards/{made['id']}")
        name = _UNSAFE.sub("-", made["title"].lower()).strip("-")[:40] or "dashboard"
        path = self.api.data_dir / "dashboards" / f"{name}-{made['id'][:8]}.html"
        panels = [panel["title"] for panel in made["panels"]]
        told = {"dashboard_id": made["id"], "id": made["id"], "title": made["title"], "panels": panels}
        return {**told, "path": await _written(path, page)}

    async def collect_metrics(
        self, resource_ids: Sequence[str] = (), context: PluginContext | None = None
    ) -> Mapping[str, Any]:
        """Counts of the last 24 hours: of the tenant, and by device for the resources that are asked for."""
        del context
        where = {"device_id": list(resource_ids)} if resource_ids else {}
        by_category = await self._asked("POST", "/v1/query", {"group_by": ["category"], "where": where})
        users = await self._asked("POST", "/v1/query", {"metric": "unique_users", "where": where})
        categories = {row["category"]: row["value"] for row in by_category["rows"]}
        metrics: dict[str, Any] = {
            "events_24h": sum(categories.values()),
            "unique_users_24h": users["rows"][0]["value"] if users["rows"] else 0,
            "events_by_category_24h": categories,
            "events_buffered": self._sender_of().buffered,
        }
        if resource_ids:
            metrics["resources"] = await self._by_resource(resource_ids)
        return metrics

    async def _by_resource(self, resource_ids: Sequence[str]) -> dict[str, Any]:
        wish = {"group_by": ["device_id", "event_name"], "where": {"device_id": list(resource_ids)}, "limit": 10_000}
        answer = await self._asked("POST", "/v1/query", wish)
        resources: dict[str, dict[str, Any]] = {name: {"events_24h": 0, "by_event": {}} for name in resource_ids}
        for row in answer["rows"]:
            entry = resources[row["device_id"]]
            entry["events_24h"] += row["value"]
            entry["by_event"][row["event_name"]] = row["value"]
        return resources

    async def create_alert(self, alert_data: Alert, context: PluginContext | None = None) -> str:
        """Store a rule: `{"name": …, "metric": "login_failed", "operator": ">", "threshold": 5, "window": "5m", "for": "1m"}`.

        Kinds: threshold, change, absence, ratio, funnel, sql, anomaly; `condition` in CEL instead of operator and threshold; `group_by`
        makes each group an alert of its own; `keep_firing_for`, `on_no_data`, `on_error`, `severity`, `labels`, `notify`, `notify_on`.
        """
        del context
        made = await self._asked("POST", "/v1/alerts", dict(as_mapping(alert_data, "alert_data")))
        return str(made["alert_id"])

    async def alerts(self) -> list[dict[str, Any]]:
        """All rules with their states, as they were last evaluated."""
        return list(await self._asked("GET", "/v1/alerts"))

    async def change_alert(self, alert_id: str, alert_data: Alert) -> bool:
        """Put another rule in the place of one; its states begin anew. `False`: there is no such alert."""
        wish = dict(as_mapping(alert_data, "alert_data"))
        return bool(await self._of_alert("PUT", alert_id, "", wish))

    async def delete_alert(self, alert_id: str) -> bool:
        """Forget a rule. `False`: there is no such alert."""
        return bool(await self._of_alert("DELETE", alert_id, "", None))

    async def acknowledge_alert(self, alert_id: str, by: str, note: str = "") -> int | None:
        """Say that somebody looks after what fires now: it is not repeated until it ends. How many fire; `None`: no such alert."""
        done = await self._of_alert("POST", alert_id, "/acknowledge", {"by": by, "note": note})
        return None if done is None else int(done["acknowledged"])

    async def _of_alert(self, method: str, alert_id: str, action: str, value: Any) -> Any:
        if not re.fullmatch(r"[0-9a-f]{32}", str(alert_id)):
            return None
        return await self._asked(method, f"/v1/alerts/{alert_id}{action}", value)

    async def backtest_alert(
        self, rule: Alert, since: Any = "7d", until: Any = "now", step: Any = None
    ) -> dict[str, Any]:
        """What a rule would have done: `episodes`, `firing_seconds`, `changes` (time, labels, state, value) and the `values`."""
        wish = {"rule": dict(as_mapping(rule, "rule")), "since": since, "until": until}
        return dict(await self._asked("POST", "/v1/alerts/backtest", wish | ({"step": step} if step else {})))

    async def silence_alerts(self, silence: Mapping[str, Any]) -> dict[str, Any]:
        """Tell nobody for a while: `{"alert_id": …}` or `{"match": {label: value}}`, with `duration` or `ends_at`.

        With `schedule` (five fields of cron, in `timezone`) it is a maintenance window that comes again. States go on meanwhile, and
        what still fires afterwards is told then.
        """
        return dict(await self._asked("POST", "/v1/silences", dict(silence)))

    async def silences(self) -> list[dict[str, Any]]:
        """The silences and maintenance windows that are in force or will be."""
        return list(await self._asked("GET", "/v1/silences"))

    async def end_silence(self, silence_id: str) -> bool:
        """End a silence now. `False`: there is no such silence."""
        if not re.fullmatch(r"[0-9a-f]{32}", str(silence_id)):
            return False
        return (await self._asked("DELETE", f"/v1/silences/{silence_id}")) is not None

    async def alert_policy(self, policy: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """How alerts are told, or (with `policy`) shall be: `notify`, `group_by`, `group_wait`, `group_interval`, `repeat_interval`.

        `notify` are addresses: `https://…` gets JSON, `mailto://user:password@host?to=…` and others go through apprise.
        """
        if policy is None:
            return dict(await self._asked("GET", "/v1/alerts/policy"))
        return dict(await self._asked("PUT", "/v1/alerts/policy", dict(policy)))

    async def get_alert_status(self, alert_id: str, context: PluginContext | None = None) -> AlertStatus | None:
        """Evaluate an alert now: `state` (ok, pending, firing, recovering, no_data, error), `value`, `since`, `history`; `None`: not one of these."""
        del context
        if not re.fullmatch(r"[0-9a-f]{32}", str(alert_id)):
            return None
        status: AlertStatus | None = await self._asked("GET", f"/v1/alerts/{alert_id}")
        return status

    async def _asked(self, method: str, path: str, value: Any = None) -> Any:
        """Ask the collector, after everything that was acknowledged has reached it."""
        await self._sender_of().flush()
        return await self._client_of().call(method, path, value)

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
            return HealthReport(status=HealthStatus.DEGRADED, message=message, details=details)
        details["collector_health"] = health
        if health["status"] != "healthy":
            return HealthReport(status=HealthStatus.DEGRADED, message=health["reason"], details=details)
        return HealthReport(status=HealthStatus.HEALTHY, message=f"collector at {client.address}", details=details)

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


async def _written(path: Path, body: bytes) -> str:
    return await asyncio.to_thread(_write_file, path, body)


def _write_file(path: Path, body: bytes) -> str:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_atomically(path, body, sync=False)
    return str(path)
