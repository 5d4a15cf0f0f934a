"""A tenant's rules for its events: what is hashed or dropped, how long it is kept, what happens to late and future ones."""

from __future__ import annotations

from ._book import RuleBook
from ._retention import Retention
from ._rules import Applied, Rules, parse_rules

__all__ = ["Applied", "Retention", "RuleBook", "Rules", "parse_rules"]
