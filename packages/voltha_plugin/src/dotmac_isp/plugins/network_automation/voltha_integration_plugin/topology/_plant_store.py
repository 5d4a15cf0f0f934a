"""The operator's knowledge of the plant, in the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from .._errors import ServiceConfigError
from ._plant import Place, Plant, Splitter, check_place, check_splitter

if TYPE_CHECKING:
    from dotmac_isp.plugins.core.api import Storage

__all__ = ["PlantStore"]

_SPLITTERS: Final = "plant/splitter/"
_PLACES: Final = "plant/place/"
_PAGE: Final = 500


class PlantStore:
    """Reads and writes it. `read` gives it as it is now, also what another host wrote."""

    def __init__(self, storage: Storage) -> None:
        self._storage: Final = storage

    async def read(self) -> Plant:
        """All splitters and places."""
        splitters = [msgspec.convert(value, Splitter) for value in await self._values(_SPLITTERS)]
        places = [msgspec.convert(value, Place) for value in await self._values(_PLACES)]
        return Plant(splitters={one.id: one for one in splitters}, places={one.serial: one for one in places})

    async def _values(self, prefix: str) -> list[Any]:
        found: list[Any] = []
        after: str | None = None
        while page := await self._storage.list(prefix, limit=_PAGE, after=after):
            found += [document.value for document in page]
            after = page[-1].key
        return found

    async def put_splitter(self, splitter: Splitter) -> Splitter:
        """Keep a splitter, in place of the one with its name; raises `ServiceConfigError`."""
        check_splitter(splitter, await self.read())
        await self._storage.put(_SPLITTERS + splitter.id, msgspec.to_builtins(splitter))
        return splitter

    async def remove_splitter(self, name: str) -> bool:
        """Forget a splitter; raises `ServiceConfigError` while something is behind it. `False`: there was none."""
        plant = await self.read()
        behind = [one.id for one in plant.splitters.values() if one.parent == name]
        behind += [place.serial for place in plant.places.values() if place.splitter == name]
        if behind:
            raise ServiceConfigError(
                f"splitter {name} has {len(behind)} behind it ({', '.join(sorted(behind)[:5])})",
                remedy="Put them behind another one first",
            )
        return await self._storage.delete(_SPLITTERS + name)

    async def put_place(self, place: Place) -> Place:
        """Keep what is known of a device, in place of what was; nothing at all: forget it. Raises `ServiceConfigError`."""
        check_place(place, await self.read())
        if place.plain():
            await self._storage.put(_PLACES + place.serial, msgspec.to_builtins(place))
        else:
            await self._storage.delete(_PLACES + place.serial)
        return place
