"""The rules of all tenants, and their use on events that come in."""

from __future__ import annotations

import hashlib
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ...events import MAX_AHEAD, Event
from ._rules import Applied, Clock, Rules, parse_rules, pseudonym, timely, without_private

if TYPE_CHECKING:
    from .._meta import Meta
    from ..sharing import Change

__all__ = ["RuleBook"]

_KIND: Final = "rules"
_NONE: Final = Rules()
_DAY: Final = 86400.0


def _text(seconds: float) -> str:
    return datetime.fromtimestamp(max(0.0, seconds), UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


class RuleBook:
    """Kept in memory whole; written through. Use on the event loop."""

    def __init__(self, meta: Meta, *, max_age_days: float) -> None:
        self._meta = meta
        self._max_age_days = max_age_days
        self._known = {tenant: msgspec.convert(value, Rules) for tenant, _, value in meta.list(_KIND)}
        self._bounds: dict[tuple[str, str], tuple[float, Clock]] = {}

    def of(self, tenant: str) -> Rules:
        return self._known.get(tenant, _NONE)

    def tenants(self) -> list[str]:
        return list(self._known)

    def change(self, tenant: str, given: Any) -> Rules:
        """Change what is given, from the next event on. Raises `EventError`."""
        rules = parse_rules(given, self.of(tenant))
        self._meta.put(_KIND, tenant, _KIND, rules)
        self._known[tenant] = rules
        self._bounds.clear()
        return rules

    def heard(self, change: Change) -> None:
        """Another collector changed a tenant's rules."""
        value = self._meta.get(_KIND, change.tenant, _KIND)
        self._known[change.tenant] = _NONE if value is None else msgspec.convert(value, Rules)
        self._bounds.clear()

    def secret_of(self, tenant: str) -> bytes:
        """The key of a tenant's pseudonyms: the same value is another one for each tenant."""
        return _secret_of(tenant, self._meta.pseudonym_secrets[0])

    def names_of(self, tenant: str, person: str) -> list[str]:
        """How a customer may be called in what is stored: by the name itself, or by its pseudonym."""
        secrets = [_secret_of(tenant, one) for one in self._meta.pseudonym_secrets]
        return [person, *(pseudonym(secret, person) for secret in secrets)]

    def applied(self, tenant: str, event: Event) -> Applied:
        """What the rules make of an event."""
        rules = self.of(tenant)
        judged = timely(event, rules, self.clock(tenant, event.category))
        if rules.hash or rules.drop:
            return msgspec.structs.replace(judged, event=without_private(judged.event, rules, self.secret_of(tenant)))
        return judged

    def clock(self, tenant: str, category: str) -> Clock:
        """Which times are taken as they are; reckoned once a second."""
        now = time.time()
        known = self._bounds.get((tenant, category))
        if known is None or abs(now - known[0]) >= 1:
            days = self.of(tenant).days(category, self._max_age_days)
            known = (now, Clock(_text(now), _text(now - days * _DAY), _text(now + MAX_AHEAD), days))
            self._bounds[tenant, category] = known
        return known[1]


def _secret_of(tenant: str, secret: bytes) -> bytes:
    return hashlib.blake2b(tenant.encode(), key=secret, digest_size=32).digest()
