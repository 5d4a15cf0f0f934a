"""Who answers: the name and version by which a collector of ours is known."""

from __future__ import annotations

import importlib.metadata
from typing import Final

__all__ = ["PRODUCT", "version"]

PRODUCT: Final = "dotmac-analytics-collector"


def version() -> str:
    """The distribution's version."""
    try:
        return importlib.metadata.version("dotmac-plugin-analytics")
    except importlib.metadata.PackageNotFoundError:
        return "0"
