"""What the host does by itself while it runs: ask instances how they are, and collect their metrics."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Any, Final

from ..errors import PluginError
from ..model import MetricSample, PluginState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from ..lifecycle import Instance
    from ._building import Building

__all__ = ["check_all", "collect_all", "every", "tell_uses"]

_LOG: Final = logging.getLogger("dotmac.host")
#: How far a round may be moved at random, so that hosts and instances do not all ask at the same moment.
_JITTER: Final = 0.1


async def every(seconds: float, work: Callable[[], Awaitable[Any]], *, name: str) -> None:
    """Do `work` again and again, about every `seconds`. A round that fails is logged, and the next one comes."""
    while True:
        await asyncio.sleep(seconds * random.uniform(1 - _JITTER, 1 + _JITTER))  # noqa: S311 - no cryptography
        try:
            await work()
        except Exception:  # noqa: BLE001 - the rounds go on
            _LOG.exception("the %s round failed", name)


async def tell_uses(building: Building) -> None:
    """Put into the audit trail who used which permission since the last round."""
    building.gate.uses.tell()


async def check_all(instances: Iterable[Instance], *, at_once: int) -> None:
    """Refresh the health of the active instances."""
    gate = asyncio.Semaphore(at_once)

    async def check(instance: Instance) -> None:
        async with gate:
            if not instance.lock.locked():
                await instance.check_health()

    async with asyncio.TaskGroup() as tasks:
        for instance in instances:
            if instance.state is PluginState.ACTIVE:
                tasks.create_task(check(instance))


async def collect_all(building: Building, instances: Iterable[Instance]) -> None:
    """Read every active plugin's own numbers, keep them for the exporter, and tell the tenant's other plugins."""
    for instance in instances:
        if instance.state is not PluginState.ACTIVE:
            continue
        samples = []
        for name, value in (await instance.plugin_metrics()).items():
            try:
                instance.member.metrics.recorder.keep(name, value)
            except (PluginError, ValueError) as error:
                _LOG.warning("%s: the metric %r cannot be kept: %s", instance.ref, name, error)
            else:
                samples.append(MetricSample(name=name, value=value, labels={"plugin": instance.ref.plugin_id}))
        if samples:
            await building.hooks_without(instance.ref.tenant_id, instance.ref.plugin_id).on_metrics(samples=samples)
