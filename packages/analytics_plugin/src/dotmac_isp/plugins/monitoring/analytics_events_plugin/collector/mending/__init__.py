"""Storing again what the engine has lost, and putting right what two collectors counted twice."""

from __future__ import annotations

from ._hours import DoubtedHours
from ._mending import Mending

__all__ = ["DoubtedHours", "Mending"]
