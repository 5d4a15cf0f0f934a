"""Schemas of events' properties, and the quarantine for what does not fit."""

from __future__ import annotations

from ._infer import infer
from ._quarantine import Held, Quarantine, mended
from ._registry import MODES, Schemas, Verdict
from ._rules import SchemasMissingError

__all__ = ["MODES", "Held", "Quarantine", "Schemas", "SchemasMissingError", "Verdict", "infer", "mended"]
