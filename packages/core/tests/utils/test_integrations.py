"""The calls that load an integration and start it, so that it can be used next."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from dotmac_isp.plugins.core.errors import ConfigurationError, DiscoveryError, LifecycleError
from dotmac_isp.plugins.utils import load_all_vendor_integrations, load_analytics_events, load_voltha_integration

if TYPE_CHECKING:
    from dotmac_isp.plugins.core.manager import PluginManager

Install = Callable[..., None]


async def test_all_integrations_are_loaded_and_started_and_one_that_fails_stops_no_other(
    install: Install, manager: PluginManager
) -> None:
    install("alpha")
    install("beta")
    install("gamma", broken_manifest=True)
    await manager.start()
    results = await load_all_vendor_integrations(
        manager, "production", "t", configuration={"beta": {"trouble": "activate"}}
    )
    assert results["loaded_plugins"] == ["alpha", "beta"]
    assert results["started_plugins"] == ["alpha"]
    assert set(results["failed_plugins"]) == {"beta", "gamma"}
    assert await manager.get("alpha", tenant_id="t").where() == "localhost:1"


async def test_loading_alone_is_a_choice(install: Install, manager: PluginManager) -> None:
    install("alpha")
    await manager.start()
    results = await load_all_vendor_integrations(manager, "production", "t", start=False)
    assert (results["loaded_plugins"], results["started_plugins"]) == (["alpha"], [])
    assert manager.status("alpha", tenant_id="t").state.value == "initialised"


@pytest.mark.parametrize("load", [load_voltha_integration, load_analytics_events])
async def test_an_integration_that_is_off_or_missing_is_told_and_an_unknown_environment_too(
    load: Callable[..., object], manager: PluginManager
) -> None:
    await manager.start()
    with pytest.raises(ConfigurationError, match="there is no environment 'nowhere'"):
        await load(manager, "nowhere", "t")  # type: ignore[misc]
    # Switched off by the file of these tests where it is installed; elsewhere it is not there.
    with pytest.raises((LifecycleError, DiscoveryError), match=r"disabled by|python -m pip install dotmac-plugin-"):
        await load(manager, "production", "t")  # type: ignore[misc]
