"""What a backup says about itself. It is written last: a folder without it is no backup."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Final

import msgspec

from ..._version import PRODUCT
from ...spool import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["BackupError", "Manifest", "Part", "keep", "read_manifest", "write_manifest"]

_NAME: Final = "manifest.json"
_FORMAT: Final = 1


class BackupError(RuntimeError):
    """A backup that cannot be made or is not whole: which file, and what is wrong with it."""


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One file; `rows` of Parquet files."""

    name: str
    sha256: str
    size: int
    rows: int = 0


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """`created_at` is Unix time; everything that was acknowledged before is in the backup."""

    product: str = PRODUCT
    format: int = _FORMAT
    version: str
    created_at: float
    events: int
    parts: tuple[Part, ...]


def keep(folder: Path, name: str, data: bytes, rows: int = 0) -> Part:
    """Write a file to the disk."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return Part(name=name, sha256=hashlib.sha256(data).hexdigest(), size=len(data), rows=rows)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    write_atomically(folder / _NAME, msgspec.json.format(msgspec.json.encode(manifest), indent=2))


def read_manifest(folder: Path) -> Manifest:
    """Read and check every file against it. Raises `BackupError`."""
    try:
        manifest = msgspec.json.decode((folder / _NAME).read_bytes(), type=Manifest)
    except FileNotFoundError:
        raise BackupError(f"{folder} has no {_NAME}: it is no backup, or one that was not finished") from None
    except msgspec.DecodeError as error:
        raise BackupError(f"{folder / _NAME} cannot be read: {error}") from error
    if (manifest.product, manifest.format) != (PRODUCT, _FORMAT):
        raise BackupError(
            f"{folder} is a backup of {manifest.product} in format {manifest.format}; expected {PRODUCT}, {_FORMAT}"
        )
    for part in manifest.parts:
        _check(folder, part)
    return manifest


def _check(folder: Path, part: Part) -> None:
    path = folder / part.name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise BackupError(f"{part.name!r} leads out of the backup")
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise BackupError(f"{path} is missing") from None
    if found != part.sha256:
        raise BackupError(f"{path} is not what was written: it was changed or is damaged")
