"""Settings with provenance (design, decision 5): files and layers, merged, validated, explained.

`PluginSettings` and whatever validates with it load pydantic at first use; the files and layers do not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._configuration import Configuration, state_home
from ._file import ConfigurationFile, Integration, ScenarioEntry, SecurityNeeds, TenantEntry, TenantFile
from ._layers import DEFAULT_LAYER, Explained, Layer, merge
from ._redaction import is_secretive, redacted
from ._resolve import ResolvedSettings, environment_layer, resolve

if TYPE_CHECKING:
    from ._model import PluginSettings

__all__ = [
    "DEFAULT_LAYER",
    "Configuration",
    "ConfigurationFile",
    "Explained",
    "Integration",
    "Layer",
    "PluginSettings",
    "ResolvedSettings",
    "ScenarioEntry",
    "SecurityNeeds",
    "TenantEntry",
    "TenantFile",
    "environment_layer",
    "is_secretive",
    "merge",
    "redacted",
    "resolve",
    "state_home",
]


def __getattr__(name: str) -> Any:
    if name == "PluginSettings":
        from ._model import PluginSettings  # noqa: PLC0415 - the only way in that needs pydantic

        return PluginSettings
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
