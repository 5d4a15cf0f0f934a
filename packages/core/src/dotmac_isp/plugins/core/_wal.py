"""Opening an SQLite file that several processes may open for the first time at the same moment."""

from __future__ import annotations

import sqlite3
import time
from typing import Final

__all__ = ["use_write_ahead_log"]

_PAUSE: Final = 0.02


def use_write_ahead_log(connection: sqlite3.Connection, *, patience: float) -> None:
    """Change the file to a write-ahead log, within *patience* seconds. Raises `sqlite3.OperationalError`.

    The change needs the file for itself for a moment, and SQLite's own timeout does not hold for that.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE)
        else:
            return
