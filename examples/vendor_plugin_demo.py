"""The specification's demo: the two vendor integrations at work for one tenant, in the development environment.

    export VOLTHA_USERNAME="dev_user"
    export VOLTHA_PASSWORD="dev_pass"
    export ANALYTICS_API_KEY="dev_analytics_key"
    python examples/vendor_plugin_demo.py

Without VOLTHA_HOST it starts the VOLTHA simulator, with these credentials; without ANALYTICS_HOST it uses the embedded engine.
With a VOLTHA of your own it changes nothing there unless you name an OLT (`--olt HOST:PORT`).
The exit code is 0 when everything worked, 1 when something failed, 2 when something that it needs is missing.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import os
import socket
import sys
import tempfile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from dotmac_isp.plugins.core import PluginManager
    from dotmac_isp.plugins.utils import VendorPluginLoader

TENANT = "demo_tenant"
FAILED, MISSING = 1, 2
#: Module -> what pip calls the package that has it, and its folder in this repository.
NEEDED = {
    "dotmac_isp.plugins.core": ("dotmac-plugins-core", "packages/core"),
    "dotmac_isp.plugins.network_automation.voltha_integration_plugin": (
        "dotmac-plugin-voltha",
        "packages/voltha_plugin",
    ),
    "dotmac_isp.plugins.monitoring.analytics_events_plugin": ("dotmac-plugin-analytics", "packages/analytics_plugin"),
}
SIMULATOR = {"dotmac_voltha_simulator": ("dotmac-voltha-simulator", "packages/voltha_simulator")}
ENGINE = {
    "chdb": ("dotmac-plugin-analytics[embedded]", "packages/analytics_plugin[embedded]"),
    "clickhouse_connect": ("dotmac-plugin-analytics[embedded]", "packages/analytics_plugin[embedded]"),
}


class DemoError(Exception):
    """Something that a person can put right; the text says how."""


class Voice:
    """Says what happens, in colour where rich is installed."""

    def __init__(self) -> None:
        self._rich: Any = None
        with contextlib.suppress(ImportError):
            from rich.console import Console  # noqa: PLC0415 - it may be missing

            self._rich = Console(highlight=False)

    def step(self, text: str) -> None:
        """Begin something."""
        self._say(f"\n[bold cyan]▸ {text}[/]", f"\n> {text}")

    def done(self, text: str) -> None:
        """Something worked."""
        self._say(f"  [green]✓[/] {text}", f"  ok  {text}")

    def wrong(self, text: str) -> None:
        """Something did not."""
        self._say(f"  [bold red]✗[/] {text}", f"  FAILED  {text}")

    def _say(self, rich: str, plain: str) -> None:
        if self._rich is not None:
            self._rich.print(rich, soft_wrap=True)
        else:
            print(plain, flush=True)


def missing(needed: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    """The packages that are not installed, and their folders."""
    lacking = {}
    for module, (package, folder) in needed.items():
        try:
            there = importlib.util.find_spec(module) is not None
        except ModuleNotFoundError:
            there = False
        if not there:
            lacking[package] = folder
    return lacking


def check_packages() -> None:
    """Raise `DemoError` with the command that brings what is missing."""
    lacking = missing(NEEDED)
    if "VOLTHA_HOST" not in os.environ:
        lacking |= missing(SIMULATOR)
    if "ANALYTICS_HOST" not in os.environ:
        lacking |= missing(ENGINE)
    if lacking:
        folders = " ".join(f"-e './{folder}'" for name, folder in lacking.items() if f"{name}[embedded]" not in lacking)
        raise DemoError(
            f"Not installed for {sys.executable}: {', '.join(lacking)}.\n"
            f"In the root of the repository:\n  {sys.executable} -m pip install {folders}"
        )


def check_credentials() -> None:
    """Raise `DemoError` for credentials that are not in the environment."""
    names = [name for name in ("VOLTHA_USERNAME", "VOLTHA_PASSWORD", "ANALYTICS_API_KEY") if not os.environ.get(name)]
    if names:
        lines = "\n".join(f'  export {name}="…"' for name in names)
        raise DemoError(
            f"Credentials are missing: {', '.join(names)}. Set them, for the simulator to any values you like:\n{lines}"
        )


@contextlib.contextmanager
def own_home() -> Iterator[str]:
    """DOTMAC_HOME, where it is set; else a folder that is gone afterwards."""
    if given := os.environ.get("DOTMAC_HOME"):
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="dotmac-demo-") as folder:
        os.environ["DOTMAC_HOME"] = folder
        try:
            yield folder
        finally:
            del os.environ["DOTMAC_HOME"]


@contextlib.asynccontextmanager
async def voltha(voice: Voice) -> AsyncIterator[Any]:
    """The simulator (with one OLT, two PONs, four ONUs) unless VOLTHA_HOST names a VOLTHA; yields it, or `None`."""
    if host := os.environ.get("VOLTHA_HOST"):
        voice.done(f"using VOLTHA at {host}:{os.environ.get('VOLTHA_PORT', '50057')}")
        yield None
        return
    from dotmac_voltha_simulator import Simulator  # noqa: PLC0415 - not needed with a VOLTHA of one's own

    async with Simulator(
        pons=2,
        onus=2,
        time_factor=0.1,
        username=os.environ["VOLTHA_USERNAME"],
        password=os.environ["VOLTHA_PASSWORD"],
    ) as simulator:
        os.environ["VOLTHA_HOST"], os.environ["VOLTHA_PORT"] = "127.0.0.1", str(simulator.port)
        voice.done(f"VOLTHA_HOST is not set: started the VOLTHA simulator at {simulator.target}")
        yield simulator


def choose_engine(voice: Voice) -> None:
    """The embedded engine on a free port, unless ANALYTICS_HOST names a collector."""
    if host := os.environ.get("ANALYTICS_HOST"):
        voice.done(f"using the analytics collector at {host}:{os.environ.get('ANALYTICS_PORT', '8080')}")
        return
    os.environ["ANALYTICS_HOST"] = "127.0.0.1"
    if "ANALYTICS_PORT" not in os.environ:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            os.environ["ANALYTICS_PORT"] = str(probe.getsockname()[1])
    voice.done(f"ANALYTICS_HOST is not set: the host starts the embedded engine on port {os.environ['ANALYTICS_PORT']}")


async def load_and_start(voice: Voice, loader: VendorPluginLoader) -> None:
    """The development integrations of the tenant; raises `DemoError` with what failed and the remedy of each."""
    results = await loader.load_vendor_integrations("development", tenant_id=TENANT)
    for plugin_id in results["loaded_plugins"]:
        voice.done(f"loaded {plugin_id}")
    outcome = await loader.start_all_vendor_plugins(results["loaded_plugins"])
    for plugin_id in outcome["succeeded"]:
        voice.done(f"started {plugin_id}")
    failed = {**results["failed_plugins"], **outcome["failed"]}
    if failed:
        lines = [f"{one}: {failure['error']}\n    → {failure['remedy']}" for one, failure in failed.items()]
        raise DemoError("Some integrations do not run.\n  " + "\n  ".join(lines))


async def show_health(voice: Voice, loader: VendorPluginLoader) -> bool:
    """Ask every plugin; `True` when all are healthy."""
    summary = await loader.health_check_all_plugins()
    for plugin_id, health in summary["plugins"].items():
        say = voice.done if health["health"] == "healthy" else voice.wrong
        say(f"{plugin_id} is {health['health']}: {health['message']}")
    return summary["healthy_plugins"] == summary["total_plugins"]


async def provision(voice: Voice, plugins: PluginManager, olt_address: str, serial_numbers: list[str]) -> None:
    """One OLT, its ONUs, and a service for one subscriber."""
    voltha = plugins.get("voltha_integration", tenant_id=TENANT)
    olt = await voltha.provision_olt(olt_address, "openolt")
    voice.done(f"OLT {olt['serial_number']} at {olt_address} is {olt['status']}")
    if not serial_numbers:
        devices = await voltha.discover_devices()
        serial_numbers = [one["serial_number"] for one in devices if one["parent_id"] == olt["device_id"]]
    onus = []
    for serial_number in serial_numbers:
        onu = await voltha.provision_onu(olt["device_id"], None, None, serial_number)
        onus.append(onu)
        voice.done(f"ONU {serial_number} is {onu['status']}")
    if not onus:
        raise DemoError(f"The OLT at {olt_address} has no ONU that could have a subscriber")
    service = {"s_tag": 900, "bandwidth_down": 100_000, "bandwidth_up": 50_000}
    await voltha.add_subscriber_flow(onus[0]["device_id"], "subscriber-1", service)
    voice.done(f"subscriber-1 has 100/50 Mbit/s with VLAN 900 on ONU {onus[0]['serial_number']}")


async def track(voice: Voice, plugins: PluginManager) -> None:
    """A few events, and a report over them and over what the network told."""
    analytics = plugins.get("analytics_events", tenant_id=TENANT)
    await analytics.track_event({"event_type": "page_view", "user_id": "visitor-1", "properties": {"page": "/offers"}})
    batch = await analytics.track_events_batch(
        [
            {"event_type": "conversion", "user_id": "visitor-1", "properties": {"offer": "fibre 100"}},
            {
                "event_type": "payment",
                "category": "financial",
                "user_id": "visitor-1",
                "amount": "39.90",
                "currency": "EUR",
            },
        ]
    )
    voice.done(f"tracked {1 + batch['accepted']} events of our own")
    report = await analytics.generate_report("summary", {"since": "1h"})
    voice.done(f"report '{report['title']}': {report['totals']['events']} events, those of the devices included")
    answer = await analytics.query({"metric": "count", "group_by": ["event_name"], "since": "1h"})
    counts = ", ".join(f"{row['event_name']} {row['value']}" for row in answer["rows"])
    voice.done(f"by name: {counts}")


async def run(voice: Voice, olt: str | None) -> bool:
    """The whole demo; `True` when all of it worked."""
    from dotmac_isp.plugins.core import PluginManager  # noqa: PLC0415 - after the check that it is installed
    from dotmac_isp.plugins.utils import VendorPluginLoader  # noqa: PLC0415 - as above

    voice.step("What the plugins talk to")
    async with voltha(voice) as simulator:
        choose_engine(voice)
        async with PluginManager() as plugins:
            loader = VendorPluginLoader(plugins)
            voice.step(f"Loading the development integrations for tenant {TENANT}")
            await load_and_start(voice, loader)
            voice.step("Health")
            healthy = await show_health(voice, loader)
            if simulator is not None:
                voice.step("Provisioning the fibre network")
                await provision(voice, plugins, olt or simulator.olt_addresses[0], simulator.serial_numbers)
            elif olt is not None:
                voice.step("Provisioning the fibre network")
                await provision(voice, plugins, olt, [])
            else:
                voice.step("Looking at the fibre network (name an OLT with --olt to provision it)")
                devices = await plugins.get("voltha_integration", tenant_id=TENANT).discover_devices()
                voice.done(f"VOLTHA has {len(devices)} devices")
            voice.step("Analytics events")
            await track(voice, plugins)
            voice.step("Stopping")
            stopped = await loader.stop_all_vendor_plugins()
            for plugin_id in stopped["succeeded"]:
                voice.done(f"stopped {plugin_id}")
    voice.done("the host has stopped, and the engine with it")
    return healthy and not stopped["failed"]


def main() -> int:
    """Run the demo; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--olt", metavar="HOST:PORT", help="the OLT to provision; default: the simulator's first one")
    arguments = parser.parse_args()
    voice = Voice()
    try:
        check_packages()
        check_credentials()
    except DemoError as error:
        print(error, file=sys.stderr)
        return MISSING
    try:
        with own_home():
            worked = asyncio.run(run(voice, arguments.olt))
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        from dotmac_isp.plugins.core import PluginError  # noqa: PLC0415 - as above

        if not isinstance(error, (DemoError, PluginError)):
            raise
        voice.wrong(str(error))
        return FAILED
    voice.step("Everything worked." if worked else "Not everything worked; see above.")
    return 0 if worked else FAILED


if __name__ == "__main__":
    sys.exit(main())
