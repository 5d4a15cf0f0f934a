"""Reports and dashboards on paper: pages of SVG with text, tables and charts, which become PDF or one PNG.

Runs where vl-convert runs (`_drawing_child`); it gives the charts as SVG.
"""

from __future__ import annotations

import html
import re
from typing import Final

import msgspec

__all__ = ["Paper", "Sheet", "sheets"]

#: A4 at 96 points an inch.
_WIDTH: Final = 794
_HEIGHT: Final = 1123
_MARGIN: Final = 48
_INNER: Final = _WIDTH - 2 * _MARGIN
_LINE: Final = 20
_TILE: Final = 66
_FONT: Final = "font-family=\"'DejaVu Sans', Roboto, 'Noto Sans', sans-serif\""
_MOST_ROWS: Final = 40
_SIZE: Final = re.compile(r'<svg[^>]*\bwidth="([\d.]+)"[^>]*\bheight="([\d.]+)"')


class Section(msgspec.Struct):
    """A heading with a chart (SVG, or empty), a table, or both."""

    title: str
    chart: str = ""
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


class Paper(msgspec.Struct):
    """What is to be drawn; all texts are as they shall be read."""

    title: str
    period: str
    made: str
    tiles: tuple[tuple[str, str], ...] = ()
    sections: tuple[Section, ...] = ()


class Sheet(msgspec.Struct):
    svg: str
    height: int


class _Block(msgspec.Struct):
    """Something that is not torn apart: its height, and how it is drawn at a place."""

    height: float
    parts: list[tuple[float, float, str]]


def _text(
    x: float, y: float, text: str, size: int = 12, fill: str = "#1b2330", more: str = ""
) -> tuple[float, float, str]:
    clean = "".join(c if c.isprintable() else " " for c in text)
    return x, y, f'<text {_FONT} font-size="{size}" fill="{fill}" {more}>{html.escape(clean)}</text>'


def _cut(text: str, width: float, size: int) -> str:
    most = max(3, int(width / (size * 0.58)))
    return text if len(text) <= most else text[: most - 1] + "…"


def _head(paper: Paper) -> _Block:
    return _Block(
        76,
        [
            _text(0, 30, _cut(paper.title, _INNER, 26), 26, more='font-weight="600"'),
            _text(0, 54, paper.period, 13, "#5d6a7d"),
        ],
    )


def _tiles(tiles: tuple[tuple[str, str], ...]) -> list[_Block]:
    blocks = []
    width = _INNER / 4
    for start in range(0, len(tiles), 4):
        parts = []
        for index, (name, value) in enumerate(tiles[start : start + 4]):
            x = index * width
            box = f'<rect width="{width - 10}" height="{_TILE - 8}" rx="8" fill="#f6f7f9" stroke="#dfe3ea"/>'
            parts.append((x, 0.0, box))
            parts.append(_text(x + 12, 27, _cut(value, width - 30, 18), 18, more='font-weight="600"'))
            parts.append(_text(x + 12, 46, _cut(name, width - 30, 11), 11, "#5d6a7d"))
        blocks.append(_Block(_TILE, parts))
    return blocks


def _chart(svg: str, number: int) -> _Block:
    """A chart in its own space; its identifiers get a prefix, for several stand on one page."""
    found = _SIZE.search(svg)
    width, height = (float(found.group(1)), float(found.group(2))) if found else (_INNER, 240.0)
    own = re.sub(r'\bid="', f'id="c{number}-', svg)
    own = re.sub(r"url\(#", f"url(#c{number}-", own)
    scale = min(1.0, _INNER / width)
    placed = f'<g transform="scale({scale:.4f})">{own}</g>'
    return _Block(height * scale + 10, [(0.0, 0.0, placed)])


def _table(section: Section) -> list[_Block]:
    count = len(section.columns)
    if not count:
        return []
    width = _INNER / count
    head = [
        _text(index * width, 14, _cut(name, width - 8, 11), 11, "#5d6a7d", 'font-weight="600"')
        for index, name in enumerate(section.columns)
    ]
    blocks = [_Block(_LINE, head)]
    for row in section.rows[:_MOST_ROWS]:
        cells = [_text(index * width, 14, _cut(cell, width - 8, 11), 11) for index, cell in enumerate(row)]
        rule = (0.0, 0.0, f'<rect width="{_INNER}" height="0.6" fill="#dfe3ea"/>')
        blocks.append(_Block(_LINE, [rule, *cells]))
    if len(section.rows) > _MOST_ROWS:
        blocks.append(_Block(_LINE, [_text(0, 14, f"and {len(section.rows) - _MOST_ROWS} more", 11, "#5d6a7d")]))
    return blocks


def _section(section: Section, number: int) -> list[_Block]:
    title = _Block(34, [_text(0, 24, _cut(section.title, _INNER, 15), 15, more='font-weight="600"')])
    if section.chart:
        first = _chart(section.chart, number)
    else:
        body = _table(section) or [_Block(_LINE, [_text(0, 14, "Nothing was recorded in this time.", 12, "#5d6a7d")])]
        return [_joined(title, body[0]), *body[1:]]
    return [_joined(title, first), *_table(section)]


def _joined(one: _Block, other: _Block) -> _Block:
    """A heading stays with what follows."""
    return _Block(one.height + other.height, [*one.parts, *((x, y + one.height, text) for x, y, text in other.parts)])


def sheets(paper: Paper, *, single: bool) -> list[Sheet]:
    """The pages; with `single` one that is as high as it must be."""
    blocks = [_head(paper), *_tiles(paper.tiles)]
    for number, section in enumerate(paper.sections):
        blocks.extend(_section(section, number))
    pages: list[list[tuple[float, _Block]]] = [[]]
    y = float(_MARGIN)
    for block in blocks:
        if not single and y + block.height > _HEIGHT - _MARGIN - 10 and pages[-1]:
            pages.append([])
            y = float(_MARGIN)
        pages[-1].append((y, block))
        y += block.height
    height = int(y + _MARGIN + 10) if single else _HEIGHT
    return [Sheet(_page(page, height, number + 1, len(pages), paper.made), height) for number, page in enumerate(pages)]


def _page(blocks: list[tuple[float, _Block]], height: int, number: int, count: int, made: str) -> str:
    parts = [
        f'<g transform="translate({_MARGIN + x:.1f},{top + y:.1f})">{text}</g>'
        for top, block in blocks
        for x, y, text in block.parts
    ]
    foot = made + (f" · page {number} of {count}" if count > 1 else "")
    x, y, text = _text(_MARGIN, height - 24, foot, 10, "#5d6a7d")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}"><rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>{"".join(parts)}'
        f'<g transform="translate({x},{y})">{text}</g></svg>'
    )
