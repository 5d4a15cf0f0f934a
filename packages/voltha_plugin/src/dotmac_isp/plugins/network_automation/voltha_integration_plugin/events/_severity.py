"""How bad an alarm is: the packaged table, and what the setting `alarm_severities` says otherwise. Pure but for reading the table."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Severity", "severity_of"]

Severity = Literal["debug", "info", "warning", "minor", "major", "critical"]


def severity_of(stem: str, overrides: Mapping[str, Severity]) -> Severity:
    """The severity of an alarm by its name without `_RAISE_EVENT`; an override wins over the table, its default comes last."""
    table = _table()
    found: Severity = overrides.get(stem) or table["severities"].get(stem, table["default"])
    return found


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(files(__package__).joinpath("alarm_severities.toml").read_text(encoding="utf-8"))
