"""The way of an event: forms, schemas, identifiers, spool, engine."""

from __future__ import annotations

from ._forms import MAX_BATCH
from ._ids import EventIds, key_of
from ._intake import Intake, Taken
from ._sift import sift
from ._writer import Writer

__all__ = ["MAX_BATCH", "EventIds", "Intake", "Taken", "Writer", "key_of", "sift"]
