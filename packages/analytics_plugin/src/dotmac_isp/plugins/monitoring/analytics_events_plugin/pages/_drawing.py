"""Draws in a process of its own, which stays for a minute after the last job: its engine takes 290 MB."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import TYPE_CHECKING, Any, Final

import msgspec

from .._parent import child_environment
from ._bundle import ChartsMissingError
from ._charts import Panel, column_words, specification
from ._words import clock, flat, number_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Drawing", "DrawingError", "sheet_job"]

_SECONDS: Final = 60.0
_IDLE: Final = 60.0
_MISSING: Final = {"vl_convert": "reports", "pypdf": "reports", "pyarrow": "parquet"}
_MOST_ROWS: Final = 200


class DrawingError(RuntimeError):
    """A page could not be drawn; the message says why."""


class Drawing:
    """One drawing process, started when it is needed. Use from one event loop."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._lock = asyncio.Lock()
        self._rest: asyncio.TimerHandle | None = None

    async def draw(self, job: Mapping[str, Any]) -> bytes:
        """PNG, PDF or Parquet, by the job's `form`. Raises `ChartsMissingError` and `DrawingError`."""
        body = msgspec.json.encode(job)
        async with self._lock:
            if self._rest is not None:
                self._rest.cancel()
            try:
                async with asyncio.timeout(_SECONDS):
                    result = await self._exchange(body)
            except TimeoutError:
                await self.close()
                raise DrawingError(f"drawing took longer than {_SECONDS:.0f} s") from None
            except BaseException:
                await self.close()
                raise
            self._rest = asyncio.get_running_loop().call_later(_IDLE, self._kill)
        return _good(result)

    async def _exchange(self, body: bytes) -> bytes:
        process = self._process
        if process is None or process.returncode is not None:
            process = self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                f"{__package__}._drawing_child",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env=child_environment(),
                limit=1 << 26,
            )
        if process.stdin is None or process.stdout is None:
            raise DrawingError("the drawing process has no pipes")
        process.stdin.write(len(body).to_bytes(8, "big") + body)
        await process.stdin.drain()
        try:
            size = int.from_bytes(await process.stdout.readexactly(8), "big")
            return await process.stdout.readexactly(size)
        except (asyncio.IncompleteReadError, ConnectionError):
            raise DrawingError("the drawing process ended in the middle of a page") from None

    def _kill(self) -> None:
        if self._process is not None and self._process.returncode is None and self._process.stdin is not None:
            self._process.stdin.close()

    async def close(self) -> None:
        if self._rest is not None:
            self._rest.cancel()
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def _good(result: bytes) -> bytes:
    words = result[1:600].decode(errors="replace")
    if result[:1] == b"\2":
        extra = _MISSING.get(words, "reports")
        raise ChartsMissingError(f"this form needs {words}. Run: pip install 'dotmac-plugin-analytics[{extra}]'")
    if result[:1] != b"\0":
        raise DrawingError(f"this cannot be drawn: {words}")
    return result[1:]


def sheet_job(
    form: str,
    *,
    title: str,
    since: float,
    until: float,
    made: float,
    panels: Sequence[Panel],
    totals: Mapping[str, Any],
) -> dict[str, Any]:
    """The job that draws panels on paper. Times are Unix seconds."""
    return {
        "form": form,
        "title": title,
        "period": f"{clock(since)} – {clock(until)}",
        "made": f"Made {clock(made)}. All times are UTC.",
        "tiles": [
            *((name.replace("_", " "), number_words(value)) for name, value in flat(totals)),
            *((_tile_name(panel), panel.number_words) for panel in panels if panel.chart == "number"),
        ],
        "sections": [_section(panel) for panel in panels if panel.chart != "number"],
    }


def _tile_name(panel: Panel) -> str:
    """The unit too, unless the title says it already."""
    return panel.title if panel.unit.lower() in panel.title.lower() else f"{panel.title} ({panel.unit})"


def _section(panel: Panel) -> dict[str, Any]:
    told: dict[str, Any] = {"title": panel.title, "spec": specification(panel)}
    if told["spec"] is None or panel.chart == "heatmap":
        told["columns"] = [column_words(panel, name) for name in panel.columns]
        told["rows"] = [[number_words(row.get(name)) for name in panel.columns] for row in panel.rows[:_MOST_ROWS]]
    return told
