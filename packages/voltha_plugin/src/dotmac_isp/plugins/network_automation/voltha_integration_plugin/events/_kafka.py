"""Reading topic `voltha.events`: one consumer group per tenant and VOLTHA, reconnection with growing pauses (aiokafka).

The group starts with what comes from now on, and after that goes on where it stopped, so events of a restart are not lost.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Final, Literal

from aiokafka import AIOKafkaConsumer  # type: ignore[import-untyped]
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError  # type: ignore[import-untyped]

if TYPE_CHECKING:
    import logging
    from collections.abc import Awaitable, Callable, Sequence

__all__ = ["TOPIC", "EventReader"]

TOPIC: Final = "voltha.events"
_WAIT_MS: Final = 500
#: Between two times at which what was read is made sure of; a crash repeats at most this much.
_COMMIT_EVERY: Final = 0.5
#: A silent broker is asked whether it is there.
_PROBE_AFTER: Final = 5.0
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 30.0
_STOP_GRACE: Final = 3.0


class EventReader:
    """Reads values of records and gives them to `take`, then calls `checkpoint` at least every half second.

    A group that was never there begins with what comes from now on, or with all that the topic has.
    """

    def __init__(
        self,
        bootstrap: str,
        group: str,
        *,
        take: Callable[[Sequence[bytes | None]], Awaitable[None]],
        checkpoint: Callable[[], Awaitable[None]],
        logger: logging.LoggerAdapter[logging.Logger],
        fetch_wait: float = 0.5,
        new_group_from: Literal["latest", "earliest"] = "latest",
    ) -> None:
        self._new_group_from: Final = new_group_from
        self._fetch_wait: Final = fetch_wait
        self.bootstrap: Final = bootstrap
        self._group: Final = group
        self._take: Final = take
        self._checkpoint: Final = checkpoint
        self._logger: Final = logger
        self.state: Literal["connecting", "connected", "away"] = "connecting"
        #: Why it is away.
        self.error = ""

    async def run(self) -> None:
        """Read until cancelled, whatever happens to the brokers."""
        pause = _FIRST_PAUSE
        while True:
            try:
                await self._session()
            except (KafkaError, OSError, TimeoutError, asyncio.CancelledError) as error:
                if _is_ours(error):
                    raise
                if self.state == "connected":
                    pause = _FIRST_PAUSE
                self._lost(error)
            await self._checkpoint()
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 - spreads reconnections
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _lost(self, error: BaseException) -> None:
        self.error = str(error) or "the broker does not answer"
        if self.state != "away":
            self._logger.warning("no events from Kafka at %s: %s", self.bootstrap, self.error)
        self.state = "away"

    async def _session(self) -> None:
        consumer = AIOKafkaConsumer(
            TOPIC,
            bootstrap_servers=self.bootstrap,
            client_id="dotmac-voltha",
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset=self._new_group_from,
            fetch_max_wait_ms=max(round(self._fetch_wait * 1000), 1),
            metadata_max_age_ms=10_000,
            request_timeout_ms=10_000,
            retry_backoff_ms=500,
        )
        try:
            await consumer.start()
            for partition in consumer.assignment():
                await asyncio.wait_for(consumer.position(partition), 10)
            # A new group is to remember where it began: what comes while the broker is away would else be passed over.
            await _commit(consumer)
            self._logger.info("reading events from Kafka at %s", self.bootstrap)
            self.state, self.error = "connected", ""
            await self._read(consumer)
        finally:
            await _end(consumer)

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        heard = committed = time.monotonic()
        pending = False
        while True:
            batch = await consumer.getmany(timeout_ms=_WAIT_MS)
            values = [record.value for records in batch.values() for record in records]
            now = time.monotonic()
            if values:
                heard, pending = now, True
                await self._take(values)
            if now - committed >= _COMMIT_EVERY:
                committed = now
                await self._checkpoint()
                if pending:
                    pending = not await _commit(consumer)
            if now - heard >= _PROBE_AFTER:
                heard = now
                await asyncio.wait_for(consumer.topics(), 10)


def _is_ours(error: BaseException) -> bool:
    """Whether we are told to end. aiokafka cancels its caller too when it loses a connection."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


async def _commit(consumer: AIOKafkaConsumer) -> bool:
    """Whether the group remembers how far it read; if not, some events come twice, which the alarms do not mind."""
    try:
        # aiokafka tries for ever while the group's coordinator is away.
        await asyncio.wait_for(consumer.commit(), _STOP_GRACE)
    except (CommitFailedError, IllegalStateError):
        return False  # the group is being divided anew
    return True


async def _end(consumer: AIOKafkaConsumer) -> None:
    try:
        await asyncio.wait_for(consumer.stop(), _STOP_GRACE)
    except (KafkaError, OSError, TimeoutError, asyncio.CancelledError) as error:
        if _is_ours(error):
            raise
        return  # the broker is away; its sockets are closed with the client
