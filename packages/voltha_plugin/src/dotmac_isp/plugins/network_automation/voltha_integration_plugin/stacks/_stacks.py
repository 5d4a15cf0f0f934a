"""All stacks of an instance: each is worked with on its own, and one that is away does not keep the others from working."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from tenacity import AsyncRetrying, before_sleep_log, retry_if_exception_type, wait_exponential, wait_random

from dotmac_isp.plugins.core.errors import LifecycleError
from dotmac_isp.plugins.core.model import HealthReport, HealthStatus

from .._errors import DeviceNotFoundError, VolthaError, VolthaUnavailableError
from .._work import Work, begin_work
from ._api import StackAPI

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dotmac_isp.plugins.core.api import PluginAPI

__all__ = ["Stack", "Stacks", "open_stacks"]

_WORST: Final = (HealthStatus.UNHEALTHY, HealthStatus.DEGRADED, HealthStatus.UNKNOWN, HealthStatus.HEALTHY)
_LONGEST_PAUSE: Final = 60.0
_DEBUG: Final = 10


class Stack:
    """One stack: its name, and what works with it; `None` while it cannot be reached for the first time."""

    def __init__(self, name: str, api: PluginAPI) -> None:
        self.name: Final = name
        self.api: Final = api
        self.work: Work | None = None
        self.trouble: VolthaError | None = None

    async def begin(self) -> None:
        """Connect; raises what stands in the way, and keeps it."""
        try:
            self.work = await begin_work(self.api)
        except VolthaError as error:
            self.trouble = error
            raise
        self.trouble = None

    @property
    def running(self) -> Work:
        """What works with it; raises what stands in the way."""
        if self.work is None:
            raise self.trouble or LifecycleError(f"stack {self.name!r} is not connected yet")
        return self.work


class Stacks:
    """The stacks by name, the instance's own first."""

    def __init__(self, stacks: dict[str, Stack], api: PluginAPI) -> None:
        self._stacks: Final = stacks
        self._api: Final = api
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def primary(self) -> Work:
        """The instance's own stack (`voltha_host`)."""
        return next(iter(self._stacks.values())).running

    @property
    def works(self) -> Iterator[Work]:
        """What works, of every stack that was reached."""
        return (stack.work for stack in self._stacks.values() if stack.work is not None)

    @property
    def names(self) -> tuple[str, ...]:
        """The stacks' names, the instance's own first."""
        return tuple(self._stacks)

    def named(self, name: str | None) -> Work:
        """The stack with a name, `None`: the instance's own. Raises `DeviceNotFoundError` that lists those there are."""
        if name is None:
            return self.primary
        if name not in self._stacks:
            raise DeviceNotFoundError(
                f"no VOLTHA stack {name!r}; there are {', '.join(self._stacks)}",
                remedy="Name one of them, or add it to the setting voltha_stacks",
            )
        return self._stacks[name].running

    async def holding(self, device: str) -> Work:
        """The stack that has a device, by id or serial number; the instance's own when none has it."""
        return await self._first("has_device", device)

    async def serving(self, subscriber_id: str) -> Work:
        """The stack on which a subscriber has services; the instance's own when none has any."""
        return await self._first("has_subscriber", subscriber_id)

    async def _first(self, question: str, name: str) -> Work:
        works = list(self.works)
        if len(self._stacks) == 1 or not works:
            return self.primary
        for work in works:
            if await getattr(work, question)(name):
                return work
        return works[0]

    async def begin(self) -> None:
        """Connect to all at once. It is enough when one works; the others are tried again with growing pauses."""
        stacks = list(self._stacks.values())
        results = await asyncio.gather(*(stack.begin() for stack in stacks), return_exceptions=True)
        failed = [error for error in results if isinstance(error, BaseException)]
        other = next((error for error in failed if not isinstance(error, VolthaUnavailableError)), None)
        if other is not None or len(failed) == len(stacks):
            await self.stop(0)
            raise other or failed[0]
        for stack, result in zip(stacks, results, strict=True):
            if result is not None:
                self._api.logger.warning("stack %s does not work yet: %s", stack.name, result)
                self._tasks.append(self._api.spawn(self._keep_trying(stack), name=f"voltha stack {stack.name}"))

    async def _keep_trying(self, stack: Stack) -> None:
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(VolthaError),
            wait=wait_exponential(multiplier=0.5, max=_LONGEST_PAUSE) + wait_random(0, 0.5),
            before_sleep=before_sleep_log(self._api.logger, _DEBUG),
        )
        await retrying(stack.begin)
        self._api.logger.info("stack %s works now", stack.name)

    async def stop(self, grace: float) -> None:
        """Disconnect from all."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        works = list(self.works)
        for stack in self._stacks.values():
            stack.work = None
        await asyncio.gather(*(work.stop(grace) for work in works))

    async def health(self) -> HealthReport:
        """One stack's own report; of several the worst, with each under `stacks`."""
        reports = {name: await _health_of(stack) for name, stack in self._stacks.items()}
        if len(reports) == 1:
            return next(iter(reports.values()))
        worst = min(reports.values(), key=lambda report: _WORST.index(report.status))
        works = sum(report.status is HealthStatus.HEALTHY for report in reports.values())
        status = HealthStatus.DEGRADED if works and worst.status is HealthStatus.UNHEALTHY else worst.status
        message = f"{works} of {len(reports)} stacks are ready" + (
            "" if works == len(reports) else f"; {worst.message}"
        )
        shown = {name: {"message": report.message, **report.details} for name, report in reports.items()}
        return HealthReport(
            status=status, message=message, details={"state": worst.details.get("state", ""), "stacks": shown}
        )

    async def collect_metrics(self, resource_ids: Sequence[str]) -> dict[str, Any]:
        """The metrics of the resources, each from the stack that has it; counts are those of all stacks."""
        works = list(self.works)
        asked: dict[int, list[str]] = {}
        for name in dict.fromkeys(resource_ids):
            asked.setdefault(works.index(await self.holding(name)), []).append(name)
        shares = [asked.get(index, []) for index in range(len(works))]
        parts = [
            await work.collect_metrics(names) if names or not asked else await work.counts()
            for work, names in zip(works, shares, strict=True)
        ]
        resources = {name: entry for part in parts for name, entry in part["resources"].items()}
        counts = {name: sum(part[name] for part in parts) for name in parts[0] if name != "resources"}
        order = list(dict.fromkeys(resource_ids)) or list(resources)
        return {**counts, "resources": {name: resources[name] for name in order}}

    def metrics(self) -> dict[str, float]:
        """Numbers of all stacks together, and how many there are and work."""
        totals: dict[str, float] = {}
        for work in self.works:
            for name, value in work.metrics().items():
                totals[name] = totals.get(name, 0.0) + value
        if len(self._stacks) > 1:
            totals |= {
                "voltha_stacks": float(len(self._stacks)),
                "voltha_stacks_connected": float(len(list(self.works))),
            }
        return totals

    def plain(self) -> list[dict[str, Any]]:
        """The stacks as `list_stacks` gives them."""
        return [
            {
                "name": name,
                "target": f"{stack.api.settings.voltha_host}:{stack.api.settings.voltha_port}",
                "connected": stack.work is not None,
                "error": "" if stack.trouble is None else stack.trouble.message,
                "kafka_bootstrap": stack.api.settings.kafka_bootstrap,
            }
            for name, stack in self._stacks.items()
        ]


async def _health_of(stack: Stack) -> HealthReport:
    if stack.work is not None:
        return await stack.work.health()
    why = stack.trouble.message if stack.trouble is not None else "not connected yet"
    return HealthReport(status=HealthStatus.UNHEALTHY, message=f"unreachable: {why}", details={"state": "unreachable"})


async def open_stacks(api: PluginAPI) -> Stacks:
    """Connect to the stacks that the settings name; leaves nothing open when that fails."""
    settings = api.settings
    made = {settings.voltha_stack: Stack(settings.voltha_stack, api)}
    for name in settings.voltha_stacks:
        made[name] = Stack(name, StackAPI(api, name))
    stacks = Stacks(made, api)
    await stacks.begin()
    return stacks
