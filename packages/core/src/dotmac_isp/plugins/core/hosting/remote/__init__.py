"""Instances in processes of their own: the zygote that forks them, the frames between them and the host, both sides of the API."""

from __future__ import annotations

from ._cells import CellPlan, new_cell
from ._codec import CannotCrossError
from ._host import JailedHost, Nursery
from ._spawner import Zygote

__all__ = ["CannotCrossError", "CellPlan", "JailedHost", "Nursery", "Zygote", "new_cell"]
