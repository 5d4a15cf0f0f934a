"""A running host with plugins that demand a licence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from dotmac_isp.plugins.core import HealthStatus, InstanceRef, PluginState
from dotmac_isp.plugins.core.discovery import read_manifest
from dotmac_isp.plugins.core.errors import LicenceError, ManifestError
from dotmac_isp.plugins.core.licensing import CommunityLicences, SignedLicences
from dotmac_isp.plugins.core.model import FailureKind

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("jwt", reason="PyJWT is not installed (extra licences)")

DAY = 86_400
MANIFEST = """\
licence = "required"

[one.features.olt]
methods = ["provision_olt"]
licence = "olt-pro"
"""
BODY = """
async def provision_olt(self):
    return "done"

async def free(self):
    return "free"
"""


@pytest.fixture
def plugin(vendor: Any) -> str:
    vendor.install("one", BODY, manifest=MANIFEST)
    return "one"


async def test_a_host_without_such_plugins_reads_no_licences(make_host: Any, vendor: Any) -> None:
    vendor.install("free")
    async with make_host() as host:
        await host.start_plugin("free", tenant_id="t")
        assert isinstance(host.licences, CommunityLicences)
        assert host.status("free", tenant_id="t").licence is None


async def test_without_a_licence_the_plugin_is_off_and_with_one_it_runs(
    make_host: Any, plugin: str, issuer: Any, home: Path
) -> None:
    issuer.trust_in(home)
    async with make_host() as host:
        with pytest.raises(LicenceError, match="one needs a licence, and there is none for it"):
            await host.start_plugin(plugin, tenant_id="t")
        status = host.status(plugin, tenant_id="t")
        assert status.state is PluginState.DISABLED
        assert status.licence is not None
        assert "needs a licence" in status.reason
        assert "needs a licence" in status.licence
        issuer.put(home)
        await host._review()
        status = host.status(plugin, tenant_id="t")
        assert status.state is PluginState.ACTIVE, "it starts by itself when its licence is there"
        assert status.licence is not None
        assert status.licence.startswith("licensed until ")
        assert await host.get(plugin, tenant_id="t").free() == "free"
        with pytest.raises(LicenceError, match="does not have the feature 'olt-pro'") as caught:
            await host.get(plugin, tenant_id="t").provision_olt()
        assert caught.value.failure is not None
        assert caught.value.failure.kind is FailureKind.LICENCE
        assert host.audit.latest(tenant_id="t")[-1].outcome == "licence"


async def test_a_licence_that_is_taken_away_stops_what_needs_it_and_grace_is_seen_in_health(
    make_host: Any, plugin: str, issuer: Any, home: Path
) -> None:
    issuer.trust_in(home)
    path = issuer.put(home)
    async with make_host() as host:
        await host.start_plugin(plugin, tenant_id="t")
        assert (await host.health_check(plugin, tenant_id="t")).status is HealthStatus.HEALTHY
        issuer.put(home, not_before=issuer.now - 2 * DAY, expires_at=issuer.now - DAY, grace=9 * DAY)
        await host._review()
        health = await host.health_check(plugin, tenant_id="t")
        assert health.status is HealthStatus.DEGRADED
        assert "works in its grace period until" in health.message
        assert any("works in its grace period" in one.message for one in host.problems)
        told = [one.detail for one in host.audit.latest(everything=True) if one.action == "licence"]
        assert any("works in its grace period" in one for one in told)
        path.unlink()
        await host._review()
        assert host.status(plugin, tenant_id="t").state is PluginState.DISABLED


async def test_no_more_instances_run_than_the_licence_allows(
    make_host: Any, plugin: str, issuer: Any, home: Path
) -> None:
    issuer.trust_in(home)
    issuer.put(home, tenants=("*",), limits={"instances": 2})
    async with make_host() as host:
        result = await host.load_all(plugins=[plugin], tenants=["t", "u", "v"])
        assert (len(result.succeeded), len(result.failed)) == (2, 1)
        (why,) = result.failed.values()
        assert "allows 2 instances, and this would make 3" in str(why)
        (third,) = result.failed
        first = next(ref for ref in result.succeeded)
        await host.unload(plugin, tenant_id=first.tenant_id)
        await host.start_plugin(plugin, tenant_id=third.tenant_id)


async def test_a_package_may_bring_its_vendor_s_keys(make_host: Any, vendor: Any, issuer: Any, home: Path) -> None:
    keys = f"""
    @hookimpl
    async def provide_licence_keys():
        return {{{issuer.key_id!r}: {issuer.public!r}}}
    """
    vendor.install("one", module=keys, manifest='licence = "required"\nprovides = "vendor_one"')
    vendor.install("two", manifest='licence = "required"')
    issuer.put(home)
    issuer.put(home, "two.jwt", id="L-2", plugin="two")
    async with make_host() as host:
        await host.start_plugin("one", tenant_id="t")
        with pytest.raises(LicenceError, match="came with one and counts for nothing else"):
            await host.start_plugin("two", tenant_id="t")


async def test_a_package_that_fails_to_give_its_keys_is_told_by_its_licence(
    make_host: Any, vendor: Any, issuer: Any, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    module = """
    @hookimpl
    def provide_licence_keys():
        raise SystemExit("no keys today")
    """
    vendor.install("one", module=module, manifest='licence = "required"\nprovides = "vendor_one"')
    issuer.put(home)
    async with make_host() as host:
        with pytest.raises(LicenceError, match="'acme-1', which is not among the trusted ones"):
            await host.start_plugin("one", tenant_id="t")
    assert "brings no licence keys" in caplog.text


async def test_counts_are_kept_when_the_host_stops(make_host: Any, plugin: str, issuer: Any, home: Path) -> None:
    issuer.trust_in(home)
    issuer.put(home, limits={"events_per_day": 10})
    ref = InstanceRef(plugin, "t")
    for left in (4, 2):
        async with make_host() as host:
            await host.start_plugin(plugin, tenant_id="t")
            book = host.licences
            assert isinstance(book, SignedLicences)
            assert book.count(ref, "events_per_day", 6 if left == 4 else 2) is None
            assert book.count(ref, "events_per_day", left + 1) is not None


async def test_a_plugin_counts_against_its_licence(make_host: Any, vendor: Any, issuer: Any, home: Path) -> None:
    issuer.trust_in(home)
    issuer.put(home, limits={"devices": 100})
    count = "async def count(self, n):\n    self.api.count_licensed('devices', n)"
    vendor.install("one", count, manifest='licence = "required"')
    vendor.install("free", count)
    async with make_host() as host:
        for plugin_id in ("one", "free"):
            await host.start_plugin(plugin_id, tenant_id="t")
        await host.get("one", tenant_id="t").count(100)
        with pytest.raises(LicenceError, match="100"):
            await host.get("one", tenant_id="t").count(101)
        await host.get("free", tenant_id="t").count(1_000_000)


async def test_a_book_of_the_host_application_decides_instead_of_the_folder(make_host: Any, plugin: str) -> None:
    async with make_host(licences=CommunityLicences()) as host:
        await host.start_plugin(plugin, tenant_id="t")
        assert await host.get(plugin, tenant_id="t").provision_olt() == "done"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("licence = 'maybe'", "one.licence is 'maybe'"),
        ("[one.features.a]\nlicence = ''", "one.features.a.licence is ''"),
    ],
)
def test_a_manifest_that_demands_something_else_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "dotmac-plugin.toml"
    path.write_text(f"[one]\nname = 'One'\n{text}\n")
    with pytest.raises(ManifestError) as caught:
        read_manifest(path, "one")
    assert said in str(caught.value)
