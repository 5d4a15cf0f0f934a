"""The project's figures, each a ratio that is measured in one run: `python benchmarks/run.py [names] [--json]`.

Ends with 0 also when a goal is missed: speed is no test. Anything else means that a benchmark is broken.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks._measure import Figure, as_data, machine, median_of

NAMES = (
    "hooks",
    "discovery",
    "import",
    "tenants",
    "audit",
    "permissions",
    "licences",
    "rotation",
    "egress",
    "analytics_accept",
    "analytics_store",
    "analytics_track",
    "analytics_deletion",
    "analytics_questions",
    "voltha_devices",
    "voltha_services",
    "jail",
    "jailed_tenants",
    "reload",
)
_HEADINGS = ("what", "ours", "other", "ratio", "middle half", "goal", "verdict")


def main() -> None:
    arguments = _arguments()
    found: list[Figure] = []
    for name in arguments.names or NAMES:
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        found += importlib.import_module(f"benchmarks._{name}").figures()
    if arguments.json:
        print(json.dumps({"machine": machine(), "figures": [as_data(one) for one in found]}, indent=2))
    else:
        print(_text(found))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="names", help=f"which ones; default all: {', '.join(NAMES)}")
    parser.add_argument("--json", action="store_true", help="machine, figures and every round as JSON")
    arguments = parser.parse_args()
    unknown = [one for one in arguments.names if one not in NAMES]
    if unknown:
        parser.error(f"there is no benchmark {unknown[0]!r}; there are {', '.join(NAMES)}")
    return arguments


def _text(found: list[Figure]) -> str:
    there = machine()
    lines = [
        f"{there['python']}, {there['cores']} cores, {there['kernel']}, load {there['load']}, {there['date']}",
        "",
        *_table([_HEADINGS, *(_row(one) for one in found)]),
        "",
        *(f"{one.name}: {key}: {value}" for one in found for key, value in one.notes.items()),
    ]
    return "\n".join(lines)


def _row(figure: Figure) -> tuple[str, ...]:
    sides = figure.sides
    low, high = sides.quartiles
    return (
        f"{figure.what} / {figure.against}",
        f"{median_of(sides.ours):.3g} {figure.unit}",
        f"{median_of(sides.theirs):.3g} {figure.unit}",
        f"{sides.ratio:.2f}",
        f"{low:.2f}-{high:.2f}",
        "" if figure.goal is None else f"<= {figure.goal:g}",
        figure.verdict,
    )


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [lines[0], "  ".join("-" * width for width in widths), *lines[1:]]


if __name__ == "__main__":
    main()
