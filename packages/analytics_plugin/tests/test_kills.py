"""Hosts, collectors and engines are killed at random moments; nothing is lost and nothing counts twice.

The benchmark `benchmarks/kills.py` does the same with a million events and fifty kills.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
async def test_nothing_is_lost_or_doubled_whoever_is_killed(engine: None, tmp_path: Path, seed: int) -> None:
    place = Path(__file__).parents[1] / "benchmarks" / "kills.py"
    spec = importlib.util.spec_from_file_location("kills", place)
    assert spec is not None
    assert spec.loader is not None
    kills = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(kills)
    result = await kills.run(tmp_path, 60_000, 8, seed)
    assert sum(result["killed"].values()) == 8
    counts = {name: result[name] for name in ("rows", "ids", "per_minute", "amounts", "devices")}
    assert counts == dict.fromkeys(counts, 60_000)
