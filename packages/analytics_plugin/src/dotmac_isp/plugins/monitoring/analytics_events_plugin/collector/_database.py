"""The collector's small databases."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["opened"]


def opened(path: Path) -> sqlite3.Connection:
    """A database for one process and several threads: what a statement has changed is on disk, and what it deleted is not left in the file."""
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    for setting in ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON"):
        database.execute(f"PRAGMA {setting}")
    return database
