"""The trail of a running host: takes records, keeps the latest in memory, has them written, and hands them to every sink."""

from __future__ import annotations

import asyncio
import collections
import logging
from typing import TYPE_CHECKING, Any, Final

from ..model import tenant_label
from ._journal import Journal
from ._keys import open_signer
from ._options import AuditOptions
from ._record import AuditError, AuditRecord, actor, canonical, plain
from ._sinks import FileSink, SinkPump, SyslogSink
from ._store import ChainStore
from ._writer import ChainWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from ._record import AuditSink

__all__ = ["AuditTrail"]

_LOG: Final = logging.getLogger("dotmac.audit")


class AuditTrail:
    """Takes records. Before `open` (and after `close`) they are kept in memory and logged, and nowhere else."""

    def __init__(self, *, redact: Callable[[str], str], options: AuditOptions | None = None, keep: int = 0) -> None:
        self._redact: Final = redact
        self.options: Final = options or AuditOptions()
        self._latest: collections.deque[AuditRecord] = collections.deque(maxlen=keep or self.options.keep)
        self._pumps: dict[str, SinkPump] = {}
        self._writer: ChainWriter | None = None
        self._signing = "nothing is written"

    @property
    def durable(self) -> bool:
        """Whether calls wait for their records; see `AuditOptions`."""
        return self.options.durable and self._writer is not None

    async def open(self, home: Path) -> None:
        """Continue the chains in `home`. Raises `AuditError` when they cannot be written."""
        self._writer = await asyncio.to_thread(self._open, home)
        self._writer.start()
        if self.options.file is not None:
            self.add_sink(FileSink(self.options.file), name="file")
        if self.options.syslog is not None:
            self.add_sink(SyslogSink(self.options.syslog), name="syslog")

    async def close(self) -> None:
        """Write what waits, and give the sinks a moment for it."""
        writer, self._writer = self._writer, None
        pumps, self._pumps = self._pumps, {}
        await asyncio.gather(*(asyncio.to_thread(pump.close) for pump in pumps.values()))
        if writer is not None:
            await asyncio.to_thread(writer.close)

    def add_sink(self, sink: AuditSink, *, name: str = "") -> None:
        """Hand every further record to `sink`, too."""

        def deliver(records: Sequence[AuditRecord]) -> None:
            for record in records:
                sink.write(record)

        self.add_pump(name or type(sink).__name__, deliver, getattr(sink, "close", None))

    def add_pump(
        self,
        name: str,
        deliver: Callable[[Sequence[AuditRecord]], None],
        finish: Callable[[], None] | None = None,
    ) -> None:
        """Hand every further record to `deliver`, in groups, on a thread of its own."""
        self.remove_sink(name)
        self._pumps = {**self._pumps, name: SinkPump(name, deliver, finish)}

    def remove_sink(self, name: str) -> None:
        """Hand it no more records. No error when there is none."""
        pump = self._pumps.get(name)
        if pump is not None:
            self._pumps = {key: one for key, one in self._pumps.items() if key != name}
            pump.close(0.0)

    def record(
        self,
        action: str,
        outcome: str,
        *,
        detail: str = "",
        values: Mapping[str, Any] | None = None,
        user_id: str | None = None,
        redacted: bool = False,
        **fields: Any,
    ) -> None:
        """Write one record; `detail` and `values` are redacted here, unless `detail` is already. Never raises, waits for no disk."""
        record = AuditRecord(
            action=action,
            outcome=outcome,
            detail=self._redact(detail) if detail and not redacted else detail,
            values=plain(values, self._redact) if values else {},
            user_id=actor() if user_id is None else user_id,
            **fields,
        )
        self._latest.append(record)
        label = tenant_label(record.tenant_id)
        if self._writer is not None:
            self._writer.put(label, canonical(record))
        for pump in self._pumps.values():
            pump.put(record)
        if _LOG.isEnabledFor(logging.INFO):
            _LOG.info("%s %s %s@%s %s", action, outcome, record.plugin_id, label, record.detail)

    async def settled(self) -> None:
        """Wait until everything recorded so far is committed. Raises `AuditError` when it cannot be."""
        if self._writer is not None:
            await self._writer.settled()

    async def settle(self) -> None:
        """`settled`, where the operator demands it."""
        if self.durable:
            await self.settled()

    def latest(self, *, tenant_id: str | None = None, everything: bool = False) -> list[AuditRecord]:
        """The latest records of one tenant, or of all, oldest first."""
        return [record for record in self._latest if everything or record.tenant_id == tenant_id]

    def status(self) -> dict[str, Any]:
        """How the trail is kept and whether that works."""
        writer = self._writer
        return {
            "open": writer is not None,
            "signing": self._signing,
            "durable": self.durable,
            "waiting": writer.waiting if writer else 0,
            "lost": writer.lost if writer else 0,
            "error": writer.error if writer else None,
            "sinks": {name: {"failures": one.failures, "missed": one.missed} for name, one in self._pumps.items()},
        }

    def _open(self, home: Path) -> ChainWriter:
        signer = open_signer(home)
        self._signing = f"{signer.algorithm}, key {signer.key_id}"
        store = ChainStore(home, signer, durable=self.options.durable)
        try:
            journal = Journal(home, signer) if self.options.durable else None
        except OSError as error:
            store.close()
            raise AuditError(
                f"no audit journal can be made in {home}: {error.strerror}", remedy="Make room on its disk"
            ) from error
        return ChainWriter(store, group=self.options.group, journal=journal)
