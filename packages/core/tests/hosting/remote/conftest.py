"""Plugins in processes of their own, on a running host."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from dotmac_isp.plugins.core import Limits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from dotmac_isp.plugins.core import PluginManager

#: A process on a loaded machine needs longer than what runs inline.
PATIENT = Limits(
    call=20.0, initialize=60.0, activate=60.0, deactivate=5.0, cleanup=5.0, cancellation=2.0, blocking=20.0
)
JAILED = '[{id}.hosting]\nmode = "jailed"\n'


@pytest.fixture
def patient() -> Limits:
    return PATIENT


@pytest.fixture
async def jails(make_host: Callable[..., PluginManager]) -> AsyncIterator[PluginManager]:
    """A host that runs, with patience for processes."""
    if sys.platform == "win32":
        pytest.skip("there are no processes to fork here")
    async with make_host(limits=PATIENT) as manager:
        yield manager


@pytest.fixture
def jailed(vendor: Any) -> Callable[..., None]:
    """Installs a plugin that runs jailed: `jailed("echo", '''async def ping(self, x): return x''')`."""

    def install(plugin_id: str, body: str, *, hosting: str = "", manifest: str = "", **more: Any) -> None:
        table = f"{manifest}\n{JAILED.format(id=plugin_id)}{hosting}"
        vendor.install(plugin_id, body, manifest=table, **more)

    return install
