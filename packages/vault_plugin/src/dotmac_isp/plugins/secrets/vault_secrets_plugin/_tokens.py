"""Keeps the plugin logged in: renews the token at two thirds of its time to live, and logs in anew when that is over."""

from __future__ import annotations

import asyncio
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, TypeVar

from dotmac_isp.plugins.core.errors import ConfigurationError, PluginError, SecretError

from ._failures import Refused, Unavailable
from ._login import Token, gather_credentials, log_in, renew

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

    import hvac  # type: ignore[import-untyped]

    from dotmac_isp.plugins.core.api import SecretReader
    from dotmac_isp.plugins.core.model import Secret

    from ._client import Vault
    from .settings import VaultSettings

__all__ = ["TokenKeeper"]

T = TypeVar("T")

_SHORTEST_WAIT: Final = 0.2
_LONGEST_WAIT: Final = 60.0
#: Credentials that were refused are shown again at most this often: Vault locks users out who fail too often.
_REFUSED_PAUSE: Final = 600.0


class TokenKeeper:
    """Holds the token and asks Vault with it. `changed` is set whenever a login gave a new one."""

    def __init__(
        self,
        vault: Vault,
        settings: VaultSettings,
        secrets: SecretReader,
        logger: logging.LoggerAdapter[logging.Logger],
    ) -> None:
        self._vault: Final = vault
        self._settings: Final = settings
        self._secrets: Final = secrets
        self._logger: Final = logger
        self._lock: Final = asyncio.Lock()
        self._token: Token | None = None
        self._refused: tuple[tuple[Secret, ...], float, Refused] | None = None
        self.changed: Final = asyncio.Event()
        self.trouble = ""
        self.logins = 0
        self.renewals = 0

    @property
    def token(self) -> Token | None:
        return self._token

    async def log_in(self, *, anyway: bool = False) -> None:
        """Log in with the credentials as they are now. Raises `Refused`, `Unavailable`, and what missing credentials raise.

        Credentials that were refused a short while ago are not shown again, unless `anyway`.
        """
        async with self._lock:
            await self._log_in(anyway=anyway)

    async def ask(self, work: Callable[[hvac.Client], T], *, patient: bool = True) -> T:
        """What `work` gives with our token. A token that is no good any more is replaced, and the question repeated once."""
        token = self._token
        if token is None or token.ends <= time.monotonic():
            token = await self._replace(token)
        try:
            return await self._vault.ask(work, token.value, patient=patient)
        except Refused as refusal:
            if not refusal.forbidden or await self._good(token):
                raise
        token = await self._replace(token)
        return await self._vault.ask(work, token.value, patient=patient)

    async def keep(self) -> None:
        """Renew for ever."""
        attempt = 0
        while True:
            await asyncio.sleep(self._wait(attempt))
            try:
                await self._tend()
                self.trouble, attempt = "", 0
            except (Refused, Unavailable, PluginError) as error:
                attempt += 1
                self.trouble = str(error)
                self._logger.warning("the Vault token could not be renewed: %s", error)
            except Exception as error:  # noqa: BLE001 - the next try comes; its text may hold what Vault answered
                attempt += 1
                self.trouble = f"the token could not be renewed: {type(error).__name__}"
                self._logger.error("%s", self.trouble)  # noqa: TRY400

    def _wait(self, attempt: int) -> float:
        if attempt:
            return float(min(2.0 ** (attempt - 1), _LONGEST_WAIT))
        token = self._token
        due = token.due if token is not None else 0.0
        # In slices: the token may be replaced meanwhile, and the clock stands still while the machine sleeps.
        return min(max(due - time.monotonic(), _SHORTEST_WAIT), _LONGEST_WAIT)

    async def _tend(self) -> None:
        token = self._token
        if token is not None and token.due > time.monotonic():
            return
        if token is not None and token.renewable and token.ends > time.monotonic():
            held = token
            try:
                token = self._token = await self._vault.ask(lambda client: renew(client, held), held.value)
                self.renewals += 1
            except Refused as refusal:
                self._logger.info("the Vault token is renewed no more (%s); logging in anew", refusal)
            else:
                if not token.spent:
                    return
        await self._replace(token)

    async def _replace(self, bad: Token | None) -> Token:
        """A token other than this one. Many may ask at once; one logs in."""
        async with self._lock:
            if self._token is None or self._token is bad:
                try:
                    await self._log_in(anyway=False)
                except Refused as refusal:
                    raise SecretError(
                        f"Vault refuses the login by {self._settings.auth_method}: {refusal.message}",
                        remedy="Give the plugin credentials that are good; it tries them when they change",
                    ) from None
            assert self._token is not None  # noqa: S101 - _log_in made it or raised
            return self._token

    async def _log_in(self, *, anyway: bool) -> None:
        credentials = await gather_credentials(self._settings, self._secrets)
        if self._refused is not None and not anyway:
            shown, when, refusal = self._refused
            if shown == credentials and time.monotonic() - when < _REFUSED_PAUSE:
                raise refusal
        settings = self._settings
        try:
            fresh = await self._vault.ask(lambda client: log_in(client, settings, credentials))
        except Refused as refusal:
            if refusal.status == HTTPStatus.NOT_FOUND:
                raise ConfigurationError(
                    f"Vault has no login {settings.auth_method!r} at auth/{settings.auth_mount or settings.auth_method}",
                    field="auth_mount",
                ) from None
            self._refused = (credentials, time.monotonic(), refusal)
            raise
        before, self._token, self._refused = self._token, fresh, None
        self.logins += 1
        if before is not None and before.value != fresh.value:
            self.changed.set()

    async def _good(self, token: Token) -> bool:
        """Whether Vault still knows the token: 403 says both "not you" and "not this"."""
        try:
            await self._vault.ask(lambda client: client.auth.token.lookup_self(), token.value)
        except Refused:
            return False
        return True
