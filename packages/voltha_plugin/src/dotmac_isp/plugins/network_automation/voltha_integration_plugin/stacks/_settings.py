"""The settings of a further stack: what differs from the plugin's own settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["StackSettings"]


class StackSettings(BaseModel):
    """Where another stack of the same tenant is. What is left out is as in the plugin's settings, user and password too."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    voltha_host: str = Field(min_length=1)
    voltha_port: int = Field(default=50057, ge=1, le=65535)
    voltha_rest_port: int | None = Field(default=None, ge=1, le=65535)
    voltha_tls: bool | None = None
    voltha_tls_ca: Path | None = None
    voltha_tls_certificate: Path | None = None
    voltha_tls_key: Path | None = None
    kafka_bootstrap: str = Field(default="", pattern=r"^$|^[^\s:,]+:\d+(,[^\s:,]+:\d+)*$")
    required_adapters: tuple[str, ...] | None = None

    def differences(self) -> dict[str, Any]:
        """The settings that this stack has of its own. It reads no other stack's Kafka."""
        return {name: value for name, value in self.__dict__.items() if value is not None}
