"""What durable callers wait for: a file of fixed size beside the database, into which a record goes with one write and one sync.

A transaction of the database costs a durable caller half as much again as a bare one: the chain's head changes with every record.
So records are first put into the journal, and the writer's thread commits them to the chain a moment later, as it does all others.
What a killed host (or a loss of power) left in its journal is taken into the chain by whoever opens the trail next. The database
remembers how far a journal is in the chain, in the same transaction, so that nothing comes twice.

Each entry is sealed with the host's key: what somebody else wrote into the file is not taken.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import struct
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ._keys import Signer

__all__ = ["JOURNALS", "Entry", "Journal", "left_behind"]

_LOG: Final = logging.getLogger("dotmac.audit")
_SIZE: Final = 1 << 20
#: Which files of a home are journals.
JOURNALS: Final = "audit-journal-*"
_LENGTH: Final = struct.Struct(">I")
_SEAL: Final = 32
#: Number (counted from 1 over a journal's life), tenant label, record.
Entry = tuple[int, str, bytes]
_ENCODE: Final = msgspec.msgpack.Encoder().encode
_DECODE: Final = msgspec.msgpack.Decoder(tuple[int, str, bytes]).decode


class Journal:
    """The journal of one open trail. The file is locked while its host lives. Used by one thread at a time."""

    def __init__(self, home: Path, signer: Signer) -> None:
        self.token: Final = secrets.token_hex(8)
        self._path: Final = home / f"audit-journal-{self.token}"
        self._signer: Final = signer
        self._file: Final = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._at = 0
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            # Written once, so that later syncs have no metadata to write: that is what makes them quick.
            os.pwrite(self._file, bytes(_SIZE), 0)
            os.fsync(self._file)
            folder = os.open(home, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError:
            self.close()
            raise

    def append(self, entries: Sequence[Entry]) -> bool:
        """Put the entries on the disk; `False` when there is no room for them until `rewind`. Raises `OSError`."""
        data = b"".join(_sealed(self._signer, self.token, entry) for entry in entries)
        if self._at + len(data) > _SIZE:
            return False
        os.pwrite(self._file, data, self._at)
        os.fdatasync(self._file)
        self._at += len(data)
        return True

    def rewind(self) -> None:
        """Everything in it is in the chain: begin at the front again."""
        self._at = 0

    def close(self) -> None:
        """Take the file away: everything in it is in the chain."""
        self._path.unlink(missing_ok=True)
        os.close(self._file)


def left_behind(home: Path, signer: Signer) -> Iterator[tuple[Path, str, list[Entry]]]:
    """Journals whose hosts are gone: file, token, entries as far as they are whole and sealed. The caller removes the file.

    The file stays locked while the caller works on it, so that two who look at once do not both take it.
    """
    for path in sorted(home.glob(JOURNALS)):
        try:
            file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                _LOG.error("the audit journal %s cannot be read: %s", path, error.strerror)
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(file).st_nlink:  # else its host ended well between our looking and our locking
                token = path.name.removeprefix("audit-journal-")
                yield path, token, list(_entries(os.pread(file, _SIZE, 0), signer, token))
        except BlockingIOError:
            pass  # its host lives
        finally:
            os.close(file)


def _sealed(signer: Signer, token: str, entry: Entry) -> bytes:
    data = _ENCODE(entry)
    return _LENGTH.pack(len(data)) + signer.seal(token.encode() + data) + data


def _entries(data: bytes, signer: Signer, token: str) -> Iterator[Entry]:
    """From the front, as long as the numbers rise: what follows is older, or was cut off while it was written."""
    at = last = 0
    while at + _LENGTH.size + _SEAL < len(data):
        (length,) = _LENGTH.unpack_from(data, at)
        begin = at + _LENGTH.size + _SEAL
        seal, body = data[at + _LENGTH.size : begin], data[begin : begin + length]
        if not length or not signer.verify(token.encode() + body, seal):
            return
        entry = _DECODE(body)
        if entry[0] <= last:
            return
        last = entry[0]
        at = begin + length
        yield entry
