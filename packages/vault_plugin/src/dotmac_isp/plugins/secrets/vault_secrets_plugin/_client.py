"""The thin edge: hvac in threads, with time limits, retries, and failures of two kinds."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, TypeVar

import hvac  # type: ignore[import-untyped]
import requests
import tenacity
from hvac.adapters import JSONAdapter  # type: ignore[import-untyped]

from ._failures import Refused, Unavailable, worth_retrying

if TYPE_CHECKING:
    from collections.abc import Callable

    from dotmac_isp.plugins.core.model import Secret

    from .settings import VaultSettings

__all__ = ["Contact", "Vault"]

T = TypeVar("T")

_THREADS: Final = 4
_LONGEST_PAUSE: Final = 2.0


class _Session(requests.Session):
    """Follows a standby's redirect to the active node, but never from TLS to plain text: the token goes along."""

    def get_redirect_target(self, resp: Any) -> str | None:
        target: str | None = super().get_redirect_target(resp)
        if target is not None and target.startswith("http://") and resp.url.startswith("https://"):
            resp.close()
            raise Unavailable("Vault redirects from https to http; the token is not sent there")
        return target


class _Adapter(JSONAdapter):  # type: ignore[misc]  # hvac has no types
    """Raises our two failures, which know the status; hvac's own keep the whole answer and forget the status."""

    def request(
        self, method: str, url: str, headers: Any = None, raise_exception: bool = True, **arguments: Any
    ) -> Any:
        try:
            answer = super().request(method, url, headers=headers, raise_exception=False, **arguments)
        except requests.exceptions.SSLError as error:
            raise Unavailable(f"the TLS connection to Vault failed: {_innermost(error)}") from None
        except requests.exceptions.RequestException as error:
            raise Unavailable(f"Vault cannot be reached: {_innermost(error)}") from None
        if isinstance(answer, dict):
            return answer
        if raise_exception and not answer.ok:
            raise _failure(answer, url.removeprefix("/v1/"))
        return {}


def _innermost(error: BaseException) -> str:
    """The reason without the layers of libraries around it, which repeat URLs and object addresses."""
    while (inner := getattr(error, "reason", None) or error.__cause__ or _first(error)) is not None:
        if not isinstance(inner, BaseException):
            break
        error = inner
    text = str(error).rpartition(": ")[2] if "object at 0x" in str(error) else str(error)
    return text or type(error).__name__


def _first(error: BaseException) -> BaseException | None:
    return next((one for one in error.args if isinstance(one, BaseException)), None)


def _failure(response: Any, path: str) -> Refused | Unavailable:
    status: int = response.status_code
    try:
        body = response.json()
    except ValueError:
        body = {}
    said = [*(body.get("errors") or ()), *(body.get("warnings") or ())] if isinstance(body, dict) else []
    reasons = tuple(str(one) for one in said)
    if not Refused.passing(status):
        return Refused(status, path, reasons)
    told = "; ".join(reasons) or {501: "it is not initialised", 503: "it is sealed or down"}.get(status, "try again")
    return Unavailable(f"Vault answered {status}: {told}", retry_after=_seconds(response.headers.get("Retry-After")))


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isdecimal() else None


class Contact:
    """When Vault last answered a question, and whether the latest one was in vain."""

    def __init__(self) -> None:
        #: Monotonic seconds.
        self.heard_at = time.monotonic()
        self.away = False
        self.requests = 0
        self.failures = 0

    def heard(self) -> None:
        self.requests += 1
        self.heard_at = time.monotonic()
        self.away = False

    def lost(self) -> None:
        self.requests += 1
        self.failures += 1
        self.away = True


class Vault:
    """One server, asked from a few threads of its own. `close` it."""

    def __init__(self, settings: VaultSettings) -> None:
        self._settings: Final = settings
        self._session: Final = _Session()
        self._session.max_redirects = 3
        self._session.verify = settings.vault_cacert or True
        if settings.vault_client_cert:
            key = settings.vault_client_key
            self._session.cert = (settings.vault_client_cert, key) if key else settings.vault_client_cert
        self._threads: Final = ThreadPoolExecutor(_THREADS, thread_name_prefix="vault")
        self.contact: Final = Contact()

    async def ask(self, work: Callable[[hvac.Client], T], token: Secret | None = None, *, patient: bool = True) -> T:
        """What `work` gives, called in a thread with a client that has this token.

        Raises `Unavailable` (after repeating it for the settings' `patience`, where `patient`) and `Refused`.
        """
        client = self._client(token, self._settings.vault_namespace)
        return await self._patiently(lambda: work(client)) if patient else await self._once(lambda: work(client))

    async def health(self) -> dict[str, Any]:
        """What `sys/health` says, which is never in a namespace. Raises `Unavailable` where nobody answers.

        A sealed Vault answers as well, so this is no sign that it can be asked for secrets: `contact` is left alone.
        """
        client = self._client(None, "")

        def ask() -> dict[str, Any]:
            # Statuses tell load balancers of states; the body says the same of all of them.
            return dict(client.adapter.get("/v1/sys/health", params=_ALL_WELL))

        return await self._run(ask)

    def close(self) -> None:
        """Let go of threads and connections. A request under way ends by its own time limit."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._session.close()

    def _client(self, token: Secret | None, namespace: str) -> hvac.Client:
        return hvac.Client(
            url=self._settings.vault_addr,
            # Not None: hvac would look for one in the environment and in the home directory.
            token=token.reveal() if token is not None else "",
            namespace=namespace or None,
            timeout=self._settings.timeout,
            session=self._session,
            adapter=_Adapter,
        )

    async def _patiently(self, work: Callable[[], T]) -> T:
        attempts = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(worth_retrying),
            wait=_pause,
            stop=tenacity.stop_before_delay(self._settings.patience),
            reraise=True,
        )
        return await attempts(self._once, work)

    async def _run(self, work: Callable[[], T]) -> T:
        # A server that sends a byte now and then keeps within the socket's time limit for ever.
        limit = self._settings.timeout * 2
        try:
            async with asyncio.timeout(limit):
                return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except TimeoutError:
            raise Unavailable(f"Vault did not answer within {limit:g} s") from None

    async def _once(self, work: Callable[[], T]) -> T:
        try:
            result = await self._run(work)
        except Unavailable:
            self.contact.lost()
            raise
        except Refused:
            self.contact.heard()
            raise
        self.contact.heard()
        return result


_ALL_WELL: Final = dict.fromkeys(
    ("standbycode", "sealedcode", "uninitcode", "drsecondarycode", "performancestandbycode"), 200
)
_spread: Final = tenacity.wait_exponential(multiplier=0.1, max=_LONGEST_PAUSE) + tenacity.wait_random(0, 0.1)


def _pause(state: tenacity.RetryCallState) -> float:
    """What the server asked for, else longer each time."""
    error = state.outcome.exception() if state.outcome is not None else None
    asked = error.retry_after if isinstance(error, Unavailable) else None
    return max(_spread(state), asked or 0.0)
