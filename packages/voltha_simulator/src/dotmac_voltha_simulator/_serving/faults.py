"""Switches that make the simulated stack misbehave as a real one does."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Faults:
    """What is broken right now. Set and unset at any time; all off at the start."""

    #: device types whose adapter is down (``openolt``, ``brcm_openomci_onu``)
    adapters_down: set[str] = field(default_factory=set)
    #: every reply waits this long, in real seconds (not scaled by the time factor)
    reply_delay: float = 0.0
    #: the core restarts: every call is answered UNAVAILABLE ``system is not ready``
    core_down: bool = False
