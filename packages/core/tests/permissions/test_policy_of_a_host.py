"""A running host under a policy: activation, calls, and what happens when the file changes."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from dotmac_isp.plugins.core import PluginContext, PluginState
from dotmac_isp.plugins.core.audit import compliance_report, records, verify
from dotmac_isp.plugins.core.errors import ConfigurationError, PermissionDeniedError
from dotmac_isp.plugins.core.model import FailureKind
from dotmac_isp.plugins.core.permissions import NO_POLICY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MANIFEST = """\
permissions = ["network.fiber.manage"]
security_level = "elevated"

[one.features.olt]
permission = "network.olt.configure"
methods = ["provision_olt", "get_device_status"]
"""
BODY = """
async def provision_olt(self):
    return "done"

async def free(self):
    return "free"

async def get_device_status(self, device_id):
    return {"device_id": device_id, "status": "up"}
"""
GRANTED = """\
[permissions]
max_security_level = "elevated"
[permissions.plugins.one]
allow = ["network.*"]
[permissions.roles.noc]
allow = ["network.olt.*"]
"""
NOC = PluginContext(user_id="ann", roles=("noc",))
OTHER = PluginContext(user_id="ben", roles=("field",))


@pytest.fixture
def policy(home: Path) -> Callable[[str], None]:
    """Writes `policy.toml`, as an editor does: beside it first, then in its place."""

    def write(text: str) -> None:
        (home / "policy.new").write_text(text, encoding="utf-8")
        (home / "policy.new").rename(home / "policy.toml")

    return write


@pytest.fixture
def plugin(vendor: Any) -> str:
    vendor.install("one", BODY, manifest=MANIFEST)
    return "one"


async def review(host: Any) -> None:
    """The look at the file that comes by itself every few seconds."""
    await host._review()


async def test_without_a_policy_everything_is_granted_and_status_says_so(make_host: Any, plugin: str) -> None:
    async with make_host() as host:
        await host.start_plugin(plugin, tenant_id="t")
        assert await host.get(plugin, tenant_id="t").provision_olt(context=OTHER) == "done"
        assert host.status(plugin, tenant_id="t").policy == NO_POLICY == host.inventory().policy


async def test_the_caller_must_hold_what_the_feature_needs(make_host: Any, plugin: str, policy: Any) -> None:
    policy(GRANTED)
    async with make_host() as host:
        await host.start_plugin(plugin, tenant_id="t")
        handle = host.get(plugin, tenant_id="t")
        assert await handle.provision_olt(context=NOC) == "done"
        assert await handle.free(context=OTHER) == "free", "it needs no permission"
        assert await handle.provision_olt() == "done", "a call of the host itself"
        with pytest.raises(PermissionDeniedError, match="user 'ben' with role field does not hold") as caught:
            await handle.provision_olt(context=OTHER)
        assert caught.value.failure is not None
        assert caught.value.failure.kind is FailureKind.PERMISSION
        assert host.status(plugin, tenant_id="t").policy == "policy.toml (2 rules)"
        refusal = host.audit.latest(tenant_id="t")[-1]
        assert (refusal.action, refusal.outcome, refusal.user_id) == ("call provision_olt", "permission", "ben")


async def test_a_hook_passes_the_same_gate(make_host: Any, plugin: str, policy: Any) -> None:
    policy(GRANTED)
    async with make_host() as host:
        await host.start_plugin(plugin, tenant_id="t")
        hooks = host.hooks("t")
        assert (await hooks.get_device_status(device_id="d", context=NOC))["status"] == "up"
        with pytest.raises(Exception, match=r"does not hold network\.olt\.configure"):
            await hooks.get_device_status(device_id="d", context=OTHER)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "declares the security level 'elevated', and tenant t accepts at most 'standard'"),
        ("[permissions]\nmax_security_level = 'system'", "has not granted one network.fiber.manage"),
        (
            GRANTED + "[permissions.tenants.t.plugins.'*']\ndeny = ['*.fiber.manage']",
            r'\[permissions.tenants.t.plugins."\*"\] deny "\*.fiber.manage" \(policy.toml, line 8\)',
        ),
    ],
)
async def test_a_plugin_that_was_not_granted_what_it_needs_is_off_with_the_reason(
    make_host: Any, plugin: str, policy: Any, text: str, said: str
) -> None:
    policy(text)
    async with make_host() as host:
        with pytest.raises(PermissionDeniedError, match=said):
            await host.start_plugin(plugin, tenant_id="t")
        status = host.status(plugin, tenant_id="t")
        assert status.state is PluginState.DISABLED
        assert said.replace("\\", "") in status.reason


async def test_a_changed_policy_holds_from_the_next_call_and_stops_what_may_not_run(
    make_host: Any, plugin: str, policy: Any
) -> None:
    async with make_host() as host:
        await host.start_plugin(plugin, tenant_id="t")
        await host.load(plugin, tenant_id="u")
        handle = host.get(plugin, tenant_id="t")
        policy(GRANTED)
        await review(host)
        assert await handle.provision_olt(context=NOC) == "done"
        with pytest.raises(PermissionDeniedError):
            await handle.provision_olt(context=OTHER)
        policy(GRANTED + "deny = ['network.*']\n[permissions.plugins.'*']\ndeny = ['network.fiber.manage']")
        await review(host)
        for tenant in ("t", "u"):
            status = host.status(plugin, tenant_id=tenant)
            assert status.state is PluginState.DISABLED
            assert "network.fiber.manage" in status.reason
        policy(GRANTED)
        await review(host)
        assert host.status(plugin, tenant_id="t").state is PluginState.ACTIVE, "it was active before"
        assert host.status(plugin, tenant_id="u").state is PluginState.INITIALIZED, "it was only loaded"
        assert await host.get(plugin, tenant_id="t").provision_olt(context=NOC) == "done"


async def test_what_was_switched_off_otherwise_stays_off_when_the_policy_changes(
    make_host: Any, plugin: str, policy: Any
) -> None:
    policy(GRANTED)
    async with make_host() as host:
        await host.start_plugin(plugin, tenant_id="t")
        await host.disable(plugin, tenant_id="t")
        policy(GRANTED + "[permissions.users.ann]\nallow = ['*']")
        await review(host)
        assert host.status(plugin, tenant_id="t").state is PluginState.DISABLED


async def test_a_broken_new_policy_leaves_the_old_in_force_loudly(
    make_host: Any, plugin: str, policy: Any, caplog: pytest.LogCaptureFixture
) -> None:
    policy(GRANTED)
    async with make_host() as host:
        await host.start_plugin(plugin, tenant_id="t")
        handle = host.get(plugin, tenant_id="t")
        for broken in ("[permissions\n", "[permissions]\nanonymus = 'deny'", "[permissions.roles.noc]\nallow = 5"):
            caplog.clear()
            policy(broken)
            await review(host)
            assert await handle.provision_olt(context=NOC) == "done"
            with pytest.raises(PermissionDeniedError):
                await handle.provision_olt(context=OTHER)
            assert [one.levelno for one in caplog.records if one.name == "dotmac.policy"] == [logging.ERROR]
            assert "policy.toml (2 rules) as it was before an error: " in host.inventory().policy
            (problem,) = [one for one in host.problems if one.severity == "error"]
            assert "stays in force" in problem.message
            record = [one for one in host.audit.latest(everything=True) if one.action == "policy"][-1]
            assert record.outcome == "refused"
        policy(GRANTED)
        await review(host)
        assert host.inventory().policy == "policy.toml (2 rules)"
        assert not [one for one in host.problems if one.severity == "error"]


async def test_a_policy_that_is_gone_stays_in_force_until_the_host_is_started_anew(
    make_host: Any, plugin: str, policy: Any, home: Path
) -> None:
    policy(GRANTED)
    async with make_host() as host:
        await host.start_plugin(plugin, tenant_id="t")
        (home / "policy.toml").unlink()
        await review(host)
        with pytest.raises(PermissionDeniedError):
            await host.get(plugin, tenant_id="t").provision_olt(context=OTHER)
        assert "is gone" in host.inventory().policy
    async with make_host() as host:
        assert host.inventory().policy == NO_POLICY


async def test_a_first_policy_that_is_broken_changes_nothing_and_is_told(
    make_host: Any, plugin: str, policy: Any
) -> None:
    async with make_host() as host:
        await host.start_plugin(plugin, tenant_id="t")
        policy("[permissions\n")
        await review(host)
        assert await host.get(plugin, tenant_id="t").provision_olt(context=OTHER) == "done"
        assert host.status(plugin, tenant_id="t").policy.startswith("no policy: ")


async def test_a_host_does_not_start_with_a_policy_that_cannot_be_used(make_host: Any, policy: Any) -> None:
    policy("[permissions]\nanonymous = 'maybe'")
    host = make_host()
    with pytest.raises(ConfigurationError, match=r"policy\.toml, line 2"):
        await host.start()
    assert not host.running


async def test_reading_the_configuration_again_reads_the_policy_too_and_so_does_time(
    make_host: Any, plugin: str, policy: Any, until: Any
) -> None:
    async with make_host(policy_interval=0) as host:
        policy(GRANTED)
        host.reread_configuration()
        await until(lambda: host.inventory().policy == "policy.toml (2 rules)")
    policy("")
    async with make_host(policy_interval=0.01) as host:
        policy(GRANTED)
        await until(lambda: host.inventory().policy == "policy.toml (2 rules)")


async def test_an_authoriser_of_the_host_application_decides_instead_of_the_file(
    make_host: Any, plugin: str, policy: Any
) -> None:
    from dotmac_isp.plugins.core.permissions import OpenAuthoriser

    policy("")
    async with make_host(authoriser=OpenAuthoriser()) as host:
        await host.start_plugin(plugin, tenant_id="t")
        await review(host)
        assert await host.get(plugin, tenant_id="t").provision_olt(context=OTHER) == "done"


async def test_a_permission_that_nobody_knows_is_among_the_problems(make_host: Any, plugin: str, policy: Any) -> None:
    policy(GRANTED + "deny = ['network.olt.configur', 'network.fiber.manage']")
    async with make_host() as host:
        (problem,) = [one for one in host.problems if "policy.toml" in one.message]
        assert (problem.severity, problem.remedy) == ("warning", "Did you mean 'network.olt.configure'?")


async def test_a_host_explains_by_the_policy_that_is_in_force(make_host: Any, plugin: str, policy: Any) -> None:
    asked = {"tenant_id": "t", "user_id": "ann", "roles": ["noc"]}
    async with make_host() as host:
        assert host.explain_permission(plugin, "network.olt.configure", **asked) is None
        policy(GRANTED)
        await review(host)
        why = host.explain_permission(plugin, "network.olt.configure", **asked)
        assert [(one.allowed, one.line) for one in why.verdicts] == [(True, 4), (True, 6)]
        policy("[permissions")
        await review(host)
        assert host.explain_permission(plugin, "network.olt.configure", **asked) == why


async def test_who_used_which_permission_is_summed_up_in_the_trail(
    make_host: Any, plugin: str, policy: Any, home: Path
) -> None:
    policy(GRANTED)
    async with make_host() as host:
        await host.start_plugin(plugin, tenant_id="t")
        handle = host.get(plugin, tenant_id="t")
        for _ in range(3):
            await handle.provision_olt(context=NOC)
        await host.hooks("t").get_device_status(device_id="d", context=PluginContext(user_id="eve", roles=("noc",)))
        await handle.free(context=NOC)
        with pytest.raises(PermissionDeniedError):
            await handle.provision_olt(context=OTHER)
    report = compliance_report(records(home, tenant="t"), verify(home), tenant="t", since=0.0, until=2e9 * 2, made=0.0)
    assert [(one.user, one.operation, one.allowed, one.refused) for one in report.permissions] == [
        ("ann", "permission network.olt.configure", 3, 0),
        ("ben", "call provision_olt", 0, 1),
        ("eve", "permission network.olt.configure", 1, 0),
    ]
