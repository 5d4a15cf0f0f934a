"""On which line of a JSON text each key is. Runs only for errors, over a text that `json` has accepted."""

from __future__ import annotations

import json
import re
from typing import Final

import msgspec

__all__ = ["Position", "Positions"]

_BLANK: Final = re.compile(r"[ \t\r\n]*")
_DECODER: Final = json.JSONDecoder()
Keys = tuple[str | int, ...]


class Position(msgspec.Struct, frozen=True):
    """Where a key (or a list's item) begins; both count from 1."""

    line: int
    column: int


class Positions:
    """The places of all keys and list items of one JSON text; `duplicates` has the keys that their object has already."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._offsets: dict[Keys, int] = {}
        self.duplicates: list[tuple[Keys, Position, Position]] = []
        self._value(self._skip(0), ())

    def of(self, path: Keys) -> Position | None:
        """Where the key at this path is; the nearest key above it when the path goes on where the text ends."""
        for end in range(len(path), 0, -1):
            offset = self._offsets.get(path[:end])
            if offset is not None:
                return self._position(offset)
        return None

    def _position(self, offset: int) -> Position:
        return Position(self._text.count("\n", 0, offset) + 1, offset - self._text.rfind("\n", 0, offset))

    def _skip(self, index: int) -> int:
        blank = _BLANK.match(self._text, index)
        return blank.end() if blank else index

    def _value(self, index: int, path: Keys) -> int:
        """Walk one value that begins at `index`; return where it ends."""
        if self._text[index] == "{":
            return self._items(index, "}", path)
        if self._text[index] == "[":
            return self._items(index, "]", path)
        return _DECODER.raw_decode(self._text, index)[1]

    def _items(self, index: int, closing: str, path: Keys) -> int:
        index = self._skip(index + 1)
        count = 0
        while self._text[index] != closing:
            key: str | int = count
            if closing == "}":
                start = index
                key, index = _DECODER.raw_decode(self._text, index)
                self._note((*path, key), start)
                index = self._skip(self._skip(index) + 1)
            else:
                self._note((*path, key), index)
            index = self._skip(self._value(index, (*path, key)))
            if self._text[index] == ",":
                index = self._skip(index + 1)
            count += 1
        return index + 1

    def _note(self, path: Keys, offset: int) -> None:
        first = self._offsets.get(path)
        if first is not None and isinstance(path[-1], str):
            self.duplicates.append((path, self._position(first), self._position(offset)))
        self._offsets[path] = offset
