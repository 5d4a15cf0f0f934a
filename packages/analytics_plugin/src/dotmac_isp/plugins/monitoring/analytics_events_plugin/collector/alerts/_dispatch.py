"""Who is told what: alerts that fire and that end, grouped, each episode once, repeated while nobody acknowledges.

What is due follows from the states and from what was sent before, both of which are stored: a restart changes nothing. What was sent is
noted after it arrived; a crash in between sends it again with the same key, by which the receiver can tell.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ..._plain import EventError, as_mapping
from ..._times import span
from ..delivery import Message, check_target, target_id
from ._rules import AlertRule, text_of
from ._silences import Silence, silenced_by
from ._states import AlertState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Notice", "Policy", "Sent", "due", "message_of", "parse_policy", "shown_labels"]

_UNUSUAL: Final = ("no_data", "error")
_MOST_IN_TEXT: Final = 50


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """How a tenant's alerts are told. `group_by` names labels, `alert` or `severity`; the spans are seconds."""

    notify: tuple[str, ...] = ()
    group_by: tuple[str, ...] = ("alert",)
    group_wait: float = 10.0
    group_interval: float = 300.0
    repeat_interval: float = 4 * 3600.0


def parse_policy(raw: object) -> Policy:
    """Understand a policy. Raises `EventError`."""
    given = as_mapping(raw, "policy")
    for name in given.keys() - set(Policy.__struct_fields__):
        raise EventError(f"policy.{name}", given[name], "one of " + ", ".join(Policy.__struct_fields__))
    plain = Policy()
    spans = {
        name: 0.0 if given[name] == 0 else span(given[name], name)
        for name in ("group_wait", "group_interval", "repeat_interval")
        if name in given
    }
    notify = given.get("notify", ())
    group_by = given.get("group_by", plain.group_by)
    return Policy(
        notify=tuple(check_target(item, "notify") for item in ([notify] if isinstance(notify, str) else notify)),
        group_by=tuple(text_of(item, "group_by") for item in ([group_by] if isinstance(group_by, str) else group_by)),
        **spans,
    )


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """That a target was told something of an episode."""

    target: str
    alert_id: str
    labels: str
    episode: float
    what: str
    group: str
    at: float

    @property
    def key(self) -> str:
        return sent_key(self.target, self.alert_id, self.labels, self.episode, self.what)


def sent_key(target: str, alert_id: str, labels: str, episode: float, what: str) -> str:
    text = "\0".join((target, alert_id, labels, repr(episode), what))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One alert in a notice. `labels` is the instance's key, `told` what stands in the message."""

    alert_id: str
    rule: AlertRule
    labels: str
    told: dict[str, str]
    state: AlertState
    what: str
    episode: float


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """What one target is to be told now."""

    target: str
    group: str
    items: tuple[Item, ...]


def shown_labels(labels: str) -> dict[str, str]:
    return dict(msgspec.json.decode(labels)) if labels else {}


def due(
    alerts: Iterable[tuple[str, AlertRule, Mapping[str, AlertState]]],
    silences: Sequence[Silence],
    sent: Mapping[str, Sent],
    policy: Policy,
    now: float,
) -> list[Notice]:
    """The notices that are due, from what is and what was told."""
    waiting: dict[tuple[str, str], list[Item]] = {}
    for alert_id, rule, states in alerts:
        for labels, state in states.items():
            told = {**rule.labels, **shown_labels(labels)}
            if not _speaks(state, now) or silenced_by(silences, alert_id, rule, told, now):
                continue
            what, episode = _subject(state)
            item = Item(alert_id=alert_id, rule=rule, labels=labels, told=told, state=state, what=what, episode=episode)
            for target in rule.notify or policy.notify:
                if _wanted(item, target_id(target), sent, policy, now):
                    waiting.setdefault((target, _group(item, policy)), []).append(item)
    last: dict[tuple[str, str], float] = {}
    for one in sent.values():
        key = (one.target, one.group)
        last[key] = max(last.get(key, 0.0), one.at)
    return [
        Notice(target=target, group=group, items=tuple(items))
        for (target, group), items in waiting.items()
        if _ripe(items, last.get((target_id(target), group)), policy, now)
    ]


