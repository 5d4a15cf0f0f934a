"""The methods on the network as a whole that the plugin's handle has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._plant import Location, Place, Splitter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..stacks._stacks import Stacks

__all__ = ["TopologyMethods"]


class TopologyMethods:
    """The network from stack to subscriber, with what the operator adds: splitters, cables, places."""

    if TYPE_CHECKING:

        @property
        def _stacks(self) -> Stacks: ...

    async def topology(self) -> dict[str, Any]:
        """The tree of stacks, OLTs, PONs, splitters, ONUs, UNIs and subscribers, each with status and raised alarms, as plain data.

        `render_topology` makes JSON, GraphML, DOT or SVG of it.
        """
        trees = [await work.topology() for work in self._stacks.works]
        if len(trees) == 1:
            return trees[0]
        return {
            "stack": ", ".join(tree["stack"] for tree in trees),
            "olts": [{**olt, "stack": tree["stack"]} for tree in trees for olt in tree["olts"]],
            "unplaced": [each for tree in trees for each in tree["unplaced"]],
        }

    async def set_splitter(
        self,
        splitter_id: str,
        olt: str,
        pon: int,
        ports: int = 0,
        parent: str = "",
        location: str | Mapping[str, Any] = "",
        cable: str = "",
        note: str = "",
    ) -> dict[str, Any]:
        """Tell of a splitter on a PON of an OLT (serial number), or behind another splitter (`parent`); `cable` leads to it."""
        work = await self._stacks.holding(olt)
        device = await work.session.directory.find(olt)
        splitter = Splitter(
            id=splitter_id,
            olt_serial=olt if device is None else device.key,
            pon=pon,
            ports=ports,
            parent=parent,
            location=Location.parse(location),
            cable=cable,
            note=note,
        )
        return (await work.plant.put_splitter(splitter)).plain()

    async def remove_splitter(self, splitter_id: str) -> dict[str, Any]:
        """Forget a splitter that has nothing behind it."""
        removed = [await work.plant.remove_splitter(splitter_id) for work in self._stacks.works]
        return {"id": splitter_id, "removed": any(removed)}

    async def set_place(
        self,
        device_id: str,
        location: str | Mapping[str, Any] = "",
        splitter: str = "",
        cable: str = "",
        note: str = "",
    ) -> dict[str, Any]:
        """Tell where a device is, behind which splitter, and on which cable; it holds for its serial number. Nothing: forget it."""
        work = await self._stacks.holding(device_id)
        device = await work.session.directory.find(device_id)
        place = Place(
            serial=device_id if device is None else device.key,
            location=Location.parse(location),
            splitter=splitter,
            cable=cable,
            note=note,
        )
        return {"serial_number": place.serial, **(await work.plant.put_place(place)).plain()}

    async def list_plant(self) -> dict[str, Any]:
        """All splitters and places that were told."""
        plants = [await work.plant.read() for work in self._stacks.works]
        splitters = [one.plain() for plant in plants for one in plant.splitters.values()]
        places = [{"serial_number": one.serial, **one.plain()} for plant in plants for one in plant.places.values()]
        return {"splitters": splitters, "places": places}
