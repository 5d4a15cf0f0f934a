"""The chain: what is written can be verified, and every kind of tampering with the file is found and named."""

from __future__ import annotations

import contextlib
import sqlite3
import stat
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from dotmac_isp.plugins.core.audit import (
    AuditError,
    AuditOptions,
    AuditTrail,
    acting,
    archive,
    exported_heads,
    records,
    verify,
)
from dotmac_isp.plugins.core.audit._chain import Head, signed_well
from dotmac_isp.plugins.core.audit._keys import KEY_FILE, public_verifier
from dotmac_isp.plugins.core.audit._read import reading
from dotmac_isp.plugins.core.audit._store import read_claims
from dotmac_isp.plugins.core.model import Secret

if TYPE_CHECKING:
    from pathlib import Path

Sql = Callable[..., None]


@contextlib.asynccontextmanager
async def trail_in(home: Path, **options: Any) -> Any:
    trail = AuditTrail(redact=str, options=AuditOptions(**options))
    await trail.open(home)
    try:
        yield trail
    finally:
        await trail.close()


async def write(home: Path, count: int = 10, tenant: str | None = "t", *, first: int = 1) -> None:
    async with trail_in(home) as trail:
        for number in range(first, first + count):
            trail.record("call work", "failed", detail=f"number {number}", tenant_id=tenant, at=float(number))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def sql(home: Path) -> Sql:
    """Changes the database file as an attacker would: past us."""

    def execute(*statements: str) -> None:
        connection = sqlite3.connect(home / "audit.sqlite3", isolation_level=None)
        try:
            for one in statements:
                connection.execute(one)
        finally:
            connection.close()

    return execute


def problem(home: Path, tenant: str | None = "t", **more: Any) -> str:
    """The only problem there is."""
    found = verify(home, tenant=tenant, **more)
    assert len(found.problems) == 1, found.problems
    return str(found.problems[0])


async def test_what_was_recorded_verifies_and_can_be_read_back(home: Path) -> None:
    await write(home, 3)
    await write(home, 2, None)
    found = verify(home)
    assert found.ok
    assert [(one.tenant, one.first, one.last, one.records) for one in found.chains] == [("-", 1, 2, 2), ("t", 1, 3, 3)]
    assert [one.record.detail for one in records(home, tenant="t")] == ["number 1", "number 2", "number 3"]
    assert [one.record.detail for one in records(home, since=2.0, until=3.0)] == ["number 2", "number 2"]


async def test_hosts_one_after_the_other_continue_the_chain(home: Path) -> None:
    await write(home, 3)
    await write(home, 3, first=4)
    assert [(one.records, one.last) for one in verify(home, tenant="t").chains] == [(6, 6)]
    assert verify(home).ok


async def test_the_key_and_the_database_are_the_owners_only(home: Path) -> None:
    await write(home, 1)
    for name in (KEY_FILE, "audit.sqlite3"):
        assert stat.S_IMODE((home / name).stat().st_mode) == 0o600
    (home / KEY_FILE).chmod(0o644)
    await write(home, 1, first=2)
    assert stat.S_IMODE((home / KEY_FILE).stat().st_mode) == 0o600


