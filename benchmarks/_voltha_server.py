"""A VOLTHA that answers with what was made before: 4,096 ONUs on one OLT, each with a service. Run as a process of its own.

`python -m benchmarks._voltha_server PORT_FILE` serves until it is terminated. Answers are bytes, so that its own work hardly counts. The devices are
as they were recorded, with their PM configurations, about 2 kB each.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import grpc
from voltha_protos import common_pb2, device_pb2, extensions_pb2, voltha_pb2
from voltha_protos import openflow_13_pb2 as of

from dotmac_isp.plugins.network_automation.voltha_integration_plugin import ServiceConfig
from dotmac_isp.plugins.network_automation.voltha_integration_plugin.services._builder import (
    MeterIds,
    Place,
    cookie_base,
    service_flows,
)
from dotmac_isp.plugins.network_automation.voltha_integration_plugin.services._flow import (
    device_flows,
    pon_port_no,
    uni_port_no,
)
from dotmac_isp.plugins.network_automation.voltha_integration_plugin.services._messages import flow_mod, meter_update
from dotmac_isp.plugins.network_automation.voltha_integration_plugin.services._meter import MeterSpec
from dotmac_isp.plugins.network_automation.voltha_integration_plugin.services._stored import ServiceKey, StoredService
from dotmac_voltha_simulator._devices.pm import onu_pm_configs

__all__ = ["ONUS", "PER_PON", "devices", "onu_id", "onu_serial", "service_of"]

PONS, PER_PON = 16, 256
ONUS = PONS * PER_PON
METER = 0x10000
LOGICAL = "logical-1"
SERVICE = ServiceConfig.parse({"s_tag": 900, "bandwidth_down": 100_000, "bandwidth_up": 100_000})


def onu_serial(number: int) -> str:
    """The serial number of an ONU."""
    return f"BBSM{number:08x}"


def onu_id(number: int) -> str:
    """VOLTHA's id of an ONU."""
    return f"{number:08x}-4eea-4b14-8ef2-77094b928aca"


def devices() -> Any:
    """The list of all devices."""
    olt = device_pb2.Device(
        id="olt-1", root=True, type="openolt", serial_number="OLT", parent_id=LOGICAL, host_and_port="10.0.0.5:9191"
    )
    olt.admin_state, olt.oper_status, olt.connect_status = 2, 4, 2
    return device_pb2.Devices(items=[olt, *map(_onu, range(ONUS))])


