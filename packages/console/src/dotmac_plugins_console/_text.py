"""Texts for terminals."""

from __future__ import annotations

import re
import time
from typing import Final

__all__ = ["age", "clean"]

#: Control signs but tab and line end: what plugins and files say must not steer a terminal.
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def clean(text: str) -> str:
    """The text with control signs shown instead of sent."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found.group()):02x}", text)


def age(since: float, now: float | None = None) -> str:
    """How long ago a Unix time was: `5 s`, `12 min`, `3 h`, `9 d`; `in 5 s` for what is to come."""
    seconds = (time.time() if now is None else now) - since
    size, unit = next(((one, name) for one, name in _UNITS if abs(seconds) >= one), (1, "s"))
    told = f"{int(abs(seconds) // size)} {unit}"
    return f"in {told}" if seconds <= -1 else told
