"""A simulated fibre network at work: `nox -s demo`, or `python examples/fibre_network_demo.py`.

Two providers share one host. Each has a VOLTHA of its own with one OLT and 32 ONUs (simulated, spoken to over the real gRPC
interface), settings and credentials of its own, and its own events in the embedded analytics engine. The demo provisions both
networks, puts subscribers on them, tracks what happens, cuts an ONU's power, switches one provider off and on, and writes a report
and a dashboard for each to ./demo-output/. At the end everything is counted once more in the systems themselves.

The exit code is 0 when every count is what it must be, 1 otherwise, 2 when something is not installed.
"""

# ruff: noqa: PLC0415 - what may not be installed is imported after main() has looked for it

from __future__ import annotations

import asyncio
import base64
import contextlib
import importlib.util
import json
import math
import os
import shutil
import socket
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator

    from rich.console import Console

    from dotmac_isp.plugins.core import PluginManager
    from dotmac_isp.plugins.utils import VendorPluginLoader

OUTPUT = Path("demo-output")
PONS, ONUS_PER_PON = 4, 8
ONUS = PONS * ONUS_PER_PON
FLOWS_PER_SERVICE = 4
AT_ONCE = 8
#: How much faster than real hardware the simulated one comes up.
TIME_FACTOR = 0.05
PATIENCE = 20.0
PLANS = {"Fibre 100": (100_000, 30), "Fibre 300": (300_000, 40), "Fibre 1000": (1_000_000, 60)}
MISSING = 2


class DemoError(Exception):
    """Something did not go as it must; the text says what."""


@dataclass
class Provider:
    """One tenant of the host, with what is known about it before anything runs."""

    tenant_id: str
    name: str
    subscribers: int
    visits: int
    look_every: float
    username: str
    password: str
    api_key: str
    network: Any = None
    olt: dict[str, Any] = field(default_factory=dict)
    onus: list[dict[str, Any]] = field(default_factory=list)
    pages: list[Path] = field(default_factory=list)

    @property
    def customers(self) -> list[str]:
        """The ids of its subscribers, in the order of the ONUs."""
        return [f"{self.tenant_id}-{number:03}" for number in range(1, self.subscribers + 1)]


# fmt: off
PROVIDERS = (
    Provider("northlight", "Northlight Fibre", 32, 240, 0.5, "north", "aurora-4711", "north-events-key"),
    Provider("harbour", "Harbour Net", 20, 150, 1.0, "harbour", "lighthouse-0815", "harbour-events-key"),
)
# fmt: on


@dataclass
class Count:
    """One line of the table at the end: what was counted where, for each tenant, and what it must be."""

    what: str
    where: str
    got: tuple[Any, ...]
    must: tuple[Any, ...]

    @property
    def right(self) -> bool:
        """Whether every count is what it must be."""
        return self.got == self.must


class Stage:
    """What the parts of the demo share."""

    def __init__(self, console: Console, plugins: PluginManager, loader: VendorPluginLoader) -> None:
        self.console = console
        self.plugins = plugins
        self.loader = loader
        self.counts: list[Count] = []

    def chapter(self, title: str) -> None:
        """Begin a part."""
        self.console.print(f"\n[bold cyan]{title}[/]")

    def say(self, text: str) -> None:
        """Something was done."""
        self.console.print(f"  [green]✓[/] {text}", soft_wrap=True)

    def voltha(self, provider: Provider) -> Any:
        """The provider's VOLTHA, through the host."""
        return self.plugins.get("voltha_integration", tenant_id=provider.tenant_id)

    def analytics(self, provider: Provider) -> Any:
        """The provider's events, through the host."""
        return self.plugins.get("analytics_events", tenant_id=provider.tenant_id)

    async def asked(self, provider: Provider, metric: str = "count", **where: Any) -> Any:
        """One number out of the provider's events in the engine."""
        answer = await self.analytics(provider).query({"metric": metric, "since": "25h", "where": where})
        return answer["rows"][0]["value"] if answer["rows"] else 0

    async def together(self, title: str, work: dict[str, Iterable[Awaitable[Any]]]) -> None:
        """Do the work of each provider side by side, so much at once, and show how far it is."""
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self.console) as progress:
            gate = asyncio.Semaphore(AT_ONCE)

            async def one(bar: Any, item: Awaitable[Any]) -> None:
                async with gate:
                    await item
                progress.advance(bar)

            async with asyncio.TaskGroup() as tasks:
                for name, items in work.items():
                    listed = list(items)
                    bar = progress.add_task(f"  {title}: {name}", total=len(listed))
                    for item in listed:
                        tasks.create_task(one(bar, item))


