"""What plugins need once per host: their provider modules, and the services that these provide."""

from __future__ import annotations

import asyncio
import functools
import logging
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..base import HostService, HostSettings
from ..discovery import load_provider, load_settings_model
from ..dispatch import Failed, Member, Seat, TenantHooks, TenantRegistry, error_of, next_request_id
from ..errors import PluginError
from ..health import Breaker, backoff
from ..model import HealthReport, HealthStatus, InstanceRef, PluginContext
from ..secrets import InstanceSecrets
from ..settings import resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from ..discovery import InstalledPlugin
    from ..lifecycle import Blueprint, Instance
    from ..settings import Configuration
    from ._building import Building

__all__ = ["HostServices"]

_LOG: Final = logging.getLogger("dotmac.services")
_NEVER: Final = 1 << 62


def _owner(plugin_id: str) -> str:
    """In whose name a service runs: not its plugin's, whose instances come and go with their tasks."""
    return f"{plugin_id}.service"


class _Guest(NamedTuple):
    """An instance as services know it."""

    ref: InstanceRef
    settings: Any
    secrets: InstanceSecrets

    def admission(self, service: HostService) -> Callable[[], Coroutine[Any, Any, None]]:
        return functools.partial(service.admit, self.ref.tenant_id, self.settings, self.secrets)


class _Supervised:
    """One service, and how it is."""

    def __init__(self, plugin_id: str, service: HostService) -> None:
        self.plugin_id: Final = plugin_id
        self.service: Final = service
        self.name: Final = str(getattr(service, "name", type(service).__name__))
        self.health = HealthReport(status=HealthStatus.UNKNOWN, message="starting")
        self.restarts = 0
        self.next_try = 0.0