TAMPERINGS = {
    "a record's text is changed": (
        ["UPDATE records SET record = replace(record, 'number 4', 'number 5') WHERE sequence = 4"],
        "record 4: its bytes or its hash were changed",
    ),
    "a record's hash is changed": (
        ["UPDATE records SET hash = zeroblob(32) WHERE sequence = 6"],
        "record 6: its bytes or its hash were changed",
    ),
    "the first record is changed": (
        ["UPDATE records SET record = replace(record, 'failed', 'worked') WHERE sequence = 1"],
        "record 1: its bytes or its hash were changed",
    ),
    "a record is deleted": (["DELETE FROM records WHERE sequence = 5"], "record 5: record 5 missing: it was deleted"),
    "the first records are deleted": (
        ["DELETE FROM records WHERE sequence < 4"],
        "record 1: records 1 to 3 missing: it was deleted",
    ),
    "a record is deleted and the others moved up": (
        [
            "DELETE FROM records WHERE sequence = 5",
            "UPDATE records SET sequence = sequence + 100 WHERE sequence > 5",
            "UPDATE records SET sequence = sequence - 101 WHERE sequence > 100",
        ],
        "record 5: its bytes or its hash were changed",
    ),
    "two records change places": (
        [
            "UPDATE records SET sequence = 100 WHERE sequence = 3",
            "UPDATE records SET sequence = 3 WHERE sequence = 7",
            "UPDATE records SET sequence = 7 WHERE sequence = 100",
        ],
        "record 3: records were reordered: what belongs here stands at 7",
    ),
    "two records change places, and keep their places' hashes": (
        [
            "CREATE TABLE kept AS SELECT sequence, record FROM records WHERE tenant = 't' AND sequence IN (3, 7)",
            "UPDATE records SET record = (SELECT record FROM kept WHERE sequence = 7) WHERE sequence = 3",
            "UPDATE records SET record = (SELECT record FROM kept WHERE sequence = 3) WHERE sequence = 7",
        ],
        "record 3: records were reordered: what belongs here stands at 7",
    ),
    "the end is cut off": (
        ["DELETE FROM records WHERE sequence > 7"],
        "record 8: the end is missing (truncated): the signed head says 10 records, the last is 7",
    ),
    "everything of the tenant is cut off": (
        ["DELETE FROM records WHERE tenant = 't'"],
        "record 1: the end is missing (truncated): the signed head says 10 records, the last is 0",
    ),
    "the head goes with the end": (
        ["DELETE FROM records WHERE sequence > 7", "DELETE FROM claims WHERE kind = 'head' AND tenant = 't'"],
        "its signed head is gone",
    ),
    "the tenant goes as a whole": (
        ["DELETE FROM records WHERE tenant = 't'", "DELETE FROM claims WHERE tenant = 't'"],
        "its signed head is gone",
    ),
    "the head is changed": (
        ["UPDATE claims SET claim = replace(claim, '\"sequence\":10', '\"sequence\":9') WHERE tenant = 't'"],
        "the signature of the head is not this host's",
    ),
    "another tenant's head stands in": (
        [
            "CREATE TABLE kept AS SELECT claim FROM claims WHERE kind = 'head' AND tenant = 'other'",
            "UPDATE claims SET claim = (SELECT claim FROM kept) WHERE kind = 'head' AND tenant = 't'",
        ],
        "the signed head is that of tenant other",
    ),
    "a record of another tenant is added": (
        ["INSERT INTO records SELECT 't', 11, hash, record FROM records WHERE tenant = 'other' AND sequence = 1"],
        "record 11: its bytes or its hash were changed",
    ),
    "the list of tenants is changed": (
        ["UPDATE claims SET claim = replace(claim, '\"other\",', '') WHERE kind = 'roster'"],
        "the signature of the list of tenants is not this host's",
    ),
    "the list of tenants is deleted": (
        ["DELETE FROM claims WHERE kind = 'roster'"],
        "the signed list of tenants is gone",
    ),
}


@pytest.mark.parametrize("how", TAMPERINGS)
async def test_tampering_is_found_and_the_first_bad_record_named(home: Path, sql: Sql, how: str) -> None:
    statements, told = TAMPERINGS[how]
    await write(home, 10)
    await write(home, 3, "other")
    sql(*statements)
    assert told in problem(home)
    assert not verify(home).ok


async def test_a_forged_record_that_fits_stands_behind_the_signed_head(home: Path, sql: Sql) -> None:
    from dotmac_isp.plugins.core.audit._chain import link
    from dotmac_isp.plugins.core.audit._record import AuditRecord, canonical

    await write(home, 3)
    last = bytes.fromhex(list(records(home, tenant="t"))[-1].hash)
    forged = canonical(AuditRecord(action="call work", outcome="fine", tenant_id="t"))
    sql(f"INSERT INTO records VALUES ('t', 4, X'{link(last, 4, forged).hex()}', X'{forged.hex()}')")
    assert "record 4: it stands behind the signed head (record 3)" in problem(home)


@pytest.mark.parametrize(
    ("statements", "told"),
    [
        (["DELETE FROM records WHERE sequence > 7"], "records 8 to 10 missing"),
        (["DELETE FROM records WHERE tenant = 't'"], "records 1 to 10 missing"),
        (["DELETE FROM claims WHERE kind = 'head'"], "it noticed: its signed head was gone"),
        (
            ["DELETE FROM records WHERE tenant = 't'", "DELETE FROM claims WHERE tenant = 't'"],
            "it noticed: its whole chain was gone",
        ),
        (
            ["DELETE FROM records WHERE sequence > 7", "DELETE FROM claims WHERE kind = 'head'"],
            "it noticed: its signed head was gone",
        ),
    ],
)
async def test_a_host_that_goes_on_writing_covers_nothing_up(
    home: Path, sql: Sql, statements: list[str], told: str
) -> None:
    await write(home, 10)
    sql(*statements)
    await write(home, 5, first=11)
    assert any(told in str(one) for one in verify(home, tenant="t").problems)
    assert any("noticed" in str(one) or "missing" in str(one) for one in verify(home).problems)


