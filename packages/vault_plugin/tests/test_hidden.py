"""No secret's value is in anything that a run writes or shows."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import traceback
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from dotmac_isp.plugins.core import PluginState
from dotmac_isp.plugins.core.telemetry import configure_logging

if TYPE_CHECKING:
    from pathlib import Path

CLUMSY = """\
async def activate(self):
    secret = await self.api.secrets.require("fibre-password")
    password = secret.reveal()
    self.api.logger.warning("logging in with %s and %s", secret, password)
    await self.api.storage.put("state", {"secret": str(secret)})
    try:
        device.log_in(password)
    except Refused:
        raise CredentialsRefused(f"the device refuses {password}") from None

async def on_secret_rotated(self, name):
    await self.activate()

async def fail(self):
    password = (await self.api.secrets.require("fibre-password")).reveal()
    raise RuntimeError(f"cannot work with {password}")
"""

VALUES = ("s3cret-One/1", 's3cret"Two\\2', "s3cret Three=3")


def written(home: Path) -> dict[str, str]:
    return {str(file): file.read_bytes().decode("latin-1") for file in home.rglob("*") if file.is_file()}


async def test_nothing_that_a_run_writes_has_a_secrets_value(
    server: Any, space: Any, vendor: Any, make_host: Any, home: Path, until: Any, capfd: Any, monkeypatch: Any
) -> None:
    root, stream = logging.getLogger(), io.StringIO()
    level = root.level
    vendor.install("fibre", CLUMSY)
    vendor.device.good = {VALUES[0], VALUES[2]}
    await space.put("dotmac/system/fibre-password", value=VALUES[0])
    await space.enable("auth", "approle", {"type": "approle"})
    role = {"token_policies": [await space.reading()], "token_ttl": "2s"}
    await space.call("POST", "auth/approle/role/host", role)
    role_id = (await space.call("GET", "auth/approle/role/host/role-id"))["data"]["role_id"]
    secret_id = (await space.call("POST", "auth/approle/role/host/secret-id"))["data"]["secret_id"]
    monkeypatch.setenv("VAULT_ROLE_ID", role_id)
    monkeypatch.setenv("VAULT_SECRET_ID", secret_id)
    shown: list[str] = []
    host = make_host(space.address, kv_mount=space.mount, auth_method="approle")
    # As the reference host does it; everything, also what libraries say.
    handler = configure_logging(level=logging.DEBUG, stream=stream, redact=host.redact)
    async with host:
        await host.start_plugin("fibre", tenant_id="t")
        with pytest.raises(RuntimeError) as raised:
            await host.get("fibre", tenant_id="t").fail()
        failure = host.audit.latest(everything=True)[-1]
        shown.append(repr(failure))
        del raised  # the plugin's own exception goes to its caller as it is; what is recorded of it is not
        await space.put("dotmac/system/fibre-password", value=VALUES[1])
        await until(lambda: host.status("fibre", tenant_id="t").state is PluginState.AWAITING_SECRET)
        await space.put("dotmac/system/fibre-password", value=VALUES[2])
        await until(lambda: host.status("fibre", tenant_id="t").state is PluginState.ACTIVE)
        await asyncio.sleep(1.5)  # a renewal of the token
        monkeypatch.setenv("VAULT_SECRET_ID", "wrong-secret-id")
        await host.rotate_secret("vault-secret-id")
        server.sealed = True
        await until(lambda: host.get("vault_secrets") is not None)
        shown += [
            msgspec.json.encode(host.inventory()).decode(),
            msgspec.json.encode(host.statistics()).decode(),
            msgspec.json.encode(list(host.audit.latest(everything=True))).decode(),
            repr(host.list(everything=True)),
            repr(host.explain("vault_secrets")),
            repr(await host.health_check_all(everything=True)),
            repr(host.telemetry.render()),
        ]
        try:
            await host.restart_plugin("vault_secrets")
        except Exception as error:
            shown.append("".join(traceback.format_exception(error)))
        shown.append(repr(host.status("vault_secrets")))
    out = capfd.readouterr()
    root.removeHandler(handler)
    root.setLevel(level)
    searched = {"logs": stream.getvalue(), "shown": "\n".join(shown), "out": out.out, "err": out.err, **written(home)}
    issued = [token.id for token in server.tokens.values()] + [server.root]
    for secret in (*VALUES, role_id, secret_id, *issued):
        for form in {secret, json.dumps(secret)[1:-1]}:
            assert [where for where, text in searched.items() if form in text] == [], "a secret's value is there"
    assert "logging in with" in searched["logs"]
    assert "********" in searched["logs"]
