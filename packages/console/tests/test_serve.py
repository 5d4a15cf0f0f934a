"""`dotmac-plugins serve`: start, signals, one per home, reload, metrics."""

from __future__ import annotations

import json
import os
import signal
import stat
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Home, Site

PLAIN = "from dotmac_isp.plugins.core.base import BasePlugin\n\n\nclass Plugin(BasePlugin):\n    pass\n"
SLOW = PLAIN.replace(
    "    pass", "    async def deactivate(self):\n        import asyncio\n        await asyncio.sleep(600)"
)


def states(home: Home) -> dict[str, str]:
    return {f"{one['plugin_id']}@{one['tenant_id'] or '-'}": one["state"] for one in home.ask("list")["instances"]}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_it_starts_what_is_installed_for_every_tenant_with_a_file_and_says_what_did_not_start(
    home: Home, site: Site
) -> None:
    site.greeter()
    site.install("broken", code=site.BROKEN)
    site.install("off")
    site.install("bad_manifest", manifest="colour = 'red'\n")
    home.tenant("acme")
    home.tenant("beta", plugins={"off": {"enabled": False}})
    home.tenant("-")
    (home.folder / "tenants" / "damaged.json").write_text("{")
    with home.serve() as host:
        assert "started      greeter@acme  1.2" in host.output
        assert "started      greeter@-  1.2" in host.output
        assert "not started  broken@acme  failed: initialize: no luck today" in host.output
        assert "off          off@beta" in host.output
        assert "not started  every plugin@damaged" in host.output
        assert "colour" in host.output
        found = states(home)
        assert found["greeter@acme"] == found["greeter@beta"] == found["greeter@-"] == found["off@acme"] == "active"
        assert found["broken@acme"] == "failed"
        assert found["off@beta"] == "disabled"
        host.signal(signal.SIGTERM)
        assert host.wait() == 0
        assert not home.socket.exists()


@pytest.mark.slow
def test_a_plugin_that_hangs_in_its_start_delays_no_other_and_not_the_host(home: Home, site: Site) -> None:
    hanging = "    async def activate(self):\n        import asyncio\n        await asyncio.sleep(600)"
    site.install("aaa_slow", code=PLAIN.replace("    pass", hanging))
    site.install("needs", manifest='[needs.requires]\naaa_slow = ""\n')
    site.greeter()
    for number in range(20):
        home.tenant(f"tenant-{number}")
    with home.serve() as host:
        assert host.output.index("started      greeter@tenant-19") < host.output.index("ready:")
        assert "takes long; the host does not wait for it" in host.output
        found = states(home)
        assert {found[f"greeter@tenant-{number}"] for number in range(20)} == {"active"}
        assert found["aaa_slow@tenant-0"] == "activating"
        host.signal(signal.SIGTERM)
        host.signal(signal.SIGTERM)
        assert host.wait() == 0


@pytest.mark.slow
def test_sigint_stops_it_and_a_second_one_hurries(home: Home, site: Site) -> None:
    site.install("slow", code=SLOW)
    home.tenant("acme")
    with home.serve() as host:
        host.signal(signal.SIGINT)
        host.wait_for("deactivating")
        host.signal(signal.SIGINT)
        assert host.wait() == 0
        assert "without waiting" in host.output


def test_the_folder_and_the_socket_are_their_owners_only(home: Home) -> None:
    home.folder.chmod(0o755)
    with home.serve():
        assert mode(home.folder) == 0o700
        assert mode(home.socket) == 0o600
        assert mode(home.folder / "host.lock") == 0o600


def test_a_second_host_is_refused_with_the_pid_of_the_first(home: Home) -> None:
    with home.serve() as host:
        done = home.run("serve")
        assert done.returncode == 1
        assert f"pid {host.pid}" in done.stderr
        assert "Traceback" not in done.stderr
        assert home.ask("list")["host"]["pid"] == host.pid


@pytest.mark.slow
def test_a_host_that_was_killed_leaves_nothing_in_the_way(home: Home, site: Site) -> None:
    site.greeter()
    home.tenant("acme")
    with home.serve() as host:
        host.kill()
        assert home.socket.exists()
        listed = home.run("list")
        assert "no host is running" in listed.stderr
    with home.serve() as host:
        assert states(home)["greeter@acme"] == "active"
        assert home.ask("list")["host"]["pid"] == host.pid


def test_a_file_in_the_sockets_place_is_not_removed(home: Home) -> None:
    home.socket.write_text("something of the operator's")
    done = home.run("serve")
    assert done.returncode == 1
    assert "no socket" in done.stderr
    assert home.socket.read_text() == "something of the operator's"


@pytest.mark.slow
def test_a_required_plugin_that_fails_ends_the_host_with_the_reason(home: Home, site: Site) -> None:
    site.install("broken", code=site.BROKEN)
    site.greeter()
    home.tenant("acme")
    done = home.run("serve", "--require", "broken")
    assert done.returncode == 1
    assert "a required plugin does not run: broken@acme failed: initialize: no luck today" in done.stderr
    missing = home.run("serve", "--require", "greter")
    assert missing.returncode == 1
    assert "Did you mean 'greeter'?" in missing.stderr
    with home.serve("--require", "greeter"):
        assert states(home)["greeter@acme"] == "active"


def test_safe_mode_keeps_plugins_off(home: Home, site: Site) -> None:
    site.greeter()
    site.install("plain")
    home.tenant("acme")
    with home.serve("--safe-mode", "greeter"):
        found = states(home)
        assert (found["greeter@acme"], found["plain@acme"]) == ("disabled", "active")
    with home.serve("--safe-mode", "all"):
        assert set(states(home).values()) == {"disabled"}


