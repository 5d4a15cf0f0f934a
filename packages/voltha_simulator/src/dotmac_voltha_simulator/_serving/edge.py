"""The gRPC edge: from the services' descriptors to the functions that answer."""

from __future__ import annotations

import asyncio
import base64
import hmac
import re
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf import empty_pb2, message_factory
from voltha_protos import extensions_pb2, voltha_pb2
from voltha_protos import openflow_13_pb2 as of

from .._devices.calls import DeviceCalls
from .._events.messages import rpc_error
from .._flows.calls import LogicalCalls
from .._flows.parts import out_port
from .._images.calls import ImageCalls
from .._values.calls import ExtensionCalls, ValueCalls
from .refusal import CrashRefusedError, RefusedError, unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    from .._stack.stack import Stack
    from .streams import SingleConsumerStream

#: 32 MiB: a list of thousands of devices is larger than gRPC's default of 4 MiB
MAX_MESSAGE = 32 * 1024 * 1024

_NOT_IMPLEMENTED = re.compile("VoipSystemProfile|VoipUserProfile")


class Credentials:
    """Who may call: a name and a password, sent as ``authorization: Basic …`` call credentials."""

    def __init__(self, username: str, password: str) -> None:
        self._expected = base64.b64encode(f"{username}:{password}".encode())

    def check(self, metadata: Iterable[tuple[str, Any]]) -> None:
        """Raise ``RefusedError`` (UNAUTHENTICATED) for any other caller."""
        sent = next((str(value) for key, value in metadata if key == "authorization"), "")
        scheme, _, encoded = sent.partition(" ")
        if scheme.lower() != "basic" or not hmac.compare_digest(encoded.strip().encode(), self._expected):
            words = "credentials missing" if not sent else "wrong user name or password"
            raise RefusedError(grpc.StatusCode.UNAUTHENTICATED, f"{words}: send metadata 'authorization: Basic …'")


class Edge:
    """Generic handlers for VolthaService and Extension over one stack."""

    def __init__(self, stack: Stack, credentials: Credentials | None) -> None:
        self._stack = stack
        self._credentials = credentials

    def handlers(self) -> list[Any]:
        """What a gRPC server needs to serve both services."""
        stack = self._stack
        calls = (DeviceCalls(stack), LogicalCalls(stack), ImageCalls(stack), ValueCalls(stack))
        voltha = voltha_pb2.DESCRIPTOR.services_by_name["VolthaService"]
        extension = extensions_pb2.DESCRIPTOR.services_by_name["Extension"]
        return [self._service(voltha, calls), self._service(extension, (ExtensionCalls(stack),))]

    def _service(self, service: Any, calls: tuple[Any, ...]) -> Any:
        methods = {method.name: self._method(method, calls) for method in service.methods}
        return grpc.method_handlers_generic_handler(service.full_name, methods)

    def _method(self, method: Any, calls: tuple[Any, ...]) -> Any:
        codec = {
            "request_deserializer": message_factory.GetMessageClass(method.input_type).FromString,
            "response_serializer": _serialize,
        }
        if method.server_streaming:
            streams = {
                "ReceiveChangeEvents": self._stack.change_events,
                "ReceivePacketsIn": self._stack.packets_in,
            }
            return grpc.unary_stream_rpc_method_handler(self._streamed(streams[method.name]), **codec)
        if method.client_streaming:
            return grpc.stream_unary_rpc_method_handler(self._packets_out, **codec)
        answer = next((found for found in (_find(each, method.name) for each in calls) if found is not None), None)
        return grpc.unary_unary_rpc_method_handler(
            self._unary(method.name, answer or _unimplemented(method.name)), **codec
        )

    def _unary(self, rpc: str, answer: Callable[[Any], Any]) -> Callable[[Any, Any], Awaitable[Any]]:
        async def handle(request: Any, context: Any) -> Any:
            try:
                await self._admit(context)
                self._stack.faults.require_willing(rpc)
                result = answer(request)
                result = await result if asyncio.iscoroutine(result) else result
                if self._stack.faults.answer_is_lost(rpc):
                    raise unavailable("error reading from server: EOF")
                return result
            except RefusedError as refusal:
                if isinstance(refusal, CrashRefusedError):
                    self._stack.refused_crashes += 1
                await context.abort(refusal.code, refusal.details)

        return handle

    async def _admit(self, context: Any) -> None:
        faults = self._stack.faults
        if faults.reply_delay:
            await asyncio.sleep(faults.reply_delay)
        if faults.core_down:
            raise unavailable("system is not ready")
        if self._credentials is not None:
            self._credentials.check(context.invocation_metadata() or ())

    def _streamed(self, stream: SingleConsumerStream) -> Callable[[Any, Any], AsyncIterator[Any]]:
        async def handle(_: Any, context: Any) -> AsyncIterator[Any]:
            try:
                await self._admit(context)
            except RefusedError as refusal:
                await context.abort(refusal.code, refusal.details)
            async for message in stream.read():
                yield message
            if self._stack.faults.core_down:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "system is not ready")

        return handle

    async def _packets_out(self, requests: AsyncIterator[Any], context: Any) -> Any:
        """StreamPacketsOut: each packet must say by which port it leaves; one that does not is told on the bus."""
        try:
            await self._admit(context)
        except RefusedError as refusal:
            await context.abort(refusal.code, refusal.details)
        async for request in requests:
            if request.id not in self._stack.logical or not _leaves_by_a_port(request.packet_out):
                words = "packet-out without an output action to a known port"
                self._stack.emit(rpc_error("StreamPacketsOut", request.id, words, {}))
        return empty_pb2.Empty()


def _leaves_by_a_port(packet: Any) -> bool:
    flow = of.ofp_flow_stats()
    flow.instructions.add(type=of.OFPIT_APPLY_ACTIONS, actions=of.ofp_instruction_actions(actions=packet.actions))
    return out_port(flow) != 0


def _serialize(message: Any) -> bytes:
    return bytes(message.SerializeToString())


def _find(calls: Any, name: str) -> Callable[[Any], Any] | None:
    found: Callable[[Any], Any] | None = getattr(calls, _snake(name), None)
    return found


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _unimplemented(name: str) -> Callable[[Any], Any]:
    """What the real core answers for calls that it does not have."""

    def answer(_: Any) -> Any:
        if _NOT_IMPLEMENTED.search(name):
            details = f"{_snake(name).replace('_', '-')}-not-implemented"
            raise RefusedError(grpc.StatusCode.UNIMPLEMENTED, details)
        raise RefusedError(grpc.StatusCode.UNKNOWN, "unimplemented")

    return answer
