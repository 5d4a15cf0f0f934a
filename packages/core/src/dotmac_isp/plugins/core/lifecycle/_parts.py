"""The health of an instance in its three parts, kept apart because each has another remedy: process, plugin, vendor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ..model import HealthReport, HealthStatus, PluginState

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["HealthParts", "PartHealth", "parts_of"]

_H = HealthStatus
_S = PluginState
_RESTING = frozenset({_S.CREATED, _S.INITIALIZED, _S.SUSPENDED, _S.UNLOADED, _S.DISABLED})


class PartHealth(msgspec.Struct, frozen=True):
    """How one part is, in a word and in a sentence."""

    status: HealthStatus
    message: str


class HealthParts(msgspec.Struct, frozen=True, kw_only=True):
    """`process`: what the operating system runs; `plugin`: its code; `vendor`: what it connects to."""

    process: PartHealth
    plugin: PartHealth
    vendor: PartHealth


def parts_of(
    state: PluginState,
    reason: str,
    health: HealthReport,
    *,
    isolation: Mapping[str, Any],
    breaker: str,
    last_end: str | None,
    ends: int,
) -> HealthParts:
    """Judge each part. `last_end`: why its process last ended by itself, `ends`: how often that was."""
    return HealthParts(
        process=_process(isolation, last_end, ends),
        plugin=_plugin(state, reason, health, breaker),
        vendor=_vendor(state, health),
    )


def _process(isolation: Mapping[str, Any], last_end: str | None, ends: int) -> PartHealth:
    history = "" if last_end is None else f"; it ended {ends} times, the last: {last_end}"
    if not isolation:
        if last_end is not None:
            return PartHealth(_H.UNHEALTHY, f"it ended: {last_end}")
        return PartHealth(_H.UNKNOWN, "there is none")
    if isolation.get("mode") != "jailed":
        return PartHealth(_H.HEALTHY, "the host's own")
    if isolation.get("pid") is None:
        return PartHealth(_H.UNHEALTHY, f"it is gone{history}")
    return PartHealth(_H.HEALTHY, f"process {isolation['pid']} answers{history}")


def _plugin(state: PluginState, reason: str, health: HealthReport, breaker: str) -> PartHealth:
    if state is not _S.ACTIVE:
        return PartHealth(_H.UNKNOWN if state in _RESTING else _H.UNHEALTHY, f"{state.value}: {reason}")
    if breaker != "closed":
        return PartHealth(_H.UNHEALTHY, f"calls fail: its breaker is {breaker}")
    if health.vendor in {_H.DEGRADED, _H.UNHEALTHY}:
        return PartHealth(_H.HEALTHY, "it answers")  # what is wrong is not in it
    return PartHealth(health.status, health.message)


def _vendor(state: PluginState, health: HealthReport) -> PartHealth:
    if state is not _S.ACTIVE:
        return PartHealth(_H.UNKNOWN, "the plugin does not run")
    if health.vendor is None:
        return PartHealth(_H.UNKNOWN, "the plugin does not tell it apart")
    return PartHealth(health.vendor, health.message if health.vendor is not _H.HEALTHY else "reached")
