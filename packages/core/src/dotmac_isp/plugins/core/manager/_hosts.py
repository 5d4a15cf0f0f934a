"""Which instance runs where: in the host's process or jailed in one of its own, within which limits, with which ways out."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import sys
from typing import TYPE_CHECKING, Any, Final

from ..discovery import code_folders, endpoints_of, files_of
from ..errors import ConfigurationError, PermissionDeniedError
from ..hosting import InlineHost
from ..lifecycle import instance_folder
from ..model import InstanceRef, SecurityLevel
from ._place import Place, choose_place

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..discovery import InstalledPlugin
    from ..hosting import Host, IsolationPolicy, IsolationRules
    from ..lifecycle import Life
    from ..settings import Configuration
    from ._building import Building

__all__ = ["Hosts"]

_LOG: Final = logging.getLogger("dotmac.host")
_STRENGTHS: Final = ("none", "advisory", "enforced")


class Hosts:
    """Makes the places of instances. What the jailed ones share (the zygote) is made with the first of them."""

    def __init__(
        self,
        building: Building,
        *,
        isolation: Callable[[], IsolationPolicy],
        configuration: Callable[[], Configuration],
        environment_of: Callable[[InstanceRef], str | None],
    ) -> None:
        self._building: Final = building
        self._isolation: Final = isolation
        self._configuration: Final = configuration
        self._environment_of: Final = environment_of
        self._nursery: Any = None
        #: Zygotes with libraries of before an installation, that go when the last process that they forked is gone.
        self._before: list[Any] = []

    async def clean_up(self) -> None:
        """End and remove what a host that was killed left behind: processes, control groups, folders."""
        home = self._building.home
        if sys.platform != "linux" or not (home / "run").is_dir():
            return
        from ..hosting.jail import sweep  # noqa: PLC0415 - as below

        for found in await asyncio.to_thread(sweep, home):
            _LOG.warning("left behind by a host that was killed: %s", found)
            self._building.audit.record("isolation", "cleaned up", detail=found)

    async def refresh(self) -> None:
        """Something was installed: what is begun from now on comes from a zygote that has nothing of before in its memory."""
        if self._nursery is None:
            return
        from ..hosting.remote import Zygote  # noqa: PLC0415 - as below

        self._before.append(self._nursery.zygote)
        self._nursery.zygote = Zygote(self._building.home)
        for zygote in [one for one in self._before if one.idle]:
            self._before.remove(zygote)
            await zygote.close()

    def host_for(self, life: Life) -> Host:
        """Where this life of an instance is to be. Raises `PermissionDeniedError` where the policy demands what is not there."""
        plugin, ref = life.blueprint.plugin, life.ref
        policy = self._isolation()
        rules = policy.rules(plugin.id, ref.tenant_id, plugin.manifest.security_level)
        scenario = self._configuration().isolation(plugin.id, self._environment_of(ref))
        place = choose_place(plugin, rules, scenario)
        if place.mode == "jailed" and sys.platform == "win32":
            place = Place("inline", f"this system has no processes to fork, although {place.why} says jailed")
        if place.mode == "inline":
            self._check_inline(ref, policy, rules, place)
            return InlineHost(plugin)
        return self._jailed(life, policy, rules)

    def _check_inline(self, ref: InstanceRef, policy: IsolationPolicy, rules: IsolationRules, place: Place) -> None:
        if not policy.given or place == Place("inline", "policy.toml"):
            return
        demanded = [name for name, strength in rules.require.items() if strength != "none"]
        if demanded:
            raise PermissionDeniedError(
                f"{ref} may not run: it would run inline ({place.why}), and the policy demands {', '.join(demanded)}",
                remedy=f'Set mode = "jailed" (or "inline", to accept it) in [isolation.plugins.{ref.plugin_id}] of policy.toml',
            )

    def _jailed(self, life: Life, policy: IsolationPolicy, rules: IsolationRules) -> Host:
        from ..hosting.remote import CellPlan, JailedHost, new_cell  # noqa: PLC0415 - hosts that jail nothing need none of it

        plugin, ref, settings = life.blueprint.plugin, life.ref, life.blueprint.settings
        folder = instance_folder(self._building.home, ref)
        hosting = plugin.manifest.hosting
        reads = files_of(hosting.reads, settings.values)
        wanted = CellPlan(
            label=str(ref),
            level=plugin.manifest.security_level.value,
            home=str(self._building.home),
            data_dir=str(folder),
            limits={**hosting.limits.given(), **rules.limits.given()},
            ways_out=tuple(self._ways_out(plugin, settings.values)),
            networks=rules.networks,
            kafka_hosts=rules.kafka_hosts,
            readable=(
                *(os.path.abspath(one) for one in sys.path),  # noqa: PTH100 - '' is the present folder
                *map(str, code_folders(plugin)),
                *reads,
            ),
        )
        cell = new_cell(
            wanted,
            judged=functools.partial(self._judged, ref, policy, rules),
            decided=functools.partial(self._decided, ref),
        )
        return JailedHost(
            self._shared(),
            plugin,
            ref.tenant_id,
            owner=life.member.owner,
            cell=cell,
            data_dir=folder,
            values=None if settings.model is None else settings.values,
            preload=hosting.preload if policy.preload else (),
            ways_out=lambda values: self._ways_out(plugin, values),
            ended=life.exited,
        )

    def _ways_out(self, plugin: InstalledPlugin, values: Mapping[str, Any]) -> list[tuple[str, int, str]]:
        if plugin.manifest.security_level is SecurityLevel.MINIMAL:
            return []
        try:
            return endpoints_of(plugin.manifest.hosting.endpoints, values)
        except ValueError as error:
            raise ConfigurationError(
                f"the endpoints of {plugin.id} cannot be made out: {error}", source=plugin.manifest_path
            ) from error

    def _shared(self) -> Any:
        if self._nursery is None:
            from ..hosting.remote import Nursery, Zygote  # noqa: PLC0415 - as above

            building = self._building
            self._nursery = Nursery(zygote=Zygote(building.home), fence=building.fence, tasks=building.tasks)
        return self._nursery

    def _judged(self, ref: InstanceRef, policy: IsolationPolicy, rules: IsolationRules, report: Any) -> None:
        """What keeps it apart is known, and none of its code has run. Raises where the policy demands more."""
        weak = {
            name: report[name]
            for name, least in rules.require.items()
            if _STRENGTHS.index(report[name]["strength"]) < _STRENGTHS.index(least)
        }
        held = ", ".join(f"{name} {one['strength']}" for name, one in report.items())
        self._building.audit.record(
            "isolation",
            "weak" if weak else "jailed",
            detail=held,
            plugin_id=ref.plugin_id,
            tenant_id=ref.tenant_id,
            values={"guarantees": {name: one["how"] for name, one in report.items()}},
        )
        if not weak:
            return
        text = "; ".join(
            f"{name} is {one['strength']} ({one['how']}) and must be {rules.require[name]}: {one['missing']} is missing"
            for name, one in weak.items()
        )
        remedy = "; ".join(dict.fromkeys(one["remedy"] for one in weak.values() if one["remedy"]))
        if policy.given:
            raise PermissionDeniedError(f"{ref} may not run: {text}", remedy=remedy or None)
        _LOG.warning("%s runs with weaker isolation than its level asks for: %s. %s", ref, text, remedy)

    def _decided(self, ref: InstanceRef, decision: Any) -> None:
        """The broker let a connection through, or did not."""
        building = self._building
        outcome = "allowed" if decision.allowed else "refused"
        building.audit.record("egress", outcome, detail=str(decision), plugin_id=ref.plugin_id, tenant_id=ref.tenant_id)
        building.telemetry.egress(ref.plugin_id, ref.tenant_id, allowed=decision.allowed)

    async def close(self) -> None:
        """End what the jailed instances shared."""
        before, self._before = self._before, []
        for zygote in before:
            await zygote.close()
        nursery, self._nursery = self._nursery, None
        if nursery is not None:
            await nursery.zygote.close()
            if sys.platform == "linux":
                from ..hosting.jail import leave  # noqa: PLC0415 - hosts that jail nothing need none of it

                await asyncio.to_thread(leave, self._building.home)
