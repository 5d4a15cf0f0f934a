"""How the figures are taken: both sides in turn (A B A B …) in one run, and the median of the rounds' ratios.

A machine that does other things at the same time slows both sides of a round down alike; the ratio of one round hardly feels it,
and the median of many leaves out the rounds that were hit on one side only. The least value of many would show luck.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Figure", "Sides", "as_data", "in_turn", "machine", "median_of", "process_ms", "run_python"]


@dataclass(frozen=True)
class Sides:
    """What two sides took, round by round, in the same unit."""

    ours: tuple[float, ...]
    theirs: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """The median of ours / theirs."""
        return statistics.median(self.ratios)

    @property
    def ratios(self) -> list[float]:
        return [one / other for one, other in zip(self.ours, self.theirs, strict=True)]

    @property
    def quartiles(self) -> tuple[float, float]:
        """Between these lies the middle half of the rounds' ratios."""
        lower, _, upper = statistics.quantiles(self.ratios, n=4)
        return lower, upper


@dataclass(frozen=True)
class Figure:
    """One line of the table. `goal` is the most that `ratio` may be; `None`: for information."""

    name: str
    what: str
    against: str
    unit: str
    sides: Sides
    goal: float | None = None
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        if self.goal is None:
            return ""
        return "met" if self.sides.ratio <= self.goal else "MISSED"


def in_turn(ours: Callable[[], float], theirs: Callable[[], float], rounds: int) -> Sides:
    """Measure both sides `rounds` times, one after the other; each round begins with the other side than the last."""
    taken: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds):
        for side in (0, 1) if number % 2 else (1, 0):
            taken[side].append((ours, theirs)[side]())
    return Sides(tuple(taken[0]), tuple(taken[1]))


def median_of(values: Sequence[float]) -> float:
    return statistics.median(values)


def run_python(*arguments: str, env: dict[str, str] | None = None) -> str:
    """Run this Python with arguments and give what it printed. What it says on stderr is shown when it fails."""
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=env, check=False)
    if done.returncode:
        raise RuntimeError(f"python {' '.join(arguments)[:200]} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


def process_ms(*arguments: str, env: dict[str, str] | None = None) -> float:
    """How long a whole Python process takes, in milliseconds."""
    started = time.perf_counter()
    run_python(*arguments, env=env)
    return (time.perf_counter() - started) * 1e3


def machine() -> dict[str, Any]:
    """What the figures were taken on, and when; no names."""
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "cores": os.cpu_count(),
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load": round(os.getloadavg()[0], 1),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def as_data(figure: Figure) -> dict[str, Any]:
    """A figure for `--json`: medians, ratio, the middle half of the ratios, and every round."""
    sides = figure.sides
    low, high = sides.quartiles
    return {
        "name": figure.name,
        "what": figure.what,
        "against": figure.against,
        "unit": figure.unit,
        "ours": median_of(sides.ours),
        "theirs": median_of(sides.theirs),
        "ratio": sides.ratio,
        "ratio_quartiles": [low, high],
        "goal": figure.goal,
        "verdict": figure.verdict,
        "notes": figure.notes,
        "rounds": asdict(sides),
    }
