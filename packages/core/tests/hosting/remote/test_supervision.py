"""What becomes of an instance whose process ends: named at once and truthfully, begun anew, and felt by nobody else."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from dotmac_isp.plugins.core import PluginState, hookimpl
from dotmac_isp.plugins.core.errors import PluginError, ProcessEndedError, ReloadError
from dotmac_isp.plugins.core.hosting.remote import Zygote, _cells
from dotmac_isp.plugins.core.model import FailureKind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from dotmac_isp.plugins.core import PluginManager

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="instances are jailed on Linux")

VICTIM = """
async def pid(self):
    import os
    return os.getpid()

async def identity(self):
    return [self.api.tenant_id, self.api.settings.word]

async def wait(self):
    await asyncio.sleep(60)

async def leave(self):
    import os
    os._exit(3)

async def crash(self):
    import ctypes
    ctypes.string_at(0)

async def eat(self):
    held = []
    while True:
        held.append(bytearray(b"x" * (8 << 20)))
        await asyncio.sleep(0)

async def spin(self):
    while True:
        pass

async def discover_devices(self):
    self.asked = getattr(self, "asked", 0) + 1
    if "first" not in open_doors and not (self.api.data_dir / "asked").exists():
        (self.api.data_dir / "asked").write_text("once")
        import os
        await asyncio.sleep(0.05)
        os._exit(9)
    return [{"device_id": "d1", "type": "olt"}]

async def configure_device(self, device_id, config):
    import os
    await asyncio.sleep(0.05)
    os._exit(9)
