"""The supervisor's hold on one jailed process: limits around it, connections for it, and what is known of its end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ._codec import from_plain, to_plain
from ._confine import can_jail

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..jail import Broker, Cell, Decision, JailPlan

__all__ = ["CellPlan", "PlainCell", "new_cell"]

WayOut = tuple[str, int, str]
_GUARANTEES: Final = ("memory", "cpu", "processes", "files", "network", "syscalls")


class CellPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted for one instance."""

    label: str
    level: str
    home: str
    data_dir: str
    #: By name, as `JailLimits` has them; what is not there is its default.
    limits: dict[str, float]
    ways_out: tuple[WayOut, ...]
    #: Networks (CIDR) that names may resolve to although they are refused otherwise.
    networks: tuple[str, ...] = ()
    #: Hosts (patterns) that a Kafka cluster may advertise, besides those that settings name.
    kafka_hosts: tuple[str, ...] = ()
    readable: tuple[str, ...] = ()

    @property
    def network(self) -> bool:
        """Whether it has any way out."""
        return self.level != "minimal"


class PlainCell:
    """A process of its own, and nothing around it."""

    def __init__(self, wanted: CellPlan, judged: Callable[[dict[str, Any]], None]) -> None:
        self.wanted: Final = wanted
        self._judged: Final = judged

    def line(self) -> tuple[socket.socket, socket.socket]:
        """The line to the broker: this side's and the process's end."""
        return socket.socketpair()

    async def open(self, line: socket.socket) -> Any:
        """Make what must be there before the process is let go; gives the plan by which it locks itself down."""
        line.close()
        return None

    async def adopt(self, pid: int) -> None:
        """The process is there, and waits."""

    async def judge(self, report: Any) -> None:  # noqa: ARG002 - it achieved nothing
        """The process said what it achieved. Raises what speaks against going on."""
        self._judged(self.isolation()["guarantees"])

    def same_ways(self, ways_out: Sequence[WayOut]) -> bool:  # noqa: ARG002 - nothing is in its way
        """Whether it may connect to these as it is."""
        return True

    def isolation(self) -> dict[str, Any]:
        """What keeps it apart."""
        none = {
            "strength": "none",
            "how": "a process of its own, and nothing around it",
            "missing": "what Linux has for it",
            "remedy": "run the host on Linux",
        }
        return {"guarantees": dict.fromkeys(_GUARANTEES, none)}

    def kill(self, why: str) -> None:
        """End it and all that it started."""

    async def exit_reason(self, status: int | None) -> str:
        """Why the process ended, by its wait status."""
        if status is None:
            return "the process that forked it is gone"
        if os.WIFSIGNALED(status):
            return f"ended by {signal.Signals(os.WTERMSIG(status)).name}"
        return f"ended by itself with exit code {os.WEXITSTATUS(status)}"

    def usage(self) -> dict[str, Any]:
        """What it uses now, as far as that is known."""
        return {}

    async def close(self) -> None:
        """Nothing is left of it."""


class JailCell(PlainCell):
    """All that the kernel has."""

    def __init__(
        self, wanted: CellPlan, judged: Callable[[dict[str, Any]], None], decided: Callable[[Decision], None]
    ) -> None:
        super().__init__(wanted, judged)
        self._decided: Final = decided
        self._cell: Cell | None = None
        self._broker: Broker | None = None
        self._held: dict[str, Any] = {}

    def line(self) -> tuple[socket.socket, socket.socket]:
        from ..jail import egress_pair  # noqa: PLC0415 - Linux only

        return egress_pair()

    async def open(self, line: socket.socket) -> Any:
        from ..jail import Broker, Cell  # noqa: PLC0415 - Linux only

        # Folders and control groups: quick, but not always.
        self._cell = cell = await asyncio.to_thread(Cell, _jail_plan(self.wanted), self.wanted.home)
        self._broker = Broker(cell.plan, line, decided=self._decided)
        patterns = {host for host, _, kind in self.wanted.ways_out if kind == "kafka"}
        if patterns:
            self._broker.allow_advertised(*sorted(patterns), *self.wanted.kafka_hosts)
        return to_plain(cell.plan)

    async def adopt(self, pid: int) -> None:
        assert self._cell is not None  # noqa: S101 - open comes first
        # In version 2 the kernel waits for other processors before it moves a process: milliseconds, or many.
        await asyncio.to_thread(self._cell.adopt, pid)

    async def judge(self, report: Any) -> None:
        from ..jail import ChildReport  # noqa: PLC0415 - Linux only

        assert self._cell is not None  # noqa: S101 - open comes first
        assert self._broker is not None  # noqa: S101
        achieved = from_plain(report, ChildReport)
        await asyncio.to_thread(self._cell.hold)
        self._held = to_plain(self._cell.report(achieved))
        self._judged(self._held["guarantees"])
        await self._broker.start(achieved)

    def same_ways(self, ways_out: Sequence[WayOut]) -> bool:
        return tuple(ways_out) == self.wanted.ways_out

    def isolation(self) -> dict[str, Any]:
        return self._held or {"guarantees": {}}

    def kill(self, why: str) -> None:
        if self._cell is not None:
            self._cell.kill(why)

    async def exit_reason(self, status: int | None) -> str:
        return await super().exit_reason(status) if self._cell is None else str(self._cell.exit_reason(status))

    def usage(self) -> dict[str, Any]:
        return {} if self._cell is None else to_plain(self._cell.usage())

    async def close(self) -> None:
        broker, self._broker = self._broker, None
        cell, self._cell = self._cell, None
        if broker is not None:
            await broker.close()
        if cell is not None:
            await asyncio.to_thread(cell.close)


def _jail_plan(wanted: CellPlan) -> JailPlan:
    from ..jail import Endpoint, JailLimits, JailPlan  # noqa: PLC0415 - Linux only

    ways = [Endpoint(host, port, kind, wanted.networks) for host, port, kind in wanted.ways_out]  # type: ignore[arg-type]
    whole = {name: value if name in {"cpu", "connects"} else int(value) for name, value in wanted.limits.items()}
    return JailPlan(
        label=wanted.label,
        level=wanted.level,
        limits=msgspec.structs.replace(JailLimits(), **whole),
        readable=wanted.readable,
        data_dir=None if wanted.level == "minimal" else wanted.data_dir,
        network=wanted.network,
        endpoints=tuple(ways),
    )


def new_cell(
    wanted: CellPlan,
    *,
    judged: Callable[[dict[str, Any]], None],
    decided: Callable[[Any], None],
) -> PlainCell:
    """The best hold that this machine has on a process.

    :param judged: told what keeps the process apart, before any code of the plugin runs; raises what speaks against it.
    :param decided: told what became of each connection that it asked for.
    """
    return JailCell(wanted, judged, decided) if can_jail() else PlainCell(wanted, judged)
