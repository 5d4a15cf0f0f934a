"""What an error of a plugin says, whatever its own code does when it is asked."""

from __future__ import annotations

__all__ = ["told"]


def told(error: BaseException) -> str:
    """The error's text, else its type's name. `str()` of an error runs the plugin's code, so it may fail as well."""
    try:
        text = str(error)
    except BaseException as second:  # noqa: BLE001 - it is called outside the fence
        return f"{type(error).__name__} (its text cannot be had: {type(second).__name__})"
    return text or type(error).__name__
