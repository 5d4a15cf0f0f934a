"""One inventory of everything: what is installed, what runs, what does not and why."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING, Any

import msgspec

from ..model import PluginInfo

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ..lifecycle import Instance
    from ._building import Building
    from ._manager import PluginManager

__all__ = ["Inventory", "Statistics", "nearest_plugin", "take_inventory", "take_statistics"]


class Inventory(msgspec.Struct, frozen=True, kw_only=True):
    """Plain data throughout; `as_dict` is ready for JSON."""

    plugins: list[PluginInfo]
    instances: list[dict[str, Any]]
    services: list[dict[str, Any]]
    problems: list[dict[str, Any]]
    tenants: list[str]
    policy: str

    def as_dict(self) -> dict[str, Any]:
        """The same as plain dicts and lists."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """Counts since the host started."""

    tenants: int
    instances: int
    states: dict[str, int]
    calls: int
    failures: int
    tasks: int


def take_inventory(manager: PluginManager, instances: Iterable[Instance], services: list[dict[str, Any]]) -> Inventory:
    """Look at everything once."""
    return Inventory(
        plugins=[plugin.info for plugin in manager.discovery.plugins.values()],
        instances=[instance.status().as_dict() for instance in instances],
        services=services,
        problems=[msgspec.to_builtins(problem) for problem in manager.problems],
        tenants=manager.tenants(),
        policy=manager._house.gate.authoriser.describe(),  # noqa: SLF001 - part of the manager, in a file of its own
    )


def take_statistics(building: Building, instances: Sequence[Instance]) -> Statistics:
    """Count everything once."""
    totals = building.telemetry.totals()
    states = collections.Counter(instance.state.value for instance in instances)
    return Statistics(
        tenants=len(building.tenants),
        instances=len(instances),
        states=dict(states),
        calls=totals.calls,
        failures=totals.failures,
        tasks=sum(one.running_tasks for one in instances),
    )


def nearest_plugin(plugin_id: str, installed: Mapping[str, object], package: str) -> str:
    """What to do about a plugin that is not there."""
    import difflib  # noqa: PLC0415 - only for errors

    close = difflib.get_close_matches(plugin_id, installed, n=1)
    if close:
        return f"Did you mean {close[0]!r}?"
    if " " not in package:
        return f"python -m pip install {package}"
    return f"Installed are: {', '.join(sorted(installed)) or 'none'}"
