"""A whole host as an ordinary user: `python ordinary_manager.py UID HOME`, started as root. Tells what happened as one line of JSON.

It becomes that user, as `host.py` does, installs a plugin that runs jailed, and goes through its life: load, start, calls, `kill -9`
of its process, a call again, stop.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

CODE = """
import os
from pathlib import Path
from dotmac_isp.plugins.core.base import BasePlugin

class Plugin(BasePlugin):
    async def look(self):
        self.api.data_dir.joinpath("own").write_text("mine")
        outside = {}
        for place in ("/etc/passwd", "/etc/shadow", "%(home)s/data/tenant_2/secret", "%(home)s/state/storage.sqlite3"):
            outside[place] = os.path.exists(place)
        return {"pid": os.getpid(), "sees": [place for place, there in outside.items() if there]}
"""
MANIFEST = '[looker]\nname = "Looker"\n[looker.hosting]\nmode = "jailed"\n[looker.hosting.limits]\nmemory = "256 MiB"\n'


def install(site: Path, home: Path) -> None:
    module, info = site / "vendor_looker", site / "vendor_looker-1.0.dist-info"
    module.mkdir(parents=True)
    info.mkdir()
    (module / "__init__.py").write_text(CODE % {"home": home})
    (module / "dotmac-plugin.toml").write_text(MANIFEST)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: vendor-looker\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[dotmac_isp.plugins]\nlooker = vendor_looker:Plugin\n")


async def life(home: Path) -> dict[str, Any]:
    from dotmac_isp.plugins.core import PluginError, PluginManager

    async with PluginManager(home=home / "state", health_interval=0, metrics_interval=0) as plugins:
        status = await plugins.start_plugin("looker", tenant_id="t1")
        looker = plugins.get("looker", tenant_id="t1")
        told: dict[str, Any] = {"uid": os.getuid(), "isolation": status.isolation, "first": await looker.look()}
        os.kill(status.isolation["pid"], signal.SIGKILL)
        async with asyncio.timeout(60):
            while True:
                try:
                    told["again"] = await looker.look()
                    break
                except PluginError as error:
                    told["meanwhile"] = str(error)
                    await asyncio.sleep(0.1)
        after = plugins.status("looker", tenant_id="t1")
        told["another"] = after.isolation["pid"] != status.isolation["pid"]
    told["left"] = sorted(one.name for one in (home / "state" / "run" / "cells").iterdir())
    return told


def main() -> None:
    uid, home = int(sys.argv[1]), Path(sys.argv[2])
    if os.getuid() != uid:
        from host import become_ordinary

        become_ordinary(uid, str(home))
        # A process that changed its user may not look at itself; a new program may.
        os.execv(sys.executable, [sys.executable, *sys.argv])
    install(home / "site", home)
    sys.path.insert(0, str(home / "site"))
    print(json.dumps(asyncio.run(life(home)), default=str))


if __name__ == "__main__":
    main()