def _speaks(state: AlertState, now: float) -> bool:
    """Whether there can be anything to tell: nothing for the many that are well and were for days."""
    return bool(state.fired_at or state.last_fired_at or state.state in _UNUSUAL) and now >= 0


def _wanted(item: Item, target: str, sent: Mapping[str, Sent], policy: Policy, now: float) -> bool:
    if item.what not in item.rule.notify_on:
        return False
    before = sent.get(sent_key(target, item.alert_id, item.labels, item.episode, item.what))
    if item.what == "resolved":
        # Who was never told that it fires need not hear that it ended.
        return before is None and sent_key(target, item.alert_id, item.labels, item.episode, "firing") in sent
    if before is None:
        return True
    repeated = item.what == "firing" and not item.state.acknowledged
    return repeated and now - before.at >= policy.repeat_interval > 0


def _subject(state: AlertState) -> tuple[str, float]:
    if state.fired_at:
        return "firing", state.fired_at
    if state.state in _UNUSUAL:
        return state.state, state.since
    return "resolved", state.last_fired_at


def _group(item: Item, policy: Policy) -> str:
    known = {**item.told, "alert": item.rule.name, "severity": item.rule.severity}
    return msgspec.json.encode([known.get(name, "") for name in policy.group_by]).decode()


def _ripe(items: list[Item], last: float | None, policy: Policy, now: float) -> bool:
    """A new group waits a moment for others; one that was told of waits for its interval."""
    first = min(item.episode if item.what != "resolved" else item.state.resolved_at for item in items)
    return now - first >= policy.group_wait and (last is None or now - last >= policy.group_interval)


def message_of(tenant: str, notice: Notice) -> Message:
    """The words for people and the data for programs."""
    firing = [item for item in notice.items if item.what == "firing"]
    others = [item for item in notice.items if item.what != "firing"]
    head = notice.items[0] if not firing else firing[0]
    words = {"firing": "FIRING", "resolved": "RESOLVED", "no_data": "NO DATA", "error": "ERROR"}
    count = f" ({len(notice.items)} alerts)" if len(notice.items) > 1 else ""
    lines = [_line(item, words[item.what]) for item in (*firing, *others)[:_MOST_IN_TEXT]]
    if len(notice.items) > _MOST_IN_TEXT:
        lines.append(f"and {len(notice.items) - _MOST_IN_TEXT} more")
    keys = "".join(sent_key(target_id(notice.target), i.alert_id, i.labels, i.episode, i.what) for i in notice.items)
    return Message(
        subject=f"[{words[head.what]}] {head.rule.name}{count}",
        text="\n".join([*lines, "", f"Tenant: {tenant}"]),
        mood="failure" if firing else "success" if head.what == "resolved" else "warning",
        key=hashlib.blake2b(keys.encode(), digest_size=16).hexdigest(),
        data={"tenant": tenant, "status": head.what, "alerts": [_data(item) for item in notice.items]},
    )


def _line(item: Item, word: str) -> str:
    labels = ", ".join(f"{key}={value}" for key, value in item.told.items())
    value = "" if item.state.value is None else f": {item.state.value:g}"
    more = f" – {item.rule.description}" if item.rule.description else ""
    reason = f" ({item.state.error})" if item.state.error else ""
    return f"{word} {item.rule.name}{f' [{labels}]' if labels else ''}{value}, {item.rule.severity}{more}{reason}"


def _data(item: Item) -> dict[str, Any]:
    return {
        "alert_id": item.alert_id,
        "name": item.rule.name,
        "status": item.what,
        "severity": item.rule.severity,
        "description": item.rule.description,
        "labels": item.told,
        "value": item.state.value,
        "values": item.state.values,
        "error": item.state.error,
        "fired_at": item.state.fired_at or item.state.last_fired_at,
        "resolved_at": item.state.resolved_at if item.what == "resolved" else 0.0,
    }
