"""A request that is answered with a gRPC status instead of a message."""

from __future__ import annotations

import grpc


class RefusedError(Exception):
    """The status a real VOLTHA gives: ``code`` and the text in ``details``, both as recorded."""

    def __init__(self, code: grpc.StatusCode, details: str = "") -> None:
        super().__init__(f"{code.name}: {details}")
        self.code = code
        self.details = details


class CrashRefusedError(RefusedError):
    """A request that ends a process of the real VOLTHA; here it is refused and counted instead."""

    def __init__(self, reason: str) -> None:
        super().__init__(grpc.StatusCode.INVALID_ARGUMENT, f"the real VOLTHA would crash: {reason}")


def not_found(details: str) -> RefusedError:
    """The id is unknown; VOLTHA puts the id into the text, in a form that differs from call to call."""
    return RefusedError(grpc.StatusCode.NOT_FOUND, details)


def unknown(details: str) -> RefusedError:
    """A Go error without a status of its own: gRPC calls it UNKNOWN, the text is all there is."""
    return RefusedError(grpc.StatusCode.UNKNOWN, details)


def failed_precondition(details: str) -> RefusedError:
    """The device is in a state in which the request makes no sense."""
    return RefusedError(grpc.StatusCode.FAILED_PRECONDITION, details)


def invalid_argument(details: str) -> RefusedError:
    """The request itself is wrong."""
    return RefusedError(grpc.StatusCode.INVALID_ARGUMENT, details)


def unavailable(details: str) -> RefusedError:
    """An adapter is down, or, misleadingly, a flow led to no device flow."""
    return RefusedError(grpc.StatusCode.UNAVAILABLE, details)
