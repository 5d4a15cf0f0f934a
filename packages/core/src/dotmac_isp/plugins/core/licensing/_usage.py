"""What is counted against the limits of licences: levels (devices now) and amounts of a day (events today, UTC)."""

from __future__ import annotations

from typing import Any, Final

__all__ = ["Usage"]

_DAY: Final = 86_400
_PER_DAY: Final = "_per_day"


class Usage:
    """Counts by licence and limit. A limit whose name ends in `_per_day` grows and begins anew at midnight UTC; any other is a level."""

    def __init__(self, remembered: object = None) -> None:
        self._today: dict[tuple[str, str], tuple[int, int]] = {}
        self._levels: dict[tuple[str, str], dict[tuple[str, str | None], int]] = {}
        for entry in remembered if isinstance(remembered, list) else ():
            match entry:
                case [str() as licence, str() as name, int() as day, int() as amount]:
                    self._today[licence, name] = day, amount

    def after(self, licence: str, name: str, who: tuple[str, str | None], amount: int, now: float) -> int:
        """The total that there would be with this: `amount` more today, or a level of `amount` for this instance."""
        if name.endswith(_PER_DAY):
            day, total = self._today.get((licence, name), (0, 0))
            return amount + (total if day == int(now // _DAY) else 0)
        levels = self._levels.get((licence, name), {})
        return amount + sum(level for other, level in levels.items() if other != who)

    def take(self, licence: str, name: str, who: tuple[str, str | None], amount: int, now: float) -> None:
        """Count it."""
        if name.endswith(_PER_DAY):
            self._today[licence, name] = int(now // _DAY), self.after(licence, name, who, amount, now)
        else:
            self._levels.setdefault((licence, name), {})[who] = amount

    def forget(self, who: tuple[str, str | None]) -> None:
        """The instance is gone, and its levels with it."""
        for levels in self._levels.values():
            levels.pop(who, None)

    def remembered(self, now: float) -> list[list[Any]]:
        """Today's amounts, for the next run."""
        day = int(now // _DAY)
        return [[*key, of, amount] for key, (of, amount) in sorted(self._today.items()) if of == day]
