"""How long a new credential takes from Vault to the vendor: from the poll that sees the change to the first call that uses it.

A host with the Vault plugin, a server that answers as Vault's documented API does (the one of the plugin's tests), and a plugin
that works without a pause with the password it was given last. Each round writes a new password, and waits until a call used it.
The clock starts when the server answers the poll with the new version, so that the poll's interval plays no part; what follows is
the read of the value, the comparison, the hook into the instance, its new login, and its next call. The other side is the limit.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ._measure import Figure, Sides

__all__ = ["figures"]

ROUNDS = 40
LIMIT_MS = 50.0
_ROOT = Path(__file__).resolve().parents[1]
_PLUGIN = "rotation_probe"
_CODE = """\
import time

from dotmac_isp.plugins.core import BasePlugin

used = {}


class Plugin(BasePlugin):
    async def activate(self):
        self.session = (await self.api.secrets.require("probe-password")).reveal()

    async def on_secret_rotated(self, name):
        await self.activate()

    async def work(self):
        used.setdefault(self.session, time.perf_counter())
"""
_MANIFEST = f'[{_PLUGIN}]\nname = "Probe"\n[{_PLUGIN}.secrets]\nrequired = ["probe-password"]\n'


def figures() -> list[Figure]:
    taken = asyncio.run(_measured())
    sides = Sides(ours=tuple(taken), theirs=(LIMIT_MS,) * len(taken))
    ordered = sorted(taken)
    return [
        Figure(
            name="rotation",
            what="from the change in Vault to the first call with the new credential, polling aside",
            against="the limit",
            unit="ms",
            sides=sides,
            goal=1.0,
            notes={
                "rounds": len(taken),
                "median, ms": round(statistics.median(ordered), 2),
                "longest of all rounds, ms": round(ordered[-1], 2),
            },
        )
    ]


async def _measured() -> list[float]:
    with tempfile.TemporaryDirectory() as folder:
        site, home = Path(folder) / "site", Path(folder) / "home"
        home.mkdir()
        _put_plugin(site)
        sys.path.insert(0, str(site))
        vault = _server()
        await vault.start()
        before = dict(os.environ)
        os.environ.update(VAULT_ADDR=vault.url, VAULT_TOKEN=vault.root)
        try:
            return await _rounds(vault, home)
        finally:
            os.environ.clear()
            os.environ.update(before)
            sys.path.remove(str(site))
            await vault.stop()


async def _rounds(vault: Any, home: Path) -> list[float]:
    from dotmac_isp.plugins.core import PluginManager

    (home / "vendor_integrations.json").write_text(
        '{"vendor_integrations": {"vault_secrets": {"configuration": {"poll_interval": 0.05}}}}'
    )
    space = vault.spaces[""]
    space.mounts["secret"] = {"type": "kv2", "roles": {}, "data": {}}
    versions = space.mounts["secret"]["data"].setdefault("dotmac/tenants/t/probe-password", [])
    _write(versions, "password-0")
    taken = []
    async with PluginManager(home=home, health_interval=0, metrics_interval=0) as host:
        await host.start_plugin(_PLUGIN, tenant_id="t")
        probe, used = host.get(_PLUGIN, tenant_id="t"), sys.modules["bench_rotation_probe"].used
        for number in range(1, ROUNDS + 1):
            password = f"password-{number}"
            _write(versions, password)
            while password not in used:
                await probe.work()
                await asyncio.sleep(0)
            taken.append((used[password] - vault.answered[number + 1]) * 1000)
    return taken


def _write(versions: list[dict[str, Any]], password: str) -> None:
    versions.append({"data": {"value": password}, "deletion_time": "", "destroyed": False})


def _server() -> Any:
    """The tests' server, with a note of when it first told of each version."""
    file = _ROOT / "packages" / "vault_plugin" / "tests" / "fake_vault.py"
    spec = importlib.util.spec_from_file_location("bench_fake_vault", file)
    if spec is None or spec.loader is None:
        raise RuntimeError(f"{file} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    server: Any = module.FakeVault()
    server.answered = {}
    original = server._kv2

    def noting(*arguments: Any) -> Any:
        answer = original(*arguments)
        if "current_version" in answer.get("data", {}):
            server.answered.setdefault(answer["data"]["current_version"], time.perf_counter())
        return answer

    server._kv2 = noting
    return server


def _put_plugin(site: Path) -> None:
    package, info = site / "bench_rotation_probe", site / "bench_rotation_probe-1.0.dist-info"
    package.mkdir(parents=True)
    info.mkdir()
    (package / "__init__.py").write_text(_CODE)
    (package / "dotmac-plugin.toml").write_text(_MANIFEST)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bench-rotation-probe\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[dotmac_isp.plugins]\n{_PLUGIN} = bench_rotation_probe:Plugin\n")
