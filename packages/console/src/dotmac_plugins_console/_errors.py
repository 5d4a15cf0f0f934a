"""Errors between a host and those who ask it, as values that travel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dotmac_isp.plugins.core.errors import PluginError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["BadRequestError", "HostError", "HostUnavailableError", "error_fields", "error_from"]


class HostError(PluginError):
    """A host could not do what was asked. `type` is the name of the exception that the host or the plugin raised."""

    def __init__(self, message: str, *, type: str = "HostError", remedy: str | None = None) -> None:  # noqa: A002 - the wire's name
        self.type = type
        super().__init__(message, remedy=remedy)


class BadRequestError(HostError):
    """The request itself is wrong: no JSON, no such method, a parameter that does not fit."""

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message, type="BadRequest", remedy=remedy)


class HostUnavailableError(HostError):
    """A host is there and cannot be asked, or one cannot be started here."""

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message, type="HostUnavailable", remedy=remedy)


def error_fields(error: BaseException, redact: Callable[[str], str] = str) -> dict[str, Any]:
    """What is told of an error: `type`, `message` and `remedy`, without secrets."""
    kind = getattr(error, "type", None) if isinstance(error, HostError) else None
    message = error.message if isinstance(error, PluginError) else str(error)
    remedy = error.remedy if isinstance(error, PluginError) else None
    return {
        "type": kind or type(error).__name__,
        "message": redact(message or type(error).__name__),
        "remedy": None if remedy is None else redact(remedy),
    }


def error_from(fields: Mapping[str, Any]) -> HostError:
    """The error that a host told."""
    return HostError(
        str(fields.get("message", "no reason given")),
        type=str(fields.get("type", "HostError")),
        remedy=fields.get("remedy"),
    )
