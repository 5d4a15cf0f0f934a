"""VOLTHA as a plugin: OLTs, ONUs and subscriber services of a fibre network, spoken to as VOLTHA really behaves.

The host loads `VolthaIntegrationPlugin` as `voltha_integration`; its methods are called through the handle. gRPC and VOLTHA's
generated protobufs load when an instance activates, so importing this package is cheap.
"""

from __future__ import annotations

from ._device import DeviceView
from ._errors import (
    AdapterError,
    ControllerError,
    DeviceBusyError,
    DeviceNotFoundError,
    DuplicateDeviceError,
    FlowRejectedError,
    ForbiddenRequestError,
    ForeignFlowsError,
    NoRouteError,
    RequestRefusedError,
    ServiceBusyError,
    ServiceConfigError,
    ServiceConflictError,
    StateTimeoutError,
    UnsupportedByVolthaError,
    VolthaConfigurationError,
    VolthaCredentialsError,
    VolthaError,
    VolthaUnavailableError,
    WrongPlaceError,
)
from ._plugin import VolthaIntegrationPlugin
from ._settings import VolthaSettings
from .events._stream import event_stream
from .metrics._text import render_prometheus
from .services import PRESETS, BandwidthProfile, ServiceConfig
from .topology._formats import TOPOLOGY_FORMATS, render_topology

__all__ = [
    "PRESETS",
    "TOPOLOGY_FORMATS",
    "AdapterError",
    "BandwidthProfile",
    "ControllerError",
    "DeviceBusyError",
    "DeviceNotFoundError",
    "DeviceView",
    "DuplicateDeviceError",
    "FlowRejectedError",
    "ForbiddenRequestError",
    "ForeignFlowsError",
    "NoRouteError",
    "RequestRefusedError",
    "ServiceBusyError",
    "ServiceConfig",
    "ServiceConfigError",
    "ServiceConflictError",
    "StateTimeoutError",
    "UnsupportedByVolthaError",
    "VolthaConfigurationError",
    "VolthaCredentialsError",
    "VolthaError",
    "VolthaIntegrationPlugin",
    "VolthaSettings",
    "VolthaUnavailableError",
    "WrongPlaceError",
    "event_stream",
    "render_prometheus",
    "render_topology",
]
