"""Keeps the policy of a running host as its file is: read at the start, read again when it changes."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from ..errors import ConfigurationError
from ._authoriser import OpenAuthoriser

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ..model import InstanceRef, SecurityLevel
    from ._policy import PolicyAuthoriser
    from ._rules import Policy

__all__ = ["PolicyKeeper"]

_LOG: Final = logging.getLogger("dotmac.policy")
#: The policy's name in the host's folder.
FILE_NAME: Final = "policy.toml"
_Fingerprint = tuple[int, int, int]


class PolicyKeeper:
    """The authoriser that `policy.toml` in a folder makes: `authoriser` is what decides now.

    A file that turns bad, or is gone, while the host runs changes nothing: what was in force stays, and `trouble` says so.
    """

    def __init__(self, home: Path, *, level_of: Callable[[InstanceRef], SecurityLevel | None] = lambda _: None) -> None:
        self.path: Final = home / FILE_NAME
        self.authoriser: OpenAuthoriser | PolicyAuthoriser = OpenAuthoriser()
        self._level_of: Final = level_of
        self._seen: _Fingerprint | None = None

    @property
    def trouble(self) -> str | None:
        """Why the file as it is now is not what is in force."""
        return self.authoriser.trouble

    @property
    def policy(self) -> Policy | None:
        """The policy that is in force."""
        return None if isinstance(self.authoriser, OpenAuthoriser) else self.authoriser.policy

    def load(self) -> None:
        """Read the file as a host starts: what is wrong with it must stop the start. Raises `ConfigurationError`."""
        self._seen = self._look()
        self.authoriser = OpenAuthoriser()
        policy = self._read()
        if policy is not None:
            self._put_in_force(policy)

    def refresh(self, *, force: bool = False) -> bool:
        """Read the file again where it has changed: whether another policy is in force now. A broken one leaves the old in force."""
        now = self._look()
        if now == self._seen and not force:
            return False
        self._seen = now
        try:
            policy = self._read()
        except ConfigurationError as error:
            self._complain(str(error))
            return False
        if policy is None:
            self.authoriser.trouble = None
            if self.policy is not None:
                self._complain(f"{self.path} is gone; a host that is to run without a policy must be started anew")
            return False
        self._put_in_force(policy)
        _LOG.warning("%s is in force now, with %d rules", self.path, len(policy.rules))
        return True

    def _put_in_force(self, policy: Policy) -> None:
        if isinstance(self.authoriser, OpenAuthoriser):
            from ._policy import PolicyAuthoriser  # noqa: PLC0415 - as below

            self.authoriser = PolicyAuthoriser(policy, level_of=self._level_of)
        else:
            self.authoriser.replace(policy)

    def _read(self) -> Policy | None:
        """The file's policy; `None`: there is no file."""
        if self._seen is None:
            return None
        from ._file import read_policy  # noqa: PLC0415 - hosts without a policy need none of it

        try:
            return read_policy(self.path)
        except FileNotFoundError:
            return None

    def _complain(self, text: str) -> None:
        self.authoriser.trouble = text
        _LOG.error("what was in force before stays in force (%s)", self.authoriser.describe())

    def _look(self) -> _Fingerprint | None:
        """What changes with the file; `None`: there is none."""
        try:
            there = self.path.stat()
        except FileNotFoundError:
            return None
        except OSError:
            return 0, 0, 0  # reading it will say why
        return there.st_mtime_ns, there.st_size, there.st_ino