# the simulated network, and the systems asked directly


@contextlib.asynccontextmanager
async def simulated_networks() -> AsyncIterator[None]:
    """A VOLTHA for each provider, with one OLT and 32 ONUs, that lets in nobody else."""
    from dotmac_voltha_simulator import Simulator

    async with contextlib.AsyncExitStack() as stack:
        for number, provider in enumerate(PROVIDERS):
            simulator = Simulator(
                pons=PONS,
                onus=ONUS_PER_PON,
                first_olt=f"127.0.0.1:{9191 + number}",
                time_factor=TIME_FACTOR,
                username=provider.username,
                password=provider.password,
            )
            provider.network = await stack.enter_async_context(simulator)
        yield


class DirectLook:
    """A VOLTHA asked without the host and its plugins, with somebody's login."""

    def __init__(self, provider: Provider, login: Provider) -> None:
        from grpc import aio
        from voltha_protos.voltha_pb2_grpc import VolthaServiceStub

        token = base64.b64encode(f"{login.username}:{login.password}".encode()).decode()
        self._metadata = (("authorization", f"Basic {token}"),)
        self._channel = aio.insecure_channel(provider.network.target)
        self._stub = VolthaServiceStub(self._channel)

    async def __aenter__(self) -> DirectLook:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close(None)

    async def devices(self, *, olts: bool) -> int:
        """How many OLTs, or ONUs, are active."""
        from google.protobuf.empty_pb2 import Empty
        from voltha_protos.common_pb2 import OperStatus

        found = await self._stub.ListDevices(Empty(), metadata=self._metadata)
        return sum(one.root == olts and one.oper_status == OperStatus.ACTIVE for one in found.items)

    async def flows(self) -> int:
        """How many flows the logical devices have."""
        from google.protobuf.empty_pb2 import Empty
        from voltha_protos.common_pb2 import ID

        total = 0
        for logical in (await self._stub.ListLogicalDevices(Empty(), metadata=self._metadata)).items:
            total += len((await self._stub.ListLogicalDeviceFlows(ID(id=logical.id), metadata=self._metadata)).items)
        return total

    async def refused(self) -> bool:
        """Whether VOLTHA does not let this login in."""
        import grpc

        try:
            await self.devices(olts=True)
        except grpc.aio.AioRpcError as error:
            return error.code() in {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}
        return False


def free_port() -> int:
    """A port that is free right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def until(true: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait for something that happens by itself; raises `DemoError` when it does not."""
    end = time.monotonic() + PATIENCE
    while not await true():
        if time.monotonic() > end:
            raise DemoError(f"{what} did not happen within {PATIENCE:.0f} s")
        await asyncio.sleep(0.2)


# the parts, in order


def set_environment(port: int) -> None:
    """Where the host's engine listens, and each provider's own credentials; a secrets manager would be asked in the same way."""
    os.environ["ANALYTICS_HOST"], os.environ["ANALYTICS_PORT"] = "127.0.0.1", str(port)
    for provider in PROVIDERS:
        tenant = provider.tenant_id.upper()
        os.environ[f"VOLTHA_USERNAME__{tenant}"] = provider.username
        os.environ[f"VOLTHA_PASSWORD__{tenant}"] = provider.password
        os.environ[f"ANALYTICS_API_KEY__{tenant}"] = provider.api_key


