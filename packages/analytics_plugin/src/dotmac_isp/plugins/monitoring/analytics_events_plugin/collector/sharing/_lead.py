"""Which of several collectors does what is done once: evaluates alerts, sends reports, deletes what is too old.

Each tells the server now and then that it is there. Who sees nobody lead claims the lead, waits until every other claim of that moment
must be visible, and leads if its own is the first. A leader that cannot say so any more stops before the others may take its place; all
times between collectors are the server's, and a collector's own are spans of its monotonic clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Judgement", "Member", "Pace", "judged"]


class Pace(msgspec.Struct, frozen=True):
    """Everything follows from how often a collector tells that it is there, seconds."""

    beat: float

    @property
    def settle(self) -> float:
        """From a claim to the lead; a claim that took longer than half of it to arrive is withdrawn."""
        return 2 * self.beat

    @property
    def hold(self) -> float:
        """How long a leader leads on, from the beginning of its last beat."""
        return 4 * self.beat

    @property
    def patience(self) -> float:
        """How long a silent collector is taken to be there: longer than it may hold the lead."""
        return 8 * self.beat


class Member(msgspec.Struct, frozen=True):
    """A collector, as the server knows it: its last beat, since when it claims the lead (the server's milliseconds, 0: not), and how old that is."""

    collector: str
    beat: int
    claimed: int
    age: float


class Judgement(msgspec.Struct, frozen=True):
    """What a collector claims from now on, and whether it leads."""

    claimed: int
    leads: bool


def judged(me: str, beat: int, members: Sequence[Member], now: int, pace: Pace) -> Judgement | None:
    """What follows for `me` from what the server says. `None`: the answer is older than my own last beat, so nothing follows."""
    own = next((one for one in members if one.collector == me), None)
    if own is None or own.beat != beat:
        return None
    claims = sorted((one.claimed, one.collector) for one in members if one.claimed and one.age < pace.patience)
    if not claims:
        return Judgement(now, leads=False)
    if claims[0][1] != me:
        return Judgement(0, leads=False)
    return Judgement(own.claimed, leads=now - own.claimed >= pace.settle * 1000)
