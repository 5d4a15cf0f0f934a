"""A pydantic error as one sentence: each field, what was given, what would be right, and the nearest name for unknown ones."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

__all__ = ["explain"]

_SHOWN: Final = 60


def explain(error: ValidationError, known: Iterable[str]) -> str:
    """What is wrong with each field; `known` are the names that may be given."""
    names = tuple(known)
    return "; ".join(_one(detail, names) for detail in error.errors(include_url=False))


def _one(detail: ErrorDetails, known: tuple[str, ...]) -> str:
    where = ".".join(str(part) for part in detail["loc"])
    kind, said = detail["type"], detail["msg"].removeprefix("Value error, ")
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(str(detail["loc"][-1]), known, n=1)
        return f"{where} is unknown" + (f" (did you mean {near[0]}?)" if near else f" (known: {', '.join(known)})")
    if kind == "missing":
        return f"{where} is missing"
    if not where:
        return said
    return f"{where} is {_shown(detail.get('input'))}: {said}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
