"""Several VOLTHA stacks of one tenant behind one plugin instance. What works with them is in `_stacks`, which loads late."""

from __future__ import annotations

from ._settings import StackSettings

__all__ = ["StackSettings"]
