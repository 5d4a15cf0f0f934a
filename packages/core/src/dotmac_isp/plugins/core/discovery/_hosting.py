"""What a manifest says about where its plugin runs: `[<plugin>.hosting]`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["EndpointRule", "Hosting", "HostingLimits", "endpoints_of", "files_of", "in_bytes"]

_UNITS: Final = {"": 1, "kB": 1000, "MB": 1000**2, "GB": 1000**3, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(kB|MB|GB|KiB|MiB|GiB)?")
_PLACE: Final = re.compile(r"\{([a-z_][a-z0-9_]*)\}")
_HIGHEST_PORT: Final = 65535

Size = (
    Annotated[int, msgspec.Meta(ge=0, description="Write a number of bytes, or '256 MiB'")]
    | Annotated[
        str,
        msgspec.Meta(
            pattern=r"^\d+(\.\d+)?\s*(kB|MB|GB|KiB|MiB|GiB)?\Z", description="Write a number of bytes, or '256 MiB'"
        ),
    ]
)
Count = Annotated[int, msgspec.Meta(ge=0, description="Write a whole number; 0 means no limit")]
Share = Annotated[
    float,
    msgspec.Meta(ge=0, le=1024, description="Write a share of a processor: 0.2 is a fifth of one, 0 means no limit"),
]
Address = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        description="Write 'host:port', with settings in braces: '{voltha_host}:{voltha_port}'; several with commas",
    ),
]
Module = Annotated[
    str,
    msgspec.Meta(pattern=r"^[A-Za-z_][\w.]*\Z", description="Write a module's name, such as 'package.module'"),
]


class HostingLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one instance may use. What is not given is the host's default; 0 means no limit."""

    memory: Size | None = None
    cpu: Share | None = None
    processes: Count | None = None
    open_files: Count | None = None
    file_size: Size | None = None
    disk: Size | None = None
    egress_rate: Size | None = None
    connects: Share | None = None

    def given(self) -> dict[str, float]:
        """The limits that are given, sizes in bytes."""
        values = {name: getattr(self, name) for name in self.__struct_fields__}
        return {name: in_bytes(value) for name, value in values.items() if value is not None}


class EndpointRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the plugin connects to. Settings stand in braces."""

    address: Address
    kind: Literal["tcp", "grpc", "kafka"] = "tcp"
    #: A setting that is a table of tables: the address also counts for each of them, with what it has over the rest.
    each: str = ""


class Hosting(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the plugin wants to run, and what it needs there."""

    #: `inline` in the host's process, or `jailed` in one of its own; `None` leaves it to the host.
    mode: Literal["inline", "jailed"] | None = None
    #: Libraries that the host loads once for all jailed instances. They must not start threads when they are imported.
    preload: tuple[Module, ...] = ()
    #: Patterns of the plugin's own modules that its instances do not use, so that they are not loaded ahead.
    without: tuple[str, ...] = ()
    #: Settings whose values are files or folders that it reads; `table.*.setting` for those in a table of tables.
    reads: tuple[str, ...] = ()
    endpoints: tuple[EndpointRule, ...] = ()
    limits: HostingLimits = HostingLimits()


def in_bytes(value: float | str) -> float:
    """A size as a number; a number is one already. Raises `ValueError`."""
    if not isinstance(value, str):
        return value
    found = _SIZE.fullmatch(value.strip())
    if found is None:
        raise ValueError(f"{value!r} is no size; write a number of bytes, or '256 MiB'")
    return int(float(found[1]) * _UNITS[found[2] or ""])


def endpoints_of(rules: tuple[EndpointRule, ...], settings: Mapping[str, Any]) -> list[tuple[str, int, str]]:
    """Host, port and kind of each address that the rules name with these settings. Raises `ValueError` for what is none.

    An address that is empty with these settings (a setting that is not set) is left out.
    """
    found: list[tuple[str, int, str]] = []
    for rule in rules:
        for values in _each(settings, rule.each):
            parts = (part.strip() for part in _filled(rule.address, values).split(","))
            found += [(*_split(part, rule.address), rule.kind) for part in parts if part.strip(":")]
    return list(dict.fromkeys(found))


def files_of(names: tuple[str, ...], settings: Mapping[str, Any]) -> list[str]:
    """The files and folders that these settings name: a setting, or `table.*.setting` for each entry of a table."""
    found: list[str] = []
    for name in names:
        table, star, key = name.partition(".*.")
        values = [settings.get(name)] if not star else [one.get(key) for one in (settings.get(table) or {}).values()]
        found += [str(value) for value in values if value]
    return found


def _each(settings: Mapping[str, Any], table: str) -> list[Mapping[str, Any]]:
    if table and table not in settings:
        raise ValueError(f"{table} names no setting; there are: {', '.join(sorted(settings))}")
    entries = (settings[table] or {}).values() if table else ()
    own = [{**settings, **{key: value for key, value in entry.items() if value is not None}} for entry in entries]
    return [settings, *own]


def _filled(address: str, settings: Mapping[str, Any]) -> str:
    return _PLACE.sub(lambda match: _shown(settings, match[1]), address)


def _shown(settings: Mapping[str, Any], name: str) -> str:
    if name not in settings:
        raise ValueError(f"{{{name}}} names no setting; there are: {', '.join(sorted(settings))}")
    value = settings[name]
    text = "" if value is None else str(value)
    # An address of IPv6 in a setting of its own stands without brackets.
    return f"[{text}]" if text.count(":") > 1 and not text.startswith("[") and "," not in text else text


def _split(text: str, rule: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or not 0 < int(port) <= _HIGHEST_PORT or not host:
        raise ValueError(f"{text!r} (from {rule!r}) is no 'host:port'")
    return host.removeprefix("[").removesuffix("]").lower(), int(port)