async def load_integrations(stage: Stage) -> None:
    """Settings of each tenant to its file, then the production integrations loaded and started."""
    stage.chapter("Two providers on one host, with the production integrations")
    for provider in PROVIDERS:
        voltha = {
            "voltha_host": "127.0.0.1",
            "voltha_port": provider.network.port,
            "device_monitoring_interval": provider.look_every,
        }
        tenant = provider.tenant_id
        await stage.plugins.configure("voltha_integration", voltha, tenant_id=tenant, persist=True)
        await stage.plugins.configure("analytics_events", {"flush_interval": 1}, tenant_id=tenant, persist=True)
        results = await stage.loader.load_vendor_integrations("production", tenant_id=tenant)
        outcome = await stage.loader.start_all_vendor_plugins(results["loaded_plugins"])
        for plugin_id, failure in {**results["failed_plugins"], **outcome["failed"]}.items():
            raise DemoError(f"{plugin_id} of {tenant}: {failure['error']}. {failure['remedy']}")
        interval = {one.key: one for one in stage.loader.explain("voltha_integration")}["device_monitoring_interval"]
        stage.say(
            f"{provider.name}: {' and '.join(outcome['succeeded'])} run; it looks at its devices every {interval.value:g} s, "
            f"as its {interval.layer} settings say (the {interval.overrode[-1][0]} says {interval.overrode[-1][2]:g} s)"
        )
    for status in stage.plugins.list(tenant_id=PROVIDERS[-1].tenant_id):
        held = status.isolation["guarantees"]
        firm = [name for name, one in held.items() if one["strength"] == "enforced"]
        stage.say(
            f"{status.plugin_id} runs {status.isolation['mode']}; the kernel enforces {', '.join(firm) or 'nothing'}"
        )
    stage.say("the host started the embedded analytics engine, in a process of its own")


async def provision(stage: Stage) -> None:
    """The OLTs, then every ONU followed until it is ready for a service."""
    stage.chapter("Provisioning the networks")

    async def olt(provider: Provider) -> None:
        address = provider.network.olt_addresses[0]
        provider.olt = await stage.voltha(provider).provision_olt(address, "openolt")

    async def onu(provider: Provider, serial_number: str) -> None:
        olt_id = provider.olt["device_id"]
        provider.onus.append(await stage.voltha(provider).provision_onu(olt_id, None, None, serial_number))

    await stage.together("OLT", {one.name: [olt(one)] for one in PROVIDERS})
    await stage.together(
        "ONUs", {one.name: [onu(one, serial) for serial in one.network.serial_numbers] for one in PROVIDERS}
    )
    for provider in PROVIDERS:
        provider.onus.sort(key=lambda one: str(one["serial_number"]))
        stage.say(f"{provider.name}: OLT {provider.olt['serial_number']} with {len(provider.onus)} ONUs")
    stage.say("both networks use the same serial numbers, as networks of two providers may; the host keeps them apart")


