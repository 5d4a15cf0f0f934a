"""Backup and restore of a collector's data: whole, checked, and the same afterwards."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector._collector import Collector, CollectorConfig
from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector.backup import BackupError, back_up, restore
from dotmac_isp.plugins.monitoring.analytics_events_plugin.events import parse_event

if TYPE_CHECKING:
    from pathlib import Path

MAIN = "dotmac_isp.plugins.monitoring.analytics_events_plugin.collector.main"


def events(count: int) -> list[Any]:
    return [
        parse_event(
            {
                "event_name": "payment",
                "event_id": f"e{number}",
                "customer_id": f"c{number % 7}",
                "device_id": "d",
                "amount": "1.25",
                "currency": "EUR",
                "tags": ["a", "b'c"],
                "timestamp": 1_795_500_000 + number * 600,
                "properties": {"n": number, "deep": {"list": [1, "x", {"y": None}]}, "text": "ü\"'\\"},
            },
            now=1_795_500_000 + count * 600.0,
        )
        for number in range(count)
    ]


async def contents(collector: Collector) -> list[Any]:
    found = []
    for table in ("events", "events_per_minute FINAL", "amounts_per_hour FINAL", "devices_per_hour FINAL"):
        data = await collector.store.read_raw(f"SELECT * FROM {table} ORDER BY ALL", "JSONEachRow")
        found.append(data)
    return found


@pytest.mark.slow
async def test_a_restored_collector_has_everything_and_counts_nothing_twice(engine: None, tmp_path: Path) -> None:
    async with Collector(CollectorConfig(data_dir=tmp_path / "old", port=0, max_age_days=3650)) as old:
        await old.intake.take("a", events(300))
        await old.intake.take("b", events(20))
        old.meta.admit("a", "the key", "operator")
        old.rules.change("a", {"privacy": {"hash": ["email"]}})
        old.quarantine.put("a", [(event, ["why"]) for event in events(2)])
        manifest = await back_up(old, tmp_path / "backup")
        assert (manifest.events, await old.settled()) == (320, True)
        before = await contents(old)
        names = old.rules.names_of("a", "ann")
        with pytest.raises(BackupError, match="not empty"):
            await back_up(old, tmp_path / "backup")
    assert b"the key" not in b"".join(path.read_bytes() for path in (tmp_path / "backup").rglob("*") if path.is_file())
    await restore(tmp_path / "backup", tmp_path / "new")
    async with Collector(CollectorConfig(data_dir=tmp_path / "new", port=0, max_age_days=3650)) as new:
        assert await contents(new) == before
        assert [one.tenant for one in new.meta.keys.opened_by("the key")] == ["a"]
        assert new.rules.names_of("a", "ann") == names
        assert len(new.quarantine.list("a")) == 2
        taken = await new.intake.take("a", events(301))
        assert (taken.accepted, len(taken.duplicates)) == (1, 300)
        assert await new.settled()
        assert (await new.store.query("SELECT count() FROM events")).rows == [(321,)]
    with pytest.raises(BackupError, match="not empty"):
        await restore(tmp_path / "backup", tmp_path / "new")


@pytest.mark.slow
async def test_a_damaged_backup_is_refused_and_says_which_file(engine: None, tmp_path: Path) -> None:
    async with Collector(CollectorConfig(data_dir=tmp_path / "old", port=0, max_age_days=3650)) as old:
        await old.intake.take("a", events(10))
        await back_up(old, tmp_path / "backup")
    victim = next((tmp_path / "backup" / "events").iterdir())
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 0xFF
    victim.write_bytes(data)
    with pytest.raises(BackupError, match=rf"{victim.name} is not what was written"):
        await restore(tmp_path / "backup", tmp_path / "new")
    victim.unlink()
    with pytest.raises(BackupError, match="is missing"):
        await restore(tmp_path / "backup", tmp_path / "new")
    (tmp_path / "backup" / "manifest.json").unlink()
    with pytest.raises(BackupError, match="no backup"):
        await restore(tmp_path / "backup", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def run(*arguments: str) -> Any:
    done = subprocess.run([sys.executable, "-m", MAIN, *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
def test_the_commands_back_up_a_running_collector_and_a_stopped_one(server: Any, tmp_path: Path) -> None:
    code, out, err = run("backup", "--data", str(server.folder), "--to", str(tmp_path / "one"))
    assert (code, json.loads(out)["folder"]) == (0, str(tmp_path / "one")), err
    code, out, err = run("restore", "--from", str(tmp_path / "one"), "--data", str(tmp_path / "data"))
    assert code == 0, err
    code, out, err = run("backup", "--data", str(tmp_path / "data"), "--to", str(tmp_path / "two"))
    assert code == 0, err
    assert json.loads(out)["events"] == json.loads((tmp_path / "one" / "manifest.json").read_text())["events"]
    code, _, err = run("backup", "--data", str(tmp_path / "none"), "--to", str(tmp_path / "three"))
    assert (code, "is no folder of a collector's data" in err) == (1, True)
