"""What the groups of methods share: asking the collector, and files in the instance's folder."""

from __future__ import annotations

import asyncio
import re
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Final

from dotmac_isp.plugins.core.base import MonitoringPlugin

from ..spool import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Asker", "is_id", "place", "written"]

_UNSAFE: Final = re.compile(r"[^a-z0-9]+")
_ID: Final = re.compile(r"[0-9a-f]{32}")


class Asker(MonitoringPlugin):
    """The plugin, as far as these methods need it."""

    @abstractmethod
    async def _asked(self, method: str, path: str, value: Any = None) -> Any:
        """Ask the collector, after everything that was acknowledged has reached it; `None` for what does not exist."""

    @abstractmethod
    async def _page(self, path: str) -> bytes:
        """A page, a picture or a document of the collector's."""

    @abstractmethod
    def _waiting(self) -> int:
        """How many events wait on disk."""


def is_id(*values: object) -> bool:
    """Whether these can be identifiers of the collector's; anything else would become part of an address."""
    return all(_ID.fullmatch(str(value)) for value in values)


def place(folder: Path, name: str, form: str) -> Path:
    return folder / f"{_UNSAFE.sub('-', name.lower()).strip('-')[:60] or folder.name}.{form}"


async def written(path: Path, body: bytes) -> str:
    return await asyncio.to_thread(_write, path, body)


def _write(path: Path, body: bytes) -> str:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_atomically(path, body, sync=False)
    return str(path)
