"""Keeps the rules of all tenants, evaluates them when they are due, and tells who is to be told.

The rules of a tenant are evaluated together; tenants are spread over the interval, so that nothing happens for all at the same moment.
Of several collectors before one server the one that leads evaluates and tells; the others know its states.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
import zlib
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ..._plain import EventError
from ..._tasks import ended
from ..delivery import Delivery, DeliveryError, redacted, target_id
from ..questions import Questions
from ._dispatch import Notice, Policy, Sent, due, message_of, parse_policy, shown_labels
from ._measure import measure
from ._rules import AlertRule, parse_rule, text_of
from ._silences import Silence, parse_silence
from ._states import Acknowledgement, AlertState, Outcome, next_state, worst

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ...store import Store
    from .._meta import Meta
    from ..sharing import Change, Sharing

__all__ = ["Alerts"]

_log: Final = logging.getLogger(__name__)
_RULE: Final = "alert"
_STATE: Final = "alert_state"
_SILENCE: Final = "silence"
_SENT: Final = "alert_sent"
_POLICY: Final = "alert_policy"
_MOST_RULES: Final = 2000
_MOST_TICK: Final = 1.0
_FORGET: Final = 30 * 86400.0
_RETRY_FIRST: Final = 1.0
_RETRY_MOST: Final = 600.0
_LAST_SECONDS: Final = 5.0


class _Stored(msgspec.Struct, kw_only=True):
    rule: AlertRule
    created_at: float
    #: By the labels of the instance, "" for a rule without groups.
    states: dict[str, AlertState] = msgspec.field(default_factory=dict)


class Alerts:
    """Use from one event loop."""

    def __init__(self, meta: Meta, store: Store, sharing: Sharing, *, interval: float, delivery: Delivery) -> None:
        self._meta = meta
        self._sharing = sharing
        self._store = store
        self._interval = interval
        self._delivery = delivery
        self._tasks: list[asyncio.Task[None]] = []
        self._sending: set[asyncio.Task[bool]] = set()
        self._rules: dict[str, dict[str, _Stored]] = {}
        self._silences: dict[str, list[Silence]] = {}
        self._policies: dict[str, Policy] = {}
        self._sent: dict[str, dict[str, Sent]] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._retries: dict[tuple[str, str, str], tuple[float, float, str]] = {}
        self.rounds = 0
        self.last_round_seconds = 0.0
        self._load()

    def _load(self) -> None:
        for tenant, key, value in self._meta.list(_RULE):
            self._rules.setdefault(tenant, {})[key] = msgspec.convert(value, _Stored)
        for tenant, key, value in self._meta.list(_STATE):
            if key in self._rules.get(tenant, {}):
                self._rules[tenant][key].states = msgspec.convert(value, dict[str, AlertState])
        for tenant, _, value in self._meta.list(_SILENCE):
            self._silences.setdefault(tenant, []).append(msgspec.convert(value, Silence))
        for tenant, key, value in self._meta.list(_SENT):
            self._sent.setdefault(tenant, {})[key] = msgspec.convert(value, Sent)
        for tenant, _, value in self._meta.list(_POLICY):
            self._policies[tenant] = msgspec.convert(value, Policy)

    @property
    def followed(self) -> Mapping[str, Callable[[Change], None]]:
        """What is done when another collector changed a document, by its kind."""
        return {
            _RULE: self._heard_rule,
            _STATE: self._heard_states,
            _SILENCE: self._heard_silence,
            _SENT: self._heard_sent,
            _POLICY: self._heard_policy,
        }

    def _heard_rule(self, change: Change) -> None:
        own = self._rules.setdefault(change.tenant, {})
        value = self._meta.get(_RULE, change.tenant, change.id)
        if value is None:
            own.pop(change.id, None)
            return
        fresh, before = msgspec.convert(value, _Stored), own.get(change.id)
        if before is None or before.rule != fresh.rule:
            # Another rule begins anew; who leads says so, the others hear it.
            anew = before is not None and self._sharing.leads
            fresh.states = {} if anew else self._known_states(change)
            own[change.id] = fresh

    def _known_states(self, change: Change) -> dict[str, AlertState]:
        return msgspec.convert(self._meta.get(_STATE, change.tenant, change.id) or {}, dict[str, AlertState])

    def _heard_states(self, change: Change) -> None:
        """Who leads knows the states better, but for who looks after an alert."""
        stored = self._rules.get(change.tenant, {}).get(change.id)
        if stored is None:
            return
        told = self._known_states(change)
        if not self._sharing.leads:
            stored.states = told
            return
        for labels, state in told.items():
            mine = stored.states.get(labels)
            if mine is not None and state.acknowledged is not None and state.fired_at == mine.fired_at:
                stored.states[labels] = msgspec.structs.replace(mine, acknowledged=state.acknowledged)
        self._save_states(change.tenant, [change.id])

    def _heard_silence(self, change: Change) -> None:
        others = [one for one in self._silences.get(change.tenant, []) if one.id != change.id]
        value = self._meta.get(_SILENCE, change.tenant, change.id)
        self._silences[change.tenant] = others + ([] if value is None else [msgspec.convert(value, Silence)])

    def _heard_sent(self, change: Change) -> None:
        own = self._sent.setdefault(change.tenant, {})
        value = self._meta.get(_SENT, change.tenant, change.id)
        if value is None:
            own.pop(change.id, None)
        else:
            own[change.id] = msgspec.convert(value, Sent)

    def _heard_policy(self, change: Change) -> None:
        value = self._meta.get(_POLICY, change.tenant, change.id)
        if value is not None:
            self._policies[change.tenant] = msgspec.convert(value, Policy)

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._run(), name="analytics alerts")]

    async def close(self) -> None:
        """End; what is being sent may arrive and be noted, or it would be sent again after the next start."""
        for task in self._tasks:
            await ended(task)
        if self._sending:
            await asyncio.wait(self._sending, timeout=_LAST_SECONDS)

    # -- rules -------------------------------------------------------------------------------------------------------

    def create(self, tenant: str, raw: object) -> str:
        """Store a rule and return its id. Raises `EventError`."""
        rule = parse_rule(raw)
        own = self._rules.setdefault(tenant, {})
        if len(own) >= _MOST_RULES:
            raise EventError("alert", f"rule number {len(own) + 1}", f"at most {_MOST_RULES} rules; delete some")
        alert_id = uuid.uuid4().hex
        own[alert_id] = _Stored(rule=rule, created_at=time.time())
        self._save_rule(tenant, alert_id)
        return alert_id

    def change(self, tenant: str, alert_id: str, raw: object) -> bool:
        """Put another rule in the place of one; its states begin anew. Raises `EventError`."""
        stored = self._rules.get(tenant, {}).get(alert_id)
        if stored is None:
            return False
        stored.rule, stored.states = parse_rule(raw), {}
        self._save_rule(tenant, alert_id)
        self._save_states(tenant, [alert_id])
        return True

    def _save_rule(self, tenant: str, alert_id: str) -> None:
        stored = self._rules[tenant][alert_id]
        self._meta.put(_RULE, tenant, alert_id, {"rule": stored.rule, "created_at": stored.created_at})

    def _save_states(self, tenant: str, alert_ids: Iterable[str]) -> None:
        self._meta.put_many(_STATE, tenant, {one: self._rules[tenant][one].states for one in alert_ids})

    def delete(self, tenant: str, alert_id: str) -> bool:
        gone = self._rules.get(tenant, {}).pop(alert_id, None) is not None
        self._meta.delete(_RULE, tenant, alert_id)
        self._meta.delete(_STATE, tenant, alert_id)
        return gone

    def list(self, tenant: str) -> list[dict[str, Any]]:
        return [_shown(key, stored) for key, stored in sorted(self._rules.get(tenant, {}).items())]

    async def status(self, tenant: str, alert_id: str) -> dict[str, Any] | None:
        """Evaluate now and say how the alert is; `None`: the tenant has no such alert."""
        if alert_id not in self._rules.get(tenant, {}):
            return None
        now = time.time()
        if self._sharing.leads:
            await self._evaluate(tenant, [alert_id], now)
            stored = self._rules.get(tenant, {}).get(alert_id)
        else:
            stored = await self._looked_at(tenant, alert_id, now)
        return None if stored is None else _shown(alert_id, stored)

    async def _looked_at(self, tenant: str, alert_id: str, now: float) -> _Stored | None:
        """As it would be if it were evaluated now; it is the leading collector that does, and notes it."""
        stored = self._rules[tenant][alert_id]
        found = await measure({alert_id: (stored.rule, now)}, Questions(self._store, tenant))
        seen = msgspec.structs.replace(stored, states=dict(stored.states))
        _advance(seen, {labels: outcome for labels, (_, outcome) in found[alert_id].items()}, now)
        return seen if alert_id in self._rules.get(tenant, {}) else None

    def acknowledge(self, tenant: str, alert_id: str, by: object, note: object) -> int | None:
        """Say that somebody looks after what fires now; how many instances that are. `None`: no such alert."""
        stored = self._rules.get(tenant, {}).get(alert_id)
        if stored is None:
            return None
        told = Acknowledgement(by=text_of(by, "by"), note=text_of(note, "note"), at=time.time())
        firing = [labels for labels, state in stored.states.items() if state.fired_at]
        for labels in firing:
            stored.states[labels] = msgspec.structs.replace(stored.states[labels], acknowledged=told)
        self._save_states(tenant, [alert_id])
        return len(firing)

    # -- silences and policy -----------------------------------------------------------------------------------------

    def silence(self, tenant: str, raw: object) -> Silence:
        """Store a silence or a maintenance window. Raises `EventError`."""
        made = parse_silence(raw)
        self._meta.put(_SILENCE, tenant, made.id, made)
        self._silences.setdefault(tenant, []).append(made)
        return made

    def silences(self, tenant: str) -> Sequence[Silence]:
        """Those that are in force, or will be."""
        now = time.time()
        for gone in [one for one in self._silences.get(tenant, []) if one.ends_at <= now]:
            self.end_silence(tenant, gone.id)
        return tuple(self._silences.get(tenant, []))

    def end_silence(self, tenant: str, silence_id: str) -> bool:
        self._silences[tenant] = [one for one in self._silences.get(tenant, []) if one.id != silence_id]
        return self._meta.delete(_SILENCE, tenant, silence_id)

    def policy(self, tenant: str) -> Policy:
        return self._policies.get(tenant, Policy())

    def set_policy(self, tenant: str, raw: object) -> Policy:
        """How the tenant's alerts are told. Raises `EventError`."""
        policy = parse_policy(raw)
        self._meta.put(_POLICY, tenant, "policy", policy)
        self._policies[tenant] = policy
        return policy

    def troubles(self, tenant: str) -> Sequence[dict[str, Any]]:
        """What could not be delivered and is tried again."""
        return [
            {"target": redacted(target), "next_try": at, "error": error}
            for (owner, target, _), (at, _, error) in self._retries.items()
            if owner == tenant
        ]

    # -- evaluating --------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        last = time.time()
        while True:
            now = time.time()
            began = time.process_time()
            for tenant in list(self._rules) if self._sharing.leads else ():
                await self._round(tenant, last, now)
            self.last_round_seconds = time.process_time() - began
            self.rounds += 1
            last = now
            await asyncio.sleep(min(_MOST_TICK, self._interval / 5))

    async def _round(self, tenant: str, last: float, now: float) -> None:
        try:
            await self._evaluate(tenant, self._due(tenant, last, now), now)
            if self._sharing.leads:
                await self.tell(tenant, now)
        except Exception:  # noqa: BLE001 - logged
            # One tenant's trouble must not keep the others' alerts from being watched.
            _log.exception("the alerts of tenant %s could not be evaluated", tenant)

    def _due(self, tenant: str, last: float, now: float) -> Sequence[str]:
        phase = zlib.crc32(tenant.encode()) / 2**32
        found = []
        for alert_id, stored in self._rules[tenant].items():
            every = max(stored.rule.every, self._interval)
            if int(now / every - phase) != int(last / every - phase) or not stored.states:
                found.append(alert_id)
        return found

    async def _evaluate(self, tenant: str, alert_ids: Iterable[str], now: float) -> None:
        async with self._locks.setdefault(tenant, asyncio.Lock()):
            own = self._rules.get(tenant, {})
            wanted = {one: own[one].rule for one in alert_ids if one in own}
            if not wanted:
                return
            found = await measure({key: (rule, now) for key, rule in wanted.items()}, Questions(self._store, tenant))
            changed = []
            for alert_id, outcomes in found.items():
                stored = own.get(alert_id)
                # A rule that was deleted or changed meanwhile keeps what it is now.
                if stored is not None and stored.rule is wanted[alert_id]:
                    told = {labels: outcome for labels, (_, outcome) in outcomes.items()}
                    if _advance(stored, told, now):
                        changed.append(alert_id)
            if changed:
                await asyncio.to_thread(self._save_states, tenant, changed)

    # -- telling -----------------------------------------------------------------------------------------------------

    async def tell(self, tenant: str, now: float) -> int:
        """Send what is due; how many notices arrived."""
        alerts = [(key, stored.rule, stored.states) for key, stored in self._rules.get(tenant, {}).items()]
        sent = self._sent.setdefault(tenant, {})
        notices = due(alerts, self.silences(tenant), sent, self.policy(tenant), now)
        ready = [one for one in notices if self._retries.get((tenant, one.target, one.group), (0.0,))[0] <= now]
        sending = [asyncio.create_task(self._send(tenant, one, now)) for one in ready]
        self._sending.update(sending)
        for task in sending:
            task.add_done_callback(self._sending.discard)
        done = await asyncio.gather(*(asyncio.shield(task) for task in sending))
        self._forget(tenant, now)
        return sum(done)

    async def _send(self, tenant: str, notice: Notice, now: float) -> bool:
        key = (tenant, notice.target, notice.group)
        try:
            await self._delivery.send(notice.target, message_of(tenant, notice))
        except DeliveryError as error:
            pause = min(2 * self._retries.get(key, (0.0, _RETRY_FIRST / 2, ""))[1], _RETRY_MOST)
            self._retries[key] = (now + pause, pause, str(error))
            _log.warning("an alert of tenant %s was not delivered, next try in %.0f s: %s", tenant, pause, error)
            return False
        self._retries.pop(key, None)
        told = [_sent(notice, item, now) for item in notice.items]
        self._meta.put_many(_SENT, tenant, {one.key: one for one in told})
        self._sent[tenant] |= {one.key: one for one in told}
        return True

    def _forget(self, tenant: str, now: float) -> None:
        live = {state.fired_at for stored in self._rules[tenant].values() for state in stored.states.values()}
        for key, one in list(self._sent[tenant].items()):
            if now - one.at > _FORGET and one.episode not in live:
                del self._sent[tenant][key]
                self._meta.delete(_SENT, tenant, key)


