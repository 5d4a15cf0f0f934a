"""What can go wrong between this plugin and VOLTHA, as one tree below core's `PluginError`.

VOLTHA answers most failures with UNKNOWN and a text (domain specification, section 1.2), so `_failures` classifies by both.
The three that the runtime has a remedy for are also core's `NotReady`, `CredentialsRefused` and `ConfigurationError`.
"""

from __future__ import annotations

from dotmac_isp.plugins.core.errors import ConfigurationError, CredentialsRefused, NotReady, PluginError

__all__ = [
    "AdapterError",
    "ControllerError",
    "DeviceBusyError",
    "DeviceNotFoundError",
    "DuplicateDeviceError",
    "FlowRejectedError",
    "ForbiddenRequestError",
    "ForeignFlowsError",
    "NoRouteError",
    "RequestRefusedError",
    "ServiceBusyError",
    "ServiceConfigError",
    "ServiceConflictError",
    "StateTimeoutError",
    "UnsupportedByVolthaError",
    "VolthaConfigurationError",
    "VolthaCredentialsError",
    "VolthaError",
    "VolthaUnavailableError",
    "WrongPlaceError",
]


class VolthaError(PluginError):
    """The base. `rpc`, `code` and `details` are the call, its gRPC status and VOLTHA's own words, where a call failed."""

    def __init__(
        self, message: str, *, rpc: str = "", code: str = "", details: str = "", remedy: str | None = None
    ) -> None:
        self.rpc = rpc
        self.code = code
        self.details = details
        super().__init__(message, remedy=remedy)


class VolthaUnavailableError(VolthaError, NotReady):
    """VOLTHA cannot be reached, or says that it is not ready. `reachable` tells the two apart."""

    reachable: bool = False


class VolthaCredentialsError(VolthaError, CredentialsRefused):
    """VOLTHA, or the proxy before it, refused user and password."""


class VolthaConfigurationError(VolthaError, ConfigurationError):
    """A setting that cannot be used, seen only when connecting (a CA file that cannot be read, say)."""

    def __init__(self, message: str, *, field: str, remedy: str | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.field = field


class DeviceNotFoundError(VolthaError, LookupError):
    """No device with that id or serial number."""


class DuplicateDeviceError(VolthaError):
    """An OLT with this address, MAC or id exists already."""


class RequestRefusedError(VolthaError):
    """The device is in no state for the request, or an argument was wrong (FAILED_PRECONDITION, INVALID_ARGUMENT)."""


class DeviceBusyError(VolthaError):
    """The device is being deleted, reconciled or downloaded to; the same request may succeed later."""


class AdapterError(VolthaError):
    """The device's adapter is not registered, not connected, or answered with an error."""


class NoRouteError(VolthaError):
    """A flow between ports that are not there, or not connected with each other."""


class UnsupportedByVolthaError(VolthaError):
    """VOLTHA, or the adapter of this device, does not implement the request."""


class ServiceConfigError(VolthaError, ValueError):
    """A service or device configuration that cannot be; the message names each field and what would be right."""


class ServiceConflictError(VolthaError):
    """The service would take the flow of another one: same tag, port or subscriber (recordings, surprises 14 and 38)."""


class ServiceBusyError(VolthaError):
    """Another host with the same store works on this service right now; the same request may succeed later."""


class ForeignFlowsError(ServiceConflictError):
    """Somebody else programs this OLT's flows: two hands on one table undo each other's work."""


class ControllerError(VolthaError):
    """The controller that programs this OLT's flows cannot be reached, or refused what was asked of it."""


class FlowRejectedError(VolthaError):
    """Flows that VOLTHA accepted and then took back, or never brought to the devices; everything was rolled back."""


class WrongPlaceError(VolthaError):
    """The ONU is there, but not on that PON port or not with that ONU id; the message says where it really is."""


class StateTimeoutError(VolthaError, TimeoutError):
    """A command was accepted, but the state it should lead to was not seen in time.

    `step` is what was waited for, `state` what was seen last.
    """

    def __init__(self, message: str, *, step: str, state: str, remedy: str | None = None) -> None:
        self.step = step
        self.state = state
        super().__init__(message, remedy=remedy)


class ForbiddenRequestError(VolthaError):
    """A request that is known to crash VOLTHA, or to touch what is not ours; it was not sent (section 12.4)."""