"""
SETTINGS = "class S(PluginSettings):\n    word: str = 'none'\n"
MANIFEST = 'settings = "vendor_victim:S"\n'
LIMITS = "[victim.hosting.limits]\nmemory = '96 MiB'\n"


@pytest.fixture
async def guard(make_host: Any, patient: Any) -> AsyncIterator[PluginManager]:
    """A host that begins anew soon, and gives up late."""
    limits = msgspec.structs.replace(patient, retry_first=0.5, give_up_failures=20, breaker_failures=50)
    async with make_host(limits=limits) as manager:
        yield manager


class Told:
    """Hears of failures."""

    def __init__(self) -> None:
        self.failures: list[tuple[str, Any]] = []

    @hookimpl
    async def on_failed(self, instance: Any, failure: Any) -> None:
        self.failures.append((str(instance), failure))


@pytest.fixture
async def victim(guard: PluginManager, jailed: Any) -> PluginManager:
    jailed("victim", VICTIM, module=SETTINGS, manifest=MANIFEST, hosting=LIMITS)
    jailed("neighbour", "async def ping(self):\n    return 'pong'\n")
    for tenant in ("a", "b"):
        await guard.load("victim", tenant_id=tenant, configuration={"word": f"word of {tenant}"})
        await guard.start_plugin("victim", tenant_id=tenant)
    await guard.start_plugin("neighbour", tenant_id="a")
    return guard


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("leave", "ended by itself with exit code 3"),
        ("crash", "ended by SIGSEGV (crashed)"),
        ("eat", "out of memory"),
        ("kill", "killed by SIGKILL from outside of the host"),
    ],
)
async def test_every_end_is_named_in_status_event_and_audit_and_the_instance_begins_anew_as_itself(
    victim: PluginManager, until: Any, how: str, said: str
) -> None:
    told = Told()
    victim.register(told, name="told", every_tenant=True)
    records: list[Any] = []
    victim.audit.add_sink(_Sink(records), name="test")
    handle = victim.get("victim", tenant_id="a")
    neighbours = [victim.get("victim", tenant_id="b"), victim.get("neighbour", tenant_id="a")]
    pid = victim.status("victim", tenant_id="b").isolation["pid"]
    waiting = asyncio.create_task(handle.wait())
    await asyncio.sleep(0.05)
    if how != "kill":
        with pytest.raises(ProcessEndedError, match=_plain(said)):
            await getattr(handle, how)()
    else:
        os.kill(victim.status("victim", tenant_id="a").isolation["pid"], signal.SIGKILL)
    with pytest.raises(ProcessEndedError, match=_plain(said)):
        await waiting
    await until(lambda: told.failures, seconds=10)
    await until(lambda: victim.status("victim", tenant_id="a").state is PluginState.ACTIVE, seconds=30)
    ((instance, failure),) = told.failures
    assert instance == "victim@a"
    assert failure.kind is FailureKind.PROCESS_ENDED
    assert said in failure.message
    assert any(said in record.reason for record in victim.status("victim", tenant_id="a").history)
    await victim.audit.settled()
    assert any(said in record.detail and record.action == "lifecycle" for record in records)
    assert said in victim.status("victim", tenant_id="a").parts.process.message
    assert await handle.identity() == ["a", "word of a"]
    assert await neighbours[0].identity() == ["b", "word of b"]
    assert victim.status("victim", tenant_id="b").isolation["pid"] == pid, "another tenant's has not noticed"
    assert await neighbours[1].ping() == "pong"


def _plain(text: str) -> str:
    return text.replace("(", r"\(").replace(")", r"\)")


class _Sink:
    def __init__(self, records: list[Any]) -> None:
        self._records = records

    def write(self, record: Any) -> None:
        self._records.append(record)


async def test_what_may_be_repeated_is_asked_again_of_the_next_process_and_what_may_not_fails_with_the_reason(
    victim: PluginManager,
) -> None:
    async with asyncio.timeout(30):
        found = await victim.hooks("a").discover_devices()
    assert found.by_plugin["victim"] == [{"device_id": "d1", "type": "olt"}]
    assert not found.failures
    with pytest.raises(PluginError, match="ended by itself with exit code 9"):
        await victim.hooks("a").configure_device(device_id="d1", config={})


@pytest.mark.parametrize("how", ["spin", pytest.param("stopped", marks=pytest.mark.slow)])
async def test_a_process_that_says_nothing_any_more_is_ended_and_named(
    make_host: Any, jailed: Any, patient: Any, until: Any, how: str
) -> None:
    jailed("victim", VICTIM, module=SETTINGS, manifest=MANIFEST)
    limits = msgspec.structs.replace(patient, retry_first=0.5, give_up_failures=20, call=30.0)
    async with make_host(limits=limits) as host:
        nursery = host._house._hosts._shared()
        nursery.silence, nursery.beat = 2.0, 0.5
        await host.start_plugin("victim", tenant_id="a")
        victim = host.get("victim", tenant_id="a")
        call = asyncio.create_task(victim.spin() if how == "spin" else victim.wait())
        if how == "stopped":
            os.kill(victim.status().isolation["pid"], signal.SIGSTOP)
        with pytest.raises(ProcessEndedError, match="hangs") as caught:
            await call
        assert ("used up the processor time" in str(caught.value)) is (how == "spin")
        await until(lambda: victim.state is not PluginState.ACTIVE, seconds=10)
        await until(lambda: victim.state is PluginState.ACTIVE, seconds=30)
        assert any("hangs" in one.reason for one in victim.status().history)


async def test_a_process_that_ends_again_and_again_is_given_up_with_the_reason(
    make_host: Any, jailed: Any, patient: Any, until: Any
) -> None:
    jailed("victim", VICTIM, module=SETTINGS, manifest=MANIFEST)
    limits = msgspec.structs.replace(patient, retry_first=0.5, give_up_failures=3)
    async with make_host(limits=limits) as host:
        await host.start_plugin("victim", tenant_id="a")
        for _ in range(3):
            await until(
                lambda: host.status("victim", tenant_id="a").state in {PluginState.ACTIVE, PluginState.DISABLED},
                seconds=30,
            )
            with pytest.raises(PluginError):
                await host.get("victim", tenant_id="a").leave()
            await until(lambda: host.status("victim", tenant_id="a").state is not PluginState.ACTIVE, seconds=10)
        await until(lambda: host.status("victim", tenant_id="a").state is PluginState.DISABLED, seconds=30)
        reason = host.status("victim", tenant_id="a").reason
        assert "gave up after 3 failures" in reason
        assert "exit code 3" in reason
        await host.start_plugin("victim", tenant_id="a")
        assert await host.get("victim", tenant_id="a").identity() == ["a", "none"], "the operator begins anew"


async def test_a_crash_while_another_life_takes_over_is_not_held_against_the_new_one(
    victim: PluginManager, until: Any
) -> None:
    handle = victim.get("victim", tenant_id="a")
    slow = asyncio.create_task(handle.wait())
    await asyncio.sleep(0.05)
    old = victim.status("victim", tenant_id="a").isolation["pid"]
    reload = asyncio.create_task(victim.reload_plugin("victim", tenant_id="a"))
    await until(lambda: victim.status("victim", tenant_id="a").isolation["pid"] != old, seconds=30)
    os.kill(old, signal.SIGKILL)
    with pytest.raises(ProcessEndedError):
        await slow
    await reload
    status = victim.status("victim", tenant_id="a")
    assert (status.state, status.reason) == (PluginState.ACTIVE, "reloaded")
    assert await handle.identity() == ["a", "word of a"]


@pytest.mark.parametrize(
    "other", [{"plugin_id": "other"}, {"version": "2.0"}, {"tenant_id": "b"}, {"tenant_id": None}, {"generation": 8}]
)
async def test_a_process_that_says_it_is_another_is_refused_and_ended(
    victim: PluginManager, monkeypatch: pytest.MonkeyPatch, other: dict[str, Any]
) -> None:
    """The mix-up that the handshake is for: the zygote forks what somebody else has asked for."""
    fork = Zygote.fork

    async def mixed_up(self: Any, identity: Any, *args: Any, **kwargs: Any) -> Any:
        return await fork(self, msgspec.structs.replace(identity, **other), *args, **kwargs)

    monkeypatch.setattr(Zygote, "fork", mixed_up)
    pid = victim.status("victim", tenant_id="a").isolation["pid"]
    with pytest.raises(ReloadError, match="was not taken, the one before goes on"):
        await victim.reload_plugin("victim", tenant_id="a")
    assert victim.status("victim", tenant_id="a").isolation["pid"] == pid
    assert await victim.get("victim", tenant_id="a").identity() == ["a", "word of a"]


async def test_instances_that_end_together_again_and_again_come_back_as_themselves(
    victim: PluginManager, until: Any
) -> None:
    tenants = ("a", "b")
    for _ in range(4):
        before = {one: victim.status("victim", tenant_id=one).isolation["pid"] for one in tenants}
        for pid in before.values():
            os.kill(pid, signal.SIGKILL)
        for tenant in tenants:
            await until(
                lambda tenant=tenant, old=before[tenant]: (
                    victim.status("victim", tenant_id=tenant).isolation.get("pid", old) != old
                    and victim.status("victim", tenant_id=tenant).state is PluginState.ACTIVE
                ),
                seconds=30,
            )
        for tenant in tenants:
            assert await victim.get("victim", tenant_id=tenant).identity() == [tenant, f"word of {tenant}"]


async def test_a_process_that_cannot_even_begin_tells_the_log_why(
    guard: PluginManager, jailed: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    jailed("victim", VICTIM, module=SETTINGS, manifest=MANIFEST)

    async def nonsense(self: Any, line: Any) -> Any:
        return {**(await honest(self, line)), "label": ["no", "text"]}

    honest = _cells.JailCell.open
    monkeypatch.setattr(_cells.JailCell, "open", nonsense)
    with pytest.raises(PluginError, match="ended by itself with exit code 70"):
        await guard.load("victim", tenant_id="t1")
    assert "its process could not begin: " in caplog.text
    assert "label" in caplog.text
