"""Removes what an instance could write to."""

from __future__ import annotations

import contextlib
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["remove_folder"]


def remove_folder(folder: Path) -> None:
    """Remove a folder with everything in it, without following links; what cannot be removed stays.

    An instance may have nested folders deeper than Python recurses; the next sweep tries again.
    """
    with contextlib.suppress(RecursionError):
        shutil.rmtree(folder, ignore_errors=True)
