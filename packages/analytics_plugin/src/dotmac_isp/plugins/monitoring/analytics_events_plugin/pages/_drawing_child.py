"""The process that draws: vl-convert with its JavaScript engine, pypdf, pyarrow. Jobs come on standard input, results go out.

Each is a length of eight bytes and as many bytes: JSON in, and out a byte (0 well, 1 failed) with the result or the reason.
"""

from __future__ import annotations

import io
import sys
from typing import Any, Final

import msgspec

from ._paper import Paper, Section, sheets

__all__ = ["main"]

_CONFIG: Final[dict[str, Any]] = {
    "background": "transparent",
    "font": "DejaVu Sans, Roboto, sans-serif",
    "view": {"stroke": None},
    "range": {
        "category": ["#2563b8", "#d9730d", "#1a8a5f", "#b4377b", "#7a5cc7", "#9a7b0a", "#0f8ba3", "#c2412d", "#7b8794"]
    },
    "bar": {"color": "#2563b8"},
    "line": {"color": "#2563b8"},
    "area": {"color": "#2563b8"},
    "axis": {
        "labelColor": "#5d6a7d",
        "titleColor": "#5d6a7d",
        "gridColor": "#dfe3ea",
        "domainColor": "#dfe3ea",
        "tickColor": "#dfe3ea",
    },
    "axisQuantitative": {"tickCount": 5},
    "axisBand": {"grid": False},
    "axisTemporal": {"grid": False},
    "legend": {"labelColor": "#1b2330", "labelLimit": 200, "symbolType": "circle"},
}
_CHART_WIDTH: Final = 690
#: Charts take no data from anywhere but the specification.
_NOWHERE: Final = ["https://nowhere.invalid/"]
_SCALE: Final = 2.0


class Job(msgspec.Struct):
    """`form` is png, pdf or parquet."""

    form: str
    title: str = ""
    period: str = ""
    made: str = ""
    tiles: tuple[tuple[str, str], ...] = ()
    sections: tuple[dict[str, Any], ...] = ()
    columns: tuple[str, ...] = ()
    rows: tuple[dict[str, Any], ...] = ()


def _chart(spec: dict[str, Any] | None) -> str:
    import vl_convert  # noqa: PLC0415

    if not spec:
        return ""
    sized = {**spec, "width": _CHART_WIDTH} if spec.get("width") == "container" else spec
    svg: str = vl_convert.vegalite_to_svg(sized, config=_CONFIG, allowed_base_urls=_NOWHERE)
    return svg


def _drawn(job: Job) -> bytes:
    import vl_convert  # noqa: PLC0415

    sections = tuple(
        Section(
            title=one["title"],
            chart=_chart(one.get("spec")),
            columns=tuple(one.get("columns", ())),
            rows=tuple(tuple(row) for row in one.get("rows", ())),
        )
        for one in job.sections
    )
    paper = Paper(title=job.title, period=job.period, made=job.made, tiles=job.tiles, sections=sections)
    pages = sheets(paper, single=job.form == "png")
    if job.form == "png":
        picture: bytes = vl_convert.svg_to_png(pages[0].svg, scale=_SCALE)
        return picture
    return _bound([vl_convert.svg_to_pdf(page.svg) for page in pages], job.title)


def _bound(pages: list[bytes], title: str) -> bytes:
    import pypdf  # noqa: PLC0415

    writer = pypdf.PdfWriter()
    for page in pages:
        writer.append(io.BytesIO(page))
    for one in writer.pages:
        # Points of the screen (96 an inch) become those of paper (72).
        one.scale_by(0.75)
    writer.add_metadata({"/Title": title, "/Producer": "dotmac analytics"})
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def _parquet(job: Job) -> bytes:
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    columns = {name: _column([row.get(name) for row in job.rows]) for name in job.columns}
    out = io.BytesIO()
    parquet.write_table(pa.table(columns), out, compression="zstd")
    return out.getvalue()


def _column(values: list[Any]) -> Any:
    """Numbers stay numbers; what is of several kinds becomes text."""
    import pyarrow as pa  # noqa: PLC0415

    known = [value for value in values if value is not None]
    if all(isinstance(value, bool) for value in known) or all(isinstance(value, str) for value in known):
        return pa.array(values, pa.bool_() if known and isinstance(known[0], bool) else pa.string())
    if all(isinstance(value, int) for value in known):
        return pa.array(values, pa.int64())
    if all(isinstance(value, (int, float)) for value in known):
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    return pa.array([None if value is None else str(value) for value in values], pa.string())


def _answer(body: bytes) -> bytes:
    try:
        job = msgspec.json.decode(body, type=Job)
        return b"\0" + (_parquet(job) if job.form == "parquet" else _drawn(job))
    except ImportError as error:
        return b"\2" + str(error.name or error).encode()
    except Exception as error:  # noqa: BLE001 - whatever a chart makes the engine say goes back to who asked
        return b"\1" + f"{type(error).__name__}: {error}"[:500].encode("utf-8", "replace")


def main() -> None:
    """Answer until standard input ends."""
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while head := source.read(8):
        result = _answer(source.read(int.from_bytes(head, "big")))
        sink.write(len(result).to_bytes(8, "big") + result)
        sink.flush()


if __name__ == "__main__":
    main()
