"""A collector's data as Parquet and SQLite files that belong together, and a collector's data from such files."""

from __future__ import annotations

from ._backup import BackupError, back_up
from ._manifest import Manifest, read_manifest
from ._restore import restore

__all__ = ["BackupError", "Manifest", "back_up", "read_manifest", "restore"]
