"""The commands that plugins' packages add: entry points of `dotmac_isp.commands`, loaded when they are used and not before."""

from __future__ import annotations

import importlib.util
from importlib import metadata
from typing import TYPE_CHECKING, Any, Final

from typer import Exit, Typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["GROUP", "CommandGroup"]

#: The entry-point group; the entry point's name is the command's.
GROUP: Final = "dotmac_isp.commands"


class CommandGroup(TyperGroup):
    """Our own commands, and beside them those of installed plugins' packages. One that is broken is only shown as such."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Ours in their order, then the plugins' by name."""
        own = super().list_commands(ctx)
        return [*own, *sorted(name for name in _installed() if name not in own)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """For help and completion: a plugin's command by name only, none of its code runs."""
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        points = _installed().get(cmd_name)
        return None if points is None else _stand_in(cmd_name, points)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """For running: now the command's code is loaded."""
        name, command, rest = super().resolve_command(ctx, args)
        points = _installed().get(name or "")
        if name is None or points is None or name in self.commands:
            return name, command, rest
        return name, _load(name, points), rest


def _installed() -> dict[str, list[metadata.EntryPoint]]:
    found: dict[str, list[metadata.EntryPoint]] = {}
    for point in metadata.entry_points(group=GROUP):
        found.setdefault(point.name, []).append(point)
    return found


def _stand_in(name: str, points: Sequence[metadata.EntryPoint]) -> TyperCommand:
    reason = _unusable(points)
    origin = _distribution(points[0])
    told = f"Commands of {origin}." if reason is None else f"Unavailable: {reason}"

    def refuse() -> None:  # pragma: no cover - resolve_command gives the real one
        raise Exit(1)

    return TyperCommand(name=name, callback=refuse, help=told, short_help=told)


def _unusable(points: Sequence[metadata.EntryPoint]) -> str | None:
    """Why the command cannot be used, as far as that can be told without running its code."""
    if len(points) > 1:
        names = " and ".join(sorted({_distribution(one) for one in points}))
        return f"{names} both provide it; uninstall one of them"
    module = points[0].value.partition(":")[0].strip()
    top = module.partition(".")[0]
    try:
        there = importlib.util.find_spec(top) is not None
    except (ImportError, ValueError):
        there = False
    if not there:
        return f"{_distribution(points[0])} names the module {module!r}, which is not there; reinstall it"
    return None


def _load(name: str, points: Sequence[metadata.EntryPoint]) -> Any:
    reason = _unusable(points)
    if reason is None:
        try:
            loaded = points[0].load()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - plugin code: it must not break the others
            reason = f"{points[0].value} cannot be loaded: {type(error).__name__}: {error}"
        else:
            if isinstance(loaded, Typer):
                return _as_ours(loaded, name)
            reason = f"{points[0].value} is of type {type(loaded).__name__}, not a typer.Typer"
    from ._output import fail  # noqa: PLC0415 - only for errors

    fail(f"the command {name!r} of {_distribution(points[0])} is unavailable: {reason}", _remedy(points[0]))
    raise Exit(1)


def _as_ours(loaded: Typer, name: str) -> Any:
    """The plugin's commands with help like ours, and without options that belong to the program."""
    loaded.rich_markup_mode = None
    command = get_command(loaded)
    command.name = name
    command.params = [one for one in command.params if one.name not in {"install_completion", "show_completion"}]
    return command


def _remedy(point: metadata.EntryPoint) -> str:
    return f"python -m pip install --upgrade --force-reinstall {_distribution(point)}; all other commands work"


def _distribution(point: metadata.EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value