def _onu(number: int) -> Any:
    onu = device_pb2.Device(
        id=onu_id(number),
        type="brcm_openomci_onu",
        parent_id="olt-1",
        vendor="BBSM",
        model="v0.0.1",
        serial_number=onu_serial(number),
        reason="omci-flows-pushed",
        vendor_id="BBSM",
        adapter_endpoint="127.0.0.1:50062",
        parent_port_no=pon_port_no(number // PER_PON),
    )
    onu.admin_state, onu.oper_status, onu.connect_status = 2, 4, 2
    onu.proxy_address.device_id = "olt-1"
    onu.proxy_address.channel_id, onu.proxy_address.onu_id = number // PER_PON, number % PER_PON
    onu.pm_configs.CopyFrom(onu_pm_configs(onu.id, measures=False))
    return onu


def service_of(number: int) -> StoredService:
    """The service of an ONU, as the plugin remembers it."""
    place = Place(
        olt_serial="OLT",
        onu_serial=onu_serial(number),
        olt_id="olt-1",
        onu_id=onu_id(number),
        logical_device_id=LOGICAL,
        uni_port=uni_port_no(number // PER_PON, number % PER_PON, 0),
        nni_port=16777216,
    )
    service = SERVICE.model_copy(update={"s_tag": 2 + number % 4093})
    meters = MeterIds(METER, METER, METER, METER)
    name = f"sub-{number}"
    flows = service_flows(service, place, meters, cookie_base("bench", name))
    return StoredService(
        key=ServiceKey(name, place.onu_serial, 1),
        service=service.plain(),
        place=place,
        flows=flows,
        meters=(MeterSpec(METER, SERVICE.upstream.bands()),),
        meter_ids=meters,
        state="active",
    )


class Canned:
    """The answers, by RPC and the id that is asked for."""

    def __init__(self) -> None:
        everything = devices()
        self.devices = {item.id: item.SerializeToString() for item in everything.items}
        services = [service_of(number) for number in range(ONUS)]
        logical, olt = of.Flows(), of.Flows()
        self.flows: dict[str, bytes] = {}
        for item in services:
            own = of.Flows()
            for flow in item.flows:
                mod = flow_mod(flow, "add")
                for side, number in (("logical", None), *device_flows(flow)):
                    table = {"logical": logical, "olt": olt, "onu": own}[side]
                    listed = table.items.add(
                        cookie=mod.cookie, table_id=mod.table_id, priority=mod.priority, match=mod.match
                    )
                    listed.instructions.extend(mod.instructions)
                    listed.id = number if number is not None else int(flow.id)
            self.flows[item.place.onu_id] = own.SerializeToString()
        self.flows["olt-1"] = olt.SerializeToString()
        update = meter_update(LOGICAL, services[0].meters[0], "add").meter_mod
        config = of.ofp_meter_config(flags=update.flags, meter_id=update.meter_id, bands=update.bands)
        ports = device_pb2.Ports()
        for pon in range(PONS):
            ports.items.add(port_no=pon_port_no(pon), label=f"pon-{pon}", type=3, admin_state=2, oper_status=4)
        self.fixed = {
            "ListDevices": everything.SerializeToString(),
            "ListLogicalDeviceFlows": logical.SerializeToString(),
            "ListLogicalDeviceMeters": of.Meters(items=[of.ofp_meter_entry(config=config)]).SerializeToString(),
            "ListDevicePorts": ports.SerializeToString(),
            "GetVoltha": voltha_pb2.Voltha(version="{}").SerializeToString(),
        }

    async def answer(self, rpc: str, request: bytes, context: Any) -> bytes:
        """What an RPC answers; an empty message for what nobody needs here."""
        if rpc == "GetExtValue":
            return _value(extensions_pb2.SingleGetValueRequest.FromString(request))
        table = {"GetDevice": self.devices, "ListDeviceFlows": self.flows}.get(rpc)
        if table is None:
            return bytes(self.fixed.get(rpc, b""))
        wanted = common_pb2.ID.FromString(request).id
        if wanted not in table:
            await context.abort(grpc.StatusCode.NOT_FOUND, wanted)
        return bytes(table[wanted])


def _value(request: Any) -> bytes:
    response = extensions_pb2.SingleGetValueResponse()
    response.response.status = 1
    kind = request.request.WhichOneof("request")
    if kind == "onuOpticalInfo":
        response.response.onuOpticalInfo.receivedOpticalPower = -18.0
    elif kind == "oltRxPower":
        response.response.oltRxPower.rx_power.add(
            onu_sn=request.request.oltRxPower.onu_sn, status="success", rx_power=-19.0
        )
    elif kind == "uniInfo":
        response.response.uniInfo.admState, response.response.uniInfo.operState = 2, 1
    return bytes(response.SerializeToString())


class Handler(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """Every call of every service, as bytes in and bytes out."""

    def __init__(self, canned: Canned) -> None:
        self._canned = canned

    def service(self, handler_call_details: Any) -> Any:
        rpc = handler_call_details.method.rpartition("/")[2]

        async def answer(request: bytes, context: Any) -> bytes:
            return await self._canned.answer(rpc, request, context)

        return grpc.unary_unary_rpc_method_handler(answer)


async def serve(port_file: Path) -> None:
    """Serve until cancelled."""
    server = grpc.aio.server(options=[("grpc.max_send_message_length", 64 << 20)])
    server.add_generic_rpc_handlers([Handler(Canned())])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    await asyncio.to_thread(port_file.write_text, str(port))
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
