"""Two controllers as they are documented, as real HTTP servers that program flows into VOLTHA over gRPC as the real ones do.

VGC, `/vgc/v1` (voltha-go-controller): profiles and subscribers are given, activation programs; delete is by the prefix of names.
ONOS olt app, `/onos/olt/oltapp`: programs what Sadis says for a port and tags; basic authentication.
"""

from __future__ import annotations

import base64
from typing import Any

import grpc
from aiohttp import web
from google.protobuf.empty_pb2 import Empty
from voltha_protos import common_pb2, voltha_pb2_grpc
from voltha_protos import openflow_13_pb2 as of

from dotmac_isp.plugins.network_automation.voltha_integration_plugin import ServiceConfig
from dotmac_isp.plugins.network_automation.voltha_integration_plugin.services._builder import (
    MeterIds,
    Place,
    service_flows,
)
from dotmac_isp.plugins.network_automation.voltha_integration_plugin.services._messages import flow_update

LOGIN = [("authorization", "Basic ZGV2X3VzZXI6ZGV2X3Bhc3M=")]
NNI = 16777216
UNTAGGED, NONE = 0, 4096


class Programmer:
    """The gRPC side of both."""

    def __init__(self, target: str) -> None:
        self._channel = grpc.aio.insecure_channel(target)
        self._stub = voltha_pb2_grpc.VolthaServiceStub(self._channel)
        self._flows: dict[tuple[str, int, int, int], list[Any]] = {}

    async def close(self) -> None:
        await self._channel.close()

    async def _ports(self) -> tuple[str, dict[str, int]]:
        logical = (await self._stub.ListLogicalDevices(Empty(), metadata=LOGIN)).items[0].id
        ports = (await self._stub.ListLogicalDevicePorts(common_pb2.ID(id=logical), metadata=LOGIN)).items
        return logical, {port.ofp_port.name: port.ofp_port.port_no for port in ports}

    async def knows(self, port: str) -> bool:
        return port in (await self._ports())[1]

    async def add(self, port: str, entry: dict[str, Any], priority: int, cookie: int) -> None:
        logical, ports = await self._ports()
        for number in (1, 2):
            band = of.ofp_meter_band_header(type=of.OFPMBT_DROP, rate=1000 * number, burst_size=100)
            meter = of.ofp_meter_mod(command=of.OFPMC_ADD, flags=5, meter_id=number, bands=[band])
            await self._stub.UpdateLogicalDeviceMeterTable(
                of.MeterModUpdate(id=logical, meter_mod=meter), metadata=LOGIN
            )
        place = Place(
            olt_serial="",
            onu_serial="",
            olt_id="",
            onu_id="",
            logical_device_id=logical,
            uni_port=ports[port],
            nni_port=NNI,
        )
        made = []
        for number, flow in enumerate(service_flows(_service(entry), place, MeterIds(1, 1, 2, 2), 0)):
            update = flow_update(logical, flow, "add")
            update.flow_mod.priority = priority
            update.flow_mod.cookie = cookie | (ports[port] << 16) | number
            await self._stub.UpdateLogicalDeviceFlowTable(update, metadata=LOGIN)
            made.append(update)
        self._flows[key(port, entry)] = made

    async def remove(self, port: str, entry: dict[str, Any]) -> bool:
        made = self._flows.pop(key(port, entry), [])
        for update in made:
            update.flow_mod.command = of.OFPFC_DELETE_STRICT
            await self._stub.UpdateLogicalDeviceFlowTable(update, metadata=LOGIN)
        return bool(made)

    def programmed(self, port: str, entry: dict[str, Any]) -> bool:
        return key(port, entry) in self._flows


def key(port: str, entry: dict[str, Any]) -> tuple[str, int, int, int]:
    return port, entry["ponSTag"], entry["ponCTag"], entry["technologyProfileId"]


def _service(entry: dict[str, Any]) -> ServiceConfig:
    """What a Sadis entry means."""
    double = entry["ponCTag"] != NONE
    tags: dict[str, Any] = {"s_tag": entry["ponSTag"]}
    if double:
        match = "untagged" if entry["uniTagMatch"] == UNTAGGED else entry["uniTagMatch"]
        tags |= {"tagging": "double", "c_tag": entry["ponCTag"], "uni_tag": match}
    profile = {"technology_profile": entry["technologyProfileId"], "dhcp": entry.get("isDhcpRequired", False)}
    return ServiceConfig.parse({**tags, **profile, "bandwidth_up": 1, "bandwidth_down": 1})


