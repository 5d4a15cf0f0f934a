"""The states of an instance and the ways between them."""

from __future__ import annotations

import collections
import time
from typing import Final

import msgspec

from ..errors import LifecycleError
from ..model import InstanceRef, PluginState

__all__ = ["StateMachine", "StateRecord"]

_S = PluginState
#: States in which the instance rests and an operator may begin anew.
_RESTING: Final = frozenset({_S.RETRYING, _S.AWAITING_SECRET, _S.MISCONFIGURED, _S.HELD_BACK, _S.FAILED, _S.DISABLED})
_WAYS: Final[dict[PluginState, frozenset[PluginState]]] = {
    _S.CREATED: _RESTING | {_S.INITIALIZING, _S.SUSPENDED, _S.UNLOADED},
    _S.INITIALIZING: _RESTING | {_S.INITIALIZED, _S.UNLOADED},
    _S.INITIALIZED: _RESTING | {_S.ACTIVATING, _S.CLEANING_UP, _S.SUSPENDED},
    _S.ACTIVATING: _RESTING | {_S.ACTIVE},
    # From active to active: a new life took over from the old one.
    _S.ACTIVE: frozenset({_S.DEACTIVATING, _S.ACTIVE}),
    _S.DEACTIVATING: _RESTING | {_S.INITIALIZED, _S.SUSPENDED},
    _S.CLEANING_UP: frozenset({_S.UNLOADED}),
    _S.SUSPENDED: _RESTING | {_S.INITIALIZING, _S.ACTIVATING, _S.INITIALIZED, _S.CLEANING_UP},
    _S.UNLOADED: frozenset(),
    **{
        state: _RESTING | {_S.INITIALIZING, _S.ACTIVATING, _S.CLEANING_UP, _S.UNLOADED, _S.SUSPENDED}
        for state in _RESTING
    },
}


class StateRecord(msgspec.Struct, frozen=True):
    """A state, why, and since when (Unix time, seconds)."""

    state: PluginState
    reason: str
    since: float


class StateMachine:
    """Holds an instance's state; every change has a reason and a time, and only the ways above are open."""

    def __init__(self, ref: InstanceRef, *, keep: int = 50) -> None:
        self._ref: Final = ref
        self.now = StateRecord(PluginState.CREATED, "created", time.time())
        #: The latest states, oldest first.
        self.history: collections.deque[StateRecord] = collections.deque([self.now], maxlen=keep)

    @property
    def state(self) -> PluginState:
        return self.now.state

    def move(self, state: PluginState, reason: str) -> None:
        """Change the state. Raises `LifecycleError` when there is no way from the present one."""
        if state not in _WAYS[self.state]:
            ways = ", ".join(sorted(way.value for way in _WAYS[self.state])) or "no other state"
            raise LifecycleError(
                f"{self._ref} is {self.state.value} ({self.now.reason}) and cannot become {state.value}",
                remedy=f"From there it can become {ways}",
            )
        self.now = StateRecord(state, reason, time.time())
        self.history.append(self.now)
