"""Who may do what (design, decision 7): asked by the gate for every call, and by the host before an instance activates.

`policy.toml` in the host's folder says what plugins, roles and users are granted; without it everything that a manifest asks for
is granted, and status says "no policy". What reads policies loads at first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from ._authoriser import NO_POLICY, Authoriser, OpenAuthoriser
from ._uses import PERMISSION_USED, PermissionUses

if TYPE_CHECKING:
    from ._explain import (
        Explanation,
        Finding,
        PolicyChange,
        Verdict,
        known_permissions,
        permissions_check,
        permissions_diff,
        permissions_explain,
        policy_findings,
    )
    from ._file import read_policy
    from ._keeper import PolicyKeeper
    from ._policy import PolicyAuthoriser
    from ._rules import Policy, Rule

__all__ = [
    "NO_POLICY",
    "PERMISSION_USED",
    "Authoriser",
    "Explanation",
    "Finding",
    "OpenAuthoriser",
    "PermissionUses",
    "Policy",
    "PolicyAuthoriser",
    "PolicyChange",
    "PolicyKeeper",
    "Rule",
    "Verdict",
    "known_permissions",
    "permissions_check",
    "permissions_diff",
    "permissions_explain",
    "policy_findings",
    "read_policy",
]

_HOMES: Final = {
    "PolicyKeeper": "_keeper",
    "PolicyAuthoriser": "_policy",
    "Policy": "_rules",
    "Rule": "_rules",
    "read_policy": "_file",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES.get(name, '_explain')}"), name)
    globals()[name] = value
    return value
