"""Storing again what the engine has lost."""

from __future__ import annotations

from ._mending import Mending

__all__ = ["Mending"]