async def test_a_new_tenant_does_not_cover_up_that_the_list_of_tenants_was_changed(home: Path, sql: Sql) -> None:
    await write(home, 2, "gone")
    await write(home, 2)
    sql(
        "DELETE FROM records WHERE tenant = 'gone'",
        "DELETE FROM claims WHERE tenant = 'gone'",
        "UPDATE claims SET claim = replace(claim, '\"gone\",', '') WHERE kind = 'roster'",
    )
    await write(home, 1, "new")
    assert "list of tenants was not signed" in problem(home, None)


async def test_a_database_that_was_taken_back_or_written_anew_is_found_with_a_head_that_was_kept(
    home: Path, tmp_path: Path
) -> None:
    await write(home, 5)
    early = (home / "audit.sqlite3").read_bytes()
    await write(home, 5, first=6)
    kept = exported_heads(home)
    assert verify(home, kept=kept).ok
    (home / "audit.sqlite3").write_bytes(early)
    assert verify(home).ok  # signed as it was: nothing in the folder shows it
    assert "record 6: truncated or taken back: the head that was kept says 10" in problem(home, kept=kept)
    anew = tmp_path / "anew"
    anew.mkdir()
    await write(anew, 10)
    assert any("signed with key" in str(one) for one in verify(anew, kept=kept).problems)


async def test_heads_are_signed_only_when_they_leave_and_a_changed_one_never_is(home: Path, sql: Sql) -> None:
    await write(home, 3)
    kept = exported_heads(home)
    assert kept.algorithm == "ed25519"
    outsider = public_verifier(kept.algorithm, kept.public or "")
    assert all(signed_well(outsider, head) for head in kept.heads)
    assert not any(signed_well(outsider, msgspec.structs.replace(head, sequence=2)) for head in kept.heads)
    with reading(home) as connection:
        stored = [msgspec.json.decode(claim, type=Head) for claim in read_claims(connection, "head").values()]
    assert not any(signed_well(outsider, head) for head in stored)  # sealed: only the host's own key checks it
    sql("UPDATE claims SET claim = replace(claim, '\"sequence\":3', '\"sequence\":2') WHERE kind = 'head'")
    with pytest.raises(AuditError, match="not sealed with this host's key"):
        exported_heads(home)


async def test_a_chain_whose_head_was_signed_and_not_sealed_goes_on(home: Path) -> None:
    await write(home, 3)
    (head,) = exported_heads(home).heads
    connection = sqlite3.connect(home / "audit.sqlite3", isolation_level=None)
    connection.execute("UPDATE claims SET claim = ? WHERE kind = 'head'", (msgspec.json.encode(head),))
    connection.close()
    assert verify(home).ok
    await write(home, 1, first=4)
    assert verify(home).ok


async def test_a_database_that_is_gone_or_garbage_is_said(home: Path) -> None:
    with pytest.raises(AuditError, match="cannot be read"):
        verify(home)
    await write(home, 5)
    (home / "audit.sqlite3").unlink()
    assert "the database is gone" in str(verify(home).problems[0])
    (home / "audit.sqlite3").write_bytes(b"garbage" * 1000)
    assert "cannot be read" in str(verify(home).problems[0])
    with pytest.raises(AuditError):
        await write(home, 1)


async def test_a_lost_or_exchanged_key_is_said(home: Path) -> None:
    await write(home, 3)
    (home / KEY_FILE).unlink()
    with pytest.raises(AuditError, match="Restore it"):
        verify(home)
    await write(home, 1, first=4)
    told = [str(one) for one in verify(home, tenant="t").problems]
    assert any("not signed with this host's key" in one for one in told)
    (home / KEY_FILE).write_text("{}")
    with pytest.raises(AuditError, match="no audit key"):
        verify(home)


