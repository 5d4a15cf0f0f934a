"""`[isolation]` of `policy.toml`: checked to the line, explained, and followed while the host runs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from dotmac_isp.plugins.core import HealthStatus, PluginState
from dotmac_isp.plugins.core.errors import ConfigurationError, PermissionDeniedError, UnknownSettingError

if TYPE_CHECKING:
    from pathlib import Path

PERMISSIONS = '[permissions]\nmax_security_level = "system"\n'
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="instances are jailed on Linux")


def write(home: Path, isolation: str) -> None:
    (home / "policy.toml").write_text(PERMISSIONS + isolation)


@pytest.mark.parametrize(
    ("table", "line", "said"),
    [
        ("[isolation]\nmodus = 'jailed'\n", 4, "Did you mean 'mode'"),
        ("[isolation]\nmode = 'prison'\n", 4, "Write 'inline' or 'jailed'"),
        ("[isolation.plugins.one]\nlimits = { memroy = '1 MiB' }\n", 4, "Did you mean 'memory'"),
        ("[isolation.plugins.one.limits]\nmemory = '1 elephant'\n", 4, "256 MiB"),
        ("[isolation.levels.standart]\nmode = 'jailed'\n", 3, "Did you mean 'standard'"),
        ("[isolation.tenants.t.plugins.one]\nrequire = { memory = 'mostly' }\n", 4, "Write 'enforced'"),
        ("[isolation]\n[isolation.tenants.t]\nrequire = { netwrok = 'none' }\n", 5, "Did you mean 'network'"),
        ("[isolation]\nnetworks = ['127.0.0.0/8', 'loopback']\n", 4, "Write a network"),
        ("[isolation]\nkafka_hosts = 'all'\n", 4, "kafka_hosts"),
    ],
)
async def test_what_is_wrong_is_named_with_its_line_and_what_would_be_right(
    make_host: Any, home: Path, table: str, line: int, said: str
) -> None:
    write(home, table)
    with pytest.raises(ConfigurationError, match=rf"policy\.toml, line {line}: isolation") as caught:
        await make_host().start()
    assert said in str(caught.value)
    assert isinstance(caught.value, UnknownSettingError) is ("Did you mean" in said)


async def test_explain_says_what_holds_who_says_so_and_what_that_overrode(
    make_host: Any, vendor: Any, home: Path
) -> None:
    vendor.install("one", manifest='[one.hosting]\nmode = "inline"\nlimits = { memory = "64 MiB", cpu = 0.1 }\n')
    write(
        home,
        """
[isolation]
kafka_hosts = ["kafka-*.example.net"]
limits = { processes = 8 }
[isolation.plugins."o*"]
mode = "jailed"
limits = { memory = "128 MiB" }
require = { memory = "none" }
[isolation.tenants."t*".plugins.one]
limits = { memory = 1048576 }
kafka_hosts = ["*.t.example.net"]
""",
    )
    host = make_host()
    host.read_policy()
    facts = {one.key: one for one in host.explain_isolation("one", tenant_id="t1")}
    assert (facts["mode"].value, facts["mode"].source, facts["mode"].line) == ("jailed", "isolation.plugins.o*.mode", 8)
    memory = facts["limits.memory"]
    assert (memory.value, memory.line) == (1048576, 12)
    assert "its manifest" in memory.overrode[0]
    assert "isolation.plugins.o*.limits.memory" in memory.overrode[1]
    assert (facts["limits.cpu"].value, facts["limits.cpu"].source) == (0.1, "its manifest")
    assert facts["limits.processes"].line == 6
    assert facts["require.memory"].value == "none"
    assert facts["require.files"].source == "what the level 'standard' needs"
    assert facts["kafka_hosts"].value == ("kafka-*.example.net", "*.t.example.net")
    other = {one.key: one for one in host.explain_isolation("one", tenant_id="other")}
    assert other["limits.memory"].value == 128 << 20


async def test_an_inline_instance_is_refused_where_the_policy_demands_guarantees_and_told_how_to_get_them(
    make_host: Any, vendor: Any, home: Path
) -> None:
    vendor.install("one")
    write(home, '[isolation]\nrequire = { files = "enforced", network = "enforced" }\n')
    async with make_host() as host:
        with pytest.raises(PermissionDeniedError, match="the policy demands") as caught:
            await host.start_plugin("one", tenant_id="t")
        assert "files" in str(caught.value)
        assert 'mode = "jailed"' in str(caught.value)
        assert host.status("one", tenant_id="t").state is PluginState.DISABLED
        write(home, '[isolation.plugins.one]\nmode = "inline"\n')
        await host._review(force=True)
        assert host.status("one", tenant_id="t").state is PluginState.ACTIVE, "what may run again is started"


@needs_linux
async def test_a_policy_that_changes_moves_a_running_instance_without_a_lost_call_and_stops_what_it_refuses(
    make_host: Any, vendor: Any, home: Path, patient: Any
) -> None:
    vendor.install("one", "async def pid(self):\n    import os\n    return os.getpid()")
    vendor.install("two", "async def pid(self):\n    return 2")
    write(home, "[isolation]\n[isolation.plugins.'*']\nmode = 'inline'\n")
    async with make_host(limits=patient) as host:
        for name in ("one", "two"):
            await host.start_plugin(name, tenant_id="t")
        one = host.get("one", tenant_id="t")
        assert one.status().isolation["mode"] == "inline"
        write(
            home, "[isolation.plugins.one]\nmode = 'jailed'\n[isolation.plugins.two]\nrequire = { cpu = 'enforced' }\n"
        )
        await host._review(force=True)
        status = one.status()
        assert (status.state, status.isolation["mode"]) == (PluginState.ACTIVE, "jailed")
        assert status.history[-1].reason == "the policy changed"
        assert host.status("two", tenant_id="t").state is PluginState.DISABLED
        assert "the policy demands" in host.status("two", tenant_id="t").reason
        write(home, "[isolation]\nmodus = 'jailed'\n")
        await host._review(force=True)
        assert one.status().isolation["mode"] == "jailed", "a table that cannot be used changes nothing"
        assert any("isolation.modus" in problem.message for problem in host.problems)


@needs_linux
async def test_a_guarantee_that_is_missing_warns_without_a_policy_and_refuses_with_one(
    make_host: Any, vendor: Any, home: Path, patient: Any, caplog: pytest.LogCaptureFixture
) -> None:
    vendor.install("one", manifest="[one.hosting]\nmode = 'jailed'\nlimits = { memory = 0 }\n")
    async with make_host(limits=patient) as host:
        await host.start_plugin("one", tenant_id="t")
        assert any(
            "runs with weaker isolation than its level asks for: memory is none" in one for one in caplog.messages
        )
        assert host.status("one", tenant_id="t").isolation["guarantees"]["memory"]["strength"] == "none"
        assert (await host.health_check("one", tenant_id="t")).status is HealthStatus.HEALTHY
    write(home, "[isolation]\n")
    async with make_host(limits=patient) as host:
        with pytest.raises(PermissionDeniedError, match="memory is none") as caught:
            await host.start_plugin("one", tenant_id="t")
        assert "set `memory`" in str(caught.value)
    write(home, "[isolation.plugins.one]\nlimits = { memory = '64 MiB' }\n")
    async with make_host(limits=patient) as host:
        await host.start_plugin("one", tenant_id="t")


@pytest.fixture
def patient() -> Any:
    from dotmac_isp.plugins.core import Limits

    return Limits(initialize=60.0, activate=60.0, call=20.0, blocking=20.0)
