"""Events to Kafka: to a broker that is there, or to one that runs in this process (extra ``[kafka]``)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .messages import PublishedEvent

TOPIC = "voltha.events"

_START_SECONDS = 10.0
_FLUSH_SECONDS = 5.0


class KafkaSink:
    """Sends events to topic ``voltha.events`` as VOLTHA does: protobuf values, key empty or a device id."""

    def __init__(self, bootstrap: str = "") -> None:
        """``bootstrap`` names brokers; empty runs librdkafka's own broker in this process.

        Raises ``RuntimeError`` with the pip name when confluent-kafka is missing.
        """
        try:
            from confluent_kafka import Producer  # noqa: PLC0415 - an extra: needed only by who wants Kafka
        except ImportError as missing:
            raise RuntimeError(
                "events to Kafka need confluent-kafka: pip install 'dotmac-voltha-simulator[kafka]'"
            ) from missing
        where = {"bootstrap.servers": bootstrap} if bootstrap else {"test.mock.num.brokers": 1}
        self._producer: Any = Producer({**where, "linger.ms": 5, "log_level": 3})
        self.bootstrap = bootstrap or self._own_address()

    def _own_address(self) -> str:
        brokers = self._producer.list_topics(timeout=_START_SECONDS).brokers.values()
        return ",".join(f"{broker.host}:{broker.port}" for broker in brokers)

    def publish(self, event: PublishedEvent) -> None:
        """Queue one event; an unreachable broker loses the oldest ones, as with the real system."""
        try:
            self._producer.produce(TOPIC, value=event.message.SerializeToString(), key=event.key)
        except BufferError:
            self._producer.purge(in_queue=True, in_flight=False, blocking=False)
        self._producer.poll(0)

    async def close(self) -> None:
        """Send what is queued, at most five seconds long, and stop the broker if it is ours."""
        await asyncio.to_thread(self._producer.flush, _FLUSH_SECONDS)
        del self._producer
