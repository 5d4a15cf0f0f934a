"""Checks the trail: every chain from its beginning (or from where it was archived) to its signed head."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ._archive import check_archives
from ._chain import Head, Roster, genesis, signed_well
from ._keys import open_signer
from ._read import reading, rows, tenants_in
from ._record import AuditError
from ._store import DATABASE, read_claims
from ._walk import Problem, Walk

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ._keys import Signer
    from ._read import HeadFile

__all__ = ["ChainState", "Problem", "Verification", "verify"]


class ChainState(msgspec.Struct, frozen=True, kw_only=True):
    """One tenant's chain: its records in the database, up to which it is archived, and what is wrong with it."""

    tenant: str
    records: int
    first: int
    last: int
    archived_to: int
    problems: tuple[Problem, ...]
    notes: tuple[str, ...] = ()


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """What a check found. `problems` has those of all chains, and those that concern the trail as a whole."""

    algorithm: str
    key: str
    chains: tuple[ChainState, ...]
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        return not self.problems


def verify(home: Path, *, tenant: str | None = None, kept: HeadFile | None = None) -> Verification:
    """Check the chain of a tenant (a label, `-` for the system tenant), or of all.

    `kept` are heads that were exported earlier and kept elsewhere: against them also a database is found out that was taken back
    to an earlier state as a whole, or written anew with another key. Raises `AuditError` when there is no trail or no key.
    """
    signer = open_signer(home, create=False)
    check = _Check(home, signer, kept)
    if not (home / DATABASE).exists():
        found: list[ChainState] = []
        problems = [_whole("the database is gone, and the host's audit key is there")]
    else:
        found, problems = check.all(tenant)
    everything = (*problems, *(problem for chain in found for problem in chain.problems))
    return Verification(
        algorithm=signer.algorithm, key=signer.key_id, chains=tuple(found), problems=_unique(everything)
    )


def _whole(what: str, tenant: str = "*") -> Problem:
    return Problem(tenant=tenant, sequence=0, what=what)


def _unique(problems: Sequence[Problem]) -> tuple[Problem, ...]:
    return tuple(dict.fromkeys(problems))


class _Check:
    def __init__(self, home: Path, signer: Signer, kept: HeadFile | None) -> None:
        self._home: Final = home
        self._signer: Final = signer
        self._kept: Final = {head.tenant: head for head in kept.heads} if kept is not None else {}
        self._problems: list[Problem] = []
        if kept is not None and kept.key != signer.key_id:
            self._problems.append(_whole(f"the heads were signed with key {kept.key}; this host's is {signer.key_id}"))

    def all(self, tenant: str | None) -> tuple[list[ChainState], list[Problem]]:
        try:
            with reading(self._home) as connection:
                there = tenants_in(connection)
                wanted = {*there, *self._roster(connection), *self._kept} if tenant is None else {tenant}
                if tenant is not None and tenant not in {*there, *self._kept, *self._roster(connection)}:
                    raise AuditError(f"tenant {tenant} has no records", remedy=f"There are: {', '.join(sorted(there))}")
                return [self._chain(connection, one) for one in sorted(wanted)], self._problems
        except AuditError as error:
            if not isinstance(error.__cause__, sqlite3.Error):
                raise
            return [], [*self._problems, _whole(error.message)]

    def _roster(self, connection: sqlite3.Connection) -> set[str]:
        roster = self._claim(connection, "roster", "", Roster)
        if not isinstance(roster, Roster):
            if tenants_in(connection) or roster:
                self._problems.append(_whole(roster or "the signed list of tenants is gone"))
            return set()
        return set(roster.tenants)

    def _claim(self, connection: sqlite3.Connection, kind: str, tenant: str, shape: Any) -> Any:
        """The statement, `None`, or the sentence that says what is wrong with it."""
        what = "list of tenants" if kind == "roster" else kind
        data = read_claims(connection, kind).get(tenant)
        if data is None:
            return None
        try:
            claim = msgspec.json.decode(data, type=shape)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            return f"the signed {what} cannot be read: {error}"
        if not signed_well(self._signer, claim):
            return f"the signature of the {what} is not this host's ({self._signer.key_id}): it was changed"
        if isinstance(claim, Head) and (claim.kind, claim.tenant) != (kind, tenant):
            return f"the signed {what} is that of tenant {claim.tenant}"
        return claim

    def _chain(self, connection: sqlite3.Connection, tenant: str) -> ChainState:
        problems: list[Problem] = []
        anchor = self._claim(connection, "anchor", tenant, Head)
        if isinstance(anchor, str):
            problems.append(_whole(anchor, tenant))
        start = (anchor.sequence, bytes.fromhex(anchor.hash)) if isinstance(anchor, Head) else (0, genesis(tenant))
        walk = Walk(tenant, *start)
        kept = self._kept.get(tenant)
        wanted = [kept.sequence] if kept else []
        walk.along(rows(connection, tenant), wanted, lambda: rows(connection, tenant))
        walk.marks[start[0]] = start[1].hex()
        head = self._claim(connection, "head", tenant, Head)
        if walk.problem is not None:
            problems.append(walk.problem)
        else:
            problems += self._at_the_end(walk, head)
        problems += walk.confessed
        archived, notes = check_archives(self._home, self._signer, tenant, anchor if isinstance(anchor, Head) else None)
        problems += archived
        if kept is not None:
            problems += self._against(kept, walk)
        return ChainState(
            tenant=tenant,
            records=walk.count,
            first=walk.first,
            last=walk.sequence,
            archived_to=start[0],
            problems=tuple(problems),
            notes=tuple(notes),
        )

    def _at_the_end(self, walk: Walk, head: Head | str | None) -> list[Problem]:
        tenant, last = walk.tenant, walk.sequence
        if head is None:
            return [_whole("its signed head is gone", tenant)]
        if isinstance(head, str):
            return [_whole(head, tenant)]
        if head.sequence > last:
            what = f"the end is missing (truncated): the signed head says {head.sequence} records, the last is {last}"
            return [Problem(tenant=tenant, sequence=last + 1, what=what)]
        if head.sequence < last:
            what = f"it stands behind the signed head (record {head.sequence}): it was added, or the head is an old one"
            return [Problem(tenant=tenant, sequence=head.sequence + 1, what=what)]
        if bytes.fromhex(head.hash) != walk.digest:
            return [Problem(tenant=tenant, sequence=last, what="the signed head has another hash: it was written anew")]
        return []

    def _against(self, kept: Head, walk: Walk) -> list[Problem]:
        tenant = kept.tenant
        if not signed_well(self._signer, kept):
            return [_whole("the head that was kept was not signed with this host's key", tenant)]
        found = walk.marks.get(kept.sequence)
        if found == kept.hash:
            return []
        if found is not None:
            return [Problem(tenant=tenant, sequence=kept.sequence, what="the head that was kept has another hash")]
        if walk.sequence < kept.sequence and walk.problem is None:
            what = f"truncated or taken back: the head that was kept says {kept.sequence} records, the last is {walk.sequence}"
            return [Problem(tenant=tenant, sequence=walk.sequence + 1, what=what)]
        return []