async def test_without_cryptography_an_hmac_key_is_made_and_stays(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    async with trail_in(home) as trail:
        trail.record("call work", "failed", tenant_id="t")
        assert trail.status()["signing"].startswith("hmac-sha256")
    monkeypatch.undo()
    await write(home, 2)
    found = verify(home)
    assert found.ok
    assert found.algorithm == "hmac-sha256"
    assert exported_heads(home).public is None


async def test_archived_records_leave_a_chain_that_verifies_and_files_that_do(home: Path, sql: Sql) -> None:
    await write(home, 10)
    await write(home, 2, None)
    (done,) = archive(home, before=6.0, tenant="t")
    assert (done.first, done.last) == (1, 5)
    archive(home, before=8.0, tenant="t")
    found = verify(home)
    assert found.ok, found.problems
    (chain,) = (one for one in found.chains if one.tenant == "t")
    assert (chain.archived_to, chain.first, chain.last) == (7, 8, 12)  # and each archiving is itself a record
    await write(home, 1, first=20)
    archive(home, before=2e9 * 2)
    assert verify(home).ok
    await write(home, 1, first=30)
    assert verify(home).ok
    sql("DELETE FROM claims WHERE kind = 'anchor' AND tenant = 't'")
    assert any("records 1 to" in str(one) for one in verify(home, tenant="t").problems)


async def test_an_archive_that_was_changed_or_taken_away_is_found(home: Path) -> None:
    await write(home, 10)
    for before in (4.0, 7.0):
        archive(home, before=before, tenant="t")
    first, second = sorted((home / "audit-archive").glob("*.jsonl"))
    whole = first.read_bytes()
    first.write_bytes(whole.replace(b"number 2", b"number 9"))
    assert "record 2: its bytes or its hash were changed" in problem(home)
    lines = whole.splitlines(keepends=True)
    first.write_bytes(b"".join([*lines[:-2], lines[-1]]))
    assert "its signed end does not fit" in problem(home)
    first.unlink()
    (chain,) = verify(home, tenant="t").chains
    assert chain.problems == ()
    assert chain.notes == ("records 1 to 3 are archived elsewhere",)
    second.unlink()
    (chain,) = verify(home, tenant="t").chains
    assert chain.notes == ("records 1 to 6 are archived elsewhere",)


async def test_a_chain_that_does_not_verify_is_not_archived(home: Path, sql: Sql) -> None:
    await write(home, 10)
    sql("DELETE FROM records WHERE sequence = 3")
    with pytest.raises(AuditError, match=r"nothing was archived.*record 3"):
        archive(home, before=8.0)
    assert not list((home / "audit-archive").glob("*.jsonl"))


async def test_an_archive_can_be_made_while_a_host_writes(home: Path) -> None:
    async with trail_in(home) as trail:
        for number in range(20):
            trail.record("call work", "failed", tenant_id="t", at=float(number))
        await trail.settled()
        archive(home, before=10.0)
        for number in range(20, 40):
            trail.record("call work", "failed", tenant_id="t", at=float(number))
    assert verify(home).ok


async def test_whatever_values_hold_is_recorded_plainly(home: Path) -> None:
    async with trail_in(home) as trail:
        own: dict[str, Any] = {"a": [1]}
        trail.record(
            "odd \ud800",
            "done",
            tenant_id="t",
            values={
                "bytes": b"x",
                "set": {1},
                "huge": 1 << 80,
                "secret": Secret("name", "hidden-value"),
                "deep": own,
                "nan": float("nan"),
                3: "three",
            },
        )
        own["a"].append(2)
        own["self"] = own
        trail.record("cycle", "done", tenant_id="t", values=own)
    first, _ = records(home, tenant="t")
    assert first.record.values["deep"] == {"a": [1]}
    assert first.record.values["huge"] == str(1 << 80)
    assert first.record.values["secret"] == "********"
    assert verify(home).ok
    assert b"hidden-value" not in (home / "audit.sqlite3").read_bytes()


async def test_who_acts_is_on_every_record_made_meanwhile(home: Path) -> None:
    async with trail_in(home) as trail:
        with acting("uid:7"):
            trail.record("configure", "changed", tenant_id="t")
            trail.record("call work", "permission", tenant_id="t", user_id="alice")
        trail.record("lifecycle", "active", tenant_id="t")
    assert [one.record.user_id for one in records(home, tenant="t")] == ["uid:7", "alice", None]


def test_exported_heads_are_plain_json_that_comes_back(home: Path) -> None:
    import asyncio

    from dotmac_isp.plugins.core.audit._read import HeadFile

    asyncio.run(write(home, 2))
    heads = exported_heads(home)
    assert msgspec.json.decode(msgspec.json.encode(heads), type=HeadFile) == heads
    assert [(one.tenant, one.sequence) for one in heads.heads] == [("t", 2)]
