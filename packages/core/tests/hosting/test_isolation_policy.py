"""Who runs where, and what is demanded: the table `[isolation]` of the policy, the scenario, the manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dotmac_isp.plugins.core.discovery import Hosting, InstalledPlugin, Manifest
from dotmac_isp.plugins.core.errors import ConfigurationError, PluginError, UnknownSettingError
from dotmac_isp.plugins.core.hosting import read_isolation
from dotmac_isp.plugins.core.manager._hosts import choose_place
from dotmac_isp.plugins.core.model import PluginState, SecurityLevel

STANDARD = SecurityLevel.STANDARD
FILE = Path("policy.toml")


def plugin(*, mode: Any = None, level: SecurityLevel = STANDARD) -> InstalledPlugin:
    manifest = Manifest(id="p", name="p", version="1", security_level=level, hosting=Hosting(mode=mode))
    return InstalledPlugin(
        id="p", manifest=manifest, module="p", class_name="P", distribution="p", version="1", editable=False, manifest_path=FILE
    )  # fmt: skip


def rules(
    table: dict[str, Any], plugin_id: str = "p", tenant: str | None = "t1", level: SecurityLevel = STANDARD
) -> Any:
    return read_isolation({"isolation": table}, FILE).rules(plugin_id, tenant, level)


def test_the_first_that_says_something_decides_where_an_instance_runs() -> None:
    nobody, policy = rules({}), rules({"mode": "inline"})
    jailed = ("jailed", "the scenario 'production'")
    assert choose_place(plugin(mode="jailed"), policy, jailed).mode == "inline"
    assert choose_place(plugin(mode="inline"), nobody, jailed).mode == "jailed"
    assert choose_place(plugin(mode="jailed"), nobody, None).mode == "jailed"
    assert choose_place(plugin(), nobody, None) == ("inline", "nobody says otherwise")
    system = plugin(mode="jailed", level=SecurityLevel.SYSTEM)
    assert choose_place(system, nobody, jailed).mode == "inline"
    assert choose_place(system, rules({"mode": "jailed"}), None).mode == "jailed"


def test_tenants_stand_over_plugins_over_levels_over_all() -> None:
    table = {
        "mode": "inline",
        "limits": {"memory": "1 MiB", "cpu": 1},
        "kafka_hosts": ["a"],
        "levels": {"standard": {"limits": {"memory": "2 MiB"}, "require": {"cpu": "enforced"}}},
        "plugins": {"*": {"limits": {"memory": "3 MiB"}}, "p": {"mode": "jailed"}, "q": {"mode": "inline"}},
        "tenants": {"t*": {"plugins": {"p": {"limits": {"memory": "4 MiB"}, "kafka_hosts": ["b"]}}}},
    }
    found = rules(table)
    assert (found.mode, found.limits.given(), found.kafka_hosts) == (
        "jailed",
        {"memory": 4 << 20, "cpu": 1},
        ("a", "b"),
    )
    assert (found.require["cpu"], found.require["memory"]) == ("enforced", "advisory")
    assert rules(table, tenant="other").limits.given()["memory"] == 3 << 20
    assert rules(table, plugin_id="q", level=SecurityLevel.MINIMAL).mode == "inline"
    assert rules({}, level=SecurityLevel.SYSTEM).require == {}


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ({"mode": "prison"}, r"isolation\.mode is 'prison'"),
        ({"mood": "inline"}, r"isolation\.mood is not known.*'mode'"),
        ({"require": {"memory": "much"}}, r"isolation\.require\.memory is 'much'"),
        ({"require": {"memry": "none"}}, r"isolation\.require\.memry is not known"),
        ({"levels": {"high": {}}}, r"isolation\.levels\.high is not known"),
        (
            {"tenants": {"t": {"plugins": {"p": {"require": {"disk": "none"}}}}}},
            r"plugins\.p\.require\.disk is not known",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_key(table: dict[str, Any], key: str) -> None:
    with pytest.raises((ConfigurationError, UnknownSettingError), match=key):
        read_isolation({"isolation": table}, FILE)


async def test_with_a_policy_what_runs_inline_must_be_accepted(make_host: Any, vendor: Any, home: Path) -> None:
    vendor.install("free", "pass")
    (home / "policy.toml").write_text("[isolation]\n")
    async with make_host() as host:
        with pytest.raises(PluginError, match=r"would run inline \(nobody says otherwise\), and the policy demands"):
            await host.load("free")
        assert host.status("free").state is PluginState.DISABLED
    (home / "policy.toml").write_text('[isolation.plugins.free]\nmode = "inline"\n')
    async with make_host() as host:
        assert (await host.load("free")).state is PluginState.INITIALIZED
        (home / "policy.toml").write_text("[isolation]\nmode = 5\n")
    with pytest.raises(ConfigurationError, match=r"isolation\.mode"):
        await make_host().start()
