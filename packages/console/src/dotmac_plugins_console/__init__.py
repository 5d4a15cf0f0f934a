"""The operator's command line and the reference host. A plugin's own commands reach a plugin by `connect`.

::

    async with connect("tenant_123") as host:
        devices = await host.call("voltha_integration", "list_olts")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._connect import Connection, connect
    from ._errors import HostError

__all__ = ["Connection", "HostError", "connect"]


def __getattr__(name: str) -> Any:
    # Late, so that `dotmac-plugins --help` does not load the runtime.
    if name in {"Connection", "connect"}:
        from . import _connect  # noqa: PLC0415

        return getattr(_connect, name)
    if name == "HostError":
        from ._errors import HostError  # noqa: PLC0415

        return HostError
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
