"""The one way that a call takes: hooks and handles, through the gate."""

from __future__ import annotations

from ._caller import HookCall, PluginRelay, TenantHooks, fill_context, next_request_id
from ._gate import Failed, Gate, Pending, error_of, kind_of
from ._handle import Method, public_methods
from ._hold import Hold
from ._member import Member, Seat
from ._registry import TenantRegistry
from ._stream import Stream, StreamMethod, is_stream

__all__ = [
    "Failed",
    "Gate",
    "Hold",
    "HookCall",
    "Member",
    "Method",
    "Pending",
    "PluginRelay",
    "Seat",
    "Stream",
    "StreamMethod",
    "TenantHooks",
    "TenantRegistry",
    "error_of",
    "fill_context",
    "is_stream",
    "kind_of",
    "next_request_id",
    "public_methods",
]
