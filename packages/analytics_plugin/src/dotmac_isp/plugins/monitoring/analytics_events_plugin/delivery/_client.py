"""Speaks to the collector. Every failure becomes one of core's: what to wait for, what to change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from dotmac_isp.plugins.core.errors import ConfigurationError, CredentialsRefused, NotReady, PluginError

from .._plain import EventError
from .._version import PRODUCT
from .._wire import TENANT_HEADER, tenant_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    import aiohttp

    from dotmac_isp.plugins.core.api import SecretReader

__all__ = ["API_KEY", "CollectorClient", "RefusedError"]

API_KEY: Final = "analytics-api-key"
_OK: Final = 300
_UNAUTHORISED: Final = 401
_FORBIDDEN: Final = 403
_NOT_FOUND: Final = 404
_TOO_LARGE: Final = 413
_INVALID: Final = 422
_LATER: Final = frozenset({429, 500, 502, 503, 504})
_NOTHING: Final[Mapping[str, str]] = {}


class RefusedError(PluginError):
    """The collector understood the request and refused it."""

    def __init__(self, message: str, *, status: int) -> None:
        self.status = status
        super().__init__(message)

    @property
    def too_large(self) -> bool:
        return self.status == _TOO_LARGE


class CollectorClient:
    """One tenant's way to the collector. The key is asked for at each request, so a new one is used at once."""

    def __init__(self, settings: Any, secrets: SecretReader, tenant_id: str | None) -> None:
        scheme = "https" if settings.use_tls else "http"
        host = settings.analytics_host
        self.address = f"{host}:{settings.analytics_port}"
        netloc = f"[{host}]:{settings.analytics_port}" if ":" in host else self.address
        self._base = f"{scheme}://{netloc}"
        self._timeout = settings.request_timeout
        self._secrets = secrets
        self._tenant = tenant_key(tenant_id)
        self._session: aiohttp.ClientSession | None = None

    def _opened(self) -> aiohttp.ClientSession:
        import aiohttp  # noqa: PLC0415 - 0.3 s; only when there is something to say

        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=self._timeout))
        return self._session

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def about(self) -> dict[str, Any]:
        """Who answers. Raises `NotReady` when nobody does, `ConfigurationError` when it is not a collector of ours."""
        status, body, _ = await self._exchange("GET", "/v1/about", None, {})
        try:
            answer = msgspec.json.decode(body)
            ours = isinstance(answer, dict) and answer.get("product") == PRODUCT
        except msgspec.DecodeError:
            answer, ours = {}, False
        if not ours:
            raise ConfigurationError(
                f"something else than an analytics collector answers at {self.address} (HTTP {status})",
                field="analytics_port",
                remedy="Set analytics_host and analytics_port (ANALYTICS_HOST, ANALYTICS_PORT) to the collector's",
            )
        return dict(answer)

    async def call(self, method: str, path: str, value: Any = None) -> Any:
        """A request with the tenant's key; the decoded answer. `None` for what does not exist."""
        return await self.send(method, path, None if value is None else msgspec.json.encode(value))

    async def send(self, method: str, path: str, body: bytes | None, *, compressed: bool = False) -> Any:
        """As `call`, with the body as it goes over the wire; `compressed` with Zstandard."""
        status, answer = await self._authorised(method, path, body, {"Content-Encoding": "zstd"} if compressed else {})
        if status == _NOT_FOUND:
            return None
        return msgspec.json.decode(answer) if answer else None

    async def page(self, path: str, value: Any = None) -> bytes:
        """A page, a picture or a document as it comes; with a value it is asked for by it."""
        method, sent = ("GET", None) if value is None else ("POST", msgspec.json.encode(value))
        _, body = await self._authorised(method, path, sent)
        return body

    async def _authorised(
        self, method: str, path: str, body: bytes | None, more: Mapping[str, str] = _NOTHING
    ) -> tuple[int, bytes]:
        key = await self._secrets.require(API_KEY)
        headers = {"Authorization": f"Bearer {key.reveal()}", TENANT_HEADER: self._tenant, **more}
        status, answer, told = await self._exchange(method, path, body, headers)
        if status >= _OK and status != _NOT_FOUND:
            self._complain(status, answer, told.get("Retry-After", ""))
        return status, answer

    async def _exchange(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, bytes, Mapping[str, str]]:
        import aiohttp  # noqa: PLC0415

        session = self._opened()
        kind = {"Content-Type": "application/json"} if body is not None else {}
        try:
            async with session.request(
                method, self._base + path, data=body, headers={**headers, **kind}, allow_redirects=False
            ) as response:
                return response.status, await response.read(), response.headers
        except (TimeoutError, aiohttp.ClientConnectionError, OSError) as error:
            reason = str(error) or type(error).__name__
            raise NotReady(
                f"the analytics collector at {self.address} does not answer: {reason}",
                remedy="Tracked events wait on disk and are sent when it is there",
            ) from error
        except aiohttp.ClientError as error:
            raise ConfigurationError(
                f"what answers at {self.address} does not speak HTTP as expected: {error}", field="analytics_port"
            ) from error

    def _complain(self, status: int, body: bytes, retry_after: str) -> None:
        message, field = _reason(body)
        if status in {_UNAUTHORISED, _FORBIDDEN}:
            raise CredentialsRefused(
                f"the analytics collector at {self.address} refused the secret {API_KEY!r}: {message}",
                remedy="Set a key that the collector knows for this tenant and that may do this (ANALYTICS_API_KEY)",
            )
        if status in _LATER:
            seconds = float(retry_after) if retry_after.isascii() and retry_after.isdigit() else None
            raise NotReady(
                f"the analytics collector at {self.address} asks to try later: {message}", retry_after=seconds
            )
        if status == _INVALID and field:
            raise _InvalidError(field, message)
        raise RefusedError(f"the analytics collector at {self.address} refused the request: {message}", status=status)


class _InvalidError(EventError):
    """An `EventError` that the collector found; it has its sentence already."""

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        self.expected = message
        ValueError.__init__(self, message)


def _reason(body: bytes) -> tuple[str, str]:
    try:
        answer = msgspec.json.decode(body)
        return str(answer["error"]), str(answer.get("field", ""))
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
        return body[:200].decode(errors="replace"), ""
