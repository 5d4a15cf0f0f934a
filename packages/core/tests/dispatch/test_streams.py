"""Streams of a plugin, read through its handle: each item passes the gate."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from dotmac_isp.plugins.core.errors import CallError, DeadlineError
from dotmac_isp.plugins.core.model import PluginContext

BODY = """
ended = 0
async def numbers(self, upto, context=None):
    try:
        for number in range(upto):
            yield [number, None if context is None else context.user_id]
    finally:
        self.ended += 1
async def never(self):
    await asyncio.sleep(1000)
    yield 1
async def broken(self):
    yield 1
    raise KeyError("no more")
async def ends(self): return self.ended
"""


@pytest.fixture
async def handle(host: Any, vendor: Any) -> Any:
    vendor.install("stream", BODY)
    await host.start_plugin("stream", tenant_id="t1")
    return host.get("stream", tenant_id="t1")


async def test_items_come_one_by_one_with_the_context_of_the_reader(host: Any, handle: Any) -> None:
    context = PluginContext(user_id="ann")
    assert [item async for item in handle.numbers(3, context=context)] == [[0, "ann"], [1, "ann"], [2, "ann"]]
    assert await handle.ends() == 1
    assert host.telemetry.instance("stream", "t1").operation("numbers").calls == 4


async def test_what_a_stream_raises_reaches_its_reader_and_ends_it(handle: Any) -> None:
    stream = handle.broken()
    assert await anext(stream) == 1
    with pytest.raises(KeyError, match="no more"):
        await anext(stream)
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_letting_go_runs_the_streams_own_clean_up(handle: Any) -> None:
    stream = handle.numbers(10)
    assert await anext(stream) == [0, None]
    await stream.aclose()
    assert await handle.ends() == 1
    assert [item async for item in stream] == []


async def test_a_deadline_bounds_the_stream_and_a_stop_ends_it_with_the_reason(host: Any, handle: Any) -> None:
    with pytest.raises(DeadlineError):
        await anext(handle.never(context=PluginContext.within(0.05)))
    waiting = asyncio.create_task(anext(handle.never()))
    await asyncio.sleep(0.01)
    await host.stop_plugin("stream", tenant_id="t1")
    with pytest.raises(CallError, match="the stream never ended: it takes no calls"):
        await waiting


async def test_every_item_is_asked_for_at_the_gate(host: Any, handle: Any) -> None:
    stream = handle.numbers(10)
    assert await anext(stream) == [0, None]
    await host.stop_plugin("stream", tenant_id="t1")
    with pytest.raises(CallError):
        await anext(stream)
