"""The commands, with and without a running host."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Home, Site

COMMANDS = """\
import asyncio
import typer
from dotmac_plugins_console import connect

app = typer.Typer()


@app.command()
def greet(name: str, tenant: str = "acme"):
    async def work():
        async with connect(tenant) as host:
            answer = await host.call("greeter", "greet", name)
            typer.echo(answer["text"])

    asyncio.run(work())


@app.command()
def crash():
    raise RuntimeError("the command's own fault")
"""


@pytest.fixture
def full(home: Home, site: Site) -> Home:
    site.greeter(
        entry_points="[dotmac_isp.commands]\n"
        "greeter = vendor_greeter.commands:app\n"
        "torn = vendor_greeter.torn:app\n"
        "wrong = vendor_greeter.commands:greet\n"
        "nowhere = not_there_at_all:app\n"
    )
    (site.folder / "vendor_greeter" / "commands.py").write_text(COMMANDS)
    (site.folder / "vendor_greeter" / "torn.py").write_text("print('imported')\nraise SystemExit(3)\n")
    site.install("broken", code=site.BROKEN)
    site.install("bad_manifest", manifest="colour = 'red'\n")
    home.tenant("acme")
    return home


@pytest.fixture
def running(full: Home) -> Iterator[Home]:
    with full.serve():
        yield full


@pytest.mark.slow
def test_with_a_running_host_every_command_asks_it(running: Home) -> None:
    listed = running.run("list")
    assert listed.returncode == 0
    assert "asked the running host (pid" in listed.stderr
    lines = listed.stdout.splitlines()
    assert any("greeter" in line and "acme" in line and "active" in line and "1.2" in line for line in lines)
    assert any("broken" in line and "no luck today" in line and "next try in" in line for line in lines)
    assert "colour" in listed.stdout
    assert "policy: no policy" in listed.stdout
    assert "\x1b" not in listed.stdout

    shown = running.run("show", "greeter", "--tenant", "acme").stdout
    for part in ("vendor_greeter:Plugin", "greeter.sing", "acme: no greeter-voice", "activating", "greeting", "hello"):
        assert part in shown
    assert "quite-secret" not in shown

    health = running.run("health")
    assert health.returncode == 1
    assert "features off for want of secrets: singing" in health.stdout
    assert running.run("health", "greeter").returncode == 0

    done = running.run("configure", "greeter", "greeting=007", "count=5", "--tenant", "acme")
    assert done.returncode == 0, done.stderr
    assert "greeting: 'hello' → '007'" in done.stdout
    stored = json.loads((running.folder / "tenants" / "acme.json").read_text())
    assert stored["plugins"]["greeter"]["configuration"] == {"greeting": "007", "count": 5}
    said = running.run("greeter", "greet", "you")
    assert (said.stdout, said.returncode) == ("007 you\n", 0)
    assert "asked the running host" in said.stderr

    wrong = running.run("configure", "greeter", "greting=x", "--tenant", "acme", "--json")
    assert wrong.returncode == 1
    assert json.loads(wrong.stdout)["error"]["type"] == "UnknownSettingError"
    assert "greeting" in wrong.stderr
    assert "Traceback" not in wrong.stderr
    unset = running.json("configure", "greeter", "--unset", "count", "--tenant", "acme")
    assert [(one["key"], one["before"], one["after"]) for one in unset["changes"]] == [("count", 5, 1)]
    now = running.json("configure", "greeter", "count=9", "--for-now", "--tenant", "acme")
    assert (now["persisted"], now["changes"][0]["layer"]) == (False, "override")
    explained = {one["key"]: one for one in running.json("explain", "greeter", "--tenant", "acme")["settings"]}
    assert explained["greeting"]["layer"] == "tenant"
    assert explained["count"]["layer"] == "override"
    assert explained["greeting"]["overrode"][0][2] == "hello"
    assert explained["api_token"]["value"] == "********"


@pytest.mark.slow
def test_tenants_and_plugins_are_switched_off_and_on_in_a_running_host(running: Home) -> None:
    def state(plugin_id: str) -> str:
        found = [one for one in running.ask("list", tenant="acme")["instances"] if one["plugin_id"] == plugin_id]
        return found[0]["state"]

    assert running.json("disable", "greeter", "--tenant", "acme")["status"]["state"] == "disabled"
    refused = running.run("start", "greeter", "--tenant", "acme")
    assert refused.returncode == 1
    assert "off for tenant acme" in refused.stderr
    assert running.json("enable", "greeter", "--tenant", "acme")["status"]["state"] == "active"
    assert running.json("tenants", "suspend", "acme")["suspended"] is True
    assert state("greeter") == "suspended"
    running.run("tenants", "resume", "acme")
    assert state("greeter") == "active"
    typo = running.run("tenants", "suspend", "acne")
    assert typo.returncode == 1
    assert "There are: acme" in typo.stderr
    assert running.json("tenants", "remove", "acme", "--yes") == {"tenant_id": "acme", "removed": True}
    assert running.json("tenants", "list")["tenants"] == []
    assert not (running.folder / "tenants" / "acme.json").exists()


def test_a_tenant_that_was_suspended_at_the_start_runs_when_it_is_resumed(home: Home, site: Site) -> None:
    site.greeter()
    home.tenant("acme", suspended=True)
    with home.serve() as host:
        assert "off          greeter@acme  suspended: the tenant is suspended" in host.output
        resumed = home.json("tenants", "resume", "acme")
        assert (resumed["suspended"], resumed["active"], resumed["failed"]) == (False, 1, {})


@pytest.mark.slow
def test_without_a_host_a_short_lived_one_answers(full: Home) -> None:
    listed = full.run("list", "--json")
    assert listed.stderr == "no host is running; asked a short-lived one\n"
    answer = json.loads(listed.stdout)
    assert answer["host"]["lasting"] is False
    assert {"host", "plugins", "instances", "not_loaded", "services", "problems", "tenants", "policy"} <= answer.keys()
    assert {"plugin_id": "greeter", "tenant_id": "acme", "reason": "no host is running"} in answer["not_loaded"]
    assert "bad_manifest" in {one["plugin_id"] for one in answer["problems"]}

    health = full.run("health", "--json")
    assert health.returncode == 1
    found = {one["plugin_id"]: one for one in json.loads(health.stdout)["instances"]}
    assert (found["greeter"]["state"], found["broken"]["status"]) == ("active", "unhealthy")
    assert "a plugin that prints" in health.stderr

    started = full.run("start", "greeter", "--tenant", "acme")
    assert "and stopped again, because no host is running" in started.stdout
    assert full.run("start", "broken").returncode == 1
    stopped = full.run("stop", "greeter", "--tenant", "acme")
    assert stopped.returncode == 1
    assert "dotmac-plugins serve" in stopped.stderr
    assert full.json("configure", "greeter", "greeting=moin", "--tenant", "acme")["persisted"] is True
    said = full.run("greeter", "greet", "you")
    assert said.stdout == "moin you\n"
    assert "no host is running" in said.stderr
    assert full.run("configure", "greeter", "count=2", "--for-now").returncode == 1
    assert full.json("reload")["actions"] == []


@pytest.mark.slow
def test_plugins_commands_load_when_they_are_used_and_a_broken_one_breaks_no_other(full: Home) -> None:
    helped = full.run("--help")
    assert helped.returncode == 0
    assert "imported" not in helped.stdout
    assert "Commands of dist-greeter." in helped.stdout
    assert "Unavailable: dist-greeter names the module" in " ".join(helped.stdout.split())
    torn = full.run("torn", "--help")
    assert torn.returncode == 1
    assert "the command 'torn' of dist-greeter is unavailable" in torn.stderr
    assert "SystemExit: 3" in torn.stderr
    assert "not a typer.Typer" in full.run("wrong").stderr
    assert full.run("nowhere").returncode == 1
    assert "greet" in full.run("greeter", "--help").stdout
    crashed = full.run("greeter", "crash")
    assert crashed.returncode == 1
    assert "RuntimeError: the command's own fault" in crashed.stderr
    assert "Traceback" not in crashed.stderr
    assert "Traceback" in full.run("--debug", "greeter", "crash").stderr


def test_a_plugin_that_is_not_there_is_told_with_the_nearest_one(full: Home) -> None:
    done = full.run("show", "greter")
    assert done.returncode == 1
    assert "Did you mean 'greeter'?" in done.stderr
    assert "colour" in full.run("show", "bad_manifest").stdout


def test_a_damaged_configuration_file_is_told_with_its_line(home: Home) -> None:
    (home.folder / "vendor_integrations.json").write_text('{\n  "vendor_integrations": [}\n')
    done = home.run("list")
    assert done.returncode == 1
    assert "line 2" in done.stderr
    assert "fix:" in done.stderr


def test_what_plugins_say_cannot_steer_the_terminal(home: Home, site: Site) -> None:
    site.install("rude", code=site.BROKEN.replace("no luck today", "\\x1b[2Jgone [red]markup[/red]"))
    home.tenant("acme")
    with home.serve() as host:
        out = home.run("list", FORCE_COLOR="1").stdout
        assert "\\x1b[2Jgone [red]markup[/red]" in out
        assert "\x1b[2J" not in out
        assert "\x1b[2J" not in host.output.split("ready:")[0].split("not started")[1]


def test_the_simulator_is_run_with_what_follows_or_its_package_is_named(home: Home, site: Site) -> None:
    from importlib import metadata

    if not metadata.entry_points(group="console_scripts", name="dotmac-voltha-simulator"):
        done = home.run("simulate")
        assert done.returncode == 1
        assert "python -m pip install dotmac-voltha-simulator" in done.stderr
        info = site.folder / "dotmac_voltha_simulator-0.1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: dotmac-voltha-simulator\nVersion: 0.1.0\n")
        (info / "entry_points.txt").write_text("[console_scripts]\ndotmac-voltha-simulator = stand_in:main\n")
        (site.folder / "stand_in.py").write_text("import sys\n\ndef main():\n    print(sys.argv)\n    return 4\n")
        done = home.run("simulate", "--olts", "2")
        assert (done.returncode, done.stdout) == (4, "['dotmac-voltha-simulator', '--olts', '2']\n")
        return
    helped = home.run("simulate", "--help")
    assert helped.returncode == 0, helped.stderr
    assert "--olts" in helped.stdout
    assert home.run("simulate", "--olts", "nonsense").returncode == 2


def test_help_loads_neither_the_runtime_nor_a_plugin(home: Home) -> None:
    import subprocess

    program = (
        "import sys; sys.argv = ['dotmac-plugins', '--help']\n"
        "from dotmac_plugins_console.__main__ import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'aiohttp', 'dotmac_isp.plugins.core.manager', 'rich', 'structlog'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=home.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "serve" in done.stdout
