"""The thin edge to VOLTHA: one channel, credentials on each call, repeats while the core is not ready, typed errors.

Every request passes `_guard.admit` first. Reads and writes alike may be repeated: each write of this plugin is one that VOLTHA
answers the same way twice (an OLT that exists is found, a flow that is listed is kept).
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import grpc
import msgspec
from google.protobuf.empty_pb2 import Empty
from tenacity import AsyncRetrying, retry_if_exception, stop_after_delay, wait_exponential, wait_random
from voltha_protos import common_pb2, extensions_pb2_grpc, voltha_pb2_grpc

from dotmac_isp.plugins.core.model import Secret

from ._device import DeviceView, from_proto
from ._errors import DeviceNotFoundError, VolthaCredentialsError, VolthaUnavailableError
from ._failures import classify
from ._guard import admit

if TYPE_CHECKING:
    import logging
    from collections.abc import AsyncIterator, Awaitable, Callable

__all__ = ["Endpoint", "Login", "VolthaClient"]

#: 4,096 ONUs with their PM configurations make about 8 MiB; the default limit of 4 MiB breaks ListDevices (section 0).
_MAX_MESSAGE: Final = 32 * 1024 * 1024

_OPTIONS: Final[tuple[tuple[str, Any], ...]] = (
    ("grpc.max_receive_message_length", _MAX_MESSAGE),
    ("grpc.max_send_message_length", _MAX_MESSAGE),
    # Only while a call is under way: Go's server ends connections that ping more often than every 5 minutes when idle.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # Instances of different tenants share nothing, not even a connection.
    ("grpc.use_local_subchannel_pool", 1),
)

#: Seconds for which nothing more is logged of calls that are asked again.
_QUIET: Final = 5.0


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where VOLTHA listens. `target` and `options` are what grpcio needs; `label` is what people know (`host:port`)."""

    target: str
    label: str
    options: tuple[tuple[str, Any], ...] = ()
    tls: bool = False
    #: PEM certificates of the authorities to trust; empty: the system's.
    authorities: bytes = b""
    #: PEM of the client's certificate and of its key; both or none.
    certificate: bytes = b""
    key: Secret | None = None


class Login:
    """User and password: kept in their coats, read again when told that they changed or when they are refused."""

    def __init__(self, read: Callable[[], Awaitable[tuple[Secret, Secret]]]) -> None:
        self._read: Final = read
        self._pair: tuple[Secret, Secret] | None = None

    def forget(self) -> None:
        """Read them again at the next call."""
        self._pair = None

    async def pair(self) -> tuple[Secret, Secret]:
        if self._pair is None:
            self._pair = await self._read()
        return self._pair

    async def changed_since(self, used: tuple[Secret, Secret]) -> bool:
        """Whether the secrets are others now than those that were refused."""
        self.forget()
        return await self.pair() != used