def _advance(stored: _Stored, outcomes: Mapping[str, Outcome], now: float) -> bool:
    """Take the states on; whether any of them is worth writing down. Groups that are gone end as if they were well."""
    whole = outcomes.keys() == {""} and outcomes[""].breached is None
    missing = Outcome(breached=False)
    if whole and stored.rule.query.get("group_by"):
        missing = outcomes[""]
    changed = False
    told = {**outcomes, **dict.fromkeys(stored.states.keys() - outcomes.keys(), missing)}
    for labels, outcome in told.items():
        before = stored.states.get(labels, AlertState())
        after = stored.states[labels] = next_state(stored.rule, before, outcome, now)
        changed = changed or _worth(before, after)
        if labels and labels not in outcomes and after.state == "ok" and now - after.since > _FORGET / 30:
            del stored.states[labels]
            changed = True
    return changed


def _worth(before: AlertState, after: AlertState) -> bool:
    steady = ("state", "since", "breached_since", "recovering_since", "fired_at", "error")
    return any(getattr(before, name) != getattr(after, name) for name in steady)


def _sent(notice: Notice, item: Any, now: float) -> Sent:
    return Sent(
        target=target_id(notice.target),
        alert_id=item.alert_id,
        labels=item.labels,
        episode=item.episode,
        what=item.what,
        group=notice.group,
        at=now,
    )


def _shown(alert_id: str, stored: _Stored) -> dict[str, Any]:
    rule: dict[str, Any] = msgspec.to_builtins(stored.rule)
    rule["notify"] = [redacted(target) for target in stored.rule.notify]
    first = worst(list(stored.states.values()))
    state: dict[str, Any] = msgspec.to_builtins(first)
    told = {"alert_id": alert_id, "name": stored.rule.name, "created_at": stored.created_at, "rule": rule, **state}
    if any(stored.states):
        told["instances"] = [
            {"labels": shown_labels(labels), **msgspec.to_builtins(one)}
            for labels, one in stored.states.items()
            if labels
        ]
    return told
