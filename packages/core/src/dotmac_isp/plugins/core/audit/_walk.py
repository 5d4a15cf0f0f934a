"""Walking along a chain, and saying what is wrong where it breaks. Pure: rows in, findings out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from ._chain import link
from ._record import decode
from ._store import TAMPERED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ._store import Row

__all__ = ["Problem", "Walk"]


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with a tenant's chain, and at which record; 0: with no record in particular."""

    tenant: str
    sequence: int
    what: str

    def __str__(self) -> str:
        where = f", record {self.sequence}" if self.sequence else ""
        return f"tenant {self.tenant}{where}: {self.what}"


class Walk:
    """Goes along rows from a known place. Ends at the first bad one, which `problem` names."""

    def __init__(self, tenant: str, sequence: int, digest: bytes) -> None:
        self.tenant: Final = tenant
        self.first = 0
        self.sequence = sequence
        self.digest = digest
        self.count = 0
        self.problem: Problem | None = None
        #: Damage that the trail itself noticed and recorded.
        self.confessed: list[Problem] = []
        #: Hashes at these numbers, for comparison with heads that were kept elsewhere.
        self.marks: dict[int, str] = {}

    def along(self, rows: Iterable[Row], wanted: Iterable[int], again: Callable[[], Iterable[Row]]) -> None:
        """Walk. `again` gives the chain's rows once more, to find out what a bad one is."""
        marks = set(wanted)
        for row in rows:
            what = self._step(row)
            if what is not None:
                sequence = row[0] if row[0] == self.sequence + 1 else self.sequence + 1
                self.problem = Problem(tenant=self.tenant, sequence=sequence, what=self._why(row, what, again))
                return
            if self.sequence in marks:
                self.marks[self.sequence] = self.digest.hex()

    def _step(self, row: Row) -> str | None:
        sequence, digest, data = row
        if sequence != self.sequence + 1:
            last = sequence - 1
            if last <= self.sequence:
                return "it has a number that no record has"
            span = f"record {last}" if last == self.sequence + 1 else f"records {self.sequence + 1} to {last}"
            return f"{span} missing: it was deleted ({sequence} is there)"
        if link(self.digest, sequence, data) != digest:
            return "changed"
        try:
            record = decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            return f"it cannot be read: {error}"
        owner = "-" if record.tenant_id is None else record.tenant_id
        if owner != self.tenant:
            return f"it is a record of tenant {owner}"
        if (record.action, record.outcome) == TAMPERED:
            told = f"when the host went on writing here, it noticed: {record.detail}"
            self.confessed.append(Problem(tenant=self.tenant, sequence=sequence, what=told))
        self.first = self.first or sequence
        self.sequence, self.digest = sequence, digest
        self.count += 1
        return None

    def _why(self, row: Row, what: str, again: Callable[[], Iterable[Row]]) -> str:
        """For a record whose hash does not fit: is another one here in its place, or was this one changed?"""
        if what != "changed":
            return what
        sequence, digest, _ = row
        for other, other_digest, data in again():
            if other != sequence and link(self.digest, sequence, data) in {digest, other_digest}:
                return f"records were reordered: what belongs here stands at {other}"
        return "its bytes or its hash were changed: it does not fit the record before it"
