"""How far a reader has come."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ._files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["Block", "Cursor"]


class Block(msgspec.Struct, frozen=True):
    """Records that go together, from a first number to a last one; `left_out` are `(tenant, event id)` that do not go."""

    first: int
    last: int
    left_out: tuple[tuple[str, str], ...] = ()


class _Stored(msgspec.Struct, omit_defaults=True):
    done: int = 0
    blocks: tuple[Block, ...] = ()


class Cursor:
    """On disk: the last number that is done, and the blocks that were being delivered, in order."""

    def __init__(self, path: Path, *, sync: bool) -> None:
        self._path = path
        self._sync = sync
        self.done = 0
        self.blocks: tuple[Block, ...] = ()

    def load(self) -> None:
        try:
            stored = msgspec.json.decode(self._path.read_bytes(), type=_Stored)
        except FileNotFoundError:
            return
        self.done, self.blocks = stored.done, stored.blocks

    def save(self, done: int, blocks: Sequence[Block] = ()) -> None:
        self.done, self.blocks = done, tuple(blocks)
        write_atomically(self._path, msgspec.json.encode(_Stored(done, self.blocks)), sync=self._sync)
