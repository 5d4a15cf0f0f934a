"""What a host records: who, what and with what outcome; secrets by name only; durable when that is demanded; sinks of plugins."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dotmac_isp.plugins.core import PluginContext
from dotmac_isp.plugins.core.audit import AuditError, AuditOptions, acting, records, verify
from dotmac_isp.plugins.core.errors import PluginError

if TYPE_CHECKING:
    from dotmac_isp.plugins.core import PluginManager

VALUE = "hidden-in-plain-sight-4711"
SETTINGS = """
class Settings(PluginSettings):
    window: int = 5
    api_token: str = "first-token-value"
"""
READS = """
async def activate(self):
    await self.api.secrets.get("device-password")
async def rotate_me(self):
    return None
async def fails(self):
    raise RuntimeError("it said " + (await self.api.secrets.require("device-password")).reveal())
async def wrong(self):
    await self.api.secrets.get("somebody-elses")
"""
MANIFEST = 'settings = "vendor_reader:Settings"\n[reader.secrets]\noptional = ["device-password", "other"]\n'


@pytest.fixture
def reader(vendor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    vendor.install(
        "reader",
        READS,
        module=f"from dotmac_isp.plugins.core.settings import PluginSettings\n{SETTINGS}",
        manifest=MANIFEST,
    )
    monkeypatch.setenv("DEVICE_PASSWORD", VALUE)


def all_bytes(home: Path, names: str = "*") -> bytes:
    """Everything in the files of the host's folder."""
    return b"".join(file.read_bytes() for file in home.rglob(names) if file.is_file())


def said(host: PluginManager, action: str, tenant_id: str | None = "t") -> list[tuple[str, str]]:
    return [
        (one.outcome, one.detail or one.values.get("name", ""))
        for one in host.audit.latest(tenant_id=tenant_id)
        if one.action == action
    ]


async def test_a_host_s_records_are_in_a_chain_that_verifies(reader: None, host: PluginManager, home: Path) -> None:
    await host.start_plugin("reader", tenant_id="t")
    await host.stop()
    found = verify(home)
    assert found.ok, found.problems
    states = [one.record.outcome for one in records(home, tenant="t", action="lifecycle")]
    assert states[:4] == ["initialising", "initialised", "activating", "active"]
    assert states[-1] == "unloaded"


async def test_secret_accesses_are_recorded_by_name_and_their_values_nowhere(
    reader: None, host: PluginManager, home: Path
) -> None:
    await host.start_plugin("reader", tenant_id="t")
    handle = host.get("reader", tenant_id="t")
    for method in (handle.fails, handle.wrong):
        with pytest.raises((PluginError, RuntimeError)):
            await method()
    os.environ.pop("DEVICE_PASSWORD")
    with pytest.raises(PluginError):
        await handle.fails()
    assert said(host, "secret") == [
        ("given", "device-password"),
        ("given", "device-password"),
        ("refused", "somebody-elses"),
        ("missing", "device-password"),
    ]
    await host.rotate_secret("device-password", tenant_id="t")
    assert ("rotated", "device-password") in said(host, "secret")
    await host.stop()
    assert verify(home).ok
    everything = all_bytes(home)
    assert b"device-password" in everything
    assert VALUE.encode() not in everything


async def test_settings_are_recorded_before_and_after_without_confidential_values(
    reader: None, host: PluginManager, home: Path
) -> None:
    await host.start_plugin("reader", tenant_id="t")
    with acting("uid:12"):
        await host.configure("reader", {"window": 9, "api_token": "second-token-value"}, tenant_id="t", persist=True)
    (record,) = (one for one in host.audit.latest(tenant_id="t") if one.action == "configure")
    changes = {one["key"]: (one["before"], one["after"]) for one in record.values["changes"]}
    assert changes["window"] == (5, 9)
    assert changes["api_token"] == ("********", "********")
    assert (record.outcome, record.user_id) == ("changed", "uid:12")
    await host.configure("reader", {"window": 3}, tenant_id="not-loaded")
    (record,) = host.audit.latest(tenant_id="not-loaded")
    assert [(one["before"], one["after"]) for one in record.values["changes"]] == [(5, 3)]
    await host.audit.settled()
    assert b"token-value" not in all_bytes(home, "audit*")


async def test_switching_on_and_off_is_recorded(reader: None, host: PluginManager) -> None:
    await host.disable("reader", tenant_id="t", reason="by contract")
    await host.enable("reader", tenant_id="t")
    assert said(host, "configure") == [("disabled", "by contract"), ("enabled", "")]


async def test_a_refused_call_is_recorded_with_user_and_request(reader: None, host: PluginManager, home: Path) -> None:
    await host.load("reader", tenant_id="t")
    with pytest.raises(PluginError):
        await host.get("reader", tenant_id="t").rotate_me(context=PluginContext(user_id="alice", request_id="r-1"))
    await host.audit.settled()
    (entry,) = records(home, tenant="t", action="call rotate_me")
    assert (entry.record.user_id, entry.record.request_id) == ("alice", "r-1")
    assert entry.record.outcome == "not active"


