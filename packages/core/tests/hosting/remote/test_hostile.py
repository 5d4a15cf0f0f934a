"""What a process may try against its host over its own connections, and what becomes of it."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import signal
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from dotmac_isp.plugins.core.errors import LifecycleError, PluginError, ProcessEndedError
from dotmac_isp.plugins.core.hosting.remote._codec import CannotCrossError, decode, encode
from dotmac_isp.plugins.core.hosting.remote._describe import MethodShape, Parameter
from dotmac_isp.plugins.core.hosting.remote._failures import WireError, from_wire, to_wire
from dotmac_isp.plugins.core.hosting.remote._identity import Identity, check_same
from dotmac_isp.plugins.core.hosting.remote._proxy import plugin_class
from dotmac_isp.plugins.core.model import PluginState

if TYPE_CHECKING:
    from dotmac_isp.plugins.core import PluginManager

#: Finds the connection of its own process, as hostile code would.
MODULE = """
import os
_PEER = []
def peer(): return _PEER[0]
def find(plugin): _PEER[:] = [plugin.api.secrets._peer]
"""
HOSTILE = """
async def initialize(self): find(self)
async def ping(self): return "here"
async def raw(self, data): peer().link._transport.write(data)
async def frame(self, frame): peer()._send(frame)
async def ask(self, name, *args):
    try:
        return await peer().call(name, args, {})
    except Exception as error:
        return f"{type(error).__name__}: {error}"
async def say(self, name, *args): peer().event(name, *args)
async def flood(self, many):
    for number in range(many): self.api.logger.warning("flood %d", number)
def hang(self):
    while True: pass
def crash(self): __import__("ctypes").string_at(0)
def leave(self): os._exit(7)
async def wait(self): await asyncio.sleep(100)
async def stubborn(self):
    while True:
        try: await asyncio.sleep(100)
        except asyncio.CancelledError: pass
