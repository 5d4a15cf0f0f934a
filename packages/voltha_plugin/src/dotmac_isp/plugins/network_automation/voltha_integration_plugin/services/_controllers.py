"""The REST interfaces of the controllers that may program an OLT's flows. Thin: paths, bodies, statuses (section 7).

VOLTHA Go controller (VGC), `/vgc/v1`: bandwidth profiles and subscribers are given to it, then a service is activated. Its delete takes
every service whose name begins with what is given, so the whole name is given. ONOS with its olt app, `/onos/olt/oltapp`: it reads
subscribers and speeds from Sadis itself; all that can be asked is to program what stands there.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import quote

import aiohttp
import msgspec

from .._errors import ControllerError, ServiceConfigError, UnsupportedByVolthaError
from ._flow import ANY_VLAN

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from dotmac_isp.plugins.core.model import Secret

    from ._meter import BandwidthProfile
    from ._service import ServiceConfig

__all__ = ["Controller", "Onos", "Rest", "ServiceName", "Vgc", "make_controller", "sadis_profile", "sadis_service"]

_TIMEOUT: Final = 15.0
_NO_PRIORITY: Final = -1
_UNTAGGED: Final = 0
_OK: Final = (200, 201, 202, 204)
_SHOWN: Final = 300

Login = tuple["Secret", "Secret"]


class ServiceName(msgspec.Struct, frozen=True):
    """What a controller knows a service by: an id of ours (no other begins with it), the user port's name, and its values."""

    id: str
    port: str
    service: dict[str, Any]


class Rest:
    """JSON over HTTP to one address. `login` gives user and password, or `None`."""

    def __init__(self, base: Callable[[], str], login: Callable[[], Awaitable[Login | None]]) -> None:
        self._base: Final = base
        self._login: Final = login
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """End the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, str]:
        """Status and text of an answer; raises `ControllerError` when there is none."""
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT))
        url = self._base() + path
        login = await self._login()
        headers = {} if login is None else {"Authorization": _basic(login)}
        try:
            async with self._session.request(method, url, json=body, headers=headers) as answer:
                return answer.status, await answer.text()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ControllerError(
                f"the controller at {self._base()} does not answer {method} {path}: {str(error) or type(error).__name__}",
                remedy="Look whether it runs, and at the settings voltha_rest_port and controller_address",
            ) from None

    async def want(self, method: str, path: str, body: Any = None) -> tuple[int, str]:
        """As `ask`; a refusal is a `ControllerError` with the controller's words."""
        status, text = await self.ask(method, path, body)
        if status not in _OK:
            raise self.refused(method, path, status, text)
        return status, text

    def refused(self, method: str, path: str, status: int, text: str) -> ControllerError:
        """The error for an answer that is a refusal."""
        said = " ".join(text.split())[:_SHOWN] or "no explanation"
        hint = {
            401: "Set the secrets controller-username and controller-password",
            403: "Set the secrets controller-username and controller-password",
            404: "Look whether voltha_rest_port is this controller's, and flow_owner names its kind",
        }.get(status)
        return ControllerError(f"the controller answered {method} {path} with {status}: {said}", remedy=hint)


def _basic(login: Login) -> str:
    user, password = login
    return "Basic " + base64.b64encode(f"{user.reveal()}:{password.reveal()}".encode()).decode()


class Controller(Protocol):
    """What is asked of a controller."""

    name: str

    def check(self, service: ServiceConfig) -> None:
        """Raise `ServiceConfigError` for what it cannot do."""

    def check_change(self, former: dict[str, Any], service: ServiceConfig) -> None:
        """Raise when it cannot change one into the other."""

    async def provision(self, name: ServiceName) -> None:
        """Let it program the flows; no error when it did before."""

    async def remove(self, name: ServiceName) -> None:
        """Let it take the flows out; no error when it has none."""

    async def forget_profiles(self, unused: list[dict[str, Any]]) -> int:
        """Delete bandwidth profiles that nobody uses; gives how many."""


