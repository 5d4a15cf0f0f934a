"""One customer's events: given out, and deleted for good."""

from __future__ import annotations

from ._deletion import Deletions
from ._person import Person, parse_person

__all__ = ["Deletions", "Person", "parse_person"]
