"""How VOLTHA is, in the four words that tell an operator where to look: unreachable, not ready, adapter missing, ready."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from dotmac_isp.plugins.core.model import HealthReport, HealthStatus

from ._errors import VolthaCredentialsError, VolthaError, VolthaUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._client import VolthaClient

__all__ = ["ask_health", "missing_adapters", "version_of"]

_TIMEOUT = 5.0


async def ask_health(client: VolthaClient, required: Iterable[str]) -> HealthReport:
    """Ask once, without repeats, and judge the answer."""
    details: dict[str, Any] = {"target": client.endpoint.label, "tls": client.endpoint.tls}
    started = time.perf_counter()
    try:
        voltha = await client.call("GetVoltha", limit=_TIMEOUT, repeat=False)
        adapters = sorted(
            {item.type for item in (await client.call("ListAdapters", limit=_TIMEOUT, repeat=False)).items}
        )
    except VolthaError as error:
        return _unhealthy(error, details)
    details |= {
        "latency_ms": round((time.perf_counter() - started) * 1000, 1),
        "version": version_of(voltha),
        "adapters": adapters,
    }
    missing = missing_adapters(adapters, required)
    if missing:
        details |= {"state": "adapter missing", "missing_adapters": missing}
        message = f"adapter missing: {', '.join(missing)} (registered: {', '.join(adapters) or 'none'})"
        return HealthReport(
            status=HealthStatus.DEGRADED, message=message, details=details, vendor=HealthStatus.DEGRADED
        )
    details["state"] = "ready"
    return HealthReport(
        status=HealthStatus.HEALTHY,
        message=f"{client.endpoint.label} is ready",
        details=details,
        vendor=HealthStatus.HEALTHY,
    )


def _unhealthy(error: VolthaError, details: dict[str, Any]) -> HealthReport:
    if isinstance(error, VolthaCredentialsError):
        state = "credentials refused"
    elif isinstance(error, VolthaUnavailableError):
        state = "not ready" if error.reachable else "unreachable"
    else:
        state = "failing"
    return HealthReport(
        status=HealthStatus.UNHEALTHY,
        message=f"{state}: {error}",
        details={**details, "state": state},
        vendor=HealthStatus.UNHEALTHY,
    )


def missing_adapters(present: Iterable[str], required: Iterable[str]) -> list[str]:
    """The adapter types that are required and not registered."""
    there = set(present)
    return [name for name in required if name not in there]


def version_of(voltha: Any) -> str:
    """The version in GetVoltha's answer, which is JSON text in practice."""
    try:
        return str(json.loads(voltha.version)["version"])
    except (ValueError, KeyError, TypeError):
        return str(voltha.version)
