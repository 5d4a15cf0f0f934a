"""`import dotmac_isp.plugins.core` against `import stevedore`: whole processes, in turn.

Core's names load on first use, so the bare import is not what a host pays; the second line, for information, imports `PluginManager`.
"""

from __future__ import annotations

from functools import partial

from ._measure import Figure, in_turn, median_of, process_ms

__all__ = ["figures"]

ROUNDS = 25
GOAL = 1.5
_THEIRS = "import stevedore"


def figures() -> list[Figure]:
    pairs: list[tuple[str, float | None]] = [
        ("import dotmac_isp.plugins.core", GOAL),
        ("from dotmac_isp.plugins.core import BasePlugin, hookimpl", None),
        ("from dotmac_isp.plugins.core import PluginManager", None),
    ]
    bare = median_of([process_ms("-c", "pass") for _ in range(ROUNDS)])
    return [_figure(code, goal, bare) for code, goal in pairs]


def _figure(code: str, goal: float | None, bare: float) -> Figure:
    ours, theirs = (partial(process_ms, "-c", one) for one in (code, _THEIRS))
    ours(), theirs()  # compiles what is not compiled yet
    sides = in_turn(ours, theirs, ROUNDS)
    return Figure(
        name=code,
        what=f'python -c "{code}"',
        against=f'python -c "{_THEIRS}"',
        unit="ms",
        sides=sides,
        goal=goal,
        notes={"python -c pass, ms": round(bare, 1)},
    )
