"""Who may do what: API keys with scopes and limits."""

from __future__ import annotations

from ._keys import SCOPES, Access, Keys
from ._limits import Limits

__all__ = ["SCOPES", "Access", "Keys", "Limits"]