"""


async def start(jails: PluginManager, plugin_id: str = "hostile", tenant_id: str | None = None) -> Any:
    await jails.start_plugin(plugin_id, tenant_id=tenant_id)
    return jails.get(plugin_id, tenant_id=tenant_id)


@pytest.fixture
def hostile(jailed: Any) -> None:
    jailed("hostile", HOSTILE, module=MODULE)


def length(size: int) -> bytes:
    return struct.pack(">I", size)


NONSENSE = {
    "garbage": length(5) + b"\xff\xfe\xfd\xfc\xfb",
    "not a list": length(len(msgspec.msgpack.encode({"a": 1}))) + msgspec.msgpack.encode({"a": 1}),
    "no such kind": length(len(msgspec.msgpack.encode([99, 1]))) + msgspec.msgpack.encode([99, 1]),
    "a huge frame": length(2**31) + b"x",
    "nested too deeply": length(200_000) + b"\x91" * 200_000,
    "a call with wrong parts": length(len(msgspec.msgpack.encode([1, "x", 2, 3])))
    + msgspec.msgpack.encode([1, "x", 2, 3]),
}


@pytest.mark.parametrize("what", NONSENSE)
async def test_nonsense_on_the_connection_ends_the_process_and_says_so(
    jails: Any, hostile: None, until: Any, what: str
) -> None:
    plugin = await start(jails)
    with pytest.raises(ProcessEndedError, match="broke the protocol"):
        await asyncio.gather(plugin.raw(NONSENSE[what]), plugin.stubborn())
    await until(lambda: jails.status("hostile").state is not PluginState.ACTIVE)
    assert "broke the protocol" in jails.status("hostile").reason


async def test_answers_to_calls_that_were_never_made_are_left_aside(jails: Any, hostile: None) -> None:
    plugin = await start(jails)
    for number in (1, 7777, 2**40):
        await plugin.frame([2, number, "an answer"])
        await plugin.frame([3, number, ["builtins:ValueError", "no"]])
        await plugin.frame([8, number, "an item"])
        await plugin.frame([9, number])
    assert await plugin.ping() == "here"


async def test_it_can_name_nothing_but_its_own(jails: Any, hostile: None) -> None:
    plugin = await start(jails, tenant_id="t1")
    for name in ("plugin.ping", "hello", "hook.provide_secret", "hook.on_activated", "storage.__class__", "make"):
        assert await plugin.ask(name) == f"LookupError: there is no {name!r} to call"
    assert "voltha-password" in await plugin.ask("secrets.get", "voltha-password")
    assert (await plugin.ask("storage.renew", 12345)).startswith("LeaseLostError")
    assert (await plugin.ask("storage.get", 5)).startswith(("TypeError", "StorageError"))
    await plugin.say("secret_changed", "voltha-password", "t2")
    await plugin.say("beat", "x")
    await plugin.say("count", 1, 2, 3)
    await plugin.say("no such event", 1)
    assert await plugin.ping() == "here"


async def test_a_flood_of_logs_is_cut_and_said(
    jails: Any, hostile: None, caplog: pytest.LogCaptureFixture, until: Any
) -> None:
    caplog.set_level(logging.WARNING)
    plugin = await start(jails)
    await plugin.flood(20_000)
    assert sum("flood" in one.getMessage() for one in caplog.records) < 5_000
    await asyncio.sleep(0.1)
    await plugin.flood(30)
    await until(lambda: "were dropped: it says too much" in caplog.text)


@pytest.mark.parametrize(("how", "reason"), [("crash", "SIGSEGV"), ("leave", "exit code 7")])
async def test_how_a_process_ended_is_named(jails: Any, hostile: None, until: Any, how: str, reason: str) -> None:
    plugin = await start(jails)
    with pytest.raises(ProcessEndedError, match=reason):
        await getattr(plugin, how)()
    await until(lambda: jails.status("hostile").state is not PluginState.ACTIVE)
    assert reason in jails.status("hostile").reason


@pytest.mark.parametrize("how", ["busy", "stopped from outside"])
async def test_a_process_that_gives_no_sign_of_life_is_ended_as_hung(
    make_host: Any, patient: Any, hostile: None, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dotmac_isp.plugins.core.hosting.remote import Nursery

    impatient = functools.partial(Nursery, beat=0.1, silence=1.5)
    monkeypatch.setattr("dotmac_isp.plugins.core.hosting.remote.Nursery", impatient)
    async with make_host(limits=patient) as host:
        plugin = await start(host)
        pid = host.status("hostile").isolation["pid"]
        call = asyncio.create_task(plugin.hang() if how == "busy" else plugin.wait())
        await asyncio.sleep(0)
        if how != "busy":
            os.kill(pid, signal.SIGSTOP)
        with pytest.raises(ProcessEndedError, match="it hangs"):
            await call


async def test_a_plugin_that_ignores_cancellation_is_released_all_the_same(
    jails: Any, hostile: None, caplog: pytest.LogCaptureFixture
) -> None:
    plugin = await start(jails)
    call = asyncio.create_task(plugin.stubborn())
    await plugin.ping()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    pid = jails.status("hostile").isolation["pid"]
    await jails.unload("hostile")
    assert not Path(f"/proc/{pid}").exists()  # noqa: ASYNC240 - a test may look
    assert "ignores its cancellation" in caplog.text


async def test_a_mix_up_of_processes_is_refused_on_both_sides(
    jails: Any, jailed: Any, hostile: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dotmac_isp.plugins.core.hosting.remote import _spawner

    jailed("other", "async def ping(self): return 1")
    genuine = _spawner.Zygote.fork

    async def swapped(self: Any, identity: Identity, *given: Any, **more: Any) -> Any:
        """The process is told that it is somebody else's."""
        wrong = msgspec.structs.replace(identity, tenant_id="t2", token="0" * 32)
        return await genuine(self, wrong, *given, **more)

    monkeypatch.setattr(_spawner.Zygote, "fork", swapped)
    with pytest.raises(PluginError, match="mix-up"):
        await start(jails, "other", "t1")
    mine = Identity(plugin_id="a", version="1", tenant_id="t1", generation=1)
    for change in ({"tenant_id": "t2"}, {"version": "2"}, {"generation": 2}, {"plugin_id": "b"}, {"token": "0"}):
        with pytest.raises(LifecycleError, match="mix-up"):
            check_same(mine, {**msgspec.to_builtins(mine), **change})
    with pytest.raises(LifecycleError, match="says nothing that names an instance"):
        check_same(mine, ["a"])


def test_names_out_of_a_description_never_become_code() -> None:
    bad = ["x(self): pass\n#", "a b", "def", "__init__", "_private", "api", "ä", ""]
    for name in bad:
        with pytest.raises(PluginError, match="cannot be"):
            plugin_class("p", "Plugin", (MethodShape(name, ()),))
    for name in ("self", "a=print(1)", "_given", "lambda", ""):
        with pytest.raises(PluginError, match="cannot be"):
            plugin_class("p", "Plugin", (MethodShape("fine", (Parameter(name, 1, False),)),))
    with pytest.raises(PluginError, match="cannot be"):
        plugin_class("p", "class", ())


@pytest.mark.parametrize(
    "name", ["builtins:SystemExit", "builtins:KeyboardInterrupt", "os:system", "builtins:eval", ":", ""]
)
def test_no_class_is_made_of_a_name_that_is_not_known(name: str) -> None:
    error = from_wire(WireError([name, "builtins:Exception"], "text", [], {"__class__": 1}, "trace"))
    assert isinstance(error, Exception)
    assert str(error) == "text"
    only = from_wire(WireError([name], "text", [], {}, ""))
    assert type(only).__mro__[1].__name__ == "PluginCrash"


