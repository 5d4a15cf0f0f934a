"""One question to the Extension service, and what its errors mean (section 6.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from .._errors import DeviceNotFoundError, UnsupportedByVolthaError, VolthaError

if TYPE_CHECKING:
    from .._session import Session

__all__ = ["ask_value", "check_set_response"]

_OK: Final = 1
_REASONS: Final[dict[int, tuple[type[VolthaError], str]]] = {
    1: (UnsupportedByVolthaError, "not supported by this device or adapter"),
    2: (DeviceNotFoundError, "VOLTHA does not know the device"),
    3: (VolthaError, "there is no such port"),
    4: (VolthaError, "the device did not answer in time"),
    5: (VolthaError, "the adapter does not know the request"),
    6: (VolthaError, "internal error of the adapter"),
    7: (DeviceNotFoundError, "VOLTHA does not know the device"),
}


async def ask_value(session: Session, request: Any, *, limit: float) -> Any:
    """The answer to a question; raises `VolthaError` with the reason why there is none."""
    answer = await session.client.call("Extension/GetExtValue", request, limit=limit, repeat=False)
    return _checked(answer.response, "Extension/GetExtValue")


def check_set_response(answer: Any) -> None:
    """Raise what a refused setting says."""
    _checked(answer.response, "Extension/SetExtValue")


def _checked(response: Any, rpc: str) -> Any:
    if response.status == _OK:
        return response
    kind, why = _REASONS.get(response.errReason, (VolthaError, "refused without a reason"))
    raise kind(why, rpc=rpc)
