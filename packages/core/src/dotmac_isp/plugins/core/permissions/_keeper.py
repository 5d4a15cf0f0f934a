"""Keeps the policy of a running host as its file is: read at the start, read again when it changes."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from ..errors import ConfigurationError
from ._authoriser import OpenAuthoriser
from ._file import FILE_NAME, read_policy
from ._policy import PolicyAuthoriser

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ..model import InstanceRef, SecurityLevel
    from ._authoriser import Authoriser

__all__ = ["PolicyKeeper"]

_LOG: Final = logging.getLogger("dotmac.policy")
Fingerprint = tuple[int, int, int] | None


class PolicyKeeper:
    """The authoriser that `policy.toml` in a folder makes: `authoriser` is what decides now.

    A file that turns bad, or is gone, while the host runs changes nothing: what was in force stays, and `trouble` says so.
    """

    def __init__(self, home: Path, *, level_of: Callable[[InstanceRef], SecurityLevel | None] = lambda _: None) -> None:
        self.path: Final = home / FILE_NAME
        self.authoriser: OpenAuthoriser | PolicyAuthoriser = OpenAuthoriser()
        self._level_of: Final = level_of
        self._seen: Fingerprint = None

    @property
    def trouble(self) -> str | None:
        """Why the file as it is now is not what is in force."""
        return self.authoriser.trouble

    def load(self) -> Authoriser:
        """Read the file as a host starts: what is wrong with it must stop the start. Raises `ConfigurationError`."""
        self._seen = self._look()
        try:
            self.authoriser = PolicyAuthoriser(read_policy(self.path), level_of=self._level_of)
        except FileNotFoundError:
            self.authoriser = OpenAuthoriser()
        return self.authoriser

    def refresh(self, *, force: bool = False) -> bool:
        """Read the file again where it has changed: whether another policy is in force now. A broken one leaves the old in force."""
        now = self._look()
        if now == self._seen and not force:
            return False
        self._seen = now
        try:
            policy = read_policy(self.path)
        except FileNotFoundError:
            self.authoriser.trouble = None
            if isinstance(self.authoriser, PolicyAuthoriser):
                self._complain(f"{self.path} is gone; a host that is to run without a policy must be started anew")
            return False
        except ConfigurationError as error:
            self._complain(str(error))
            return False
        if isinstance(self.authoriser, PolicyAuthoriser):
            self.authoriser.replace(policy)
        else:
            self.authoriser = PolicyAuthoriser(policy, level_of=self._level_of)
        _LOG.warning("%s is in force now, with %d rules", self.path, len(policy.rules))
        return True

    def _complain(self, text: str) -> None:
        self.authoriser.trouble = text
        _LOG.error("what was in force before stays in force (%s)", self.authoriser.describe())

    def _look(self) -> Fingerprint:
        try:
            there = self.path.stat()
        except OSError:
            return None
        return there.st_mtime_ns, there.st_size, there.st_ino