def get(url: str) -> tuple[int, str]:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.status, answer.read().decode()


def test_metrics_and_health_are_served_where_it_was_told(home: Home, site: Site) -> None:
    site.greeter()
    home.tenant("acme")
    with home.serve("--metrics", "127.0.0.1:0") as host:
        url = next(line.split()[1] for line in host.output.splitlines() if line.startswith("metrics"))
        with host.connect() as line:
            assert line.ask("call", plugin_id="greeter", method="greet", tenant="acme", args=["you"])["result"]
        status, page = get(url)
        assert status == 200
        assert 'dotmac_plugin_calls_total{operation="greet",plugin="greeter",tenant="acme"} 1.0' in page
        status, health = get(url.replace("/metrics", "/healthz"))
        assert (status, json.loads(health)["ready"]) == (200, True)
        taken = home.other("other").run("serve", "--metrics", url.split("/")[2])
        assert taken.returncode == 1
        assert "port 0 picks a free one" in taken.stderr


def test_json_logs_are_json_and_name_the_caller_of_each_administrative_call(home: Home, site: Site) -> None:
    site.greeter()
    home.tenant("acme")
    with home.serve("--log-format", "json") as host:
        home.json("configure", "greeter", "api_token=hush-hush", "--tenant", "acme")
        host.wait_for("control configure done")
        records = [json.loads(line) for line in host.output.splitlines() if line.startswith("{")]
        audited = [one["event"] for one in records if "control configure" in one["event"]]
        assert f"by uid:{os.geteuid()}: api_token" in audited[0]
        assert "hush-hush" not in host.output


def reload(host: Any, times: int = 1) -> None:
    host.signal(signal.SIGHUP)
    host.wait_for("reload: done", times=times)


def test_sighup_applies_what_was_changed_in_files_and_leaves_the_rest_alone(home: Home, site: Site) -> None:
    site.greeter()
    site.install("plain")
    home.tenant("acme")
    home.tenant("beta")
    with home.serve() as host:
        before = {(one["plugin_id"], one["tenant_id"]): one["since"] for one in home.ask("list")["instances"]}
        home.tenant("acme", plugins={"greeter": {"configuration": {"greeting": "moin"}}})
        home.tenant("gamma")
        reload(host)
        with host.connect() as line:
            answer = line.ask("call", plugin_id="greeter", method="greet", tenant="acme", args=["you"])
        assert answer["result"]["text"] == "moin you"
        after = {(one["plugin_id"], one["tenant_id"]): one["since"] for one in home.ask("list")["instances"]}
        assert after["greeter", "acme"] != before["greeter", "acme"]
        assert after["greeter", "beta"] == before["greeter", "beta"]
        assert ("plain", "gamma") in after


def test_a_configuration_file_that_cannot_be_read_changes_nothing_in_a_running_host(home: Home, site: Site) -> None:
    site.greeter()
    home.tenant("acme")
    with home.serve() as host:
        (home.folder / "vendor_integrations.json").write_text("{ no json")
        host.signal(signal.SIGHUP)
        host.wait_for("nothing was changed")
        assert states(home)["greeter@acme"] == "active"
        done = home.run("reload")
        assert done.returncode == 1
        assert "line 1" in done.stderr


def test_reload_runs_the_version_that_was_installed_meanwhile(home: Home, site: Site) -> None:
    place = site.greeter()
    (place / "helper.py").write_text("WORD = 'one'\n")
    home.tenant("acme")
    with home.serve("--no-follow-installs") as host:
        newer = site.GREETER.replace('f"{self.api.settings.greeting} {name}"', '"version two says " + WORD')
        site.install(
            "greeter", manifest=site.GREETER_MANIFEST, code=f"from .helper import WORD\n{newer}", version="2.0"
        )
        site.install("late")
        answer = home.json("reload")
        done = {one["plugin_id"]: one for one in answer["actions"]}
        assert done["greeter"]["action"] == "reloaded"
        assert "2.0" in done["greeter"]["reason"]
        assert done["late"]["action"] == "started"
        with host.connect() as line:
            result = line.ask("call", plugin_id="greeter", method="greet", tenant="acme", args=["you"])["result"]
        assert result["text"] == "version two says one"
        site.uninstall("late")
        gone = home.json("reload")["actions"]
        assert [(one["action"], one["plugin_id"]) for one in gone] == [("unloaded", "late")]


def test_a_stop_by_the_operator_outlives_a_reload(home: Home, site: Site) -> None:
    site.greeter()
    home.tenant("acme")
    greeter = {"plugin_id": "greeter", "tenant": "acme"}
    with home.serve():
        assert home.ask("stop", **greeter)["status"]["state"] == "initialised"
        assert home.ask("reload")["actions"] == []
        assert states(home)["greeter@acme"] == "initialised"
        assert home.ask("unload", **greeter)["status"] is None
        assert home.ask("reload")["actions"] == []
        assert home.ask("start", **greeter)["status"]["state"] == "active"


def test_a_home_with_a_path_longer_than_a_socket_address_works(home: Home, site: Site) -> None:
    site.greeter()
    home = home.other("long" * 30)
    assert len(str(home.socket)) > 108
    home.tenant("acme")
    with home.serve() as host:
        listed = home.run("list")
        assert f"asked the running host (pid {host.pid})" in listed.stderr
        assert "active" in listed.stdout
        host.signal(signal.SIGTERM)
        assert host.wait() == 0
        assert not home.socket.exists()