class HostServices:
    """Starts services before the first instance of their plugin activates, watches them, and stops them with the host."""

    def __init__(self, building: Building, configuration: Callable[[], Configuration]) -> None:
        self._building: Final = building
        self._configuration: Final = configuration
        self._registry: Final = TenantRegistry()
        #: The hooks of the provider modules.
        self.hooks: Final = TenantHooks(None, self._registry, building.gate)
        self._locks: dict[str, asyncio.Lock] = {}
        self._services: dict[str, list[_Supervised]] = {}
        self._admitted: dict[InstanceRef, _Guest] = {}
        self._members: dict[str, Member] = {}

    async def admit(self, instance: Instance, blueprint: Blueprint) -> None:
        """See to it that the instance finds its plugin's services running and knowing it. Raises what stands in the way."""
        plugin = blueprint.plugin
        if plugin.manifest.provides is None:
            return
        async with self._locks.setdefault(plugin.id, asyncio.Lock()):
            if plugin.id not in self._services:
                self._services[plugin.id] = await self._start(plugin, instance.environment)
        guest = _Guest(instance.ref, blueprint.settings.model, blueprint.secrets)
        self._admitted[instance.ref] = guest  # also when one refuses: the others must be told that it is gone
        for supervised in self._services[plugin.id]:
            await self._guarded(supervised, "admit", guest.admission(supervised.service))

    async def licence_keys(self, plugin: InstalledPlugin) -> dict[str, bytes]:
        """The public keys that the plugin's package brings along (`provide_licence_keys`); none when it fails to say."""
        if plugin.manifest.provides is None:
            return {}
        registry = TenantRegistry()
        try:
            registry.register(load_provider(plugin), self._member(plugin.id), name=plugin.id)
            found: dict[str, bytes] = {}
            for seat in registry.plan("provide_licence_keys").seats:
                context = PluginContext.within(self._building.limits.activate, request_id=next_request_id())
                answer = await self._building.gate.call(seat, context, (), {})
                if isinstance(answer, Failed):
                    raise error_of(answer)
                found.update({str(key): _key_data(data) for key, data in dict(answer or {}).items()})
        except Exception as error:  # noqa: BLE001 - a licence that needs the key is refused, and says which key
            _LOG.warning("%s brings no licence keys: %s", plugin.distribution, error)
            return {}
        return found

    async def dismiss(self, ref: InstanceRef) -> None:
        """The instance is gone; what fails is reported."""
        if ref not in self._admitted:
            return
        del self._admitted[ref]
        for supervised in self._services.get(ref.plugin_id, []):
            await self._attempt(supervised, "dismiss", functools.partial(supervised.service.dismiss, ref.tenant_id))

    async def check(self) -> None:
        """Ask every service how it is, and restart those that are unhealthy."""
        for supervised in [one for services in self._services.values() for one in services]:
            report = await self._attempt(supervised, "check", supervised.service.check)
            if not isinstance(report, HealthReport):
                report = HealthReport(status=HealthStatus.UNHEALTHY, message="its check failed")
            supervised.health = report
            now = asyncio.get_running_loop().time()
            if report.status is HealthStatus.UNHEALTHY and now >= supervised.next_try:
                supervised.next_try = now + backoff(supervised.restarts)
                supervised.restarts += 1
                _LOG.warning("the service %s is unhealthy (%s); restarting it", supervised.name, report.message)
                await self._attempt(supervised, "stop", supervised.service.stop)
                await self._attempt(supervised, "start", supervised.service.start)
                for guest in [one for one in self._admitted.values() if one.ref.plugin_id == supervised.plugin_id]:
                    await self._attempt(supervised, "admit", guest.admission(supervised.service))
            elif report.healthy:
                supervised.restarts = 0

    async def stop(self) -> None:
        """Stop every service, the last started first."""
        for supervised in reversed([one for services in self._services.values() for one in services]):
            await self._attempt(supervised, "stop", supervised.service.stop)
            await self._member(supervised.plugin_id).owner.end(patience=self._building.limits.cancellation)
        self._services.clear()

    def status(self) -> list[dict[str, Any]]:
        """Every service with its plugin, health and restarts."""
        return [
            {
                "name": one.name,
                "plugin_id": one.plugin_id,
                "status": one.health.status.value,
                "message": one.health.message,
                "restarts": one.restarts,
            }
            for services in self._services.values()
            for one in services
        ]

    def _member(self, plugin_id: str) -> Member:
        member = self._members.get(plugin_id)
        if member is None:
            name = _owner(plugin_id)
            building = self._building
            member = self._members[plugin_id] = Member(
                InstanceRef(name, None),
                breaker=Breaker(_NEVER, 0.0),
                metrics=building.telemetry.instance(name, None),
                owner=building.tasks.owner(),
            )
        return member

    async def _start(self, plugin: InstalledPlugin, environment: str | None) -> list[_Supervised]:
        module = load_provider(plugin)
        member = self._member(plugin.id)
        self._registry.register(module, member, name=plugin.id)
        started: list[_Supervised] = []
        try:
            for service in await self._provided(plugin, environment):
                supervised = _Supervised(plugin.id, service)
                await self._guarded(supervised, "start", service.start)
                supervised.health = HealthReport(status=HealthStatus.HEALTHY, message="started")
                started.append(supervised)
        except BaseException:
            self._registry.unregister(plugin.id)
            for supervised in reversed(started):
                await self._attempt(supervised, "stop", supervised.service.stop)
            raise
        return started

    async def _provided(self, plugin: InstalledPlugin, environment: str | None) -> list[HostService]:
        seats = [
            seat
            for seat in self._registry.plan("provide_host_services").seats
            if seat.member.ref.plugin_id == _owner(plugin.id)
        ]
        if not seats:
            return []
        model = load_settings_model(plugin)
        layers = self._configuration().layers(plugin, environment=environment, model_class=model)
        building = self._building
        settings = HostSettings(
            plugin_id=plugin.id,
            values=resolve(plugin.id, model, layers=layers).model,
            home=building.home,
            data_dir=building.home / "services" / plugin.id,
            secrets=InstanceSecrets(building.secrets_for(plugin), plugin.manifest, None),
        )
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        context = PluginContext.within(building.limits.activate, request_id=next_request_id())
        answer = await building.gate.call(seats[0], context, seats[0].take({"settings": settings}), {})
        if isinstance(answer, Failed):
            raise error_of(answer)
        wrong = [type(one).__name__ for one in answer or () if not isinstance(one, HostService)]
        if wrong:
            raise PluginError(
                f"provide_host_services of {plugin.id} gave {', '.join(wrong)}; it must give HostService objects"
            )
        return list(answer or ())

    async def _guarded(
        self, supervised: _Supervised, step: str, function: Callable[[], Coroutine[Any, Any, Any]]
    ) -> Any:
        """Run one step of a service under the fence, with a time limit. Raises what it raised."""
        building = self._building
        member = self._member(supervised.plugin_id)
        context = PluginContext.within(building.limits.activate, request_id=next_request_id())
        name = getattr(supervised.service, "name", type(supervised.service).__name__)
        outcome = await building.gate.step(Seat(member, f"service {name} {step}", function), context)
        if isinstance(outcome, Failed):
            raise error_of(outcome)
        return outcome

    async def _attempt(
        self, supervised: _Supervised, step: str, function: Callable[[], Coroutine[Any, Any, Any]]
    ) -> Any:
        try:
            return await self._guarded(supervised, step, function)
        except Exception as error:  # noqa: BLE001 - reported at the gate
            _LOG.warning("the service %s: %s failed: %s", supervised.name, step, error)
            return None


def _key_data(given: object) -> bytes:
    if isinstance(given, str):
        return given.encode()
    if isinstance(given, bytes | bytearray):
        return bytes(given)
    raise TypeError(f"a key is PEM or JWK in bytes or a text, and not {type(given).__name__}")
