"""What is wrong with the line of a subscriber: facts collected with few calls, and rules over them."""

from __future__ import annotations

from ._rules import Diagnosis, Facts, decide

__all__ = ["Diagnosis", "Facts", "decide"]
