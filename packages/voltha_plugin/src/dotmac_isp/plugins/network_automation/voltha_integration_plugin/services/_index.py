"""Who uses which meter, flow and scheduler of an OLT: looked up for each service that is added or removed. In memory, pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from .._errors import ServiceConflictError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ._flow import FlowSpec
    from ._meter import Band
    from ._stored import ServiceKey, StoredService

__all__ = ["ServiceIndex"]

T = TypeVar("T")


class ServiceIndex:
    """The services that are installed, about to be, or suspended, by what they stand on.

    A suspended service keeps its flows, so that nobody takes its tags meanwhile, and counts for no meter.
    """

    def __init__(self) -> None:
        self._by_key: dict[ServiceKey, StoredService] = {}
        self._by_subscriber: dict[str, set[ServiceKey]] = {}
        self._flows: dict[tuple[str, int], ServiceKey] = {}
        self._queues: dict[tuple[str, int, int], set[ServiceKey]] = {}
        self._meters: dict[str, dict[int, tuple[tuple[Band, ...], set[ServiceKey]]]] = {}
        self._working: set[ServiceKey] = set()

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[StoredService]:
        return iter(self._by_key.values())

    def get(self, key: ServiceKey) -> StoredService | None:
        """The service, or `None`."""
        return self._by_key.get(key)

    def of_subscriber(self, subscriber_id: str) -> set[ServiceKey]:
        """The services of a subscriber."""
        return set(self._by_subscriber.get(subscriber_id, ()))

    def owners(self, olt_serial: str) -> set[str]:
        """Who programs services on an OLT."""
        return {item.owner for item in self._by_key.values() if item.place.olt_serial == olt_serial}

    def start(self, key: ServiceKey) -> None:
        """This instance works on the service now: what other hosts report of it is old."""
        self._working.add(key)

    def end(self, key: ServiceKey) -> None:
        """It does not any more."""
        self._working.discard(key)

    def is_ours(self, key: ServiceKey) -> bool:
        """Whether this instance works on the service right now."""
        return key in self._working

    def put(self, item: StoredService) -> None:
        """Add a service, in place of the one with its key."""
        self.remove(item.key)
        key: Final = item.key
        self._by_key[key] = item
        self._by_subscriber.setdefault(key.subscriber_id, set()).add(key)
        self._queues.setdefault(item.queue, set()).add(key)
        olt: Final = item.place.olt_serial
        for flow in item.flows:
            self._flows[olt, flow.id] = key
        if item.state == "suspended":
            return
        meters = self._meters.setdefault(olt, {})
        for meter in item.meters:
            meters.setdefault(meter.id, (meter.bands, set()))[1].add(key)

    def remove(self, key: ServiceKey) -> None:
        """Take a service out; no error when it is not there."""
        item = self._by_key.pop(key, None)
        if item is None:
            return
        _discard(self._by_subscriber, key.subscriber_id, key)
        _discard(self._queues, item.queue, key)
        olt: Final = item.place.olt_serial
        for flow in item.flows:
            if self._flows.get((olt, flow.id)) == key:
                del self._flows[olt, flow.id]
        meters = self._meters.get(olt, {})
        for meter in item.meters:
            users = meters.get(meter.id, ((), set()))[1]
            users.discard(key)
            if not users:
                meters.pop(meter.id, None)

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

    def require_free(self, item: StoredService) -> None:
        """Raise `ServiceConflictError` when another service stands on one of its flows or needs its scheduler with other speeds."""
        for flow in item.flows:
            taken = self._flows.get((item.place.olt_serial, flow.id))
            if taken is not None and taken != item.key:
                raise _collision(item, flow, self._by_key[taken])
        self.require_queue(item)

    def require_queue(self, item: StoredService) -> None:
        """Raise `ServiceConflictError` when a service with other speeds has its scheduler (surprise 37)."""
        for key in self._queues.get(item.queue, ()):
            other = self._by_key[key]
            if key != item.key and other.state != "suspended" and _speeds(other) != _speeds(item):
                raise ServiceConflictError(
                    f"technology profile {item.queue[2]} of ONU {key.onu_serial} UNI {key.uni} is used by {_named(other)}"
                    " with other speeds, and VOLTHA takes one meter for each direction of it",
                    remedy="Give this service another technology profile, or the same speeds",
                )


def _speeds(item: StoredService) -> list[object]:
    names = ("upstream", "downstream", "upstream_olt", "downstream_olt")
    return [item.meters, [item.service.get(name) for name in names] if not item.meters else None]


def _discard(sets: dict[T, set[ServiceKey]], name: T, value: ServiceKey) -> None:
    found = sets.get(name)
    if found is not None:
        found.discard(value)
        if not found:
            del sets[name]


def _collision(item: StoredService, flow: FlowSpec, other: StoredService) -> ServiceConflictError:
    where = f"{'upstream' if flow.upstream else 'downstream'} table {flow.table}"
    tags = ", ".join(f"{name} {item.service[name]}" for name in ("s_tag", "c_tag", "uni_tag") if name in item.service)
    return ServiceConflictError(
        f"{_named(other)} on ONU {other.key.onu_serial} UNI {other.key.uni} has this service's flow {where} already"
        f" ({tags}; flow {flow.id}): the second would silently replace the first",
        remedy="Give this service other tags, or where tags are shared the subscriber's mac_address; or a UNI of its own",
    )


def _named(item: StoredService) -> str:
    return f"service {item.key.name!r} of subscriber {item.key.subscriber_id!r}"
