"""The entry point of `dotmac-plugins voltha`, as the console finds it."""

from __future__ import annotations

from .commands import app

__all__ = ["app"]
