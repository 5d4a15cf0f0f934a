"""How far a reader has come."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ._files import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Cursor"]


class Cursor:
    """How far a reader has come, on disk: the last number that is done, and the block that was being delivered."""

    def __init__(self, path: Path, *, sync: bool) -> None:
        self._path = path
        self._sync = sync
        self.done = 0
        self.block: tuple[int, int] | None = None

    def load(self) -> None:
        try:
            stored = msgspec.json.decode(self._path.read_bytes())
        except FileNotFoundError:
            return
        self.done = int(stored["done"])
        self.block = tuple(stored["block"]) if stored.get("block") else None

    def save(self, done: int, block: tuple[int, int] | None = None) -> None:
        self.done, self.block = done, block
        write_atomically(self._path, msgspec.json.encode({"done": done, "block": block}), sync=self._sync)
