"""What a plugin says about itself, made fit to be shown: plain, of the right types, without secrets."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ..hosting import told
from ..model import HealthReport, HealthStatus

if TYPE_CHECKING:
    from ..model import InstanceRef

__all__ = ["plain_numbers", "plain_report", "with_isolation"]

_LOG: Final = logging.getLogger("dotmac.lifecycle")


def plain_report(said: object, redact: Callable[[str], str]) -> HealthReport:
    """The health report in plain values; one that is none, or cannot be shown, is an unhealthy one that says so."""
    if not isinstance(said, HealthReport):
        text = f"health_check must give a HealthReport, and gave {type(said).__name__}"
        return HealthReport(status=HealthStatus.UNHEALTHY, message=text)
    try:
        plain = _redacted(msgspec.to_builtins(said, str_keys=True), redact)
        return msgspec.convert(plain, HealthReport, strict=True)
    except Exception as error:  # noqa: BLE001 - whatever is in there
        text = redact(f"health_check gave a report that cannot be shown: {told(error)}")
        return HealthReport(status=HealthStatus.UNHEALTHY, message=text)


def plain_numbers(ref: InstanceRef, said: object) -> dict[str, float]:
    """The numbers by name; what is no number is left out and logged."""
    if not isinstance(said, Mapping):
        return {}
    numbers = {}
    for name, value in said.items():
        if isinstance(name, str) and isinstance(value, (int, float)) and math.isfinite(value):
            numbers[name] = float(value)
        else:
            _LOG.warning("%s: get_metrics gave %r of type %s; it must be a number", ref, name, type(value).__name__)
    return numbers


def with_isolation(report: HealthReport, isolation: Mapping[str, Any]) -> HealthReport:
    """The report of a jailed instance, with what keeps it apart among its details."""
    if isolation.get("mode") != "jailed":
        return report
    held = {name: one["strength"] for name, one in isolation.get("guarantees", {}).items()}
    return msgspec.structs.replace(report, details={**report.details, "isolation": held})


def _redacted(plain: Any, redact: Callable[[str], str]) -> Any:
    if isinstance(plain, str):
        return redact(plain)
    if isinstance(plain, dict):
        return {redact(key): _redacted(value, redact) for key, value in plain.items()}
    return [_redacted(value, redact) for value in plain] if isinstance(plain, list) else plain
