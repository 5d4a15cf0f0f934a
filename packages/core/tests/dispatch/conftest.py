"""Plugins of one tenant that run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from dotmac_isp.plugins.core import PluginManager

Run = Callable[..., Awaitable[Any]]


@pytest.fixture
def run(host: PluginManager, vendor: Any) -> Run:
    """`handle = await run("one", "async def …")`: install, start, and give the handle."""

    async def start(plugin_id: str, body: str, tenant_id: str | None = "t", **options: Any) -> Any:
        vendor.install(plugin_id, body, **options)
        await host.start_plugin(plugin_id, tenant_id=tenant_id)
        return host.get(plugin_id, tenant_id=tenant_id)

    return start
