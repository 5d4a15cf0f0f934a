"""What every new process does first, done once in the zygote: what is made on the way (types looked up, code warmed, caches
filled) is then shared by all its children, instead of being made, and paid for in memory, in each of them.
"""

from __future__ import annotations

import asyncio
import asyncio.selector_events
import logging
from pathlib import Path
from typing import Any, Final

from ...base import BasePlugin
from ...discovery import InstalledPlugin, Manifest
from ...model import PluginContext
from ._child import Bundle
from ._codec import decode, encode, from_plain, to_plain
from ._describe import describe
from ._failures import WireError, from_wire, to_wire
from ._identity import Identity, check_same

__all__ = ["rehearse"]

#: CPython specialises code that ran so often; later it would do so in each child.
_TIMES: Final = 20
_LOADED: Final = (asyncio.selector_events,)


class _Part(BasePlugin):
    """Stands for a plugin."""

    async def get_device_status(self, device_id: str, context: PluginContext) -> Any:
        """A method as plugins have them."""


def rehearse() -> None:
    """Go through the motions. Nothing is started, opened or kept."""
    bundle = _bundle()
    for _ in range(_TIMES):
        told = from_plain(decode(encode(to_plain(bundle))), Bundle)
        check_same(bundle.identity, to_plain(told.identity))
        shapes = describe(_Part(None), "part")  # type: ignore[arg-type]  # it is not used
        decode(encode([to_plain(shape) for shape in shapes]))
        decode(encode([1, 2, "plugin.x", [PluginContext.within(1.0)], {"device_id": ("a", {1})}, "r"]))
        from_wire(WireError(*to_plain(to_wire(ValueError("part")))))
        logging.Formatter().format(logging.LogRecord("part", logging.INFO, "", 0, "%s", ("part",), None))


def _bundle() -> Bundle:
    manifest = Manifest(id="part", name="part", version="1")
    plugin = InstalledPlugin(
        id="part",
        manifest=manifest,
        module="part",
        class_name="Plugin",
        distribution="part",
        version="1",
        editable=False,
        manifest_path=Path("part"),
    )
    identity = Identity(plugin_id="part", version="1", tenant_id=None, generation=0)
    return Bundle(identity=identity, plugin=plugin, settings={"a": 1}, data_dir=Path("part"), log_level=20, beat=1.0)
