"""One life of an instance: its object, from the making to the release, and who answers calls meanwhile.

An instance has one life after another; while a new one takes over from the old, it has two. What both share (storage, files,
secrets, telemetry, the licence's counts) belongs to the instance; what each has for itself (the object, its tasks, its
cleanups, its breaker, its calls under way) is here.
"""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any, Final

import pluggy

from ..dispatch import Member, Method, StreamMethod, is_stream, public_methods
from ..errors import StepError
from ..health import Breaker
from ..hosting import InlineAPI
from ..model import HealthReport, HealthStatus
from ..telemetry import instance_logger
from ._blueprint import instance_folder, provides_secrets
from ._steps import StepRunner

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..base import BasePlugin
    from ..hosting import Host
    from ..model import InstanceRef
    from ..settings import ResolvedSettings
    from ._blueprint import Blueprint
    from ._house import House

__all__ = ["Life"]


class Life:
    """The plugin's object of one instance, or the place where it will be."""

    def __init__(
        self,
        ref: InstanceRef,
        house: House,
        blueprint: Blueprint,
        *,
        successor: Callable[[str], Any],
        begun: bool = True,
    ) -> None:
        self.ref: Final = ref
        self.blueprint: Final = blueprint
        self._house: Final = house
        self._successor: Final = successor
        self._methods: dict[str, Method | StreamMethod] = {}
        self.api: InlineAPI | None = None
        #: Where the object is.
        self.host: Host | None = None
        self.object: BasePlugin | None = None
        self._at_work = False
        #: Called when that place is gone without having been asked, with the reason.
        self.on_exit: Callable[[str], None] | None = None
        #: When the object was made: Unix time, seconds.
        self.made_at = 0.0
        #: It was released, and is never made again.
        self.ended = False
        limits, manifest = house.limits, blueprint.plugin.manifest
        self.member: Final = Member(
            ref,
            breaker=Breaker(limits.breaker_failures, limits.breaker_pause),
            metrics=house.telemetry.instance(ref.plugin_id, ref.tenant_id),
            owner=house.tasks.owner(),
            permissions={
                method: feature.permission
                for feature in manifest.features.values()
                if feature.permission is not None
                for method in feature.methods
            },
        )
        self.steps: Final = StepRunner(house, self.member)
        #: Its own numbers; its gauges count only while it is the life that answers calls (`begun`).
        self.numbers: Final = self.member.metrics.recorder_of_life(begun=begun)
        self.health = HealthReport(status=HealthStatus.UNKNOWN, message="not checked yet")
        #: Optional secrets that no provider has, and the features that are off for want of them.
        self.switched_off: dict[str, tuple[str, ...]] = {}

    # the object

    async def make(self) -> None:
        """Make the object and let it prepare. Raises `StepError`, `DiscoveryError`, or what the plugin raised on purpose."""
        self.made_at = time.time()
        self.api = self._make_api()
        self.host = self._house.host_for(self)
        self.host.prepare()
        self.object = await self.steps.make(self.host, self.api)
        await self.steps.run(self.object, "initialize", self._house.limits.initialize)
        self._check_hooks()

    async def activate(self) -> None:
        """Let the object work. Raises `StepError`, or what the plugin raised on purpose."""
        await self.steps.run(self.object, "activate", self._house.limits.activate)
        self._at_work = True

    async def deactivate(self) -> None:
        """Wait for the calls under way, then end the object's work. Always ends; what fails is reported."""
        if not self._at_work:
            return
        self._at_work = False
        limit = self._house.limits.deactivate
        self._end_streams(self.member.why_not)
        await self.steps.drain(limit)
        if not self.gone:
            await self.steps.attempt(self.object, "deactivate", limit)
        await self.steps.end_tasks(self.host)

    async def release(self) -> None:
        """Run the cleanups, last registered first, then the plugin's own; end its tasks. Whatever fails is reported."""
        self.ended = True
        self.hand_over_methods()
        api, self.api = self.api, None
        plugin, self.object = self.object, None
        limit = self._house.limits.cleanup
        host = self.host
        if host is not None and not self.gone:
            await self.steps.attempt(host, "run_cleanups", limit)
        if plugin is not None and not self.gone:
            await self.steps.attempt(plugin, "cleanup", limit)
        await self.steps.end_tasks(host)
        if host is not None:
            await host.close()
        if api is not None:
            api.ended = True

    @property
    def tasks(self) -> int:
        """How many tasks its code has running, here or in a process of its own."""
        return len(self.member.owner.running()) + (0 if self.host is None else self.host.tasks)

    @property
    def gone(self) -> bool:
        """Whether the place of the object is not there any more."""
        return self.host is not None and self.host.gone

    async def change_settings(self, settings: ResolvedSettings) -> bool:
        """The object's `api.settings` are these from now on. `False`: it cannot have them where it is, and must be made anew."""
        if self.api is None or self.host is None or self.gone:
            return False
        if not await self.host.change_settings(settings.model):
            return False
        self.api.settings = settings.model
        return True

    def exited(self, reason: str) -> None:
        """The place of the object is gone."""
        if self.on_exit is not None:
            self.on_exit(reason)

    @property
    def inline(self) -> bool:
        """Whether the object is in the host's own process."""
        return self.host is None or self.host.mode == "inline"

    # another life takes over

    @property
    def hands_over(self) -> bool:
        """Whether the object gives what it keeps in memory to the one that takes over."""
        return hasattr(self.object, "hand_over_state")

    @property
    def takes_over(self) -> bool:
        """Whether the object takes what the one before kept in memory."""
        return hasattr(self.object, "take_over_state")

    def give_way(self) -> None:
        """Another life answers from now on; calls under way end here."""
        self.member.replaced = True
        self.hand_over_methods()
        self.numbers.retire()

    async def retire(self) -> None:
        """After `give_way`: let the calls under way end, each at its own deadline at the latest, then end the life."""
        self._end_streams("another object has taken its instance's place")
        left = self.member.until - time.monotonic()
        await self.steps.drain(max(left, self._house.limits.deactivate))
        self.member.accepting = False
        self.member.why_not = "it takes no calls: another object has taken its place"
        await self.deactivate()
        await self.release()

    def _end_streams(self, why: str) -> None:
        for stream in list(self.member.streams):
            stream.end(why)

    # its methods

    def method(self, name: str) -> Method | StreamMethod:
        """A public method of the object, to be called through the gate. Raises `AttributeError` with the names there are."""
        found = self._methods.get(name)
        if found is not None:
            return found
        names = public_methods(type(self.object))
        if name not in names:
            raise AttributeError(f"{self.ref.plugin_id} has no public method {name!r}; it has {', '.join(names)}")
        function = getattr(self.object, name)
        kind = StreamMethod if is_stream(function) else Method
        found = self._methods[name] = kind(self._house.gate, self.member, name, function)
        return found

    def hand_over_methods(self) -> None:
        """Methods that a host has kept lead to the next life from now on."""
        for name, method in self._methods.items():
            method.successor = functools.partial(self._successor, name)
        self._methods.clear()

    # inside

    def _make_api(self) -> InlineAPI:
        house, ref, blueprint = self._house, self.ref, self.blueprint
        return InlineAPI(
            info=blueprint.plugin.info,
            tenant_id=ref.tenant_id,
            settings=blueprint.settings.model,
            secrets=blueprint.secrets,
            storage=house.storage_for(ref.tenant_id, ref.plugin_id),
            logger=instance_logger(ref.plugin_id, ref.tenant_id),
            metrics=self.numbers,
            hooks=house.relay_for(ref.tenant_id, ref.plugin_id),
            data_dir=instance_folder(house.home, ref),
            report=house.report,
            count_licensed=functools.partial(self._count_licensed, house.gate),
            owner=self.member.owner,
            secret_changed=house.secret_changed if provides_secrets(blueprint.plugin) else None,
        )

    def _count_licensed(self, gate: Any, limit: str, amount: int) -> str | None:
        why: str | None = gate.licences.count(self.ref, limit, amount)
        return why

    def _check_hooks(self) -> None:
        """Let pluggy compare the hooks' arguments now, so that a wrong one fails the load and not the start."""
        try:
            self._house.registry_of(self.ref.tenant_id).check(self.object)
        except pluggy.PluginValidationError as error:
            raise StepError(f"{self.ref}: a hook is not as specified: {error}", step="initialize") from error
