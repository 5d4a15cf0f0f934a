"""The simulator as a Python object."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Self

import grpc
import grpc.aio
from voltha_protos import openflow_13_pb2 as of

from ._devices import olt_life, onu_life
from ._devices.hardware import OltHardware, OnuHardware, build, split_address
from ._events import alarms
from ._events.kafka import KafkaSink
from ._events.sinks import EventSink, MemorySink, Subscription
from ._serving.edge import MAX_MESSAGE, Credentials, Edge
from ._serving.tls import server_credentials
from ._stack import delays
from ._stack.records import OltRecord, OnuRecord
from ._stack.stack import ADMIN, CONNECT, OLT_TYPE, ONU_TYPE, OPER, Stack
from ._values.kpi import Publisher

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    from ._events.messages import PublishedEvent
    from ._serving.faults import Faults

ADAPTERS = (OLT_TYPE, ONU_TYPE)


class ListenError(RuntimeError):
    """The address cannot be listened on: it is taken, or not of this machine."""


class Simulator:
    """A VOLTHA in this process, from ``async with Simulator(...) as sim`` to the end of the block.

    ``olts``, ``pons`` (per OLT), ``onus`` (per PON) and ``unis`` (per ONU) size the simulated hardware; OLT n answers at
    the port of ``first_olt`` plus n, type ``openolt``. ``time_factor`` scales every timer: 1.0 is as slow as the real
    system, 0.05 twenty times faster. With ``username`` and ``password`` every call needs them. With ``tls_certificate`` and
    ``tls_key`` (PEM files) it speaks TLS, with ``tls_client_ca`` to clients that have a certificate of these authorities. ``kafka`` names brokers for
    the events; an empty text runs one in the process; None sends no events to Kafka. ``pace`` is how many services the
    adapters configure in a second of simulated time, all together: 110 is what a real stack on two cores does, 0 sets no limit.

    Raises ``ValueError`` for a size out of bounds, ``ListenError`` when ``listen`` is taken, ``RuntimeError`` when Kafka
    is wanted and confluent-kafka is missing.
    """

    def __init__(
        self,
        *,
        listen: str = "127.0.0.1:0",
        olts: int = 1,
        pons: int = 1,
        onus: int = 1,
        unis: int = 1,
        time_factor: float = 1.0,
        pace: float = 0.0,
        onu_metrics: bool = False,
        username: str = "",
        password: str = "",
        tls_certificate: str | PathLike[str] = "",
        tls_key: str | PathLike[str] = "",
        tls_client_ca: str | PathLike[str] = "",
        first_olt: str = "127.0.0.1:9191",
        kafka: str | None = None,
        sinks: Sequence[EventSink] = (),
    ) -> None:
        split_address(listen)
        if bool(username) != bool(password):
            raise ValueError("username and password belong together: give both or neither")
        wants_tls = tls_certificate or tls_key or tls_client_ca
        self._tls = server_credentials(tls_certificate, tls_key, tls_client_ca) if wants_tls else None
        self._listen = listen
        self._kafka = kafka
        self._credentials = Credentials(username, password) if username else None
        self._memory = MemorySink()
        hardware = build(olts, pons, onus, unis, first_olt)
        if pace < 0:
            raise ValueError(f"pace must be 0 (no limit) or above, not {pace}")
        self._stack = Stack(hardware, [self._memory, *sinks], time_factor=time_factor)
        self._stack.pace = pace
        self._stack.onu_metrics = onu_metrics
        self._server: grpc.aio.Server | None = None
        self._port = 0
        self._started = False
        #: the Kafka brokers the events go to, empty without Kafka; known once started
        self.kafka_bootstrap = ""

    # start and stop

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen. A simulator is started once; make a new one for the next time."""
        if self._started:
            raise RuntimeError("this simulator has been started before; make a new one")
        self._started = True
        if self._kafka is not None:
            sink = await asyncio.to_thread(KafkaSink, self._kafka)
            self.kafka_bootstrap = sink.bootstrap
            self._stack.sinks.append(sink)
        limits = [("grpc.max_send_message_length", MAX_MESSAGE), ("grpc.max_receive_message_length", MAX_MESSAGE)]
        server = grpc.aio.server(options=[*limits, ("grpc.so_reuseport", 0)])
        server.add_generic_rpc_handlers(tuple(Edge(self._stack, self._credentials).handlers()))
        try:
            self._port = (
                server.add_insecure_port(self._listen)
                if self._tls is None
                else server.add_secure_port(self._listen, self._tls)
            )
        except RuntimeError as taken:
            await self._close_sinks()
            raise ListenError(
                f"cannot listen on {self._listen}: the port is taken or the address is not of this machine;"
                " choose another, or port 0 for a free one"
            ) from taken
        await server.start()
        Publisher(self._stack).start()
        self._server = server

    async def stop(self) -> None:
        """End all streams, stop listening, deliver the last events. Stopping twice does nothing."""
        server, self._server = self._server, None
        if server is None:
            return
        await self._stack.close()
        await server.stop(grace=0.1)
        await self._close_sinks()

    async def _close_sinks(self) -> None:
        for sink in self._stack.sinks:
            with contextlib.suppress(Exception):
                await sink.close()

    # looking

    @property
    def target(self) -> str:
        """``host:port`` of the gRPC interface, for a client's channel."""
        host, _ = split_address(self._listen)
        return f"{host}:{self._port}"

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._port

    @property
    def olt_addresses(self) -> list[str]:
        """``host_and_port`` of each simulated OLT, in order."""
        return [hardware.address for hardware in self._stack.hardware]

    @property
    def serial_numbers(self) -> list[str]:
        """Serial numbers of all simulated ONUs, OLT by OLT, PON by PON."""
        return [onu.serial for hardware in self._stack.hardware for onu in hardware.all_onus()]

    @property
    def refused_crashes(self) -> int:
        """How many requests were refused that would have ended a process of the real VOLTHA. A client's is 0."""
        return self._stack.refused_crashes

    @property
    def unread_change_events(self) -> int:
        """How many change events nobody has read; above 100 DeleteDevice of an OLT hangs."""
        return self._stack.change_events.backlog

    @property
    def faults(self) -> Faults:
        """What is broken right now: set adapters down, delays, the core down."""
        return self._stack.faults

    @property
    def events(self) -> list[PublishedEvent]:
        """The last 10,000 events, oldest first."""
        return list(self._memory.events)

    def subscribe(self) -> Subscription:
        """The events from now on, in this process."""
        return self._memory.subscribe()

    # the plant

    async def raise_alarm(self, name: str, serial_number: str) -> None:
        """Raise an alarm of an ONU (``ONU_LOSS_OF_SIGNAL``) by its serial number, or of an OLT's PON by its label.

        For ``OLT_LOSS_OF_SIGNAL`` the second argument is ``<OLT serial>/pon-<n>``, or ``…/nni-<n>`` for an uplink. BBSim's alarm names work too. Raises
        ``ValueError`` for an unknown alarm, ``LookupError`` for a serial number that is not discovered.
        """
        self._set_alarm(name, serial_number, raised=True)

    async def clear_alarm(self, name: str, serial_number: str) -> None:
        """Clear an alarm that was raised; else nothing happens."""
        self._set_alarm(name, serial_number, raised=False)

    def _set_alarm(self, name: str, serial_number: str, *, raised: bool) -> None:
        alarm = alarms.canonical(name)
        if alarm in alarms.OLT_ALARMS:
            serial, _, port = serial_number.partition("/")
            kind, _, number = port.partition("-")
            lost = alarms.set_nni_los if kind == "nni" else alarms.set_pon_los
            lost(self._stack, self._olt(serial), int(number or 0), raised=raised)
        else:
            alarms.set_onu_alarm(self._stack, self._onu(serial_number), alarm, raised=raised)

    async def power_off(self, serial_number: str) -> None:
        """An ONU loses its power: dying gasp, loss of signal, UNREACHABLE."""
        onu = self._stack.onu_by_serial(serial_number)
        self._hardware(serial_number).powered = False
        if onu is not None:
            onu_life.power_off(self._stack, onu)

    async def power_on(self, serial_number: str) -> None:
        """An ONU has its power back and is activated again."""
        hardware = self._hardware(serial_number)
        hardware.powered = True
        for olt in self._stack.olts():
            if olt.hardware is not None and hardware in olt.hardware.all_onus():
                onu_life.discover(self._stack, olt, hardware)

    async def flap(self, serial_number: str, seconds: float = 1.0) -> None:
        """An ONU goes and comes back after ``seconds`` of simulated time."""
        await self.power_off(serial_number)
        await self._stack.timers.sleep(seconds)
        await self.power_on(serial_number)

    async def cut_olt_link(self, index: int = 0) -> None:
        """An OLT becomes unreachable: UNREACHABLE when it was up, else it stays ACTIVATING."""
        hardware = self._stack.hardware[index]
        hardware.link = False
        for olt in self._using(hardware):
            if olt.message.connect_status != CONNECT.UNKNOWN:
                olt_life.link_lost(self._stack, olt)

    async def restore_olt_link(self, index: int = 0) -> None:
        """An OLT is reachable again, with everything as it was."""
        hardware = self._stack.hardware[index]
        hardware.link = True
        for olt in self._using(hardware):
            if olt.message.admin_state != ADMIN.PREPROVISIONED:
                olt_life.link_back(self._stack, olt)

    def _using(self, hardware: OltHardware) -> list[OltRecord]:
        return [olt for olt in self._stack.olts() if olt.message.host_and_port == hardware.address]

    # the stack

    async def stop_adapter(self, name: str) -> None:
        """An adapter (``openolt`` or ``brcm_openomci_onu``) goes down: its calls fail, the states stay."""
        if name not in ADAPTERS:
            raise ValueError(f"no adapter {name!r}; there are: {', '.join(ADAPTERS)}")
        self.faults.adapters_down.add(name)

    async def start_adapter(self, name: str) -> None:
        """An adapter comes back: its devices are RECONCILING for a moment, then as they were."""
        self.faults.adapters_down.discard(name)
        wait = delays.ADAPTER_RECONCILE_OLT if name == OLT_TYPE else delays.ADAPTER_RECONCILE_ONU
        for record in list(self._stack.devices.values()):
            before = record.message.oper_status
            if record.message.type == name and before == OPER.ACTIVE:
                self._stack.set_state(record, oper=OPER.RECONCILING)
                record.timers.later(wait, self._reconciled, record, before)

    def _reconciled(self, record: OltRecord | OnuRecord, before: int) -> None:
        if record.message.oper_status != OPER.RECONCILING:
            return
        if not self.faults.reconciling_fails:
            self._stack.set_state(record, oper=before)
            if isinstance(record, OltRecord):
                olt_life.tell_up(self._stack, record)
            return
        self._stack.set_state(record, oper=OPER.RECONCILING_FAILED, reason="reconciling-canceled")
        if isinstance(record, OnuRecord):
            self._stack.emit(onu_life.reconcile_failed_event(record))

    async def restart_core(self) -> None:
        """The core restarts: logical and device flows are lost, meters, groups and ids stay, UNIs look down.

        Calls are answered UNAVAILABLE meanwhile (surprise 21). Comes back when the core is there again.
        """
        stack = self._stack
        stack.faults.core_down = True
        stack.change_events.close()
        stack.packets_in.close()
        for record in stack.devices.values():
            record.clear_flows()
        for logical in stack.logical.values():
            logical.flows.clear()
            logical.rules.clear()
            logical.stuck.clear()
        await stack.timers.sleep(delays.CORE_RESTART)
        stack.faults.core_down = False
        for logical in stack.logical.values():
            for port in logical.ports.values():
                if not port.root_port:
                    port.ofp_port.state = 1
                stack.port_changed(logical, port, 0)

    def packet_in(self, serial_number: str, packet: bytes, *, uni: int = 0) -> None:
        """A packet that a trap flow sends to the controller arrives on ReceivePacketsIn, from a UNI of the ONU.

        Raises ``LookupError`` for an ONU that is not discovered or a UNI that it does not have.
        """
        onu = self._onu(serial_number)
        logical, numbers = onu_life.logical_of(self._stack, onu), onu_life.uni_numbers(onu)
        if logical is None or uni >= len(numbers):
            raise LookupError(f"ONU {serial_number} has no UNI {uni} on a logical device")
        field = of.ofp_oxm_ofb_field(type=of.OFPXMT_OFB_IN_PORT, port=numbers[uni])
        match = of.ofp_match(type=of.OFPMT_OXM)
        match.oxm_fields.add(oxm_class=of.OFPXMC_OPENFLOW_BASIC, ofb_field=field)
        sent = of.ofp_packet_in(reason=of.OFPR_ACTION, match=match, data=packet)
        self._stack.packets_in.publish(of.PacketIn(id=logical.id, packet_in=sent))

    # finding

    def _onu(self, serial_number: str) -> OnuRecord:
        found = self._stack.onu_by_serial(serial_number)
        if found is None:
            raise LookupError(f"no ONU {serial_number!r} is discovered; enable its OLT first")
        return found

    def _olt(self, serial_number: str) -> OltRecord:
        for olt in self._stack.olts():
            if olt.message.serial_number == serial_number:
                return olt
        raise LookupError(f"no OLT {serial_number!r} is enabled")

    def _hardware(self, serial_number: str) -> OnuHardware:
        for hardware in self._stack.hardware:
            for onu in hardware.all_onus():
                if onu.serial == serial_number:
                    return onu
        raise LookupError(f"no ONU {serial_number!r} is simulated; the first one is {self.serial_numbers[:1]}")
