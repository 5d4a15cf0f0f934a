"""Retention: old records move to files that can be verified, and the chain goes on from a signed anchor.

An archive is a file of JSON lines: what it is and what its first record hangs on, the records with number and hash, and the
signed anchor. It is complete on the disk before anything is taken out of the database.
"""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from ._chain import Head, genesis, sign_head, signed_well
from ._keys import open_signer
from ._read import reading, rows, tenants_in
from ._record import AuditError, AuditRecord, canonical, decode
from ._store import ChainStore
from ._walk import Problem, Walk

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator

    from ._keys import Signer
    from ._store import Row

__all__ = ["FOLDER", "Archived", "archive", "check_archives"]

FOLDER: Final = "audit-archive"


class Archived(msgspec.Struct, frozen=True, kw_only=True):
    """What was moved to a file."""

    tenant: str
    first: int
    last: int
    file: str


class _Begin(msgspec.Struct, frozen=True, kw_only=True):
    archive: int
    tenant: str
    first: int
    previous: str


class _Line(msgspec.Struct, frozen=True, kw_only=True):
    sequence: int
    hash: str
    record: msgspec.Raw


class _End(msgspec.Struct, frozen=True, kw_only=True):
    anchor: Head


def archive(home: Path, *, before: float, tenant: str | None = None, folder: Path | None = None) -> list[Archived]:
    """Move the records before a Unix time to files in `folder` (default `audit-archive` in the home), one for each tenant.

    A chain that does not verify is not touched: `AuditError` names the first bad record. The host may be running.
    """
    signer = open_signer(home, create=False)
    place = folder if folder is not None else home / FOLDER
    with reading(home) as connection:
        labels = sorted(tenants_in(connection)) if tenant is None else [tenant]
    store = ChainStore(home, signer, durable=True)
    try:
        done = [one for label in labels if (one := _one(store, place, label, before)) is not None]
        notes = [_note(one) for one in done]
        if notes:
            store.append(notes)
    finally:
        store.close()
    return done


def _note(done: Archived) -> tuple[str, bytes]:
    named = None if done.tenant == "-" else done.tenant
    detail = f"records {done.first} to {done.last} were moved to {Path(done.file).name}"
    return done.tenant, canonical(AuditRecord(action="audit", outcome="archived", tenant_id=named, detail=detail))


def _one(store: ChainStore, place: Path, tenant: str, before: float) -> Archived | None:
    with store.transaction() as connection:
        start = _start(connection, store.signer, tenant)
        old = _older(connection, tenant, before)
        if not old:
            return None
        walk = Walk(tenant, *start)
        walk.along(old, (), lambda: rows(connection, tenant))
        if walk.problem is not None:
            raise AuditError(f"nothing was archived: {walk.problem}", remedy="dotmac-plugins audit verify")
        anchor = _anchor(store.signer, walk)
        file = place / f"{_file_stem(tenant)}-{walk.first:09d}-{walk.sequence:09d}.jsonl"
        _write(file, _lines(tenant, start[1], old, anchor))
        for left in place.glob(f"{_file_stem(tenant)}-{walk.first:09d}-*.jsonl"):
            if left != file:  # of an attempt that was interrupted before the database followed
                left.unlink()
        store.claim(anchor)
        connection.execute("DELETE FROM records WHERE tenant = ? AND sequence <= ?", (tenant, walk.sequence))
        return Archived(tenant=tenant, first=walk.first, last=walk.sequence, file=str(file))


def _anchor(signer: Signer, walk: Walk) -> Head:
    """Signed, as it leaves the host with the archive."""
    return sign_head(
        signer,
        Head(
            kind="anchor",
            tenant=walk.tenant,
            sequence=walk.sequence,
            hash=walk.digest.hex(),
            at=time.time(),
            key=signer.key_id,
        ),
    )


def _start(connection: sqlite3.Connection, signer: Signer, tenant: str) -> tuple[int, bytes]:
    query = "SELECT CAST(claim AS BLOB) FROM claims WHERE kind = 'anchor' AND tenant = ?"
    row = connection.execute(query, (tenant,)).fetchone()
    if row is None:
        return 0, genesis(tenant)
    anchor = msgspec.json.decode(row[0], type=Head)
    if not signed_well(signer, anchor):
        raise AuditError(f"the anchor of tenant {tenant} was changed", remedy="dotmac-plugins audit verify")
    return anchor.sequence, bytes.fromhex(anchor.hash)


