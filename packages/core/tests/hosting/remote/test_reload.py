"""Reload across the border: a new process takes over from the old, with its state, its settings and its turn."""

from __future__ import annotations

import asyncio
import shutil
import sys
from typing import TYPE_CHECKING, Any

import pytest

from dotmac_isp.plugins.core import PluginState
from dotmac_isp.plugins.core.errors import DiscoveryError, ReloadError

if TYPE_CHECKING:
    from dotmac_isp.plugins.core import PluginManager

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="instances are jailed on Linux")

BODY = """
async def initialize(self):
    self.seen = []

async def activate(self):
    self.port = self.api.settings.port
    if self.port == 13:
        raise OSError("13 is no port")

async def note(self, what):
    await asyncio.sleep(0.02)
    self.seen.append(what)
    return len(self.seen)

async def where(self):
    return self.port, self.api.settings.port

async def hand_over_state(self):
    return {"seen": self.seen}

async def take_over_state(self, state):
    self.seen = state["seen"]
"""
SETTINGS = "class S(PluginSettings):\n    port: int = 1\n"


@pytest.fixture
async def one(jails: PluginManager, jailed: Any) -> PluginManager:
    jailed("one", BODY, module=SETTINGS, manifest='settings = "vendor_one:S"\n')
    await jails.start_plugin("one", tenant_id="t")
    return jails


def pid(host: PluginManager) -> int:
    found: int = host.status("one", tenant_id="t").isolation["pid"]
    return found


async def test_state_and_calls_move_to_the_new_process_and_none_is_lost(one: PluginManager) -> None:
    note = one.get("one", tenant_id="t").note
    before = pid(one)
    calls = []
    for round_ in range(3):
        for number in range(20):
            calls.append(asyncio.create_task(note(f"{round_}.{number}")))
            await asyncio.sleep(0.002)
        await one.reload_plugin("one", tenant_id="t")
    assert sorted(await asyncio.gather(*calls)) == list(range(1, 61)), "nothing was lost or doubled"
    assert pid(one) != before


async def test_settings_that_cannot_change_in_place_start_another_process_and_wrong_ones_leave_the_old(
    one: PluginManager,
) -> None:
    before = pid(one)
    await one.configure("one", {"port": 2}, tenant_id="t")
    after = pid(one)
    assert after != before
    assert await one.get("one", tenant_id="t").where() == (2, 2)
    with pytest.raises(ReloadError, match="13 is no port"):
        await one.configure("one", {"port": 13}, tenant_id="t")
    assert pid(one) == after
    assert await one.get("one", tenant_id="t").where() == (2, 2)
    assert one.status("one", tenant_id="t").state is PluginState.ACTIVE


async def test_a_library_that_was_loaded_ahead_is_the_one_that_is_installed_after_an_installation(
    jails: PluginManager, jailed: Any, vendor: Any
) -> None:
    library = vendor.site / "vendor_library.py"
    library.write_text("VERSION = 1\n")
    jailed(
        "one",
        "async def version(self):\n    import vendor_library\n    return vendor_library.VERSION",
        hosting='preload = ["vendor_library"]\n',
    )
    for tenant in ("a", "b"):
        await jails.start_plugin("one", tenant_id=tenant)
    library.write_text("VERSION = 2  # another length\n")
    assert await jails.follow_installs() == []
    for tenant in ("a", "c"):
        await jails.start_plugin("one", tenant_id=tenant)
    await jails.reload_plugin("one", tenant_id="a")
    versions = [await jails.get("one", tenant_id=tenant).version() for tenant in ("a", "b", "c")]
    assert versions == [2, 1, 2], "what runs goes on with what it has"
    await jails.reload_plugin("one", tenant_id="b")
    await jails.follow_installs()
    assert not jails._house._hosts._before[:-1], "a zygote goes with the last process that it forked"


async def test_a_restart_runs_what_is_installed_and_says_so(jails: PluginManager, jailed: Any, vendor: Any) -> None:
    jailed("one", "async def version(self):\n    return self.api.info.version")
    await jails.start_plugin("one", tenant_id="t")
    (vendor.site / "vendor_one-1.0.dist-info").rename(vendor.site / "vendor_one-2.0.dist-info")
    jails.rediscover()
    status = await jails.restart_plugin("one", tenant_id="t")
    assert status.version == "2.0"
    assert await jails.get("one", tenant_id="t").version() == "2.0"


async def test_what_is_uninstalled_finishes_the_calls_in_flight_before_it_goes(
    jails: PluginManager, jailed: Any, vendor: Any
) -> None:
    jailed(
        "one",
        "async def work(self, number):\n    await asyncio.sleep(0.3)\n    return number",
        module="import asyncio\n",
    )
    await jails.start_plugin("one", tenant_id="t")
    handle = jails.get("one", tenant_id="t")
    calls = [asyncio.create_task(handle.work(number)) for number in range(20)]
    await asyncio.sleep(0.05)  # they are there
    for name in ("vendor_one-1.0.dist-info", "vendor_one"):
        shutil.rmtree(vendor.site / name)
    (change,) = await jails.follow_installs()
    assert (change.what, change.plugin_id) == ("removed", "one")
    assert "its instance was drained" in change.detail
    assert await asyncio.gather(*calls) == list(range(20))
    with pytest.raises(DiscoveryError):
        await jails.get("one", tenant_id="t").work(1)
