"""`audit` and `compliance` commands, on what a real host recorded."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def worked(site: Any, home: Any) -> Any:
    """A home in which a host started a plugin, was configured, and was called."""
    site.greeter()
    home.configure({"greeter": {}})
    with home.serve() as host:
        home.ask("start", plugin_id="greeter", tenant="acme")
        home.ask(
            "configure",
            plugin_id="greeter",
            tenant="acme",
            settings={"greeting": "good day", "api_token": "sesame-open"},
        )
        home.ask("stop", plugin_id="greeter", tenant="acme")
        host.signal(signal.SIGTERM)
        assert host.wait() == 0
    return home


def tamper(home: Any, statement: str) -> None:
    connection = sqlite3.connect(home.folder / "audit.sqlite3")
    with connection:
        connection.execute(statement)
    connection.close()


def test_a_whole_trail_is_exit_code_0_and_a_damaged_one_names_the_first_bad_record(worked: Any) -> None:
    done = worked.run("audit", "verify")
    assert done.returncode == 0, done.stderr
    assert "the trail is whole (signed with ed25519" in done.stdout
    answer = worked.json("audit", "verify", "--tenant", "acme")
    assert answer["ok"]
    assert [one["tenant"] for one in answer["chains"]] == ["acme"]
    tamper(worked, "UPDATE records SET record = replace(record, 'active', 'failed') WHERE tenant = 'acme'")
    done = worked.run("audit", "verify", "--tenant", "acme")
    assert done.returncode == 1
    assert "problem: tenant acme, record " in done.stderr
    assert "changed" in done.stderr
    assert "DAMAGED" in done.stdout


def test_what_was_done_is_shown_with_who_did_it_and_without_secrets(worked: Any) -> None:
    done = worked.run("audit", "show", "--tenant", "acme")
    assert done.returncode == 0, done.stderr
    assert "configure" in done.stdout
    assert f"uid:{os.geteuid()}" in done.stdout
    (changed,) = worked.json("audit", "show", "--tenant", "acme", "--action", "configure", "--outcome", "changed")
    changes = {one["key"]: (one["before"], one["after"]) for one in changed["record"]["values"]["changes"]}
    assert changes["greeting"] == ("hello", "good day")
    assert changes["api_token"][1] != "sesame-open"
    assert changed["record"]["user_id"] == f"uid:{os.geteuid()}"
    for file in worked.folder.glob("audit*"):
        assert b"sesame-open" not in file.read_bytes()
    assert worked.json("audit", "show", "--from", "2001-01-01", "--to", "2001-12-31") == []


@pytest.mark.slow
def test_exported_heads_find_a_trail_that_was_taken_back(worked: Any, tmp_path: Path) -> None:
    heads = tmp_path / "heads.json"
    early = (worked.folder / "audit.sqlite3").read_bytes()
    assert worked.run("load", "greeter", "--tenant", "acme").returncode == 0
    assert worked.run("audit", "export", "--heads", "-o", str(heads)).returncode == 0
    assert worked.run("audit", "verify", "--against", str(heads)).returncode == 0
    (worked.folder / "audit.sqlite3").write_bytes(early)
    assert worked.run("audit", "verify").returncode == 0
    done = worked.run("audit", "verify", "--against", str(heads))
    assert done.returncode == 1
    assert "truncated or taken back" in done.stderr
    heads.write_text("nothing")
    assert "holds no heads" in worked.run("audit", "verify", "--against", str(heads)).stderr


def test_records_are_exported_as_json_lines(worked: Any) -> None:
    done = worked.run("audit", "export", "--tenant", "acme")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["sequence"] for one in lines] == list(range(1, len(lines) + 1))
    assert {"active", "changed"} <= {one["record"]["outcome"] for one in lines}


def test_old_records_are_archived_and_the_trail_stays_whole(worked: Any) -> None:
    assert "nothing is that old" in worked.run("audit", "archive", "--keep-days", "1").stdout
    done = worked.json("audit", "archive", "--keep-days", "0", "--tenant", "acme")
    assert done[0]["first"] == 1
    assert list((worked.folder / "audit-archive").glob("acme.*.jsonl"))
    assert worked.run("audit", "verify").returncode == 0
    assert worked.run("audit", "archive").returncode == 2


def test_the_compliance_report_is_for_people_and_for_machines(worked: Any, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    done = worked.run("compliance", "report", "--tenant", "acme", "-o", str(page))
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    assert "The trail is whole." in text
    assert "good day" in text
    assert "<script" not in text
    report = json.loads(worked.run("compliance", "report", "--tenant", "acme", "--format", "json").stdout)
    (ran,) = report["ran"]
    assert (ran["plugin_id"], ran["starts"]) == ("greeter", 2)  # the new greeting restarted it
    assert report["trail_is_whole"]
    assert {one["action"] for one in report["administration"]} >= {"control start", "control configure"}
    assert report["grants"][0]["effect"] == "no policy"
    table = worked.run("compliance", "report", "--tenant", "acme", "--format", "csv").stdout
    lines = list(csv.DictReader(io.StringIO(table)))
    assert {"integrity", "ran", "changes", "administration"} <= {line["section"] for line in lines}
    assert "sesame-open" not in text + table + json.dumps(report)


def test_a_report_of_a_damaged_trail_says_so(worked: Any) -> None:
    tamper(worked, "DELETE FROM records WHERE tenant = 'acme' AND sequence = 2")
    report = json.loads(worked.run("compliance", "report", "--tenant", "acme", "--format", "json").stdout)
    assert not report["trail_is_whole"]
    assert "record 2 missing" in report["problems"][0]


def test_wrong_times_and_homes_are_said(home: Any) -> None:
    done = home.run("audit", "show", "--from", "yesterday")
    assert done.returncode == 2
    assert "is no time" in done.stderr
    done = home.run("audit", "verify")
    assert done.returncode == 1
    assert "cannot be read" in done.stderr
