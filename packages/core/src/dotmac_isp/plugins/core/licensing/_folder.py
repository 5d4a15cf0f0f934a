"""`licences/` in the host's folder: tokens, the vendors' keys, what was revoked, and what the host remembers between runs."""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
import time
from typing import TYPE_CHECKING, Any, Final

from ..errors import LicenceError
from ._keys import KeyRing
from ._licence import Licence, LicenceRefusedError
from ._tokens import LONGEST, read_token, verify_licence

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["LicenceFolder", "install_licence"]

_SUFFIX: Final = ".jwt"
_UNFIT_FOR_A_NAME: Final = re.compile(r"[^A-Za-z0-9_-]+")


class LicenceFolder:
    """The files of one host's licences::

    licences/*.jwt         tokens
    licences/keys/*        public keys (PEM, named after its id; JWK or JWK set)
    licences/revoked.txt   ids of licences, and `key:<id>` for keys; one a line, `#` begins a comment
    licences/state.json    the latest time that was seen, and what was counted today
    """

    def __init__(self, home: Path) -> None:
        self.path: Final = home / "licences"

    def fingerprint(self) -> tuple[Any, ...]:
        """Differs when a file of the operator's has changed."""
        found = []
        for folder in (self.path, self.path / "keys"):
            with contextlib.suppress(OSError):
                found += [self._stamp(entry) for entry in os.scandir(folder) if entry.name != self._state.name]
        return tuple(sorted(found))

    def keys(self) -> KeyRing:
        """The keys that the operator trusts."""
        return KeyRing.read(self.path / "keys")

    def tokens(self) -> dict[Path, str]:
        """What is installed, verified or not. One that cannot be read, or is too long to be one, is cut so that it is refused as such."""
        found = {}
        for path in sorted(self.path.glob(f"*{_SUFFIX}")):
            try:
                with path.open("rb") as file:
                    found[path] = file.read(LONGEST + 2).decode("ascii", errors="replace").strip()
            except OSError:
                found[path] = ""
        return found

    def revoked(self) -> tuple[frozenset[str], frozenset[str]]:
        """Revoked licences and keys. Raises `LicenceError` when the list is there and cannot be read."""
        path = self.path / "revoked.txt"
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return frozenset(), frozenset()
        except (OSError, UnicodeDecodeError) as error:
            raise LicenceError(f"{path} cannot be read, so nobody knows what was revoked: {error}") from error
        lines = {line.partition("#")[0].strip() for line in text.splitlines()} - {""}
        keys = {line.removeprefix("key:").strip() for line in lines if line.startswith("key:")}
        return frozenset(line for line in lines if not line.startswith("key:")), frozenset(keys)

    def state(self) -> dict[str, Any]:
        """What an earlier run remembered; empty when there is none."""
        try:
            state = json.loads(self._state.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return state if isinstance(state, dict) else {}

    def remember(self, state: Mapping[str, Any]) -> None:
        """Keep this for the next run."""
        write_whole(self._state, json.dumps(state, sort_keys=True) + "\n")

    @property
    def _state(self) -> Path:
        return self.path / "state.json"

    def _stamp(self, entry: os.DirEntry[str]) -> tuple[str, int, int]:
        there = entry.stat()
        # A folder's own time changes with the state file.
        return (entry.path, 0, 0) if entry.is_dir() else (entry.path, there.st_mtime_ns, there.st_size)


def install_licence(home: Path, token: str, *, now: float | None = None) -> tuple[Licence, Path]:
    """Verify a licence and put it into the host's folder; a running host finds it there. Raises `LicenceRefusedError`, `LicenceError`.

    One whose time has not come yet is installed; one that has ended or was revoked is not.
    """
    folder = LicenceFolder(home)
    token = token.strip()
    licences, keys_revoked = folder.revoked()
    ring = folder.keys()
    ring.forget(keys_revoked)
    licence = read_token(token, ring)
    at = max(time.time() if now is None else now, licence.begins_at)
    verify_licence(token, ring, any_tenant=True, revoked=licences, now=at)
    path = (
        folder.path
        / f"{_UNFIT_FOR_A_NAME.sub('_', licence.plugin)}.{_UNFIT_FOR_A_NAME.sub('_', licence.id)[:80]}{_SUFFIX}"
    )
    if path.exists() and path.read_text(encoding="ascii", errors="replace").strip() != token:
        with contextlib.suppress(LicenceRefusedError):
            there = read_token(path.read_text(encoding="ascii", errors="replace").strip(), ring)
            if there.issued_at > licence.issued_at:
                raise LicenceError(f"{path} holds the same licence in a later issue", remedy="Keep that one")
    write_whole(path, f"{token}\n")
    return licence, path


def write_whole(path: Path, text: str) -> None:
    """Write a file so that nobody ever sees half of it; only the owner may read it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)  # noqa: PTH105 - the name is a text already
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)  # noqa: PTH108
        raise
