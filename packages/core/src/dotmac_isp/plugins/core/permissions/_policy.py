"""The authoriser of a host that has a policy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..model import tenant_label
from ._rules import LEVELS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..model import InstanceRef, PluginContext, SecurityLevel
    from ._rules import Policy

__all__ = ["PolicyAuthoriser"]

#: Decisions that are kept: plugins × permissions × callers. Users come and go, so there must be an end.
_MOST_KEPT: Final = 100_000


class PolicyAuthoriser:
    """Decides by a `Policy`; `replace` puts another in force.

    `level_of` gives the security level that an instance's plugin declares (`None`: not known, so it is not judged).
    """

    __slots__ = ("_kept", "_level_of", "policy", "trouble")

    def __init__(
        self, policy: Policy, *, level_of: Callable[[InstanceRef], SecurityLevel | None] = lambda _: None
    ) -> None:
        self.policy = policy
        #: Why the file as it is now is not what is in force; shown wherever the policy is named.
        self.trouble: str | None = None
        self._level_of: Final = level_of
        self._kept: dict[tuple[object, ...], str | None] = {}

    def replace(self, policy: Policy) -> None:
        """Put another policy in force, from the next call on."""
        self.policy = policy
        self.trouble = None
        self._kept = {}

    def refuse_call(self, instance: InstanceRef, permission: str | None, context: PluginContext) -> str | None:
        if permission is None:
            return None
        try:
            return self._kept[instance.plugin_id, instance.tenant_id, permission, context.user_id, context.roles]
        except (KeyError, TypeError):
            return self._decide(instance, permission, context)

    def refuse_activation(self, instance: InstanceRef, permissions: Sequence[str]) -> str | None:
        rules = self.policy.for_tenant(instance.tenant_id)
        declared, most = self._level_of(instance), rules.max_level
        if declared is not None and LEVELS.index(declared) > [level.value for level in LEVELS].index(most.value):
            return self._too_high(instance, declared)
        whys = (self._refuse_plugin(instance, one) for one in permissions)
        return next((why for why in whys if why is not None), None)

    def describe(self) -> str:
        name, count = self.policy.path.name, len(self.policy.rules)
        text = f"{name} ({count} rules)"
        return text if self.trouble is None else f"{text} as it was before an error: {self.trouble}"

    def _decide(self, instance: InstanceRef, permission: str, context: PluginContext) -> str | None:
        kept = self._kept
        roles = tuple(context.roles)
        why = self._refuse_plugin(instance, permission)
        if why is None:
            why = self._refuse_caller(instance, permission, context.user_id, roles)
        if len(kept) >= _MOST_KEPT:
            kept.clear()
        kept[instance.plugin_id, instance.tenant_id, permission, context.user_id, roles] = why
        return why

    def _refuse_plugin(self, instance: InstanceRef, permission: str) -> str | None:
        rule = self.policy.for_tenant(instance.tenant_id).plugin(instance.plugin_id, permission)
        if rule is not None and rule.effect == "allow":
            return None
        file, tenant = self.policy.path.name, tenant_label(instance.tenant_id)
        if rule is not None:
            return f"tenant {tenant} denies {instance.plugin_id} {permission}: {rule} ({file}, line {rule.line})"
        return (
            f"tenant {tenant} has not granted {instance.plugin_id} {permission}: no rule in {file} does; "
            f'grant it with allow = ["{permission}"] in [permissions.plugins.{instance.plugin_id}]'
        )

    def _refuse_caller(
        self, instance: InstanceRef, permission: str, user_id: str | None, roles: tuple[str, ...]
    ) -> str | None:
        rules = self.policy.for_tenant(instance.tenant_id)
        file = self.policy.path.name
        if user_id is None and not roles:
            if rules.anonymous.value == "allow":
                return None
            return (
                f"{permission} needs a caller, and the call names no user and no roles: "
                f'anonymous = "deny" ({file}, line {rules.anonymous.line})'
            )
        rule = rules.caller(user_id, roles, permission)
        if rule is not None and rule.effect == "allow":
            return None
        who = caller_name(user_id, roles)
        if rule is not None:
            return f"{who} may not use {permission}: {rule} ({file}, line {rule.line})"
        return f"{who} does not hold {permission} in tenant {tenant_label(instance.tenant_id)}: no rule in {file} grants it"

    def _too_high(self, instance: InstanceRef, declared: SecurityLevel) -> str:
        most, file = self.policy.for_tenant(instance.tenant_id).max_level, self.policy.path.name
        where = f"{file}, line {most.line}" if most.line else f"what holds where {file} says nothing"
        return (
            f"{instance.plugin_id} declares the security level {declared.value!r}, and tenant {tenant_label(instance.tenant_id)} "
            f'accepts at most {most.value!r} ({where}); to accept it, set max_security_level = "{declared.value}" for the tenant'
        )


def caller_name(user_id: str | None, roles: tuple[str, ...]) -> str:
    """How a caller is named to a person."""
    who = f"user {user_id!r}" if user_id is not None else "a caller without user"
    return f"{who} with {'roles' if len(roles) > 1 else 'role'} {', '.join(roles)}" if roles else who