def _older(connection: sqlite3.Connection, tenant: str, before: float) -> list[Row]:
    """Records up to the first that is younger; a clock that was set back leaves no hole."""
    old: list[Row] = []
    for row in rows(connection, tenant):
        try:
            if decode(row[2]).at >= before:
                break
        except (msgspec.MsgspecError, UnicodeDecodeError):
            pass  # the walk says what is wrong with it
        old.append(row)
    return old


def _file_stem(tenant: str) -> str:
    """A tenant may be told from another by case alone, which a file system may not see."""
    return f"{'system' if tenant == '-' else tenant}.{hashlib.sha256(tenant.encode()).hexdigest()[:8]}"


def _lines(tenant: str, previous: bytes, old: list[Row], anchor: Head) -> Iterator[bytes]:
    encode = msgspec.json.encode
    yield encode(_Begin(archive=1, tenant=tenant, first=old[0][0], previous=previous.hex()))
    for sequence, digest, data in old:
        yield encode(_Line(sequence=sequence, hash=digest.hex(), record=msgspec.Raw(data)))
    yield encode(_End(anchor=anchor))


def _write(file: Path, lines: Iterable[bytes]) -> None:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = file.with_suffix(".part")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as out:
            for line in lines:
                out.write(line + b"\n")
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(file)
        descriptor = os.open(file.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise AuditError(f"the archive {file} cannot be written: {error}", remedy="Nothing was taken away") from error


def check_archives(home: Path, signer: Signer, tenant: str, anchor: Head | None) -> tuple[list[Problem], list[str]]:
    """What is wrong with the tenant's archives in the home, and what is not there to be checked."""
    files = sorted((home / FOLDER).glob(f"{_file_stem(tenant)}-*.jsonl"))
    problems: list[Problem] = []
    notes: list[str] = []
    end = (0, genesis(tenant).hex())
    for file in files:
        try:
            begin, last = _check_file(file, signer, tenant)
        except AuditError as error:
            problems.append(Problem(tenant=tenant, sequence=0, what=f"archive {file.name}: {error.message}"))
            return problems, notes
        if anchor is None or begin.first > anchor.sequence:
            notes.append(f"archive {file.name} is of an attempt that was interrupted; its records are in the database")
            continue
        if begin.first != end[0] + 1:
            notes.append(f"records {end[0] + 1} to {begin.first - 1} are archived elsewhere")
        elif begin.previous != end[1]:
            what = f"archive {file.name} does not fit the one before it"
            problems.append(Problem(tenant=tenant, sequence=begin.first, what=what))
        end = (last.sequence, last.hash)
    archived = 0 if anchor is None else anchor.sequence
    if end[0] < archived:
        notes.append(f"records {end[0] + 1} to {archived} are archived elsewhere")
    elif anchor is not None and end != (archived, anchor.hash) and not problems:
        what = "the anchor does not say what the archives do: it is an old one, or was changed"
        problems.append(Problem(tenant=tenant, sequence=end[0], what=what))
    return problems, notes


def _check_file(file: Path, signer: Signer, tenant: str) -> tuple[_Begin, Head]:
    """Verify one archive by itself. Raises `AuditError`."""
    try:
        lines = file.read_bytes().splitlines()
        begin = msgspec.json.decode(lines[0], type=_Begin)
        found = [_row(line) for line in lines[1:-1]]
        anchor = msgspec.json.decode(lines[-1], type=_End).anchor
        walk = Walk(tenant, begin.first - 1, bytes.fromhex(begin.previous))
    except (OSError, IndexError, ValueError) as error:
        raise AuditError(f"it cannot be read: {error}") from error
    walk.along(found, (), lambda: found)
    if walk.problem is not None:
        raise AuditError(f"record {walk.problem.sequence}: {walk.problem.what}")
    signed = (anchor.tenant, anchor.kind, anchor.sequence, anchor.hash)
    if not signed_well(signer, anchor) or signed != (tenant, "anchor", walk.sequence, walk.digest.hex()):
        raise AuditError("its signed end does not fit its records")
    return begin, anchor


def _row(line: bytes) -> Row:
    read = msgspec.json.decode(line, type=_Line)
    return read.sequence, bytes.fromhex(read.hash), bytes(read.record)
