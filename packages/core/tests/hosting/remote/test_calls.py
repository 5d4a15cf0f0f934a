"""The same plugin in a process of its own: calls, streams, failures, cancellation, deadlines, and what it asks of its host."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import os
import zlib
import zoneinfo
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dotmac_isp.plugins.core.errors import (
    CallError,
    DeadlineError,
    DiscoveryError,
    LicenceError,
    NotReady,
    ProcessEndedError,
    SecretMissingError,
    StepError,
    StorageConflictError,
)
from dotmac_isp.plugins.core.model import HealthStatus, PluginContext, PluginState

if TYPE_CHECKING:
    from dotmac_isp.plugins.core import PluginManager


ECHO = """
async def ping(self, value): return value
def plainly(self, a, /, b=2, *rest, key=3, **more): return [a, b, list(rest), key, more]
async def pid(self): return __import__("os").getpid()
"""


async def start(jails: PluginManager, plugin_id: str, tenant_id: str | None = None) -> Any:
    await jails.load(plugin_id, tenant_id=tenant_id)
    await jails.start_plugin(plugin_id, tenant_id=tenant_id)
    return jails.get(plugin_id, tenant_id=tenant_id)


async def test_a_call_runs_in_a_process_of_its_own_and_values_arrive_as_what_they_were(jails: Any, jailed: Any) -> None:
    jailed("echo", ECHO)
    echo = await start(jails, "echo", "t1")
    assert await echo.pid() != os.getpid()
    berlin = dt.datetime(2026, 10, 25, 2, 30, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"), fold=1)
    values = [
        None, True, 1, 2**63, -(2**70), 1.5, "ü", b"\x00\xff", bytearray(b"x"), (1, (2, [3])), {1, 2}, frozenset({"a"}),
        {"a": {"b": (1,)}}, {1: "one", (1, 2): "pair"}, Decimal("1.10"), dt.date(2026, 1, 2), berlin,
        dt.datetime(2026, 1, 1),  # noqa: DTZ001
        dt.time(1, 2, tzinfo=dt.UTC), dt.timedelta(days=1, microseconds=3), Path("/x/y"),
        HealthStatus.DEGRADED, [[{"n": i, "t": (i,)} for i in range(3)]],
    ]  # fmt: skip
    for value in values:
        answer = await echo.ping(value)
        assert (answer, type(answer)) == (value, type(value))
    assert (await echo.ping(berlin)).fold == 1


async def test_arguments_arrive_as_python_binds_them_and_defaults_are_the_plugins_own(jails: Any, jailed: Any) -> None:
    jailed("echo", ECHO)
    echo = await start(jails, "echo")
    assert await echo.plainly(1) == [1, 2, [], 3, {}]
    assert await echo.plainly(1, 5, 6, key=7, z=8) == [1, 5, [6], 7, {"z": 8}]
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        await echo.plainly()


async def test_a_value_of_sixteen_megabytes_crosses_in_both_directions(jails: Any, jailed: Any) -> None:
    jailed("echo", ECHO)
    echo = await start(jails, "echo")
    value = os.urandom(16 * 1024 * 1024)
    assert await echo.ping(value) == value
    with pytest.raises(Exception, match="too much for one call"):
        await echo.ping(value + value)
    assert await echo.ping(1) == 1


async def test_what_cannot_cross_is_refused_with_its_types_name(jails: Any, jailed: Any) -> None:
    jailed("echo", ECHO + "\nasync def odd(self): return [{'deep': self}]\n")
    echo = await start(jails, "echo")
    with pytest.raises(TypeError, match="type object cannot cross"):
        await echo.ping(object())
    with pytest.raises(TypeError, match=r"vendor_echo\.Plugin cannot cross"):
        await echo.odd()
    assert await echo.ping("still there") == "still there"


async def test_an_exception_arrives_with_its_class_its_fields_and_its_traceback(jails: Any, jailed: Any) -> None:
    module = """
    from decimal import Decimal
    from dotmac_isp.plugins.core.errors import *
    class OddError(NotReady, ValueError):
        def __init__(self, message, number):
            super().__init__(message, retry_after=7.5)
            self.number = number
    """
    body = """
    async def known(self): raise StorageConflictError("changed", remedy="Read it again")
    async def own(self): raise OddError("odd", Decimal("1.5"))
    async def low(self): return {}["missing"]
    async def os(self): raise FileNotFoundError(2, "gone", "/x")
    async def leave(self): raise SystemExit(3)
    """
    jailed("raiser", body, module=module)
    raiser = await start(jails, "raiser")
    with pytest.raises(StorageConflictError, match=r"changed\. Read it again") as known:
        await raiser.known()
    assert known.value.remedy == "Read it again"
    with pytest.raises(NotReady, match="odd") as own:
        await raiser.own()
    assert isinstance(own.value, ValueError)
    assert (type(own.value).__name__, own.value.number, own.value.retry_after) == ("OddError", Decimal("1.5"), 7.5)
    assert "in own" in "".join(own.value.__notes__)
    with pytest.raises(KeyError) as low:
        await raiser.low()
    assert low.value.args == ("missing",)
    with pytest.raises(FileNotFoundError) as missing:
        await raiser.os()
    assert (missing.value.errno, missing.value.filename) == (2, "/x")
    with pytest.raises(CallError, match="crashed: 3") as left:
        await raiser.leave()
    assert left.value.failure.kind.value == "crashed"
    assert "in leave" in left.value.failure.traceback


async def test_a_stream_gives_its_items_as_they_are_read_and_ends_with_its_reader(jails: Any, jailed: Any) -> None:
    body = """
    made = 0
    ended = False
    async def numbers(self, upto):
        try:
            for number in range(upto):
                self.made += 1
                yield number
                if number == 90: raise LookupError("no more")
        finally:
            self.ended = True
    async def facts(self): return [self.made, self.ended]
    """
    jailed("stream", body)
    stream = await start(jails, "stream")
    assert [item async for item in stream.numbers(30)] == list(range(30))
    with pytest.raises(LookupError, match="no more"):
        async for _ in stream.numbers(100):
            pass
    made, _ = await stream.facts()
    reading = stream.numbers(1000)
    assert [await anext(reading) for _ in range(3)] == [0, 1, 2]
    assert (await stream.facts())[0] - made < 30, "it runs ahead of its reader by a few items only"
    await reading.aclose()
    assert (await stream.facts())[1] is True


async def seen(waiter: Any, what: str) -> None:
    async with asyncio.timeout(10):
        while await waiter.look() != what:  # noqa: ASYNC110 - it is in another process
            await asyncio.sleep(0.01)


async def test_cancelling_a_call_cancels_it_over_there(jails: Any, jailed: Any, until: Any) -> None:
    body = """
    seen = "nothing"
    async def wait(self):
        self.seen = "begun"
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            self.seen = "cancelled"
            raise
    async def look(self): return self.seen
    """
    jailed("waiter", body)
    waiter = await start(jails, "waiter")
    call = asyncio.create_task(waiter.wait())
    await seen(waiter, "begun")
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await seen(waiter, "cancelled")
    with pytest.raises(DeadlineError):
        await waiter.wait(context=PluginContext.within(0.1))
    await seen(waiter, "cancelled")


async def test_a_deadline_arrives_as_the_time_that_is_left(jails: Any, jailed: Any) -> None:
    body = (
        "async def left(self, context): return [context.remaining, context.tenant_id, context.user_id, context.roles]"
    )
    jailed("clock", body)
    clock = await start(jails, "clock", "t1")
    left, tenant, user, roles = await clock.left(context=PluginContext.within(50, user_id="ann", roles=("noc",)))
    assert 40 < left <= 50
    assert (tenant, user, roles) == ("t1", "ann", ("noc",))


async def test_hooks_are_answered_by_a_jailed_plugin_and_called_by_one(jails: Any, jailed: Any, vendor: Any) -> None:
    jailed(
        "there",
        """
        async def get_device_status(self, device_id, context):
            return {"device_id": device_id, "status": "up", "asked": context.request_id}
        async def ask(self):
            results = await self.api.hooks.discover_devices()
            return [list(results), [failure.message for failure in results.failures]]
        """,
    )
    vendor.install("here", "async def discover_devices(self): return [{'device_id': 'd1'}]")
    there = await start(jails, "there", "t1")
    await start(jails, "here", "t1")
    status = await jails.hooks("t1").get_device_status(device_id="x", context=PluginContext(request_id="r-1"))
    assert status == {"device_id": "x", "status": "up", "asked": "r-1"}
    assert await there.ask() == [[[{"device_id": "d1"}]], []]


async def test_a_hook_wrapper_is_refused_with_what_to_do(jails: Any, jailed: Any) -> None:
    jailed("around", "@hookimpl(wrapper=True)\ndef discover_devices(self): return (yield)")
    with pytest.raises(DiscoveryError, match=r'hook wrapper Plugin\.discover_devices cannot.*mode = "inline"'):
        await jails.load("around")


async def test_storage_secrets_settings_and_files_are_the_instances_own(
    jails: Any, jailed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ECHO_TOKEN", "s3cret")
    module = """
    from decimal import Decimal
    from dotmac_isp.plugins.core.settings import PluginSettings
    class Settings(PluginSettings):
        price: Decimal = Decimal("1.10")
        names: tuple[str, ...] = ("a", "b")
    """
    body = """
    async def on_settings_changed(self, changes): self.changes = [[one.key, one.after] for one in changes]
    async def settings(self): return [self.api.settings.price, self.api.settings.names, getattr(self, "changes", None)]
    async def secret(self, name): return (await self.api.secrets.require(name)).reveal()
    async def use(self):
        storage = self.api.storage
        first = await storage.put("k", {"n": 1}, expected_version=0)
        for _ in range(3):
            last = await storage.update("k", lambda value: {"n": value["n"] + 1})
        lease = await storage.acquire_lease("turn", ttl=30)
        other = await storage.acquire_lease("turn", ttl=30)
        await storage.put("k", 5, lease=lease)
        await lease.renew()
        await lease.release()
        return [first.version < last.version, last.value, [one.key for one in await storage.list()], other, lease.held]
    async def watch(self):
        watching = self.api.storage.watch("w")
        await self.api.storage.put("w1", 1)
        await self.api.storage.delete("w1")
        changes = [await anext(watching), await anext(watching)]
        await watching.aclose()
        return [[one.key, one.document and one.document.value] for one in changes]
    async def clash(self): await self.api.storage.put("k", 1, expected_version=0)
    async def file(self):
        (self.api.data_dir / "note").write_text("kept")
        return str(self.api.data_dir)
    """
    manifest = 'settings = "vendor_echo:Settings"\n[echo.secrets]\noptional = ["echo-token"]'
    jailed("echo", body, module=module, manifest=manifest)
    echo = await start(jails, "echo", "t1")
    assert await echo.settings() == [Decimal("1.10"), ("a", "b"), None]
    await jails.configure("echo", {"price": "2.20"}, tenant_id="t1")
    assert await echo.settings() == [Decimal("2.20"), ("a", "b"), [["price", Decimal("2.20")]]]
    assert await echo.secret("echo-token") == "s3cret"
    with pytest.raises(Exception, match="not-mine"):
        await echo.secret("not-mine")
    assert await echo.use() == [True, {"n": 4}, ["k"], None, False]
    assert await echo.watch() == [["w1", 1], ["w1", None]]
    with pytest.raises(StorageConflictError):
        await echo.clash()
    assert (Path(await echo.file()) / "note").read_text() == "kept"
    monkeypatch.delenv("ECHO_TOKEN")
    with pytest.raises(SecretMissingError, match="echo-token"):
        await echo.secret("echo-token")


async def test_logs_numbers_tasks_and_licence_counts_reach_the_host(
    jails: Any, jailed: Any, until: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    body = """
    async def talk(self):
        self.api.logger.warning("%s is odd", 5, extra={"device": "d1"})
        print("printed")
        __import__("logging").getLogger("lib").error("of a library")
        self.api.metrics.count("talks", 2, kind="x")
        self.api.count_licensed("devices", 3)
    async def fail(self):
        async def work(): raise RuntimeError("task failed")
        self.api.spawn(work(), name="doomed")
    """
    jailed("talker", body)
    talker = await start(jails, "talker", "t1")
    await talker.talk(context=PluginContext(request_id="r-9"))
    await until(lambda: "[lib] of a library" in caplog.text)
    record = next(one for one in caplog.records if "5 is odd" in one.getMessage())
    assert (record.name, record.plugin, record.tenant, record.operation, record.request_id, record.device) == (
        "dotmac.plugin.talker", "talker", "t1", "talk", "r-9", "d1",
    )  # fmt: skip
    assert "[stdout] printed" in caplog.text
    await until(lambda: b'talks_total{kind="x",plugin="talker",tenant="t1"} 2.0' in jails.telemetry.render())
    await talker.fail()
    await until(lambda: "task doomed failed: RuntimeError: task failed" in caplog.text)


async def test_a_licence_without_room_is_refused_in_the_plugins_own_code(
    make_host: Any, jailed: Any, patient: Any
) -> None:
    from dotmac_isp.plugins.core.licensing import CommunityLicences

    class Full(CommunityLicences):
        def count(self, instance: Any, limit: str, amount: int) -> str | None:
            return f"no room for {amount} {limit}"

    jailed("counter", "def more(self):\n    self.api.count_licensed('devices', 4)")
    async with make_host(licences=Full(), limits=patient) as host:
        counter = await start(host, "counter")
        with pytest.raises(LicenceError, match="no room for 4 devices"):
            await counter.more()


async def test_cleanups_run_in_the_process_and_tasks_end_with_the_instance(jails: Any, jailed: Any) -> None:
    body = """
    async def initialize(self):
        self.api.on_cleanup(lambda: (self.api.data_dir / "cleaned").touch())
    async def activate(self):
        self.api.spawn(asyncio.sleep(1000), name="beside")
    async def folder(self): return str(self.api.data_dir)
    """
    jailed("tidy", body)
    tidy = await start(jails, "tidy")
    folder = Path(await tidy.folder())
    await jails.unload("tidy")
    assert (folder / "cleaned").exists()


async def test_calls_under_way_fail_with_the_reason_when_the_process_ends(jails: Any, jailed: Any, until: Any) -> None:
    body = """
    async def wait(self): await asyncio.sleep(100)
    def die(self): __import__("os")._exit(5)
    """
    jailed("mortal", body)
    mortal = await start(jails, "mortal")
    waiting = asyncio.create_task(mortal.wait())
    await asyncio.sleep(0)
    with pytest.raises(ProcessEndedError, match="exit code 5"):
        await mortal.die()
    with pytest.raises(ProcessEndedError, match="exit code 5"):
        await waiting
    await until(lambda: jails.status("mortal").state is PluginState.FAILED)
    assert "exit code 5" in jails.status("mortal").reason


async def test_a_constructor_that_fails_fails_the_load_and_leaves_no_process(jails: Any, jailed: Any) -> None:
    jailed("broken", "def __init__(self, api):\n    raise ValueError('not today')")
    with pytest.raises(StepError, match="not today"):
        await jails.load("broken")
    assert jails.status("broken").isolation == {}


async def test_status_says_where_an_instance_runs(jails: Any, jailed: Any, vendor: Any) -> None:
    jailed("there", "pass")
    vendor.install("here", "pass")
    await start(jails, "there")
    await start(jails, "here")
    there, here = jails.status("there"), jails.status("here")
    assert (there.isolation["mode"], here.isolation["mode"]) == ("jailed", "inline")
    assert set(there.isolation["guarantees"]) == {"memory", "cpu", "processes", "files", "network", "syscalls"}
    assert there.as_dict()["isolation"]["mode"] == "jailed"


async def test_a_host_that_stopped_leaves_no_control_group_and_no_process(
    make_host: Any, jailed: Any, patient: Any, home: Path
) -> None:
    jailed("echo", ECHO)
    before = left_groups()
    async with make_host(limits=patient) as host:
        await start(host, "echo", "t1")
        pid = host.status("echo", tenant_id="t1").isolation["pid"]
        zygote = host._house._hosts._nursery.zygote._process.pid
    assert not [number for number in (pid, zygote) if Path(f"/proc/{number}").exists()]  # noqa: ASYNC240 - a test may look
    assert not list((home / "run" / "cells").glob("*"))
    own = "dotmac-" + format(zlib.crc32(os.fsencode(os.path.realpath(home))), "08x")  # noqa: ASYNC240
    assert own not in left_groups() - before


def left_groups() -> set[str]:
    return {path.name for path in Path("/sys/fs/cgroup").glob("**/dotmac-????????")}
