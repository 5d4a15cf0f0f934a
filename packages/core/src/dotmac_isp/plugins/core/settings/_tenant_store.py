"""The tenants' files: read when they changed, written atomically, for their owner only."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigurationError
from ..model import tenant_label, validate_tenant_id
from ._file import TenantFile, read_tenant

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["TenantStore"]


class TenantStore:
    """`<folder>/<tenant>.json`. The system tenant's file is `-.json`, which is no tenant's name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[Path, tuple[tuple[int, int, int], TenantFile]] = {}

    def path(self, tenant_id: str | None) -> Path:
        return self._folder / f"{tenant_label(validate_tenant_id(tenant_id))}.json"

    def names(self) -> tuple[str, ...]:
        return tuple(sorted(one.stem for one in self._folder.glob("*.json") if one.stem != tenant_label(None)))

    def read(self, tenant_id: str | None) -> TenantFile:
        path = self.path(tenant_id)
        try:
            found = path.stat()
        except FileNotFoundError:
            self._read.pop(path, None)
            return TenantFile.empty(path)
        mark = (found.st_mtime_ns, found.st_size, found.st_ino)
        known = self._read.get(path)
        if known is None or known[0] != mark:
            known = self._read[path] = (mark, TenantFile.load(path))
        return known[1]

    def write_configuration(
        self, tenant_id: str | None, plugin_id: str, configuration: Mapping[str, Any], remove: Iterable[str]
    ) -> None:
        with self._changing(tenant_id) as data:
            entry = data.setdefault("plugins", {}).setdefault(plugin_id, {})
            table = entry.setdefault("configuration", {})
            for key in remove:
                table.pop(key, None)
            _merge_into(table, configuration)

    def write_enabled(self, tenant_id: str | None, plugin_id: str, enabled: bool | None) -> None:
        with self._changing(tenant_id) as data:
            entry = data.setdefault("plugins", {}).setdefault(plugin_id, {})
            if enabled is None:
                entry.pop("enabled", None)
            else:
                entry["enabled"] = enabled

    def write_suspended(self, tenant_id: str, suspended: bool) -> None:
        with self._changing(tenant_id) as data:
            data["suspended"] = suspended

    def remove(self, tenant_id: str) -> bool:
        with self._locked():
            try:
                self.path(tenant_id).unlink()
            except FileNotFoundError:
                return False
            return True

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One writer at a time, also among processes: a host and the command line may both write."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def _changing(self, tenant_id: str | None) -> Iterator[dict[str, Any]]:
        path = self.path(tenant_id)
        with self._locked():
            data = read_tenant(path)
            yield data
            _write(path, data)


def _merge_into(table: dict[str, Any], values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        there = table.get(key)
        if isinstance(value, dict) and isinstance(there, dict):
            _merge_into(there, value)
        else:
            table[key] = value


def _write(path: Path, data: dict[str, Any]) -> None:
    """Whole or not at all, and only for the owner (`mkstemp` makes the file so)."""
    try:
        text = json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"the settings cannot be written as JSON: {error}",
            source=path,
            remedy="Use texts, finite numbers, true, false, null, lists and tables; nothing was changed",
        ) from None
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
