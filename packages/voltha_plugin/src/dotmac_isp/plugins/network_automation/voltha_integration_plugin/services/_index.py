"""Who uses which meter and which flow of an OLT: looked up for each service that is added or removed. In memory, pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .._errors import ServiceConflictError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._flow import FlowSpec
    from ._meter import Band
    from ._stored import ServiceKey, StoredService

__all__ = ["ServiceIndex"]


class ServiceIndex:
    """The services that are installed or about to be, by what they stand on."""

    def __init__(self) -> None:
        self._by_key: dict[ServiceKey, StoredService] = {}
        self._flows: dict[tuple[str, int], ServiceKey] = {}
        self._meters: dict[str, dict[int, tuple[tuple[Band, ...], set[ServiceKey]]]] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    def put(self, item: StoredService) -> None:
        """Add a service, in place of the one with its key."""
        self.remove(item.key)
        self._by_key[item.key] = item
        olt: Final = item.place.olt_serial
        for flow in item.flows:
            self._flows[olt, flow.id] = item.key
        meters = self._meters.setdefault(olt, {})
        for meter in item.meters:
            meters.setdefault(meter.id, (meter.bands, set()))[1].add(item.key)

    def remove(self, key: ServiceKey) -> None:
        """Take a service out; no error when it is not there."""
        item = self._by_key.pop(key, None)
        if item is None:
            return
        olt: Final = item.place.olt_serial
        for flow in item.flows:
            if self._flows.get((olt, flow.id)) == key:
                del self._flows[olt, flow.id]
        meters = self._meters[olt]
        for meter in dict.fromkeys(item.meters):
            users = meters[meter.id][1]
            users.discard(key)
            if not users:
                del meters[meter.id]

    def meters(self, olt_serial: str) -> dict[int, tuple[Band, ...]]:
        """The meters in use on an OLT."""
        return {meter_id: bands for meter_id, (bands, _) in self._meters.get(olt_serial, {}).items()}

    def uses_of(self, olt_serial: str, meter_id: int) -> int:
        """How many services use a meter."""
        found = self._meters.get(olt_serial, {}).get(meter_id)
        return 0 if found is None else len(found[1])

    def overlapping(self, olt_serial: str, flows: Iterable[FlowSpec]) -> set[ServiceKey]:
        """The services that stand on any of these flows."""
        found = (self._flows.get((olt_serial, flow.id)) for flow in flows)
        return {key for key in found if key is not None}

    def require_free(self, key: ServiceKey, olt_serial: str, flows: Iterable[FlowSpec]) -> None:
        """Raise `ServiceConflictError` when a service of another subscriber stands on one of these flows."""
        for taken in self.overlapping(olt_serial, flows):
            if taken.subscriber_id != key.subscriber_id:
                tag = self._by_key[taken].service.get("s_tag")
                raise ServiceConflictError(
                    f"subscriber {taken.subscriber_id!r} on ONU {taken.onu_serial} UNI {taken.uni} has this service tag"
                    f" or user port already (tag {tag})",
                    remedy="A single-tagged service needs a tag of its own on its OLT, and a UNI of its own",
                )
