"""What becomes of an instance that failed: a decision over values (design, decision 9)."""

from __future__ import annotations

from typing import Final

import msgspec

from ..health import backoff
from ..model import Failure, FailureKind, PluginState

__all__ = ["Remedy", "counts_against", "remedy_for"]

_S = PluginState
#: What a failure of each kind makes of the instance; everything else is FAILED.
_STATES: Final = {
    FailureKind.NOT_READY: _S.RETRYING,
    FailureKind.CREDENTIALS: _S.AWAITING_SECRET,
    FailureKind.CONFIGURATION: _S.MISCONFIGURED,
    FailureKind.PERMISSION: _S.DISABLED,
    FailureKind.LICENCE: _S.DISABLED,
}
#: By how much sooner than else an instance is begun anew whose process ended, the first time.
_SOONER: Final = 25


class Remedy(msgspec.Struct, frozen=True, kw_only=True):
    """The state that the instance takes, why, and in how many seconds it is tried again (`None`: not by itself)."""

    state: PluginState
    reason: str
    retry_after: float | None = None


def counts_against(failure: Failure) -> bool:
    """Whether the give-up rule counts the failure: what has a remedy of its own does not."""
    return failure.kind not in _STATES and failure.kind is not FailureKind.CANCELLED


def remedy_for(
    failure: Failure,
    *,
    gave_up_after: int | None,
    wanted_active: bool,
    attempts: int,
    first: float,
    asked: float | None = None,
) -> Remedy:
    """Choose. `gave_up_after`: so many failures were too many; `asked`: what the plugin itself said about the next try, in seconds."""
    state = _STATES.get(failure.kind, _S.FAILED)
    reason = f"{failure.operation}: {failure.message}"
    if gave_up_after is not None:
        return Remedy(state=_S.DISABLED, reason=f"gave up after {gave_up_after} failures; the last: {reason}")
    if failure.kind is FailureKind.PROCESS_ENDED and not attempts:
        first /= _SOONER  # others wait for it, and nothing says yet that it will not work again
    tries = wanted_active and state in {_S.RETRYING, _S.FAILED} and failure.kind is not FailureKind.CANCELLED
    delay = backoff(attempts, asked=asked, first=first) if tries else None
    return Remedy(state=state, reason=reason, retry_after=delay)
