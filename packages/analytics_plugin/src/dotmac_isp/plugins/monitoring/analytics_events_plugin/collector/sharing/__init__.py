"""Several collectors before one server: they have one memory of keys, rules and dashboards, and one of them does what is done once."""

from __future__ import annotations

from ._documents import SECRET, Change, Documents
from ._lead import Member, Pace, judged
from ._sharing import Sharing

__all__ = ["SECRET", "Change", "Documents", "Member", "Pace", "Sharing", "judged"]