async def test_in_durable_mode_calls_return_when_their_records_are_on_the_disk(
    reader: None, make_host: Any, home: Path, tmp_path: Path
) -> None:
    def after_a_loss_of_power(**fields: Any) -> list[str]:
        """What the next host finds: here in a copy of the folder as it is now."""
        copy = Path(tempfile.mkdtemp(dir=tmp_path))
        for path in home.glob("audit*"):
            shutil.copy(path, copy)
        found = [one.record.outcome for one in records(copy, tenant="t", **fields)]
        assert verify(copy).ok
        return found

    async with make_host(audit=AuditOptions(durable=True, group=30.0)) as host:
        await host.start_plugin("reader", tenant_id="t")
        assert "active" in after_a_loss_of_power()
        with pytest.raises(RuntimeError):
            await host.get("reader", tenant_id="t").fails()
        assert after_a_loss_of_power(action="call fails") == ["error"]
        await host.configure("reader", {"window": 7}, tenant_id="t")
        assert after_a_loss_of_power(action="configure") == ["changed"]
        await host.hooks("t").discover_devices()
        (mode,) = host.audit._writer._store._connection.execute("PRAGMA synchronous").fetchone()
        assert mode == 2


async def test_in_durable_mode_a_record_that_cannot_be_written_is_an_error(
    reader: None, make_host: Any, home: Path
) -> None:
    async with make_host(audit=AuditOptions(durable=True)) as host:
        await host.start_plugin("reader", tenant_id="t")
        connection = host.audit._writer._store._connection
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(AuditError, match="full"):
            await host.disable("reader", tenant_id="t", reason="a long reason " * 200_000)
        connection.execute("PRAGMA max_page_count = 1000000")
    assert verify(home).ok


async def test_the_environment_chooses_how_the_trail_is_kept(
    make_host: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOTMAC_AUDIT_DURABLE", "yes")
    monkeypatch.setenv("DOTMAC_AUDIT_FILE", str(home / "lines.jsonl"))
    async with make_host() as host:
        status = host.audit.status()
        assert status["durable"]
        assert "file" in status["sinks"]
        assert status["signing"].startswith("ed25519")


async def test_a_trail_that_cannot_be_written_keeps_the_host_from_starting(make_host: Any, home: Path) -> None:
    (home / "audit.sqlite3").write_bytes(b"garbage" * 500)
    with pytest.raises(AuditError):
        await make_host().start()


SINK = """
class Sink:
    async def write(self, records):
        if open_doors.get("refuse"):
            raise RuntimeError("no room")
        said.extend((one.tenant_id, one.action, one.outcome) for one in records)
"""


async def test_a_plugin_of_the_system_tenant_may_give_a_sink_that_gets_the_records_of_all(
    vendor: Any, make_host: Any, until: Any
) -> None:
    vendor.install("collecting", "async def provide_audit_sink(self):\n    return Sink()", module=SINK)
    vendor.install("other")
    async with make_host() as host:
        await host.start_plugin("collecting")
        await host.start_plugin("other", tenant_id="t")
        await until(lambda: ("t", "lifecycle", "active") in vendor.said)
        vendor.open_doors["refuse"] = True
        await host.stop_plugin("other", tenant_id="t")
        await until(lambda: host.audit.status()["sinks"]["plugin collecting"]["failures"])
        assert host.status("collecting").state.value == "active"
        vendor.open_doors.clear()
        await until(lambda: ("t", "lifecycle", "deactivating") in vendor.said)
        assert sum(action == "call audit sink write" for _, action, _ in vendor.said) == 0


async def test_a_provider_module_may_give_a_sink(vendor: Any, make_host: Any, until: Any) -> None:
    place = vendor.install("shipping", manifest='provides = "vendor_shipping.provider"\n')
    (place / "provider.py").write_text(
        "from vendor_journal import said, open_doors\n"
        "from dotmac_isp.plugins.core import hookimpl\n"
        f"{SINK}\n\n@hookimpl\ndef provide_audit_sink():\n    return Sink()\n"
    )
    async with make_host() as host:
        await host.start_plugin("shipping", tenant_id="t")
        await until(lambda: ("t", "lifecycle", "active") in vendor.said)


async def test_two_managers_one_after_the_other_continue_the_chain(reader: None, make_host: Any, home: Path) -> None:
    for _ in range(2):
        async with make_host() as host:
            await host.load("reader", tenant_id="t")
    found = verify(home)
    assert found.ok
    (chain,) = (one for one in found.chains if one.tenant == "t")
    assert chain.records == chain.last
    connection = sqlite3.connect(home / "audit.sqlite3")
    ((heads,),) = connection.execute("SELECT count(*) FROM claims WHERE kind = 'head' AND tenant = 't'")
    connection.close()
    assert heads == 1
