"""The embedded engine's process: hung, ended, refused."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import aiohttp
import pytest

from dotmac_isp.plugins.monitoring.analytics_events_plugin.store import (
    EngineProcess,
    Store,
    StoreRefusedError,
    StoreUnavailableError,
    parse_connection,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def store(engine: None, tmp_path: Path) -> AsyncIterator[Store]:
    made = Store(EngineProcess(tmp_path / "engine", tmp_path / "engine.log", patience=2.0))
    await made.start()
    yield made
    await made.stop()


@pytest.mark.slow
async def test_a_hung_engine_is_replaced(store: Store) -> None:
    process = store.endpoint
    assert isinstance(process, EngineProcess)
    first = process.pid
    assert first is not None
    os.kill(first, signal.SIGSTOP)
    async with asyncio.timeout(40):
        while process.pid in {first, None}:  # noqa: ASYNC110 - nothing tells us
            await asyncio.sleep(0.1)
        while True:
            try:
                assert (await store.query("SELECT 1 AS one")).dicts() == [{"one": 1}]
                break
            except StoreUnavailableError:
                await asyncio.sleep(0.1)
    assert process.restarts == 1


async def test_nobody_without_the_password_gets_an_answer(store: Store) -> None:
    options = await store.endpoint.options()
    address = f"http://127.0.0.1:{options['port']}/?query=SELECT%201"
    async with aiohttp.ClientSession() as session:
        for headers in ({}, {"X-ClickHouse-Key": ""}, {"Authorization": "Basic %%"}, {"X-ClickHouse-Key": "guess"}):
            async with session.get(address, headers=headers) as answer:
                assert answer.status == 401
        async with session.get(address, headers={"X-ClickHouse-Key": options["password"]}) as answer:
            assert await answer.text() == "1\n"


async def test_a_setting_reaches_its_own_query_only(store: Store) -> None:
    sql = "SELECT getSetting('max_block_size') AS size"
    client = await store._connected()
    assert (await client.query(sql, settings={"max_block_size": 123})).result_rows == [(123,)]
    for _ in range(8):
        assert (await client.query(sql)).result_rows != [(123,)]


async def test_a_statement_that_is_wrong_is_refused_for_good(store: Store) -> None:
    with pytest.raises(StoreRefusedError, match="nothing_like_this"):
        await store.query("SELECT nothing_like_this")


@pytest.mark.parametrize(
    ("url", "host", "port", "secure"),
    [
        ("clickhouse://u:p%40ss@db.example/x", "db.example", 8123, False),
        ("clickhouses://db.example", "db.example", 8443, True),
        ("clickhouse://db.example:9000/?secure=1", "db.example", 9000, True),
        ("https://[::1]:8443/d", "::1", 8443, True),
    ],
)
def test_a_connection_is_understood(url: str, host: str, port: int, secure: bool) -> None:
    options = parse_connection(url).options
    assert (options["host"], options["port"], options["secure"]) == (host, port, secure)


def test_a_connection_that_is_not_understood_does_not_show_its_password() -> None:
    with pytest.raises(ValueError, match="expected clickhouse://") as caught:
        parse_connection("postgres://u:hidden@h/x")
    assert "hidden" not in str(caught.value)
