"""A host for one command, in this process, where none is running."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, Any, Final, Self, TextIO

from dotmac_isp.plugins.core.manager import PluginManager

from ._administration import Administration, HostFacts
from ._control import Control
from ._errors import HostError, error_fields
from ._peers import Peer
from ._wire import Request, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = ["ShortLivedHost"]


class _PrintsAside:
    """Sends what is printed to stderr while at least one request is worked on; requests may overlap."""

    def __init__(self) -> None:
        self._depth = 0
        self._stdout: TextIO = sys.stdout

    def __enter__(self) -> None:
        if self._depth == 0:
            self._stdout, sys.stdout = sys.stdout, sys.stderr
        self._depth += 1

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if self._depth == 0:
            sys.stdout = self._stdout


class ShortLivedHost:
    """Answers as a running host does, and stops what it started when it is closed.

    What plugins print meanwhile goes to stderr, so that a command's own output stays clean.
    """

    how: Final = "no host is running; asked a short-lived one"

    def __init__(self, home: Path, *, environment: str | None = None, storage_url: str | None = None) -> None:
        self._manager: Final = PluginManager(
            home=home, environment=environment, storage_url=storage_url, health_interval=0, metrics_interval=0
        )
        facts = HostFacts(lasting=False, home=str(home), environment=environment)
        self._control: Final = Control(Administration(self._manager, facts))
        self._aside: Final = _PrintsAside()
        self._peer: Final = Peer(os.getpid(), os.geteuid())

    async def open(self) -> Self:
        """Find out what is installed and configured. Raises `ConfigurationError` for files that cannot be used."""
        # Without a handler of the host application's, logging would write warnings to stderr: they are in the answers.
        logging.getLogger("dotmac").addHandler(logging.NullHandler())
        with self._aside:
            await self._manager.start()
        return self

    async def close(self) -> None:
        """Stop everything."""
        with self._aside:
            await self._manager.stop()

    async def request(
        self, method: str, params: Mapping[str, Any], progress: Callable[[str], None] = lambda _: None
    ) -> Any:
        """As `RunningHost.request`: values go through the same shapes, and errors are `HostError`."""

        async def told(text: str) -> None:
            progress(text)

        try:
            request = Request(id=1, method=method, params=plain(dict(params)))
            with self._aside:
                return plain(await self._control.answer(request, self._peer, told))
        except HostError:
            raise
        except Exception as error:
            fields = error_fields(error, self._manager.redact)
            raise HostError(fields["message"], type=fields["type"], remedy=fields["remedy"]) from error