def test_groups_of_exceptions_cross() -> None:
    group = ExceptionGroup("two", [ValueError("a"), KeyError("b")])
    back = from_wire(msgspec.convert(decode(encode(msgspec.to_builtins(to_wire(group)))), WireError))
    assert isinstance(back, ExceptionGroup)
    assert [type(one) for one in back.exceptions] == [ValueError, KeyError]


def test_bytes_that_are_no_values_are_refused_and_text_that_is_none_does_not_leave() -> None:
    for data in (b"", b"\xc1", encode(1) + b"\x00", b"\xc7\x02\x63ab", b"\xc7\x01\x0f\x90", b"\xd4\x01\xc0"):
        with pytest.raises(ValueError, match="are no values"):
            decode(data)
    with pytest.raises(CannotCrossError, match="surrogates"):
        encode("\ud800")


async def test_when_the_zygote_is_killed_its_instances_end_with_it_and_the_next_one_has_another(
    jails: Any, hostile: None, until: Any
) -> None:
    plugin = await start(jails)
    pid = jails.status("hostile").isolation["pid"]
    zygote = jails._house._hosts._nursery.zygote
    waiting = asyncio.create_task(plugin.wait())
    await plugin.ping()
    os.kill(zygote._process.pid, signal.SIGKILL)
    with pytest.raises(ProcessEndedError):
        await waiting
    await until(lambda: jails.status("hostile").state is not PluginState.ACTIVE)
    await until(lambda: not Path(f"/proc/{pid}").exists())
    await jails.start_plugin("hostile")
    assert await jails.get("hostile").ping() == "here"
    assert jails.status("hostile").isolation["pid"] != pid


async def test_a_library_that_starts_threads_is_not_loaded_ahead(
    jails: Any, jailed: Any, vendor: Any, caplog: pytest.LogCaptureFixture
) -> None:
    (vendor.site / "vendor_busy.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(1000,), daemon=True).start()\n"
    )
    (vendor.site / "vendor_calm.py").write_text("loaded = True\n")
    body = 'async def seen(self): return sorted(set(sys.modules) & {"vendor_busy", "vendor_calm"})'
    jailed("ahead", body, hosting='preload = ["vendor_calm", "vendor_busy", "vendor_missing"]\n')
    ahead = await start(jails, "ahead")
    assert await ahead.seen() == ["vendor_calm"]
    assert "vendor_busy is not loaded ahead for jailed instances: it starts 1 threads" in caplog.text


LOOKS_AROUND = """
async def environment(self):
    import ctypes, os
    found = [str(dict(os.environ))]
    block = ctypes.POINTER(ctypes.c_char_p).in_dll(ctypes.CDLL(None), "environ")
    for number in range(1000):  # as the C library has it
        if not block or block[number] is None: break
        found.append(str(block[number]))
    try:
        with open("/proc/self/environ", "rb") as file: found.append(str(file.read()))
    except OSError:  # refused with its own, too, where it is not dumpable
        pass
    return found
"""


async def test_the_hosts_environment_and_its_vault_token_are_not_there(
    make_host: Any, patient: Any, jailed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAULT_TOKEN", "hvs.of-the-host")
    monkeypatch.setenv("DOTMAC_DATABASE_PASSWORD", "of-the-host-too")
    jailed("curious", LOOKS_AROUND)
    async with make_host(limits=patient) as host:
        await host.start_plugin("curious", tenant_id="t1")
        seen = await host.get("curious", tenant_id="t1").environment()
    assert not [one for one in seen if "of-the-host" in one or "VAULT_TOKEN" in one]


STOPS = """
async def stop_itself(self):
    import os, signal
    os.kill(os.getpid(), signal.SIGSTOP)
    return "it goes on"
async def ping(self): return "here"
"""


async def test_a_process_that_stops_itself_goes_on_or_is_ended_as_hung(
    make_host: Any, patient: Any, jailed: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first process of a namespace cannot stop itself; elsewhere the silence is noticed."""
    from dotmac_isp.plugins.core.hosting.remote import Nursery

    impatient = functools.partial(Nursery, beat=0.1, silence=1.5)
    monkeypatch.setattr("dotmac_isp.plugins.core.hosting.remote.Nursery", impatient)
    jailed("hostile", STOPS)
    limits = msgspec.structs.replace(patient, retry_first=0.5)
    async with make_host(limits=limits) as host:
        plugin = await start(host)
        try:
            told = await plugin.stop_itself()
        except ProcessEndedError as error:
            told = str(error)
            await until(lambda: any("hangs" in one.reason for one in host.status("hostile").history))
        assert told == "it goes on" or "it hangs" in told
        await until(lambda: host.status("hostile").state is PluginState.ACTIVE, seconds=30)
        assert await host.get("hostile").ping() == "here"
