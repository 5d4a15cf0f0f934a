"""The base of every plugin's settings model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from pydantic_settings import BaseSettings, SettingsConfigDict

if TYPE_CHECKING:
    from pydantic_settings import PydanticBaseSettingsSource

__all__ = ["PluginSettings"]


class PluginSettings(BaseSettings):
    """What a plugin's settings model inherits from: unknown keys are errors, and a model never changes once made.

    It reads no environment by itself: the host merges every source in its order, and says afterwards which one gave what.
    """

    model_config = SettingsConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    def __init__(self, **values: Any) -> None:
        # BaseSettings would read the whole environment twice and a good deal more, and throw it away.
        BaseModel.__init__(self, **values)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - pydantic-settings passes these by name
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)
