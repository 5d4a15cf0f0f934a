"""What a wrong input gets: an error that a person needs, and nothing else happens.

Each case of the table says what is done and what the error must name: the thing, the value (unless it is a secret) and the
remedy. Afterwards the host and another plugin answer, and what was accepted before is still there.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from dotmac_isp.plugins.core import Limits
from dotmac_isp.plugins.core.errors import PluginError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from dotmac_isp.plugins.core import PluginManager

NEIGHBOUR = """
async def keep(self, key, value):
    return (await self.api.storage.put(key, value)).version

async def kept(self):
    return {one.key: one.value for one in await self.api.storage.list()}

async def discover_devices(self):
    return [{"device_id": "olt-1", "type": "olt"}]
"""
SETTINGS = """
class S(PluginSettings):
    host: str = "h"
    port: int = 1
    password: str = ""
"""
HANG = "await asyncio.sleep(3600)"
STUBBORN = (
    "while 'enough' not in open_doors:\n        try:\n            await asyncio.sleep(0.01)\n"
    "        except asyncio.CancelledError:\n            pass"
)


@dataclass
class World:
    """A host with a plugin that works, and documents that were accepted."""

    host: PluginManager
    vendor: Any
    home: Path
    until: Callable[..., Any]
    make_host: Callable[..., PluginManager]
    documents: dict[str, Any] = field(default_factory=dict)

    async def prepare(self) -> None:
        self.vendor.install("neighbour", NEIGHBOUR)
        await self.host.start_plugin("neighbour", tenant_id="acme")
        self.documents = {"subscriber/1": {"onu": "ALPHe3d1cfde"}, "subscriber/2": {"onu": "BBSM00000001"}}
        for key, value in self.documents.items():
            await self.host.get("neighbour", tenant_id="acme").keep(key, value)

    async def check(self) -> None:
        assert self.host.running
        neighbour = self.host.get("neighbour", tenant_id="acme")
        assert await neighbour.kept() == self.documents
        results = await self.host.hooks("acme").discover_devices()
        assert results.by_plugin["neighbour"] == [{"device_id": "olt-1", "type": "olt"}]
        json.dumps(self.host.inventory().as_dict())

    def settings_plugin(self) -> None:
        self.vendor.install("one", module=SETTINGS, manifest='settings = "vendor_one:S"')

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.home / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path


@pytest.fixture
async def world(host: PluginManager, vendor: Any, home: Path, until: Any, make_host: Any) -> AsyncIterator[World]:
    world = World(host, vendor, home, until, make_host)
    await world.prepare()
    yield world
    vendor.open_doors["enough"] = True
    await asyncio.sleep(0.03)


CASES: list[Any] = []


def case(name: str, *says: str, hides: tuple[str, ...] = ()) -> Callable[[Any], Any]:
    """One line of the table: what is done, what the error says, what it must not say."""

    def keep(act: Any) -> Any:
        CASES.append(pytest.param(act, says, hides, id=name))
        return act

    return keep


def lines(*entries: tuple[Any, ...]) -> Callable[[Any], Any]:
    """Several lines of the table that do the same with different values: (name, value, what the error says…)."""

    def keep(act: Any) -> Any:
        for name, value, *says in entries:

            async def bound(world: World, value: Any = value) -> None:
                await act(world, value)

            CASES.append(pytest.param(bound, says, (), id=name))
        return act

    return keep


# files


@lines(
    ("bad JSON", "{", "vendor_integrations.json, line 1"),
    ("JSON of another type", "[]", "vendor_integrations.json", "object"),
    ("not UTF-8", b'{"a": "\xff"}', "vendor_integrations.json"),
    ("unknown key in the file", '{"vendor_integration": {}}', "vendor_integration", "vendor_integrations"),
    ("wrong type in the file", '{"vendor_integrations": {"one": {"enabled": "yes"}}}', "enabled", "yes"),
    ("an empty file", "", "vendor_integrations.json"),
    ("very deep JSON", "[" * 100_000, "vendor_integrations.json"),
)
async def operators_file(world: World, text: Any) -> None:
    world.write("vendor_integrations.json", text)
    before = world.host.configuration
    try:
        world.host.reread_configuration()
    finally:
        assert world.host.configuration is before, "the old one stays in force"


@lines(
    ("bad JSON in a tenant's file", "{", "t.json, line 1"),
    ("unknown key in a tenant's file", '{"plugin": {}}', "plugin", "plugins", "t.json"),
    ("unknown setting", '{"plugins": {"one": {"configuration": {"prot": 5}}}}', "one.prot", "port", "t.json, line 1"),
    (
        "wrong type of a setting",
        '{"plugins": {"one": {"configuration": {"port": "many"}}}}',
        "one.port is 'many'",
        "integer",
    ),
    ("a surrogate in a setting", '{"plugins": {"one": {"configuration": {"port": "\\ud800"}}}}', "one.port"),
    ("a huge setting", json.dumps({"plugins": {"one": {"configuration": {"port": "9" * 100_000}}}}), "one.port"),
)
async def tenants_file(world: World, text: str) -> None:
    world.settings_plugin()
    world.write("tenants/t.json", text)
    await world.host.load("one", tenant_id="t")


@case("a wrong secret setting is not shown", "one.password", "********", hides=("hunter2",))
async def secret_setting(world: World) -> None:
    world.settings_plugin()
    await world.host.load("one", tenant_id="t", configuration={"password": ["hunter2"]})


@lines(
    ("an override that no JSON can hold", {"host": object()}, "host"),
    ("an override of the wrong type", {"port": None}, "one.port is None", "integer"),
    ("an override of an unknown key", {"hosst": "x"}, "one.hosst", "'host'"),
    ("a number that is none", {"port": float("nan")}, "one.port is nan"),
)
async def override(world: World, value: dict[str, Any]) -> None:
    world.settings_plugin()
    await world.host.start_plugin("one", tenant_id="t")
    file = world.write("tenants/t.json", '{"plugins": {"one": {"configuration": {"port": 7}}}}')
    try:
        await world.host.configure("one", value, tenant_id="t", persist=True)
    finally:
        assert json.loads(file.read_text()) == {"plugins": {"one": {"configuration": {"port": 7}}}}


# plugins that misbehave in a step


def step_case(step: str, name: str, body: str, *says: str) -> None:
    async def act(world: World) -> None:
        constructor = "def __init__(self, api):\n    super().__init__(api)\n"
        method = constructor if step == "__init__" else f"async def {step}(self):\n"
        world.vendor.install("one", f"{method}    {body}")
        await world.host.start_plugin("one", tenant_id="t")

    CASES.append(pytest.param(act, ("one@t", *says), (), id=f"{name} in {step}"))


for _step in ("__init__", "initialize", "activate"):
    _told = "construct" if _step == "__init__" else _step
    step_case(_step, "raises", "raise OSError('line 7 is cut')", f"{_told} failed", "OSError", "line 7 is cut")
    step_case(_step, "calls sys.exit", "sys.exit(3)", f"{_told} failed", "SystemExit", "3")
    if _step != "__init__":
        step_case(_step, "hangs", HANG, f"{_step} failed", "no result after 0.3")
        step_case(_step, "hangs and ignores cancellation", STUBBORN, f"{_step} failed", "no result after 0.3")


def end_case(step: str, name: str, body: str, said: str) -> None:
    async def act(world: World) -> None:
        world.vendor.install("one", f"async def {step}(self):\n    {body}")
        await world.host.start_plugin("one", tenant_id="t")
        async with asyncio.timeout(8):
            await world.host.unload("one", tenant_id="t")
        said = " ".join(one.detail for one in world.host.audit.latest(tenant_id="t") if one.plugin_id == "one")
        raise PluginError(said)  # the way down reports, and goes on

    CASES.append(pytest.param(act, (said,), (), id=f"{name} in {step}"))


for _step in ("deactivate", "cleanup"):
    end_case(_step, "raises", "raise OSError('line 7 is cut')", "line 7 is cut")
    end_case(_step, "calls sys.exit", "sys.exit(3)", "3")
    end_case(_step, "hangs", HANG, "no result after 0.2")
    end_case(_step, "hangs and ignores cancellation", STUBBORN, "ignores its cancellation")


@case("returns the wrong type", "one", "discover_devices", "must give list or tuple or None, and gave int")
async def wrong_type(world: World) -> None:
    world.vendor.install("one", "async def discover_devices(self):\n    return 7")
    await world.host.start_plugin("one", tenant_id="acme")
    (failure,) = (await world.host.hooks("acme").discover_devices()).failures
    raise PluginError(str(failure))


@lines(
    ("imports what is missing", "import no_such_vendor_lib", "vendor-one", "no_such_vendor_lib", "pip install"),
    ("calls sys.exit while it is imported", "import sys; sys.exit(5)", "vendor-one", "SystemExit(5)"),
    ("is no Python", "def (:", "vendor-one", "SyntaxError"),
    ("has no such class", "x = 1", "vendor-one", "has no 'Plugin'"),
    ("has a class that is no plugin", "class Plugin: pass", "vendor-one", "not a plugin class"),
    ("holds a NUL", "x = '\0'", "vendor-one"),
)
async def module(world: World, code: str) -> None:
    world.vendor.install("one", code=code + "\n")
    await world.host.load("one", tenant_id="t")


@lines(
    ("a manifest that is no TOML", "[one\n", "dotmac-plugin.toml", "line 1"),
    ("a manifest with an unknown key", '[one]\nname = "x"\nrequirs = {}\n', "requirs", "requires"),
    ("a manifest with a wrong type", "[one]\nname = 5\n", "name", "5"),
    ("a manifest for another plugin", '[two]\nname = "x"\n', "one"),
    ("a core that is too old", '[one]\nname = "x"\ncore = ">=99"\n', ">=99"),
    ("a Python that is too old", '[one]\nname = "x"\npython = ">=4"\n', ">=4"),
)
async def manifest(world: World, table: str) -> None:
    world.vendor.install("one", table=table)
    await world.host.load("one", tenant_id="t")


@case("calls sys.exit in a call", "one@acme", "crashed", "5")
async def exits_in_call(world: World) -> None:
    world.vendor.install("one", "async def work(self):\n    await asyncio.sleep(0)\n    sys.exit(5)")
    await world.host.start_plugin("one", tenant_id="acme")
    await world.host.get("one", tenant_id="acme").work()


@case("calls sys.exit in a task of its own", "SystemExit: 5")
async def exits_in_task(world: World) -> None:
    world.vendor.install(
        "one",
        """
        async def activate(self):
            async def leaves():
                await asyncio.sleep(0)
                sys.exit(5)
            self.task = asyncio.create_task(leaves())
            self.task.add_done_callback(lambda task: task.exception())
        """,
    )
    await world.host.start_plugin("one", tenant_id="t")

    def reported() -> list[str]:
        return [one.detail for one in world.host.audit.latest(tenant_id="t") if one.outcome == "failed"]

    await world.until(reported)
    raise PluginError(reported()[0])


@case("blocks the loop", "one@t work", "in a_long_sum", "time.sleep(0.6)")
async def blocks(world: World) -> None:
    world.vendor.install(
        "one", "async def work(self):\n    a_long_sum()", module="def a_long_sum():\n    time.sleep(0.6)\n"
    )
    async with world.make_host(
        home=world.home / "second", limits=msgspec.structs.replace(Limits(), blocking=0.15)
    ) as host:
        await host.start_plugin("one", tenant_id="t")
        await host.get("one", tenant_id="t").work()

        def reported() -> list[str]:
            return [one.detail for one in host.audit.latest(everything=True) if one.outcome == "blocked"]

        await world.until(reported)
        (told,) = reported()
    raise PluginError(told)


# names and relations


@case("two plugins with one id", "one", "vendor-one", "vendor-other", "uninstall")
async def one_id_twice(world: World) -> None:
    world.vendor.install("one")
    world.vendor.install("one", distribution="vendor-other", package="vendor_other")
    world.host.rediscover()
    await world.host.load("one", tenant_id="t")


@case("a dependency cycle", "a → b → a", "requires")
async def cycle(world: World) -> None:
    world.vendor.install("a", manifest="requires = { b = '>=1' }")
    world.vendor.install("b", manifest="requires = { a = '>=1' }")
    await world.host.start_plugin("a", tenant_id="t")


@case("a plugin that requires itself", "one → one")
async def own_cycle(world: World) -> None:
    world.vendor.install("one", manifest="requires = { one = '>=1' }")
    await world.host.start_plugin("one", tenant_id="t")


@case("a requirement that is not installed", "requires voltha_integration >=2", "pip install dotmac-plugin-voltha")
async def missing(world: World) -> None:
    world.vendor.install("one", manifest="requires = { voltha_integration = '>=2' }")
    await world.host.start_plugin("one", tenant_id="t")


@case("a requirement in the wrong version", "requires neighbour >=2", "installed is 1.0")
async def too_old(world: World) -> None:
    world.vendor.install("one", manifest="requires = { neighbour = '>=2' }")
    await world.host.start_plugin("one", tenant_id="t")


@lines(
    ("a tenant id with a slash", "a/b", "'a/b' is no tenant id", "1 to 64 letters"),
    ("a tenant id that climbs", "..", "'..' is no tenant id"),
    ("a tenant id with a line break", "a\nb", r"'a\nb' is no tenant id"),
    ("a tenant id that ends with a line break", "a\n", r"'a\n' is no tenant id"),
    ("a tenant id of 300 characters", "x" * 300, "(300 characters) is no tenant id", "1 to 64"),
    ("a tenant id with a NUL", "a\0b", r"'a\x00b' is no tenant id"),
    ("a tenant id with a surrogate", "a\ud800", r"'a\ud800' is no tenant id"),
    ("a tenant id of other letters", "ünï", "is no tenant id"),
    ("an empty tenant id", "", "'' is no tenant id"),
    ("the system tenant's mark as a tenant id", "-", "'-' is no tenant id"),
    ("a number as a tenant id", 7, "a int is no tenant id"),
    ("a huge tenant id", "x" * 10_000_000, "(10000000 characters)"),
)
async def tenant(world: World, tenant_id: Any) -> None:
    before = sorted(str(one) for one in world.home.rglob("*") if "documents" not in one.name)
    try:
        await world.host.load("neighbour", tenant_id=tenant_id)
    finally:
        assert sorted(str(one) for one in world.home.rglob("*") if "documents" not in one.name) == before


@lines(
    ("a plugin nobody has", "neighbor", "there is no plugin 'neighbor'", "Did you mean 'neighbour'?"),
    ("a plugin id with a surrogate", "\ud800", "there is no plugin"),
    ("a plugin id with a NUL", "a\0b", "there is no plugin"),
)
async def unknown_plugin(world: World, plugin_id: str) -> None:
    await world.host.load(plugin_id, tenant_id="acme")


@case("an environment nobody has", "there is no environment 'staging2'", "There are:")
async def environment(world: World) -> None:
    await world.host.load("neighbour", tenant_id="t", environment="staging2")


@lines(
    ("a document key that is empty", ("", {}), "key"),
    ("a document key of 513 characters", ("x" * 513, {}), "512"),
    ("a document key with a surrogate", ("\ud800", {}), "key"),
    ("a document that no JSON can hold", ("k", {"a": object()}), "object"),
    ("a document with a number that is none", ("k", float("nan")), "nan"),
    ("a document with a surrogate", ("k", "\ud800"), "surrogate"),
)
async def document(world: World, what: tuple[str, Any]) -> None:
    await world.host.get("neighbour", tenant_id="acme").keep(*what)


@case("a required secret that is missing", "vendor-password", "VENDOR_PASSWORD__T or VENDOR_PASSWORD")
async def missing_secret(world: World) -> None:
    world.vendor.install("one", manifest='[one.secrets]\nrequired = ["vendor-password"]')
    await world.host.load("one", tenant_id="t")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("act", "says", "hides"), CASES)
async def test_a_wrong_input_gets_the_error_that_a_person_needs_and_harms_nobody(
    world: World, act: Any, says: tuple[str, ...], hides: tuple[str, ...]
) -> None:
    with pytest.raises(PluginError) as caught:
        await act(world)
    text = str(caught.value)
    missing = [part for part in says if part not in text]
    assert not missing, text
    assert not [part for part in hides if part in text]
    assert len(text) < 10_000, "a person is to read it"
    await world.check()