class VolthaClient:
    """Calls one VOLTHA. Make it on the event loop that uses it; `close` ends its channel."""

    def __init__(
        self,
        endpoint: Endpoint,
        login: Login,
        *,
        call_timeout: float,
        patience: float,
        logger: logging.LoggerAdapter[logging.Logger],
    ) -> None:
        self.endpoint: Final = endpoint
        self._login: Final = login
        self._logger: Final = logger
        self._told_at = -_QUIET
        self._call_timeout: Final = call_timeout
        options = [*_OPTIONS, *endpoint.options]
        if endpoint.tls:
            trust = grpc.ssl_channel_credentials(
                root_certificates=endpoint.authorities or None,
                private_key=endpoint.key.reveal().encode() if endpoint.key is not None else None,
                certificate_chain=endpoint.certificate or None,
            )
            self._channel = grpc.aio.secure_channel(endpoint.target, trust, options=options)
        else:
            self._channel = grpc.aio.insecure_channel(endpoint.target, options=options)
        self._stub: Final = voltha_pb2_grpc.VolthaServiceStub(self._channel)
        self._extension: Final = extensions_pb2_grpc.ExtensionStub(self._channel)
        self._retrying: Final = AsyncRetrying(
            retry=retry_if_exception(_is_transient),
            wait=wait_exponential(multiplier=0.05, max=1.0) + wait_random(0, 0.05),
            stop=stop_after_delay(patience),
            reraise=True,
        )
        #: Calls made by RPC, and calls that failed by status.
        self.calls: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()

    async def close(self, grace: float = 0.0) -> None:
        """End the channel; calls under way get `grace` seconds."""
        await self._channel.close(grace)

    async def call(self, rpc: str, request: Any = None, *, limit: float | None = None, repeat: bool = True) -> Any:
        """Make one call and give its answer; raises an error of `_errors`. `rpc` is VolthaService's, or `Extension/GetExtValue`.

        It may take `limit` seconds. With `repeat` it is made again for a few seconds while VOLTHA is not ready or the connection is coming back.
        """
        request = Empty() if request is None else request
        admit(rpc, request)
        limit = self._call_timeout if limit is None else limit
        try:
            return await self._with_login(rpc, request, limit)
        except VolthaUnavailableError as error:
            if not repeat or not _is_transient(error):
                raise
            self._tell(rpc, error)
        return await self._retrying(self._with_login, rpc, request, limit)

    def _tell(self, rpc: str, error: VolthaUnavailableError) -> None:
        """Say that calls are asked again; of many that fail together, the first."""
        now = time.monotonic()
        if now - self._told_at >= _QUIET:
            self._told_at = now
            self._logger.info("%s had no answer and is asked again, as others may be: %s", rpc, error.message)

    async def _with_login(self, rpc: str, request: Any, limit: float) -> Any:
        pair = await self._login.pair()
        try:
            return await self._once(rpc, request, limit, pair)
        except VolthaCredentialsError:
            if not await self._login.changed_since(pair):
                raise
        return await self._once(rpc, request, limit, await self._login.pair())

    async def _once(self, rpc: str, request: Any, limit: float, pair: tuple[Secret, Secret]) -> Any:
        self.calls[rpc] += 1
        service, _, name = rpc.rpartition("/")
        stub = self._extension if service else self._stub
        try:
            return await getattr(stub, name)(request, timeout=limit, metadata=_metadata(pair))
        except grpc.aio.AioRpcError as error:
            code = error.code().name
            self.failures[code] += 1
            raise classify(rpc, code, error.details() or "", target=self.endpoint.label) from None

    async def stream(self, rpc: str, *, opened: Callable[[], None]) -> AsyncIterator[Any]:
        """Read a stream of VolthaService until VOLTHA ends it; `opened` is called when it is. Raises an error of `_errors`."""
        admit(rpc, Empty())
        pair = await self._login.pair()
        self.calls[rpc] += 1
        await self._connected(rpc)
        call = getattr(self._stub, rpc)(Empty(), metadata=_metadata(pair))
        try:
            # Go's server sends its metadata with the first message only; being connected is all that can be waited for.
            opened()
            async for message in call:
                yield message
        except grpc.aio.AioRpcError as error:
            code = error.code().name
            self.failures[code] += 1
            raise classify(rpc, code, error.details() or "", target=self.endpoint.label) from None
        finally:
            call.cancel()

    async def _connected(self, rpc: str) -> None:
        try:
            async with asyncio.timeout(self._call_timeout):
                await self._channel.channel_ready()
        except (TimeoutError, grpc.aio.UsageError):  # the latter: this client was closed meanwhile
            raise classify(rpc, "UNAVAILABLE", "no connection", target=self.endpoint.label) from None

    async def devices(self) -> list[DeviceView]:
        """All OLTs and ONUs."""
        return [from_proto(device) for device in (await self.call("ListDevices")).items]

    async def device(self, device_id: str) -> DeviceView | None:
        """One device by VOLTHA's id, or `None`."""
        try:
            return from_proto(await self.call("GetDevice", identified(device_id)))
        except DeviceNotFoundError:
            return None


def identified(value: str) -> Any:
    """VOLTHA's request that names a device or logical device."""
    return common_pb2.ID(id=value)


def _metadata(pair: tuple[Secret, Secret]) -> tuple[tuple[str, str], ...]:
    user, password = pair
    token = base64.b64encode(f"{user.reveal()}:{password.reveal()}".encode()).decode()
    return (("authorization", f"Basic {token}"),)


def _is_transient(error: BaseException) -> bool:
    return isinstance(error, VolthaUnavailableError) and error.code == "UNAVAILABLE"
