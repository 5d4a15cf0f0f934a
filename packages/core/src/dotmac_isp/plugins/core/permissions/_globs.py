"""Dotted names and the patterns that stand for many of them.

A `*` stands for any characters within its segment; as the whole last segment it stands for one or more segments, so that
`network.*` covers `network.olt.configure` and not `network`, and `*` alone covers every name. Upper and lower case differ.
"""

from __future__ import annotations

import functools
import re
from typing import Generic, TypeVar

__all__ = ["NAME_PATTERN", "PatternIndex", "covers", "overlaps", "translate"]

T = TypeVar("T")
#: How a name or pattern is written.
NAME_PATTERN = r"^[A-Za-z0-9_*-]+(\.[A-Za-z0-9_*-]+)*\Z"


@functools.lru_cache(maxsize=4096)
def translate(pattern: str) -> re.Pattern[str]:
    """The pattern as a regular expression for whole names."""
    *front, last = pattern.split(".")
    parts = [_segment(one) for one in front]
    parts.append(".+" if last == "*" else _segment(last))
    return re.compile(r"\.".join(parts))


def _segment(text: str) -> str:
    pieces = (re.escape(piece) for piece in re.split(r"\*+", text))
    # A segment is never empty, so a lone star stands for one character at least.
    return "[^.]+" if set(text) == {"*"} else "[^.]*".join(pieces)


def covers(pattern: str, name: str) -> bool:
    """Whether everything that `name` stands for is covered. A name may be a pattern itself (a plugin that asks for `network.*`)."""
    if _is_open(name) and not _is_open(pattern):
        return False  # the name goes on where the pattern ends
    # A star of the name becomes a character that no name has, so that only a star can take it in.
    return translate(pattern).fullmatch(name.replace("*", "\0")) is not None


def _is_open(pattern: str) -> bool:
    """Whether it ends in a star that stands for whole segments."""
    return pattern == "*" or pattern.endswith(".*")


def overlaps(one: str, other: str) -> bool:
    """Whether there is a name that both stand for."""
    return _overlap(one.split("."), other.split("."))


def _overlap(one: list[str], other: list[str]) -> bool:
    if one == ["*"] or other == ["*"]:
        return bool(one) and bool(other)
    if not one or not other:
        return not one and not other
    return _segments_meet(one[0], other[0]) and _overlap(one[1:], other[1:])


@functools.lru_cache(maxsize=4096)
def _segments_meet(one: str, other: str) -> bool:
    """Whether two segments with stars have a text in common."""
    if not one or not other:
        return not (one + other).strip("*")
    if one[0] == "*":
        return _segments_meet(one[1:], other) or _segments_meet(one, other[1:])
    if other[0] == "*":
        return _segments_meet(other, one)
    return one[0] == other[0] and _segments_meet(one[1:], other[1:])


class PatternIndex(Generic[T]):
    """Patterns with a value each. Plain names and `a.b.*` are found by look-up, however many there are; other patterns are tried in turn."""

    __slots__ = ("_all", "_exact", "_others", "_prefixes")

    def __init__(self) -> None:
        self._exact: dict[str, T] = {}
        self._prefixes: dict[str, T] = {}
        self._others: list[tuple[re.Pattern[str], T]] = []
        self._all: list[tuple[str, T]] = []

    def add(self, pattern: str, value: T) -> None:
        """Of two values for the same pattern the first stays."""
        self._all.append((pattern, value))
        front = pattern.removesuffix("*")
        if "*" not in pattern:
            self._exact.setdefault(pattern, value)
        elif "*" not in front and (not front or front.endswith(".")):
            self._prefixes.setdefault(front, value)
        else:
            self._others.append((translate(pattern), value))

    def first(self, name: str) -> T | None:
        """The value of a pattern that covers this name (no pattern): the exact one, then the shortest `a.*`, then the others in order."""
        found = self._exact.get(name)
        if found is not None or not self._all:
            return found
        if self._prefixes:
            found = self._by_prefix(name)
            if found is not None:
                return found
        for pattern, value in self._others:
            if pattern.fullmatch(name):
                return value
        return None

    def first_overlapping(self, name: str) -> T | None:
        """The value of a pattern that has a name in common with the pattern `name`."""
        return next((value for pattern, value in self._all if overlaps(pattern, name)), None)

    def first_covering(self, name: str) -> T | None:
        """The value of a pattern that covers all that the pattern `name` stands for."""
        return next((value for pattern, value in self._all if covers(pattern, name)), None)

    def _by_prefix(self, name: str) -> T | None:
        end = 0
        while True:
            found = self._prefixes.get(name[:end])
            if found is not None and end < len(name):
                return found
            end = name.find(".", end) + 1
            if not end:
                return None
