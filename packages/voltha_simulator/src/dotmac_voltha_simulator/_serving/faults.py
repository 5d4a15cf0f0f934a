"""Switches that make the simulated stack misbehave as a real one does."""

from __future__ import annotations

from dataclasses import dataclass, field

import grpc

from .refusal import RefusedError


@dataclass(slots=True)
class Faults:
    """What is broken right now. Set and unset at any time; all off at the start."""

    #: device types whose adapter is down (``openolt``, ``brcm_openomci_onu``)
    adapters_down: set[str] = field(default_factory=set)
    #: every reply waits this long, in real seconds (not scaled by the time factor)
    reply_delay: float = 0.0
    #: the core restarts: every call is answered UNAVAILABLE ``system is not ready``
    core_down: bool = False
    #: devices of an adapter that comes back end in RECONCILING_FAILED (surprise 24)
    reconciling_fails: bool = False
    _lost: dict[str, int] = field(default_factory=dict)
    _refused: dict[str, tuple[int, RefusedError]] = field(default_factory=dict)

    def lose_answers(self, rpc: str, times: int = 1) -> None:
        """The next ``times`` calls of ``rpc`` are carried out, and their caller gets UNAVAILABLE instead of the answer."""
        self._lost[rpc] = times

    def answer_is_lost(self, rpc: str) -> bool:
        """Whether the network drops this one."""
        left = self._lost.get(rpc, 0)
        if left:
            self._lost[rpc] = left - 1
        return bool(left)

    def refuse(self, rpc: str, status: str, text: str = "", times: int = 1) -> None:
        """The next ``times`` calls of ``rpc`` are not carried out, and their caller gets ``status`` (a name such as ``ABORTED``)
        with ``text``: a device that is busy, a deletion that fails. Raises `ValueError` for a status that gRPC does not have.
        """
        try:
            code = grpc.StatusCode[status.upper()]
        except KeyError:
            names = ", ".join(each.name for each in grpc.StatusCode)
            raise ValueError(f"{status!r} is no gRPC status; there are {names}") from None
        self._refused[rpc] = (times, RefusedError(code, text))

    def require_willing(self, rpc: str) -> None:
        """Raise the refusal that this call is to get."""
        left, refusal = self._refused.get(rpc, (0, None))
        if refusal is None:
            return
        if left > 1:
            self._refused[rpc] = (left - 1, refusal)
        else:
            del self._refused[rpc]
        raise refusal
