"""Both engines for the one suite: a SQLite file, and a PostgreSQL server that the tests start themselves."""

from __future__ import annotations

import atexit
import importlib.util
import os
import shutil
import tempfile
import uuid
from typing import TYPE_CHECKING

import pytest

from dotmac_isp.plugins.core.storage import StorageEngine, open_storage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[object]:
    if importlib.util.find_spec("pgserver") is None:
        pytest.skip("the package pgserver, which brings PostgreSQL, is not installed")
    pytest.importorskip("asyncpg", reason="the driver asyncpg is not installed")
    # A short path of its own: the server runs as another user when the tests run as root, and its socket lies in there.
    folder = tempfile.mkdtemp(prefix="pg")
    runtime = tempfile.mkdtemp(prefix="pgrun")
    # pgserver looks for a folder for its lock file when it is imported.
    os.environ.setdefault("XDG_RUNTIME_DIR", runtime)
    import pgserver

    server = pgserver.get_server(folder)
    # A database for each test: written to the disk one by one, they would take most of the time.
    server.psql("ALTER SYSTEM SET fsync = off")
    server.psql("SELECT pg_reload_conf()")
    try:
        yield server
    finally:
        server.cleanup()
        # At the end of the process it would make the folder again to note that it has stopped.
        atexit.unregister(server._cleanup)
        for one in (folder, runtime):
            shutil.rmtree(one, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres_server: object) -> str:
    name = f"test_{uuid.uuid4().hex}"
    postgres_server.psql(f"CREATE DATABASE {name}")  # type: ignore[attr-defined]
    return str(postgres_server.get_uri(database=name))  # type: ignore[attr-defined]


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/documents.sqlite3"


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
async def engine(url: str, tmp_path: Path) -> AsyncIterator[StorageEngine]:
    engine = await open_storage(url, home=tmp_path)
    yield engine
    await engine.close()


@pytest.fixture
async def other(url: str, tmp_path: Path) -> AsyncIterator[StorageEngine]:
    """What another host, or another process of this machine, has open."""
    engine = await open_storage(url, home=tmp_path)
    yield engine
    await engine.close()
