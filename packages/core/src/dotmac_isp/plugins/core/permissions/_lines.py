"""On which line of a TOML text each key is, over a text that a TOML parser has accepted (parsers do not tell)."""

from __future__ import annotations

import bisect
import re
from typing import Any, Final

__all__ = ["Lines"]

Path = tuple[str | int, ...]
_BLANK: Final = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
#: A number, a date or a truth value.
_PLAIN: Final = re.compile(r"[^,\]}\s#]+(?: [0-9][^,\]}\s#]*)?")
_QUOTES: Final = (
    re.compile(r'"""(?:[^\\]|\\.)*?"{3,5}(?!")', re.DOTALL),
    re.compile(r"'''.*?'{3,5}(?!')", re.DOTALL),
    re.compile(r'"(?:[^"\\]|\\.)*"'),
    re.compile(r"'[^']*'"),
)


class Lines:
    """The lines of all keys, list items and tables. `of(("permissions", "roles", "noc", "deny", 0))` counts from 1."""

    def __init__(self, text: str) -> None:
        self._text: Final = text
        self._ends: Final = [one.start() for one in re.finditer("\n", text)]
        self._offsets: dict[Path, int] = {}
        self._arrays: dict[Path, int] = {}
        self._document()

    def of(self, path: Path) -> int | None:
        """The line of what is at this path; of the nearest above it where the path goes on where the text ends."""
        for end in range(len(path), 0, -1):
            offset = self._offsets.get(path[:end])
            if offset is not None:
                return bisect.bisect_left(self._ends, offset) + 1
        return None

    def _document(self) -> None:
        table: Path = ()
        index = self._skip(0)
        while index < len(self._text):
            start = index
            if self._text.startswith("[[", index):
                key, index = self._key(index + 2)
                table = self._next_of(self._actual(key))
                index += 2
            elif self._text[index] == "[":
                key, index = self._key(index + 1)
                table = self._actual(key)
                index += 1
            else:
                index = self._pair(index, table)
            for end in range(1, len(table) + 1):
                self._note(table[:end], start)
            index = self._skip(index)

    def _actual(self, key: Path) -> Path:
        """The path that a table's name means: below an array of tables, its last one."""
        path: Path = ()
        for part in key:
            if path in self._arrays:
                path = (*path, self._arrays[path])
            path = (*path, part)
        return path

    def _next_of(self, path: Path) -> Path:
        self._arrays[path] = self._arrays.get(path, -1) + 1
        return (*path, self._arrays[path])

    def _pair(self, index: int, table: Path) -> int:
        start = index
        key, index = self._key(index)
        for end in range(1, len(key) + 1):
            self._note((*table, *key[:end]), start)
        return self._value(self._skip(index + 1), (*table, *key))

    def _key(self, index: int) -> tuple[Path, int]:
        """A dotted key that begins at `index`; where the sign after it is."""
        parts: list[str | int] = []
        while True:
            index = self._skip(index)
            bare = _BARE.match(self._text, index)
            end = bare.end() if bare else self._string_end(index)
            raw = self._text[index:end]
            parts.append(raw if bare else _unquoted(raw))
            index = self._skip(end)
            if self._text[index] != ".":
                return tuple(parts), index
            index += 1

    def _value(self, index: int, path: Path) -> int:
        sign = self._text[index]
        if sign == "[":
            return self._list(index + 1, path)
        if sign == "{":
            return self._inline_table(index + 1, path)
        if sign in "\"'":
            return self._string_end(index)
        plain = _PLAIN.match(self._text, index)
        return plain.end() if plain else index + 1

    def _list(self, index: int, path: Path) -> int:
        count = 0
        while self._text[index := self._skip(index)] != "]":
            self._note((*path, count), index)
            index = self._past_comma(self._value(index, (*path, count)))
            count += 1
        return index + 1

    def _inline_table(self, index: int, path: Path) -> int:
        while self._text[index := self._skip(index)] != "}":
            index = self._past_comma(self._pair(index, path))
        return index + 1

    def _past_comma(self, index: int) -> int:
        index = self._skip(index)
        return index + 1 if self._text[index] == "," else index

    def _string_end(self, index: int) -> int:
        found = (pattern.match(self._text, index) for pattern in _QUOTES)
        return next(match.end() for match in found if match)

    def _skip(self, index: int) -> int:
        blank = _BLANK.match(self._text, index)
        return blank.end() if blank else index

    def _note(self, path: Path, offset: int) -> None:
        if path:
            self._offsets.setdefault(path, offset)


def _unquoted(raw: str) -> str:
    import tomli  # noqa: PLC0415 - as everywhere in core

    data: dict[str, Any] = tomli.loads(f"k = {raw}")
    return str(data["k"])