class Vgc:
    """The VOLTHA Go controller."""

    def __init__(self, programmer: Programmer) -> None:
        self.programmer = programmer
        self.profiles: dict[str, Any] = {}
        self.services: dict[str, tuple[str, dict[str, Any]]] = {}
        self.requests: list[tuple[str, str]] = []
        self.broken = 0

    def app(self) -> web.Application:
        made = web.Application(middlewares=[self._seen])
        made.router.add_get("/vgc/v1/profiles/{id}", self._profile)
        made.router.add_post("/vgc/v1/profiles/{id}", self._add_profile)
        made.router.add_delete("/vgc/v1/profiles/{id}", self._del_profile)
        made.router.add_post("/vgc/v1/subscribers/{id}", self._add)
        made.router.add_delete("/vgc/v1/subscribers/{id}", self._delete)
        made.router.add_post("/vgc/v1/services/{port}/{s}/{c}/{tp}", self._activate)
        made.router.add_delete("/vgc/v1/services/{port}/{s}/{c}/{tp}", self._deactivate)
        return made

    @web.middleware
    async def _seen(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.requests.append((request.method, request.path))
        if self.broken:
            return web.Response(status=self.broken, text="VGC is out of order")
        answer: web.StreamResponse = await handler(request)
        return answer

    async def _profile(self, request: web.Request) -> web.Response:
        found = self.profiles.get(request.match_info["id"])
        return web.Response(status=409) if found is None else web.json_response(found)

    async def _add_profile(self, request: web.Request) -> web.Response:
        self.profiles[request.match_info["id"]] = await request.json()
        return web.Response()

    async def _del_profile(self, request: web.Request) -> web.Response:
        gone = self.profiles.pop((await request.json())["ID"], None)
        return web.Response(status=200 if gone else 409)

    async def _add(self, request: web.Request) -> web.Response:
        body = await request.json()
        for entry in body["uniTagList"]:
            for way in ("upstreamBandwidthProfile", "downstreamBandwidthProfile"):
                assert entry[way] in self.profiles, "a service needs its profiles first"
            taken = {(port, each["technologyProfileId"]) for port, each in self.services.values()}
            if (body["nasPortId"], entry["technologyProfileId"]) not in taken:  # duplicates are skipped silently
                tags = (entry[name] for name in ("uniTagMatch", "ponSTag", "ponCTag", "technologyProfileId"))
                name = f"{body['id']}_{body['nasPortId']}-{'-'.join(str(each) for each in tags)}"
                self.services[name] = (body["nasPortId"], entry)
        return web.Response()

    async def _delete(self, request: web.Request) -> web.Response:
        await request.json()
        doomed = [name for name in self.services if name.startswith(request.match_info["id"])]
        for name in doomed:
            await self.programmer.remove(*self.services.pop(name))
        return web.Response(status=202) if doomed else web.Response(status=400, text="no such subscriber")

    def _matching(self, request: web.Request) -> list[tuple[str, dict[str, Any]]]:
        wanted = (request.match_info["port"], *(int(request.match_info[name]) for name in ("s", "c", "tp")))
        return [each for each in self.services.values() if key(*each) == wanted]

    async def _activate(self, request: web.Request) -> web.Response:
        for port, entry in self._matching(request):
            vlan = entry["ponCTag"] & 0xFFF
            await self.programmer.add(port, entry, 100, (vlan << 52) | 0x0200)
        return web.Response()

    async def _deactivate(self, request: web.Request) -> web.Response:
        for port, entry in self._matching(request):
            await self.programmer.remove(port, entry)
        return web.Response()


class Onos:
    """ONOS with the olt app; `sadis` has what it knows of each port."""

    def __init__(self, programmer: Programmer, login: str = "onos:rocks") -> None:
        self.programmer = programmer
        self.sadis: dict[str, list[dict[str, Any]]] = {}
        self._login = "Basic " + base64.b64encode(login.encode()).decode()

    def app(self) -> web.Application:
        made = web.Application(middlewares=[self._authorised])
        path = "/onos/olt/oltapp/services/{port}/{s}/{c}/{tp}"
        made.router.add_post(path, self._provision)
        made.router.add_delete(path, self._remove)
        return made

    @web.middleware
    async def _authorised(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if request.headers.get("Authorization") != self._login:
            return web.Response(status=401)
        if not await self.programmer.knows(request.match_info["port"]):
            text = f"ConnectPoint not found for {request.match_info['port']}"
            return web.Response(status=500, text=text)
        answer: web.StreamResponse = await handler(request)
        return answer

    def _entry(self, request: web.Request) -> dict[str, Any] | None:
        port = request.match_info["port"]
        wanted = (port, *(int(request.match_info[name]) for name in ("s", "c", "tp")))
        return next((entry for entry in self.sadis.get(port, []) if key(port, entry) == wanted), None)

    async def _provision(self, request: web.Request) -> web.Response:
        entry = self._entry(request)
        if entry is None or self.programmer.programmed(request.match_info["port"], entry):
            return web.Response(status=204)
        await self.programmer.add(request.match_info["port"], entry, 1000, 65 << 48)
        return web.Response()

    async def _remove(self, request: web.Request) -> web.Response:
        entry = self._entry(request)
        done = entry is not None and await self.programmer.remove(request.match_info["port"], entry)
        return web.Response(status=200 if done else 204)
