"""A permission decision with 1,000 rules, against cedarpy with a parsed policy set and parsed entities.

The same rules for both: 100 roles, each allowed nine permissions and denied one, in one tenant. Callers are users with three roles.
Ours also decides whether the plugin was granted the permission, as the gate does for each call. "Cached" is a decision that was made before, as
nearly all are; "cold" is the first for each caller and permission. Before anything is measured, both must decide 1,000 requests alike.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import cedarpy

from dotmac_isp.plugins.core.model import InstanceRef, PluginContext
from dotmac_isp.plugins.core.permissions import PolicyAuthoriser, read_policy

from ._measure import Figure, Sides

__all__ = ["figures"]

ROUNDS = 41
CACHED_GOAL = 1 / 1000
COLD_GOAL = 0.05
_ROLES = 100
_EACH = 10
_REQUESTS = 1000
#: A decision of theirs takes long enough to be measured in few; of ours, each round takes them all.
_THEIRS = 20
_TENANT = "tenant_1"
_REF = InstanceRef("voltha_integration", _TENANT)
_PERMISSIONS = [f"network.{area}.{deed}" for area in ("olt", "onu", "fiber", "port", "meter") for deed in "abcdefgh"]


class _Request(NamedTuple):
    user: str
    roles: tuple[str, ...]
    permission: str

    @property
    def context(self) -> PluginContext:
        return PluginContext(tenant_id=_TENANT, user_id=self.user, roles=self.roles)

    @property
    def cedar(self) -> dict[str, Any]:
        return {
            "principal": {"type": "User", "id": self.user},
            "action": {"type": "Action", "id": self.permission},
            "resource": {"type": "Tenant", "id": _TENANT},
            "context": {},
        }


def figures() -> list[Figure]:
    rules = list(_rules())
    requests = _requests()
    authoriser = PolicyAuthoriser(_ours(rules))
    theirs = cedarpy.PolicySet.from_str(_cedar(rules))
    entities = cedarpy.Entities.from_json_str(_entities(requests))
    allowed = _compare(authoriser, theirs, entities, requests)
    notes = {"rules": len(rules), "requests compared": f"{len(requests)}, of which {allowed} allowed by both"}
    against = "cedarpy, parsed policy set and entities"
    return [
        Figure(
            name="cached",
            what="permission decision, 1,000 rules, cached",
            against=against,
            unit="us",
            sides=_sides(lambda: authoriser, theirs, entities, requests),
            goal=CACHED_GOAL,
            notes=notes,
        ),
        Figure(
            name="cold",
            what="permission decision, 1,000 rules, first of its kind",
            against=against,
            unit="us",
            sides=_sides(lambda: PolicyAuthoriser(authoriser.policy), theirs, entities, requests),
            goal=COLD_GOAL,
        ),
    ]


def _rules() -> Any:
    """(role, effect, permission) for each rule."""
    for number in range(_ROLES):
        for place in range(_EACH):
            permission = _PERMISSIONS[(number * 7 + place * 3) % len(_PERMISSIONS)]
            yield f"role-{number}", "deny" if place == 0 else "allow", permission


def _requests() -> list[_Request]:
    """Different ones: no two have user, roles and permission in common."""
    users = itertools.cycle(range(250))
    found = []
    for number in range(_REQUESTS):
        user = next(users)
        roles = tuple(f"role-{(user * 11 + step * 29) % _ROLES}" for step in range(3))
        found.append(_Request(f"user-{user}", roles, _PERMISSIONS[(number // 250 * 9 + user) % len(_PERMISSIONS)]))
    assert len(set(found)) == _REQUESTS
    return found


def _ours(rules: list[tuple[str, str, str]]) -> Any:
    lines = ['[permissions.plugins."*"]', 'allow = ["network.*"]']
    for role, group in itertools.groupby(rules, key=lambda rule: rule[0]):
        said: dict[str, list[str]] = {"allow": [], "deny": []}
        for _, effect, permission in group:
            said[effect].append(f'"{permission}"')
        lines.append(f"[permissions.tenants.{_TENANT}.roles.{role}]")
        lines += [f"{effect} = [{', '.join(names)}]" for effect, names in said.items()]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "policy.toml"
        path.write_text("\n".join(lines), encoding="utf-8")
        return read_policy(path)


def _cedar(rules: list[tuple[str, str, str]]) -> str:
    word = {"allow": "permit", "deny": "forbid"}
    return "\n".join(
        f'{word[effect]} (principal in Role::"{role}", action == Action::"{permission}", resource == Tenant::"{_TENANT}");'
        for role, effect, permission in rules
    )


def _entities(requests: list[_Request]) -> str:
    import json

    roles = {request.user: request.roles for request in requests}
    return json.dumps(
        [
            {
                "uid": {"type": "User", "id": user},
                "attrs": {},
                "parents": [{"type": "Role", "id": role} for role in held],
            }
            for user, held in roles.items()
        ]
    )


def _compare(authoriser: PolicyAuthoriser, theirs: Any, entities: Any, requests: list[_Request]) -> int:
    """Both must decide alike, and not everything the same; this also fills our cache."""
    allowed = 0
    for request in requests:
        ours = authoriser.refuse_call(_REF, request.permission, request.context) is None
        if cedarpy.is_authorized(request.cedar, theirs, entities).allowed is not ours:
            raise RuntimeError(f"cedar decides otherwise: {request}")
        allowed += ours
    if not 0 < allowed < len(requests):
        raise RuntimeError(f"{allowed} of {len(requests)} requests are allowed, which compares nothing")
    return allowed


def _sides(make: Any, theirs: Any, entities: Any, requests: list[_Request]) -> Sides:
    calls = [(request.permission, request.context) for request in requests]
    asked = itertools.cycle([request.cedar for request in requests])
    took_ours, took_theirs = [], []
    for _ in range(ROUNDS + 1):  # the first warms up
        decide = make().refuse_call
        started = time.perf_counter()
        for permission, context in calls:
            decide(_REF, permission, context)
        middle = time.perf_counter()
        for _ in range(_THEIRS):
            cedarpy.is_authorized(next(asked), theirs, entities)
        ended = time.perf_counter()
        took_ours.append((middle - started) / len(calls) * 1e6)
        took_theirs.append((ended - middle) / _THEIRS * 1e6)
    return Sides(tuple(took_ours[1:]), tuple(took_theirs[1:]))
