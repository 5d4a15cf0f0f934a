"""A real host with a hostile plugin, as root or as an ordinary user: `python arena.py HOME UID CORE_TESTS`.

Reads orders as JSON lines and answers each with one: a call of the plugin, its status, or what the host itself sees.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import sys
from pathlib import Path
from typing import Any

HOME, UID, CORE_TESTS = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
SECRET = "hvs.the-token-of-the-host"


def main() -> None:
    if os.getuid() != UID:
        sys.path.insert(0, CORE_TESTS)
        from host import become_ordinary

        become_ordinary(UID, str(HOME))
        # A process that changed its user may not look at itself; a new program may.
        os.execv(sys.executable, [sys.executable, *sys.argv])
    os.environ["VAULT_TOKEN"] = SECRET
    sys.path.insert(0, str(HOME / "site"))
    asyncio.run(serve())


async def serve() -> None:
    from dotmac_isp.plugins.core import Limits, PluginManager
    from dotmac_isp.plugins.core.discovery import discover
    from dotmac_isp.plugins.core.manager import _base

    _base.discover = functools.partial(discover, path=[str(HOME / "site")])
    limits = Limits(call=60.0, initialize=60.0, activate=60.0, deactivate=5.0, cleanup=5.0, blocking=30.0)
    async with PluginManager(home=HOME / "state", limits=limits, health_interval=0, metrics_interval=0) as manager:
        print(json.dumps({"pid": os.getpid()}), flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps(await obey(manager, json.loads(line)), default=str), flush=True)


async def obey(manager: Any, order: dict[str, Any]) -> Any:
    tenant, what = order["tenant"], order["what"]
    try:
        if what == "start":
            await manager.start_plugin("hostile", tenant_id=tenant)
            return "started"
        if what == "status":
            return manager.status("hostile", tenant_id=tenant).as_dict()
        if what == "together":
            calls = (obey(manager, one) for one in order["orders"])
            return await asyncio.gather(*calls)
        return await manager.get("hostile", tenant_id=tenant).attempt(what, *order["arguments"])
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    main()
