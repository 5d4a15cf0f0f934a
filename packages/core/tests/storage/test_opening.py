from __future__ import annotations

import contextlib
import sqlite3
import stat
import sys
import threading
import traceback
from pathlib import Path

import pytest

from dotmac_isp.plugins.core.errors import ConfigurationError, StorageError
from dotmac_isp.plugins.core.storage import open_storage


async def test_without_a_url_the_file_lies_in_the_home_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    home = tmp_path / "new" / "home"
    engine = await open_storage(None, home=home)
    await engine.scope("tenant", "plugin").put("key", 1)
    assert engine.place == str(home / "storage.sqlite3")
    for file in home.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    await engine.close()
    assert [file.name for file in home.iterdir()] == ["storage.sqlite3"]


async def test_documents_are_there_after_closing_and_opening(url: str, tmp_path: Path) -> None:
    for round_ in range(3):
        engine = await open_storage(url, home=tmp_path)
        await engine.scope("tenant", "plugin").update("key", lambda value: (value or 0) + 1)
        document = await engine.scope("tenant", "plugin").get("key")
        assert document is not None
        assert document.value == round_ + 1
        await engine.close()


async def test_closing_leaves_no_thread(sqlite_url: str, tmp_path: Path) -> None:
    engine = await open_storage(sqlite_url, home=tmp_path)
    await engine.scope("tenant", "plugin").put("key", 1)
    await engine.scope("tenant", "plugin").get("key")
    watcher = engine.scope("tenant", "plugin").watch()
    await engine.close()
    assert [one async for one in watcher] == []
    assert not [one.name for one in threading.enumerate() if one.name.startswith("dotmac-storage")]


async def test_a_sqlite_url_with_three_strokes_is_below_the_home_and_with_four_absolute(tmp_path: Path) -> None:
    for url, path in (
        ("sqlite:///below/a%20b.db", tmp_path / "home/below/a b.db"),
        (f"sqlite:///{tmp_path}/absolute.db", tmp_path / "absolute.db"),
    ):
        engine = await open_storage(url, home=tmp_path / "home")
        await engine.close()
        assert path.is_file()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "mysql://u:s3cret@h/d",
        "sqlite:",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "s3cret",
        "postgresql://u:s3cret@h:port/d",
    ],
)
async def test_a_url_that_names_no_store_is_refused_without_showing_its_password(url: str, tmp_path: Path) -> None:
    if url.startswith("postgresql"):
        pytest.importorskip("asyncpg", reason="the driver asyncpg is not installed")
    with pytest.raises(ConfigurationError, match="postgresql://user:password@host") as caught:
        await open_storage(url, home=tmp_path)
    if url != "s3cret":
        assert "s3cret" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:s3cret@127.0.0.1:1/db",
        "postgresql://user:s3cret%40@127.0.0.1:1/db",
        "postgresql://user@127.0.0.1:1/db?password=s3cret",
        "postgresql://user:s3cret@127.0.0.1:1/db?sslmode=s3cret",
    ],
)
async def test_a_server_that_cannot_be_reached_is_named_without_the_password(url: str, tmp_path: Path) -> None:
    pytest.importorskip("asyncpg", reason="the driver asyncpg is not installed")
    with pytest.raises(StorageError, match=r"127\.0\.0\.1:1/db") as caught:
        await open_storage(url, home=tmp_path)
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))


async def test_postgresql_without_its_driver_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "dotmac_isp.plugins.core.storage._postgres", raising=False)
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'dotmac-plugins-core\[postgres\]'"):
        await open_storage("postgresql://host/db", home=tmp_path)


async def test_a_file_that_is_no_database_stays_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "storage.sqlite3"
    file.write_text("letters of a person, and not a few " * 100)
    before = file.read_bytes()
    with pytest.raises(StorageError, match=r"storage\.sqlite3"):
        await open_storage(None, home=tmp_path)
    assert file.read_bytes() == before


def open_files(below: Path) -> list[str]:
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        pytest.skip("this machine has no /proc, which shows the open files")
    links = []
    for one in folder.iterdir():
        with contextlib.suppress(OSError):
            links.append(str(one.readlink()))
    return [link for link in links if link.startswith(str(below))]


@pytest.mark.parametrize("content", ["another program", "no database", "newer format"])
async def test_an_opening_that_is_refused_leaves_no_file_open_and_no_thread(tmp_path: Path, content: str) -> None:
    file = tmp_path / "storage.sqlite3"
    if content == "no database":
        file.write_text("letters " * 1000)
    else:
        connection = sqlite3.connect(file)
        if content == "newer format":
            await (await open_storage(None, home=tmp_path)).close()
        connection.execute("CREATE TABLE IF NOT EXISTS another (a)")
        connection.execute("PRAGMA user_version = 99")
        connection.close()
    # The error is kept: whatever its traceback refers to is not collected yet.
    with pytest.raises(StorageError) as caught:
        await open_storage(None, home=tmp_path)
    assert open_files(tmp_path) == []
    assert not [one.name for one in threading.enumerate() if one.name.startswith("dotmac-storage")]
    assert caught.value.remedy


async def test_a_database_of_another_program_is_not_touched(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "storage.sqlite3") as connection:
        connection.execute("CREATE TABLE documents (a)")
    connection.close()
    with pytest.raises(StorageError, match="another program"):
        await open_storage(None, home=tmp_path)


async def test_a_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    await (await open_storage(None, home=tmp_path)).close()
    connection = sqlite3.connect(tmp_path / "storage.sqlite3")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StorageError, match="has format 99; this version reads format 1"):
        await open_storage(None, home=tmp_path)


async def test_a_place_where_nothing_can_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file/home"):
        await open_storage(None, home=tmp_path / "file" / "home")
