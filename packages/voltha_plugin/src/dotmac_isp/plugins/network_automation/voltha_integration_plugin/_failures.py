"""From a gRPC status and VOLTHA's text to a typed error. Pure: no channel, no protobuf.

Any Go error without a status of its own arrives as UNKNOWN, so the text decides (sections 1.2 and 12.2).
"""

from __future__ import annotations

from typing import Final

from ._errors import (
    AdapterError,
    DeviceBusyError,
    DeviceNotFoundError,
    DuplicateDeviceError,
    NoRouteError,
    RequestRefusedError,
    UnsupportedByVolthaError,
    VolthaCredentialsError,
    VolthaError,
    VolthaUnavailableError,
)

__all__ = ["classify"]

#: Texts by which VOLTHA says that it is there, but does not work yet.
_NOT_READY: Final = ("system is not ready", "core is not ready", "not-ready-to-serve")

#: Text → what it means, whatever the status; the first that fits decides.
_BY_TEXT: Final[tuple[tuple[str, type[VolthaError], str], ...]] = (
    ("already pre-provisioned", DuplicateDeviceError, "Another device has this address, MAC or id"),
    ("ip address already in use", DuplicateDeviceError, "Another device has this address"),
    ("no-device-info-present", RequestRefusedError, "Give host:port or a MAC address"),
    (
        "endpoint-cannot-be-empty",
        RequestRefusedError,
        "No adapter owns this device yet: enable it first, or delete it and create it with the new address",
    ),
    ("adapter-not-registered", AdapterError, "Start the adapter for this device type, or correct the type"),
    ("adapter-connection-down", AdapterError, "The adapter does not answer VOLTHA's core; look at it"),
    (
        "adapter(s)-not-ready",
        NoRouteError,
        "VOLTHA found no device flow for this request; ports or tables are wrong (adapters may be fine)",
    ),
    ("no connection to", AdapterError, "The adapter does not answer VOLTHA's core; look at it"),
    ("no route", NoRouteError, "Look whether both ports exist: a UNI port appears when its ONU became active"),
    ("no-uni-port", NoRouteError, "The UNI port does not exist on this ONU"),
    ("device-cannot-process-request", DeviceBusyError, "The device is being deleted or reconciled; try again later"),
    (
        "disable-child-device-failed",
        UnsupportedByVolthaError,
        "This OLT cannot deactivate ONUs; disable the ONU itself (disable_device), which locks its user ports",
    ),
    ("unknown method", UnsupportedByVolthaError, "The OLT or its adapter is too old for it"),
    ("unhandled-command", UnsupportedByVolthaError, ""),
    ("deletion is in progress", DeviceBusyError, "The device is being deleted; look again"),
    ("unimplemented", UnsupportedByVolthaError, ""),
    ("not implemented", UnsupportedByVolthaError, ""),
    ("not-implemented", UnsupportedByVolthaError, ""),
)

#: Status → what it means when no text decided.
_BY_CODE: Final[dict[str, type[VolthaError]]] = {
    "NOT_FOUND": DeviceNotFoundError,
    "ALREADY_EXISTS": DuplicateDeviceError,
    "FAILED_PRECONDITION": RequestRefusedError,
    "INVALID_ARGUMENT": RequestRefusedError,
    "UNIMPLEMENTED": UnsupportedByVolthaError,
    "ABORTED": AdapterError,
}

_REFUSED: Final = ("UNAUTHENTICATED", "PERMISSION_DENIED")


def classify(rpc: str, code: str, details: str, *, target: str = "") -> VolthaError:
    """The error for a call that ended with `code` (a gRPC status name) and `details` (VOLTHA's words)."""
    said = details or "no explanation"
    if code in _REFUSED:
        return VolthaCredentialsError(
            f"{target or 'VOLTHA'} refused user and password in {rpc} ({said})",
            rpc=rpc,
            code=code,
            details=details,
            remedy="Set the secrets voltha-username and voltha-password to credentials that it accepts",
        )
    lower = details.lower()
    for text, kind, remedy in _BY_TEXT:
        if text in lower:
            return kind(f"{rpc}: {said}", rpc=rpc, code=code, details=details, remedy=remedy or None)
    if code in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
        return _unavailable(rpc, code, details, target)
    kind = _BY_CODE.get(code, VolthaError)
    return kind(f"{rpc}: {code} {said}", rpc=rpc, code=code, details=details)


def _unavailable(rpc: str, code: str, details: str, target: str) -> VolthaUnavailableError:
    not_ready = any(text in details.lower() for text in _NOT_READY)
    where = target or "VOLTHA"
    if not_ready:
        message, remedy = (
            f"{where} is not ready: {details}",
            "It answers a few seconds after a start; it is asked again",
        )
    elif code == "DEADLINE_EXCEEDED":
        message, remedy = f"{where} did not answer {rpc} in time", "Look at the network and at VOLTHA's load"
    else:
        message = f"{where} cannot be reached in {rpc}: {details or code}"
        remedy = "Check voltha_host and voltha_port, and whether VOLTHA's core runs"
    error = VolthaUnavailableError(message, rpc=rpc, code=code, details=details, remedy=remedy)
    error.reachable = not_ready
    return error