async def connect_subscribers(stage: Stage) -> None:
    """A service for each subscriber: meters and flows, followed until they are on the devices."""
    stage.chapter("Connecting subscribers")

    async def connect(provider: Provider, number: int, customer: str) -> None:
        plan = list(PLANS)[number % len(PLANS)]
        speed, price = PLANS[plan]
        service = {"s_tag": 1000 + number, "bandwidth_down": speed, "bandwidth_up": speed // 2}
        await stage.voltha(provider).add_subscriber_flow(provider.onus[number]["device_id"], customer, service)
        await stage.analytics(provider).track_events_batch(
            [
                {
                    "event_type": "subscriber_connected",
                    "category": "business",
                    "customer_id": customer,
                    "properties": {"plan": plan},
                },
                {
                    "event_type": "payment",
                    "category": "financial",
                    "customer_id": customer,
                    "amount": price,
                    "currency": "EUR",
                },
            ]
        )

    await stage.together(
        "subscribers",
        {
            one.name: [connect(one, number, customer) for number, customer in enumerate(one.customers)]
            for one in PROVIDERS
        },
    )
    for provider in PROVIDERS:
        # Visits to the provider's shop during the last day, most of them in the evening.
        hours = [ago for ago in range(24, -1, -1) for _ in range(visits_in(ago))]
        visits = [
            {
                "event_type": "page_view",
                "user_id": f"visitor-{number % 40}",
                "timestamp": time.time() - hours[number % len(hours)] * 3600 - number,
                "properties": {"page": ("/", "/offers", "/order")[number % 3]},
            }
            for number in range(provider.visits)
        ]
        batch = await stage.analytics(provider).track_events_batch(visits)
        stage.say(
            f"{provider.name}: {provider.subscribers} subscribers connected, {batch['accepted']} visits to its shop tracked"
        )


def visits_in(hours_ago: int) -> int:
    """How busy the shop was: 1 at night to 7 at eight in the evening."""
    hour = datetime.now(UTC).hour - hours_ago
    return 4 + round(3 * math.cos((hour - 20) / 24 * 2 * math.pi))


async def lose_power(stage: Stage) -> None:
    """An ONU of the first provider loses its power: its alert fires, and the other provider hears nothing."""
    stage.chapter("An ONU loses its power")
    first, second = PROVIDERS
    rule = {"name": "ONU without power", "metric": "onu_unreachable", "operator": ">", "threshold": 0, "window": "5m"}
    alerts = {
        one.tenant_id: await stage.plugins.hooks(one.tenant_id).create_alert(alert_data=rule) for one in PROVIDERS
    }
    serial_number = first.network.serial_numbers[0]
    await first.network.power_off(serial_number)

    async def reported() -> bool:
        return bool(await stage.asked(first, event_name="onu_unreachable") >= 1)

    await until(reported, "the event of the lost ONU")
    stage.say(f"{first.name}: VOLTHA's change reached its events through the hook on_device_event")
    states = []
    for provider in PROVIDERS:
        status = await stage.plugins.hooks(provider.tenant_id).get_alert_status(alert_id=alerts[provider.tenant_id])
        states.append(status["state"] if status else "unknown")
        stage.say(f"{provider.name}: the alert '{rule['name']}' is {states[-1]}")
    foreign = await stage.plugins.hooks(second.tenant_id).get_alert_status(alert_id=alerts[first.tenant_id])
    stage.counts.append(Count("alert 'ONU without power'", "alert rules", tuple(states), ("firing", "ok")))
    stage.counts.append(Count("other's alert readable", "hooks", (None, foreign is not None), (None, False)))
    found = await stage.voltha(first).diagnose(first.customers[0])
    stage.say(f"{first.name}: diagnosis of {first.customers[0]}: {found['sentence']}")
    await first.network.power_on(serial_number)

    async def back() -> bool:
        status = await stage.voltha(first).get_device_status(serial_number)
        return bool(status and status["status"] == "active")

    await until(back, "the return of the ONU")
    stage.say(f"{first.name}: its power is back, and the ONU with it")

    # VOLTHA does not give a returned ONU its flows back; the plugin's reconciler does.
    async def repaired() -> bool:
        found = await stage.voltha(first).diagnose(first.customers[0])
        return bool(found["finding"] == "nothing_found")

    await until(repaired, "the repair of the returned ONU's service")
    stage.say(f"{first.name}: its subscriber's service, which had lost its flows, was put back")


async def switch_off_and_on(stage: Stage) -> None:
    """Suspend a tenant: its calls are refused, its network and data stay, the other one does not notice."""
    from dotmac_isp.plugins.core import PluginError

    first, second = PROVIDERS
    stage.chapter(f"{second.name} is switched off and on again")
    await stage.plugins.suspend_tenant(second.tenant_id, reason="the provider has not paid")
    try:
        await stage.voltha(second).discover_devices()
        refused = False
    except PluginError as error:
        refused = True
        stage.say(f"off: {error}")
    others = len(await stage.voltha(first).discover_devices())
    stage.say(f"{first.name} works on: {others} devices")
    async with DirectLook(second, second) as look:
        kept = await look.flows()
    stage.say(f"{second.name}'s subscribers stay online: {kept} flows in its VOLTHA")
    resumed = await stage.plugins.resume_tenant(second.tenant_id)
    for ref, why in resumed.failed.items():
        raise DemoError(f"{ref} did not come back: {why}")
    stage.say(f"on: {', '.join(ref.plugin_id for ref in resumed.succeeded)} run again")
    stage.counts.append(Count("call refused while off", "host", (None, refused), (None, True)))
    stage.counts.append(
        Count("flows while off", "VOLTHA", (None, kept), (None, FLOWS_PER_SERVICE * second.subscribers))
    )


async def write_pages(stage: Stage) -> None:
    """A report and a dashboard of each provider, as pages that open without a network."""
    stage.chapter("Reports and dashboards")
    shutil.rmtree(OUTPUT, ignore_errors=True)
    panels = [
        {"title": "Subscribers connected", "metric": "subscriber_connected", "chart": "number", "unit": "subscribers"},
        {
            "title": "Payments",
            "metric": "sum",
            "field": "amount",
            "event_name": "payment",
            "chart": "number",
            "unit": "EUR",
        },
        {
            "title": "ONUs that came up",
            "metric": "unique_devices",
            "event_name": "onu_active",
            "chart": "number",
            "unit": "ONUs",
        },
        {"title": "Visits to the shop", "metric": "page_view", "chart": "line", "interval": "1h"},
        {"title": "What happened", "chart": "bar", "group_by": ["event_name"]},
        {
            "title": "Plans",
            "metric": "subscriber_connected",
            "chart": "pie",
            "group_by": ["plan"],
            "unit": "subscribers",
        },
    ]
    for provider in PROVIDERS:
        analytics = stage.analytics(provider)
        board = await analytics.create_dashboard(
            {"title": f"{provider.name}: today", "time_range": "25h", "panels": panels}
        )
        report = await analytics.generate_report(
            "network", {"since": "10m", "format": "html", "title": f"{provider.name}: network"}
        )
        folder = OUTPUT / provider.tenant_id
        folder.mkdir(parents=True)
        for source, name in ((board["path"], "dashboard.html"), (report["path"], "network-report.html")):
            provider.pages.append(Path(shutil.copy(source, folder / name)))
        stage.say(f"{provider.name}: {' and '.join(str(page) for page in provider.pages)}")


async def show_health(stage: Stage) -> None:
    """Ask every plugin of both tenants how it is."""
    stage.chapter("Health")
    healthy, total = [], []
    for provider in PROVIDERS:
        summary = await stage.loader.health_check_all_plugins(tenant_id=provider.tenant_id)
        healthy.append(summary["healthy_plugins"])
        total.append(summary["total_plugins"])
        for plugin_id, health in summary["plugins"].items():
            stage.say(f"{provider.name}: {plugin_id} is {health['health']} ({health['message']})")
    stage.counts.append(Count("healthy plugins", "health checks", tuple(healthy), tuple(total)))


# counting


async def count_everything(stage: Stage) -> None:
    """Ask the systems what they have: VOLTHA directly, the engine, the host's document store, the files."""
    stage.chapter("Counting in the systems themselves")

    async def devices_told() -> bool:
        told = [await stage.asked(one, "unique_devices", event_name="onu_active") for one in PROVIDERS]
        return told == [ONUS, ONUS]

    with contextlib.suppress(DemoError):  # the table shows what is missing
        await until(devices_told, "the event of every ONU")
    first, second = PROVIDERS
    rows = [await count_one(stage, provider, other) for provider, other in ((first, second), (second, first))]
    for line, other in zip(*rows, strict=True):
        stage.counts.append(Count(line[0], line[1], (line[2], other[2]), (line[3], other[3])))
    stage.say(f"{sum(len(one.got) for one in stage.counts)} counts compared with what they must be")


async def count_one(stage: Stage, provider: Provider, other: Provider) -> list[tuple[str, str, Any, Any]]:
    """(what, where, count, what it must be) of one provider."""
    subscribers = provider.subscribers
    async with DirectLook(provider, provider) as look:
        olts, onus, flows = await look.devices(olts=True), await look.devices(olts=False), await look.flows()
    async with DirectLook(provider, other) as look:
        refused = await look.refused()
    asked = stage.asked
    revenue = sum(PLANS[list(PLANS)[number % len(PLANS)]][1] for number in range(subscribers))
    services = await stage.voltha(provider).list_subscribers()
    health = await stage.loader.health_check_all_plugins(tenant_id=provider.tenant_id)
    waiting = health["plugins"]["analytics_events"]["details"]["analytics_events_buffered"]
    files = [page for page in provider.pages if "<script" in await asyncio.to_thread(page.read_text, encoding="utf-8")]
    return [
        ("OLTs active", "VOLTHA, devices", olts, 1),
        ("ONUs active", "VOLTHA, devices", onus, ONUS),
        ("flows", "VOLTHA, flows", flows, FLOWS_PER_SERVICE * subscribers),
        ("requests refused as fatal", "simulator", provider.network.refused_crashes, 0),
        ("other's login refused", "VOLTHA", refused, True),
        ("services remembered", "document store", len(services), subscribers),
        (
            "ONUs that came up",
            "device events",
            await asked(provider, "unique_devices", event_name="onu_active"),
            ONUS,
        ),
        (
            "services added",
            "device events",
            await asked(provider, event_name="subscriber_service_added"),
            subscribers,
        ),
        ("customers", "engine", await asked(provider, "unique_customers"), subscribers),
        ("visits", "engine", await asked(provider, event_name="page_view"), provider.visits),
        ("payments, EUR", "engine", await amount(stage, provider), revenue),
        ("other's customers' events", "engine", await asked(provider, customer_id=other.customers), 0),
        ("other's OLT's events", "engine", await asked(provider, device_id=other.olt["device_id"]), 0),
        ("events not delivered yet", "spool on disk", int(waiting), 0),
        ("pages with charts", str(OUTPUT), len(files), 2),
    ]


async def amount(stage: Stage, provider: Provider) -> int:
    """The sum of the provider's payments."""
    answer = await stage.analytics(provider).query({"metric": "sum", "field": "amount", "since": "25h"})
    return int(answer["rows"][0]["value"])


def count_leftovers(counts: list[Count], port: int) -> None:
    """After the host has stopped: no task of it, nobody on the engine's port."""
    ours = ("dotmac", "voltha_integration", "analytics_events")
    tasks = [one for one in asyncio.all_tasks() if one.get_name().startswith(ours)]
    with socket.socket() as probe:
        answers = probe.connect_ex(("127.0.0.1", port)) == 0
    counts.append(Count("tasks of the host left", "after the stop", (len(tasks), None), (0, None)))
    counts.append(Count("engine still answers", "after the stop", (answers, None), (False, None)))


def show_table(console: Console, counts: list[Count]) -> bool:
    """What was done, as the systems tell it; `True` when all of it is right."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(
        title="What was done, read back from the systems",
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1),
        pad_edge=False,
    )
    table.add_column("count")
    table.add_column("read from", style="dim")
    for provider in PROVIDERS:
        table.add_column(provider.tenant_id, justify="right")
    table.add_column("must be", justify="right", style="dim")
    table.add_column("")
    for one in counts:
        must = [told(value) for value in one.must if value is not None]
        mark = "[green]✓[/]" if one.right else "[bold red]✗[/]"
        table.add_row(one.what, one.where, *map(told, one.got), " / ".join(dict.fromkeys(must)), mark)
    console.print()
    console.print(table)
    return all(one.right for one in counts)


def told(value: Any) -> str:
    """A value as a person reads it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


# running

#: The parts in their order, with what is shown while one works that has no progress of its own.
PARTS: tuple[tuple[Callable[[Stage], Awaitable[None]], str], ...] = (
    (load_integrations, "The plugins and the engine start …"),
    (provision, ""),
    (connect_subscribers, ""),
    (lose_power, "Waiting for the network's events …"),
    (switch_off_and_on, "Switching …"),
    (write_pages, "Drawing …"),
    (show_health, "Asking …"),
    (count_everything, "Counting …"),
)


@contextlib.contextmanager
def own_home() -> Iterator[None]:
    """A folder for the host's state that is gone afterwards; variables of this machine do not reach the demo."""
    for name in [one for one in os.environ if one.startswith(("VOLTHA_", "ANALYTICS_", "VAULT_", "DOTMAC_"))]:
        del os.environ[name]
    with tempfile.TemporaryDirectory(prefix="dotmac-demo-") as folder:
        os.environ["DOTMAC_HOME"] = folder
        # The credentials of this demo are in the environment: no Vault is looked for where its plugin is installed.
        own = {"vendor_integrations": {"vault_secrets": {"enabled": False}}}
        Path(folder, "vendor_integrations.json").write_text(json.dumps(own), encoding="utf-8")
        yield


async def run(console: Console) -> bool:
    """The whole demo; `True` when every count is right."""
    from dotmac_isp.plugins.core import PluginManager
    from dotmac_isp.plugins.utils import VendorPluginLoader

    port = free_port()
    async with simulated_networks():
        console.print(f"[bold cyan]A simulated fibre network[/]: {len(PROVIDERS)} OLTs, {len(PROVIDERS) * ONUS} ONUs")
        set_environment(port)
        async with PluginManager() as plugins:
            stage = Stage(console, plugins, VendorPluginLoader(plugins))
            for part, doing in PARTS:
                with console.status(doing) if doing else contextlib.nullcontext():
                    await part(stage)
            console.print("\nStopping the host and its engine …")
        count_leftovers(stage.counts, port)
    return show_table(console, stage.counts)


def main() -> int:
    """Run the demo; the exit code."""
    needed = (
        "rich",
        "dotmac_isp",
        "dotmac_voltha_simulator",
        "voltha_protos",
        "chdb",
        "clickhouse_connect",
        "vl_convert",
    )
    lacking = [name for name in needed if importlib.util.find_spec(name) is None]
    if lacking:
        print(f"Not installed: {', '.join(lacking)}. `nox -s demo` brings everything and runs this.", file=sys.stderr)
        return MISSING
    from rich.console import Console

    # Where nobody looks (a log), lines may be longer than 80 characters.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    began = time.monotonic()
    try:
        with own_home():
            worked = asyncio.run(run(console))
    except KeyboardInterrupt:
        return 130
    except DemoError as error:
        console.print(f"\n[bold red]The demo failed:[/] {error}")
        return 1
    console.print("\nOpen in a browser:")
    for provider in PROVIDERS:
        for page in provider.pages:
            console.print(f"  {page.resolve()}", soft_wrap=True)
    verdict = (
        "[bold green]Everything is as it must be.[/]" if worked else "[bold red]Something is not as it must be.[/]"
    )
    console.print(f"{verdict} ({time.monotonic() - began:.0f} s)")
    return 0 if worked else 1


if __name__ == "__main__":
    sys.exit(main())
