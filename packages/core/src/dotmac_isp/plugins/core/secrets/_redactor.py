"""Takes the values of secrets out of whatever is shown: logs, tracebacks, status."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Redactor"]

MASK: Final = "********"
_SHORTEST: Final = 4


class Redactor:
    """Knows the values of secrets that were handed out, and takes them out of any text. May be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: The first characters of a value -> values that begin so, longest first; makes a search one pass over the text.
        self._values: dict[str, tuple[str, ...]] = {}

    def register(self, value: str) -> None:
        """Redact this value from now on, also as URLs and JSON write it. Values shorter than 4 characters are no secrets."""
        for form in {value, quote(value, safe=""), json.dumps(value)[1:-1], repr(value)[1:-1]}:
            if len(form) >= _SHORTEST:
                self._add(form)

    def _add(self, form: str) -> None:
        with self._lock:
            known = self._values.get(form[:_SHORTEST], ())
            if form not in known:
                self._values[form[:_SHORTEST]] = tuple(sorted((*known, form), key=len, reverse=True))

    def redact(self, text: str) -> str:
        """The text with every registered value replaced by `********`."""
        if not self._values:
            return text
        parts: list[str] = []
        end = 0
        for start, stop in self._hits(text):
            parts += (text[end:start], MASK)
            end = stop
        return "".join((*parts, text[end:])) if parts else text

    def _hits(self, text: str) -> Iterator[tuple[int, int]]:
        """Stretches to mask, in order; values that overlap make one stretch."""
        values = self._values
        start = stop = -1
        for index in range(len(text) - _SHORTEST + 1):
            for value in values.get(text[index : index + _SHORTEST], ()):
                if text.startswith(value, index):
                    if index > stop:
                        if start >= 0:
                            yield start, stop
                        start = index
                    stop = max(stop, index + len(value))
                    break
        if start >= 0:
            yield start, stop