class Vgc:
    """The VOLTHA Go controller."""

    name = "vgc"

    def __init__(self, rest: Rest) -> None:
        self._rest: Final = rest

    def check(self, service: ServiceConfig) -> None:
        if service.eapol or service.dhcpv6:
            raise ServiceConfigError("VGC has no EAPOL and no DHCPv6 traps for a user port; leave eapol and dhcpv6 out")
        if service.upstream_olt is not None or service.downstream_olt is not None:
            raise ServiceConfigError("VGC has one meter for each direction; leave upstream_olt and downstream_olt out")

    def check_change(self, former: dict[str, Any], service: ServiceConfig) -> None:
        """It can: the service is removed and added."""

    async def provision(self, name: ServiceName) -> None:
        for way in ("upstream", "downstream"):
            await self._require_profile(name.service[way])
        body = self._subscriber(name)
        await self._rest.want("POST", f"/vgc/v1/subscribers/{quote(name.id)}", body)
        await self._rest.want("POST", f"/vgc/v1/services/{_path(name)}")

    async def _require_profile(self, profile: dict[str, Any]) -> None:
        body = sadis_profile(profile)
        path = f"/vgc/v1/profiles/{body['id']}"
        status, _ = await self._rest.ask("GET", path)
        if status not in _OK:  # 409 says that there is none
            await self._rest.want("POST", path, body)

    def _subscriber(self, name: ServiceName) -> dict[str, Any]:
        return {"id": name.id, "nasPortId": name.port, "uniTagList": [sadis_service(name.service)]}

    async def remove(self, name: ServiceName) -> None:
        await self._rest.want("DELETE", f"/vgc/v1/services/{_path(name)}")
        path = f"/vgc/v1/subscribers/{quote(self._full_name(name))}"
        status, text = await self._rest.ask("DELETE", path, self._subscriber(name))
        if status not in (*_OK, 400):  # 400 says that there is none
            raise self._rest.refused("DELETE", path, status, text)

    def _full_name(self, name: ServiceName) -> str:
        """The name under which it keeps the service: nothing else begins with it."""
        tags = sadis_service(name.service)
        parts = (name.port, tags["uniTagMatch"], tags["ponSTag"], tags["ponCTag"], tags["technologyProfileId"])
        return f"{name.id}_{'-'.join(str(part) for part in parts)}"

    async def forget_profiles(self, unused: list[dict[str, Any]]) -> int:
        removed = 0
        for profile in unused:
            number = sadis_profile(profile)["id"]
            status, _ = await self._rest.ask("DELETE", f"/vgc/v1/profiles/{number}", {"ID": number})
            removed += status in _OK
        return removed


class Onos:
    """ONOS with the olt app: tags and speeds stand in Sadis, where this plugin does not write."""

    name = "onos"

    def __init__(self, rest: Rest) -> None:
        self._rest: Final = rest

    def check(self, service: ServiceConfig) -> None:
        """It programs what Sadis says, so everything is possible that Sadis can say."""

    def check_change(self, former: dict[str, Any], service: ServiceConfig) -> None:
        if former != service.plain():
            raise UnsupportedByVolthaError(
                "ONOS takes tags and speeds from Sadis, and removes by what stands there: a change here would strand flows",
                remedy="Remove the service, change its entry in Sadis, and add it again",
            )

    async def provision(self, name: ServiceName) -> None:
        await self._rest.want("POST", f"/onos/olt/oltapp/services/{_path(name)}")

    async def remove(self, name: ServiceName) -> None:
        path = f"/onos/olt/oltapp/services/{_path(name)}"
        status, text = await self._rest.ask("DELETE", path)
        if status not in _OK and "not found" not in text.lower():
            raise self._rest.refused("DELETE", path, status, text)

    async def forget_profiles(self, unused: list[dict[str, Any]]) -> int:
        """Sadis keeps them."""
        del unused
        return 0


def make_controller(kind: str, rest: Rest) -> Controller:
    """The controller of a kind: `vgc` or `onos`."""
    return Vgc(rest) if kind == Vgc.name else Onos(rest)


def _path(name: ServiceName) -> str:
    """User port, tags and technology profile as both controllers have them in paths."""
    tags = sadis_service(name.service)
    return f"{quote(name.port)}/{tags['ponSTag']}/{tags['ponCTag']}/{tags['technologyProfileId']}"


def sadis_profile(profile: dict[str, Any]) -> dict[str, Any]:
    """A bandwidth profile as Sadis writes it, with an id made of its content, so that equal ones are one."""
    from ._meter import BandwidthProfile  # noqa: PLC0415 - pydantic's model, only here

    made: BandwidthProfile = BandwidthProfile.model_validate(profile)
    values = {name: value for name, value in made.model_dump().items() if value}
    values.setdefault("cbs", made.cir // 10)
    values.setdefault("ebs", made.eir // 10)
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]
    return {"id": f"dotmac-{digest}", **values}


def sadis_service(service: dict[str, Any]) -> dict[str, Any]:
    """A service as Sadis writes it (section 7.1): untagged is 0, any or none 4096, no priority -1."""
    from ._service import ServiceConfig  # noqa: PLC0415 - pydantic's model, only here

    made = ServiceConfig.parse(service)
    match = {"any": ANY_VLAN, "untagged": _UNTAGGED}.get(str(made.match_tag), made.match_tag)
    priorities = {
        f"{way}Pon{tag.upper()}TagPriority": _priority(getattr(made, f"{way}_{tag}_priority"))
        for way in ("us", "ds")
        for tag in ("c", "s")
    }
    return {
        "serviceName": made.name,
        "uniTagMatch": match,
        "ponCTag": made.c_tag or ANY_VLAN,
        "ponSTag": made.s_tag or ANY_VLAN,
        **priorities,
        "technologyProfileId": made.technology_profile,
        "upstreamBandwidthProfile": sadis_profile(service["upstream"])["id"],
        "downstreamBandwidthProfile": sadis_profile(service["downstream"])["id"],
        "enableMacLearning": made.mac_learning,
        "configuredMacAddress": made.mac_address or "",
        "isDhcpRequired": made.dhcp,
        "isIgmpRequired": made.igmp,
        "isPppoeRequired": made.pppoe,
    }


def _priority(value: int | None) -> int:
    return _NO_PRIORITY if value is None else value
