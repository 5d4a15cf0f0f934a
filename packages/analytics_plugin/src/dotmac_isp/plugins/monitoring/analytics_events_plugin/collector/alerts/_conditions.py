"""When measured numbers are an alert: a comparison, or a condition in CEL.

CEL has no loops but its macros over lists, and regular expressions without backtracking. The macros are refused: nested, they could keep
the collector busy for ever.
"""

from __future__ import annotations

import functools
import operator
import re
from typing import TYPE_CHECKING, Any, Final

from ..._plain import EventError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["VARIABLES", "CelMissingError", "ConditionError", "check_condition", "decide"]

_COMPARE: Final[dict[str, Callable[[float, float], bool]]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}
#: What a condition may name, by the kind of rule; beside them `labels`.
VARIABLES: Final = {
    "threshold": ("value",),
    "absence": ("value",),
    "funnel": ("value",),
    "sql": ("value",),
    "change": ("value", "previous", "change", "change_percent"),
    "ratio": ("value", "numerator", "denominator"),
    "anomaly": ("value", "expected", "spread", "score", "distance"),
}
_MOST: Final = 1000
_MACROS: Final = re.compile(
    r"\b(?:all|exists|exists_one|existsOne|map|filter|transformList|transformMap|range|bind)\s*\("
)
_NUMBER: Final = re.compile(r"(?<![\w.])(\d+)(?![\w.])")


class CelMissingError(RuntimeError):
    """Conditions cannot be evaluated here; the message says what to install."""


class ConditionError(Exception):
    """A condition that failed on these numbers."""


@functools.lru_cache(maxsize=4096)
def _compiled(condition: str) -> Any:
    try:
        import cel  # noqa: PLC0415 - only where a rule has a condition
    except ImportError:
        raise CelMissingError(
            "conditions need common-expression-language. Run: pip install 'dotmac-plugin-analytics[alerts]'"
        ) from None
    return cel.compile(condition)


def check_condition(condition: str, kind: str) -> None:
    """Raises `EventError` unless the condition is one, and gives true or false for numbers of that kind."""
    if len(condition) > _MOST:
        raise EventError("condition", condition, f"at most {_MOST} characters")
    if _MACROS.search(condition):
        raise EventError("condition", condition, "comparisons without all, exists, map and filter")
    try:
        _run(condition, dict.fromkeys(VARIABLES[kind], 1.0), {})
    except ConditionError as error:
        raise EventError(
            "condition", condition, f"CEL over {', '.join(VARIABLES[kind])} and labels ({error})"
        ) from None


def _run(condition: str, values: Mapping[str, float], labels: Mapping[str, str]) -> bool:
    try:
        result = _compiled(condition).execute({**values, "labels": dict(labels)})
    except CelMissingError:
        raise
    except (ValueError, TypeError, RuntimeError, ArithmeticError, KeyError) as error:
        raise ConditionError(str(error)[:200]) from None
    if not isinstance(result, bool):
        raise ConditionError(f"it gives {str(result)[:40]!r}, not true or false")
    return result


def decide(
    compared: str,
    sign: str,
    threshold: float,
    condition: str,
    values: Mapping[str, float | None],
    labels: Mapping[str, str],
) -> bool | None:
    """Whether this is an alert; `None`: there was nothing to measure. Raises `ConditionError`."""
    if condition:
        numbers = {name: value for name, value in values.items() if value is not None}
        return None if len(numbers) < len(values) else _run(condition, numbers, labels)
    value = values.get(compared)
    return None if value is None else _COMPARE[sign](value, threshold)
