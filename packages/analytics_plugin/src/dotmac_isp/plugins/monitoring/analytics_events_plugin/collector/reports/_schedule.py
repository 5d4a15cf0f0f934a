"""Reports that come by themselves: made when their cron line says, sent by mail, to a service or to a webhook.

When a report is due next is stored before it is made: a collector that was away at the moment makes it once when it is back, if the moment is
not too long ago, and never twice. Of several collectors before one server the one that leads makes them.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ..._plain import EventError, as_mapping, plain
from ..._tasks import ended
from ..alerts import check_cron, next_run, parse_silence
from ..delivery import Attachment, Delivery, DeliveryError, Message, check_target, redacted
from ..questions import Questions
from ._forms import FORMS, check_form, file_name, formed
from ._making import understood
from ._reports import make_report, report_name

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ...pages import Drawing
    from ...store import Store
    from .._meta import Meta
    from ..sharing import Change, Sharing
    from ._making import Report

__all__ = ["Schedules"]

_log: Final = logging.getLogger(__name__)
_KIND: Final = "report_schedule"
_FIELDS: Final = frozenset({"report_type", "parameters", "schedule", "timezone", "notify", "format", "name"})
_MOST: Final = 200
_MOST_TARGETS: Final = 20
_TICK: Final = 1.0
_LATE: Final = 24 * 3600.0
_TRIES: Final = 5
_RETRY: Final = 30.0


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """A report, when it is made, and where it goes. `left` counts the tries of the current one."""

    name: str
    report_type: str
    parameters: dict[str, Any]
    form: str
    schedule: str
    timezone: str
    notify: tuple[str, ...]
    next_at: float
    left: tuple[str, ...] = ()
    tries: int = 0
    last_at: float = 0.0
    last_error: str = ""


def parse_schedule(raw: object, now: float) -> Schedule:
    """Understand a schedule. Raises `EventError`."""
    given = {key: value for key, value in as_mapping(raw, "schedule").items() if value is not None}
    for name in given.keys() - _FIELDS:
        raise EventError(f"schedule.{name}", given[name], "one of " + ", ".join(sorted(_FIELDS)))
    cron = str(given.get("schedule", ""))
    check_cron(cron)
    zone = parse_silence({"alert_id": "x", "timezone": given.get("timezone", "UTC")}).timezone
    notify = given.get("notify") or []
    notify = [notify] if isinstance(notify, str) else notify
    if not isinstance(notify, (list, tuple)) or not 0 < len(notify) <= _MOST_TARGETS:
        raise EventError("notify", notify, f"1 to {_MOST_TARGETS} addresses")
    name = report_name(given.get("report_type"))
    parameters = plain(understood(given.get("parameters")), "parameters")
    return Schedule(
        name=str(plain(str(given.get("name") or name)[:200], "name")),
        report_type=name,
        parameters={key: value for key, value in parameters.items() if key != "format"},
        form=check_form(given.get("format") or parameters.get("format") or "pdf"),
        schedule=cron,
        timezone=zone,
        notify=tuple(check_target(item, "notify") for item in notify),
        next_at=next_run(cron, zone, now),
    )


class Schedules:
    """The schedules of all tenants. Use from one event loop."""

    def __init__(
        self, meta: Meta, store: Store, sharing: Sharing, *, delivery: Delivery, drawing: Drawing, cache: Path
    ) -> None:
        self._meta = meta
        self._sharing = sharing
        self._store = store
        self._delivery = delivery
        self._drawing = drawing
        self._cache = cache
        self._task: asyncio.Task[None] | None = None
        self._all: dict[tuple[str, str], Schedule] = {
            (tenant, key): msgspec.convert(value, Schedule) for tenant, key, value in meta.list(_KIND)
        }

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="analytics reports")

    async def close(self) -> None:
        await ended(self._task)

    def create(self, tenant: str, raw: object) -> dict[str, Any]:
        """Raises `EventError`."""
        if sum(owner == tenant for owner, _ in self._all) >= _MOST:
            raise EventError("schedule", f"number {_MOST + 1}", f"at most {_MOST} schedules; delete some")
        made = parse_schedule(raw, time.time())
        key = uuid.uuid4().hex
        self._save(tenant, key, made)
        return _shown(key, made)

    def list(self, tenant: str) -> Sequence[dict[str, Any]]:
        return [_shown(key, one) for (owner, key), one in self._all.items() if owner == tenant]

    def delete(self, tenant: str, key: str) -> bool:
        return self._all.pop((tenant, key), None) is not None and self._meta.delete(_KIND, tenant, key)

    def _save(self, tenant: str, key: str, schedule: Schedule) -> None:
        self._all[tenant, key] = schedule
        self._meta.put(_KIND, tenant, key, schedule)

    def heard(self, change: Change) -> None:
        """Another collector changed or deleted a schedule."""
        value = self._meta.get(_KIND, change.tenant, change.id)
        if value is None:
            self._all.pop((change.tenant, change.id), None)
        else:
            self._all[change.tenant, change.id] = msgspec.convert(value, Schedule)

    async def run_now(self, tenant: str, key: str) -> dict[str, Any] | None:
        """Make and send it now, beside its schedule. `None`: there is no such schedule."""
        schedule = self._all.get((tenant, key))
        if schedule is None:
            return None
        left, error = await self._sent(await self._made(tenant, schedule), schedule.notify)
        return {"schedule_id": key, "sent": len(schedule.notify) - len(left), "error": error}

    async def _run(self) -> None:
        while True:
            now = time.time()
            due = [(place, one) for place, one in self._all.items() if one.next_at <= now and self._sharing.leads]
            await asyncio.gather(*(self._turn(tenant, key, one, now) for (tenant, key), one in due))
            await asyncio.sleep(_TICK)

    async def _turn(self, tenant: str, key: str, schedule: Schedule, now: float) -> None:
        targets = schedule.left or schedule.notify
        following = next_run(schedule.schedule, schedule.timezone, now)
        noted = msgspec.structs.replace(schedule, next_at=following, left=(), tries=0)
        if now - schedule.next_at > _LATE:
            self._save(tenant, key, noted)
            return
        try:
            message = await self._made(tenant, schedule)
            # Noted before it goes: killed until here, the collector makes it again; killed later, it has sent it to nobody twice.
            if (tenant, key) not in self._all or not self._sharing.leads:
                return
            self._save(tenant, key, noted)
            await self._sharing.tell()
            left, error = await self._sent(message, targets)
        except Exception as problem:  # noqa: BLE001 - one report's trouble must not keep the others from being made
            left, error = targets, f"{type(problem).__name__}: {problem}"[:400]
        if (tenant, key) not in self._all:
            return
        changed = msgspec.structs.replace(noted, last_at=now, last_error=error)
        if left and schedule.tries + 1 < _TRIES and now + _RETRY * 2**schedule.tries < following:
            later = now + _RETRY * 2**schedule.tries
            changed = msgspec.structs.replace(changed, next_at=later, left=tuple(left), tries=schedule.tries + 1)
        if error:
            _log.warning("the report %r of tenant %s did not go out: %s", schedule.name, tenant, error)
        self._save(tenant, key, changed)

    async def _made(self, tenant: str, schedule: Schedule) -> Message:
        report = await make_report(Questions(self._store, tenant), schedule.report_type, schedule.parameters)
        body = await formed(report, schedule.form, cache=self._cache, drawing=self._drawing)
        return _message(tenant, schedule, report, body)

    async def _sent(self, message: Message, targets: Sequence[str]) -> tuple[Sequence[str], str]:
        """Whom it did not reach, and the last reason."""
        left, error = [], ""
        for target in targets:
            try:
                await self._delivery.send(target, message)
            except DeliveryError as problem:
                left.append(target)
                error = str(problem)
        return left, error


def _message(tenant: str, schedule: Schedule, report: Report, body: bytes) -> Message:
    totals = [f"{name.replace('_', ' ')}: {value}" for name, value in report.totals.items()]
    return Message(
        subject=f"{schedule.name}: {report.title} report",
        text="\n".join([f"{report.since} to {report.until}", "", *totals, "", f"Tenant: {tenant}"]),
        key=f"{schedule.report_type}-{report.generated_at}",
        data={
            "tenant": tenant,
            "report_type": report.report_type,
            "since": report.since,
            "until": report.until,
            "totals": report.totals,
        },
        attachment=Attachment(file_name(report, schedule.form), FORMS[schedule.form], body),
    )


def _shown(key: str, schedule: Schedule) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.to_builtins(schedule)
    for name in ("left", "tries"):
        told.pop(name)
    told["format"] = told.pop("form")
    return {"schedule_id": key, **told, "notify": [redacted(target) for target in schedule.notify]}
