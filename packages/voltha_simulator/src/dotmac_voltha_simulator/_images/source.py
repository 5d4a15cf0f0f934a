"""Where images come from: the HTTP server that the request names, as the ONU adapter asks it (HEAD, then GET)."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from typing import Final

_PATIENCE: Final = 5.0
#: BBSim compares so many bytes of the image with the version that was asked for.
_BEGINNING: Final = 64


async def reachable(url: str) -> bool:
    """True when the server has the image. Only ``http`` is known."""
    return url.startswith("http://") and await asyncio.to_thread(_head, url)


async def beginning(url: str) -> bytes:
    """The image's first bytes; the rest is read and thrown away, as a real download would take it."""
    return await asyncio.to_thread(_get, url)


def _head(url: str) -> bool:
    request = urllib.request.Request(url, method="HEAD")  # noqa: S310 - http only, see above
    try:
        with urllib.request.urlopen(request, timeout=_PATIENCE):  # noqa: S310
            return True
    except (OSError, ValueError):
        return False


def _get(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=_PATIENCE) as answer:  # noqa: S310
            found: bytes = answer.read(_BEGINNING)
            while answer.read(1 << 16):
                pass
            return found
    except (OSError, urllib.error.URLError):
        return b""
