"""The JavaScript of Vega-Lite, out of vl-convert, made once and kept in a file.

vl-convert brings a JavaScript engine along (about 290 MB of memory once it runs), so a process of its own makes the file and ends.
"""

from __future__ import annotations

import asyncio
import functools
import importlib.metadata
import sys
from typing import TYPE_CHECKING, Final

from ..spool import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ChartsMissingError", "chart_bundle"]

_SECONDS: Final = 120.0
_PROGRAM: Final = "import sys, vl_convert; sys.stdout.buffer.write(vl_convert.javascript_bundle().encode())"


class ChartsMissingError(RuntimeError):
    """Charts cannot be drawn here; the message says what to install."""


@functools.lru_cache(maxsize=2)
def _read(path: Path) -> str:
    return path.read_text("utf-8")


async def chart_bundle(folder: Path) -> str:
    """The code that draws charts; from the folder's cache when it has this version's. Raises `ChartsMissingError`."""
    try:
        version = importlib.metadata.version("vl-convert-python")
    except importlib.metadata.PackageNotFoundError:
        raise ChartsMissingError(
            "charts need vl-convert. Run: pip install 'dotmac-plugin-analytics[reports]' (about 32 MB)"
        ) from None
    path = folder / f"vega-{version}.js"
    if not path.exists():
        data = await _make()
        await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True, mode=0o700)
        await asyncio.to_thread(write_atomically, path, data)
    return await asyncio.to_thread(_read, path)


async def _make() -> bytes:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _PROGRAM, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(_SECONDS):
            data, errors = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    if process.returncode or b"</script" in data.lower():
        raise ChartsMissingError(f"vl-convert gave no usable code: {errors.decode(errors='replace')[-300:]}")
    return data
