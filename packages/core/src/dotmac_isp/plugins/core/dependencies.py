"""In which order plugins load, and which must be held back: pure functions over what the manifests say."""

from __future__ import annotations

import graphlib
import heapq
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from .discovery import Manifest
from .discovery._manifest import in_range

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["KNOWN_DISTRIBUTIONS", "HeldBack", "Plan", "Requirements", "dependants", "pip_name", "plan"]

#: Which distribution brings a plugin, as far as this project knows.
KNOWN_DISTRIBUTIONS: Final[dict[str, str]] = {
    "analytics_events": "dotmac-plugin-analytics",
    "voltha_integration": "dotmac-plugin-voltha",
}


class Requirements(Protocol):
    """What the plan reads of a plugin; a `Manifest` is one."""

    @property
    def id(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def requires(self) -> Mapping[str, str]: ...
    @property
    def after(self) -> tuple[str, ...]: ...


_: type[Requirements] = Manifest


class HeldBack(msgspec.Struct, frozen=True, kw_only=True):
    """Why a plugin is not loaded. `cycle` is the path of ids, first and last the same, where it is one."""

    reason: str
    remedy: str | None = None
    cycle: tuple[str, ...] = ()


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Every given plugin is in exactly one of the two."""

    order: tuple[str, ...]
    held_back: dict[str, HeldBack]


def pip_name(plugin_id: str, known: Mapping[str, str] | None = None) -> str:
    """What to install for a plugin: the distribution's name, or a phrase where nobody knows it."""
    return (known or {}).get(plugin_id) or KNOWN_DISTRIBUTIONS.get(plugin_id) or "a package that provides it"


def plan(
    plugins: Mapping[str, Requirements],
    *,
    unusable: Mapping[str, str] | None = None,
    known: Mapping[str, str] | None = None,
) -> Plan:
    """Order the plugins so that each comes after what it requires and what it names in `after`.

    Where that leaves a choice, the order of `plugins` decides. `unusable` says why plugins that are installed are not among them
    (disabled, a bad manifest); `known` adds to the distributions by plugin id that remedies name. Plugins whose requirements are
    missing, unsuitable or circular are held back, with what depends on them; the others are ordered all the same.
    """
    held: dict[str, HeldBack] = {}
    for plugin_id, plugin in plugins.items():
        lacking = _lacking(plugin, plugins, unusable or {}, known or {})
        if lacking is not None:
            held[plugin_id] = lacking
    _hold_dependants(plugins, held)
    while cycle := _cycle(plugins, held):
        path = " → ".join(cycle)
        for plugin_id in cycle[:-1]:
            remedy = "Remove one of these from requires or after of its manifest"
            held[plugin_id] = HeldBack(reason=f"circular requirement: {path}", remedy=remedy, cycle=cycle)
        _hold_dependants(plugins, held)
    return Plan(order=tuple(_ordered(plugins, held)), held_back={one: held[one] for one in plugins if one in held})


def dependants(plugins: Mapping[str, Requirements], plugin_id: str) -> tuple[str, ...]:
    """What requires the plugin, directly or through others; what must stop first comes first."""
    wanted = {plugin_id}
    grown = True
    while grown:
        more = {one for one, plugin in plugins.items() if one not in wanted and not wanted.isdisjoint(plugin.requires)}
        wanted |= more
        grown = bool(more)
    wanted.discard(plugin_id)
    involved = {one: plugin for one, plugin in plugins.items() if one in wanted}
    try:
        return tuple(reversed(list(_ordered(involved, ()))))
    except graphlib.CycleError:
        return tuple(reversed(list(involved)))


def _lacking(
    plugin: Requirements, plugins: Mapping[str, Requirements], unusable: Mapping[str, str], known: Mapping[str, str]
) -> HeldBack | None:
    for wanted, versions in plugin.requires.items():
        asked = f"{wanted} {versions}".rstrip()
        there = plugins.get(wanted)
        package = pip_name(wanted, known)
        if there is None and wanted in unusable:
            return HeldBack(reason=f"requires {asked}, which cannot be used: {unusable[wanted]}")
        if there is None:
            how = f"python -m pip install {package}" if " " not in package else f"install {package}"
            return HeldBack(reason=f"requires {asked}, which is not installed", remedy=f"Bring it: {how}")
        if not in_range(there.version, versions):
            how = f"python -m pip install --upgrade {package}" if " " not in package else f"install {package} in it"
            reason = f"requires {asked}; installed is {there.version}"
            return HeldBack(reason=reason, remedy=f"Bring a version that fits: {how}")
    return None


def _hold_dependants(plugins: Mapping[str, Requirements], held: dict[str, HeldBack]) -> None:
    grown = True
    while grown:
        grown = False
        for plugin_id, plugin in plugins.items():
            cause = None if plugin_id in held else next((one for one in plugin.requires if one in held), None)
            if cause is not None:
                reason = f"requires {cause}, which is held back: {held[cause].reason}"
                held[plugin_id] = HeldBack(reason=reason, remedy=held[cause].remedy)
                grown = True


def _graph(plugins: Mapping[str, Requirements], left_out: Iterable[str]) -> dict[str, list[str]]:
    out = set(left_out)
    there = [one for one in plugins if one not in out]
    usable = set(there)
    return {one: [other for other in (*plugins[one].requires, *plugins[one].after) if other in usable] for one in there}


def _cycle(plugins: Mapping[str, Requirements], held: Iterable[str]) -> tuple[str, ...]:
    """One cycle as "requires" reads it (a requires b requires a), beginning with the plugin that comes first."""
    try:
        graphlib.TopologicalSorter(_graph(plugins, held)).prepare()
    except graphlib.CycleError as error:
        members: list[str] = list(reversed(error.args[1]))[:-1]
        position = {one: index for index, one in enumerate(plugins)}
        first = min(range(len(members)), key=lambda index: position[members[index]])
        turned = members[first:] + members[:first]
        return (*turned, turned[0])
    return ()


def _ordered(plugins: Mapping[str, Requirements], held: Iterable[str]) -> Iterable[str]:
    position = {one: index for index, one in enumerate(plugins)}
    sorter = graphlib.TopologicalSorter(_graph(plugins, held))
    sorter.prepare()
    ready: list[tuple[int, str]] = []
    while sorter.is_active():
        for one in sorter.get_ready():
            heapq.heappush(ready, (position[one], one))
        _, plugin_id = heapq.heappop(ready)
        yield plugin_id
        sorter.done(plugin_id)
