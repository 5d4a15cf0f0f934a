"""Entry points of one group in what is installed, read as cheaply as the standard library lets us.

`importlib.metadata.entry_points()` parses every file of every distribution; here only files that name the group are parsed, and the
name and version come from the `….dist-info` folder's name instead of METADATA.
"""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Found", "is_editable", "scan"]

_SEPARATORS: Final = re.compile(r"[-_.]+")


class Found(msgspec.Struct, frozen=True):
    """One entry point and the distribution that it belongs to."""

    name: str
    value: str
    distribution: str
    version: str
    #: The folder that holds the distribution's metadata folder, as a text because most are only compared.
    location: str
    source: metadata.Distribution
    #: Which installation it is: when its metadata folder was written, and its number on the disk.
    stamp: tuple[int, int] = (0, 0)


def scan(
    group: str, path: Sequence[str] | None = None, *, unreadable: list[tuple[str, str]] | None = None
) -> Iterator[Found]:
    """Entry points of `group`, in the order of the path; of distributions that are there twice the first counts.

    `unreadable` receives the names of distributions whose entry points cannot be read, and why.
    """
    found = metadata.distributions() if path is None else metadata.distributions(path=list(path))
    seen: set[str] = set()
    for source in found:
        name, version = _name_and_version(source)
        if name in seen:
            continue
        seen.add(name)
        try:
            text = _text(source, "entry_points.txt")
        except (OSError, UnicodeDecodeError) as error:
            if unreadable is not None:
                unreadable.append((name, str(error)))
            continue
        if text is None or group not in text:
            continue
        points = list(_points_of(text, group))
        if not points:
            continue
        location = str(source.locate_file(""))
        version = version or _recorded(source, "Version")
        stamp = _stamp(source)
        for point, value in points:
            yield Found(point, value, name, version, location, source, stamp)


def _text(source: metadata.Distribution, name: str) -> str | None:
    """`source.read_text(name)`; for ordinary folders without pathlib, which takes longer than the reading itself."""
    folder = getattr(source, "_path", None)
    if type(source) is not metadata.PathDistribution or not isinstance(folder, Path):
        return source.read_text(name)
    try:
        with open(f"{folder}/{name}", encoding="utf-8") as file:  # noqa: PTH123 - see above
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (IsADirectoryError, PermissionError):
        return source.read_text(name)


def _stamp(source: metadata.Distribution) -> tuple[int, int]:
    folder = getattr(source, "_path", None)
    try:
        stat = folder.stat() if isinstance(folder, Path) else None
    except OSError:
        return 0, 0
    return (0, 0) if stat is None else (stat.st_mtime_ns, stat.st_ino)


def _name_and_version(source: metadata.Distribution) -> tuple[str, str]:
    """Normalised name, and the version where the folder's name gives it."""
    folder = getattr(source, "_path", None)
    stem, dot, suffix = getattr(folder, "name", "").rpartition(".")
    if dot and suffix == "dist-info":
        name, dash, version = stem.partition("-")
        if dash:
            return _normalised(name), version
    return _normalised(_recorded(source, "Name") or stem), ""


def _recorded(source: metadata.Distribution, key: str) -> str:
    """A field of METADATA; empty when there is none or the file is damaged, which each Python tells in another way."""
    try:
        fields = source.metadata
        return str(fields[key]) if key in fields else ""
    except (KeyError, OSError, TypeError, ValueError, metadata.PackageNotFoundError):
        return ""


def _normalised(name: str) -> str:
    return _SEPARATORS.sub("-", name).lower()


def _points_of(text: str, group: str) -> Iterator[tuple[str, str]]:
    """`name = module:attr` lines of one section (the entry points specification: an ini file with `=` only)."""
    inside = False
    for raw in text.splitlines():
        line = raw.strip()
        if line.startswith("["):
            inside = line[1:].rstrip().removesuffix("]").strip() == group
        elif inside and line and line[0] not in "#;":
            name, _, value = line.partition("=")
            yield name.strip(), value.strip()


def is_editable(source: metadata.Distribution) -> bool:
    """Whether pip, uv or another installer recorded an editable install (PEP 610, direct_url.json)."""
    text = _text(source, "direct_url.json")
    if not text:
        return False
    try:
        origin = msgspec.json.decode(text)
        return bool(origin["dir_info"].get("editable", False))
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
        return False


def path_files(source: metadata.Distribution) -> list[Path]:
    """The `.pth` files that the distribution recorded as its own: how editable installs reach their source."""
    recorded = source.files or ()
    return [Path(str(one.locate())) for one in recorded if one.suffix == ".pth"]
