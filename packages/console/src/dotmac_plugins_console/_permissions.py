"""`dotmac-plugins permissions …`: about a policy file; no host is asked."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._options import Debug, Home, Json, OneTenant, Plugin  # noqa: TC001 - typer reads the annotations
from ._output import guarded, write_json

if TYPE_CHECKING:
    from dotmac_isp.plugins.core.discovery import InstalledPlugin
    from dotmac_isp.plugins.core.permissions import Explanation, Policy

__all__ = ["add_to"]

File = Annotated[
    Path | None, typer.Option("--file", metavar="FILE", help="The policy; default policy.toml in the home.")
]
_NAME = "policy.toml"


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    permissions = typer.Typer(
        help="Check, explain and compare permission policies.", no_args_is_help=True, rich_markup_mode=None
    )
    permissions.command()(check)
    permissions.command()(explain)
    permissions.command()(diff)
    app.add_typer(permissions, name="permissions")


def check(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="Default: policy.toml in the home.")] = None,
    home: Home = None,
    as_json: Json = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Find what is wrong with a policy; exit code 1 for errors. What is probably not meant is a warning."""

    def work() -> Any:
        from dotmac_isp.plugins.core.permissions import permissions_check  # noqa: PLC0415 - not for --help

        manager = _manager(home)
        path = _there(manager.home / _NAME if file is None else file)
        return path, permissions_check(path, manager.known_permissions())

    path, findings = guarded(work, as_json=as_json)
    if as_json:
        write_json({"file": str(path), "findings": [_plain(one) for one in findings]})
    else:
        from ._views import paragraph  # noqa: PLC0415 - loads rich

        for one in findings:
            paragraph(f"{one.severity}: {one.message}", "red" if one.severity == "error" else "yellow")
            if one.remedy:
                paragraph(f"  fix: {one.remedy}")
        if not findings:
            paragraph(f"{path} is right")
    if any(one.severity == "error" for one in findings):
        raise typer.Exit(1)


def explain(  # noqa: PLR0917 - typer makes options of them
    plugin: Plugin,
    what: Annotated[
        str | None,
        typer.Argument(metavar="[WHAT]", help="A permission or a method; default: all that the plugin asks for."),
    ] = None,
    tenant: OneTenant = None,
    user: Annotated[str | None, typer.Option("--user", metavar="ID", help="Who calls.")] = None,
    role: Annotated[
        list[str] | None, typer.Option("--role", metavar="ROLE", help="A role of the caller; repeatable.")
    ] = None,
    file: File = None,
    home: Home = None,
    as_json: Json = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Show why a call is allowed or refused: the rule, the file and the line. Exit code 1 when something is refused."""

    def work() -> Any:
        from dotmac_isp.plugins.core.permissions import permissions_explain, read_policy  # noqa: PLC0415

        from ._who import tenant_of  # noqa: PLC0415

        manager = _manager(home)
        path = manager.home / _NAME if file is None else file
        asked = _asked(manager.installed(plugin), what)
        if file is None and not path.exists():
            return path, None, [(one, None) for one in asked]
        policy: Policy = read_policy(_there(path))
        decide = functools.partial(
            permissions_explain, policy, plugin_id=plugin, tenant_id=tenant_of(tenant), user_id=user, roles=role or ()
        )
        return path, policy, [(one, decide(permission=one)) for one in asked]

    path, policy, answers = guarded(work, as_json=as_json)
    allowed = all(why is None or why.allowed for _, why in answers)
    if as_json:
        told = [_plain(why) if why else {"permission": one, "allowed": True, "verdicts": []} for one, why in answers]
        write_json({"policy": "no policy" if policy is None else str(path), "allowed": allowed, "decisions": told})
    else:
        _show(policy is None, answers)
    if not allowed:
        raise typer.Exit(1)


def diff(
    old: Annotated[Path, typer.Argument(metavar="OLD")],
    new: Annotated[Path, typer.Argument(metavar="NEW")],
    home: Home = None,
    as_json: Json = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Show what one policy decides otherwise than another."""

    def work() -> Any:
        from dotmac_isp.plugins.core.permissions import permissions_diff, read_policy  # noqa: PLC0415

        before, after = (read_policy(_there(path)) for path in (old, new))
        return permissions_diff(before, after, _manager(home).known_permissions())

    changes = guarded(work, as_json=as_json)
    if as_json:
        write_json({"changes": [_plain(one) for one in changes]})
        return
    from ._views import paragraph, rows  # noqa: PLC0415 - loads rich

    rows(
        ("TENANT", "WHOSE", "WHAT", "BEFORE", "AFTER"),
        (
            (one.tenant or "every other", f"{one.kind} {one.subject}", one.what, one.before, one.after)
            for one in changes
        ),
    )
    if not changes:
        paragraph("Both decide the same.")


def _there(path: Path) -> Path:
    """The path of a policy. Raises `ConfigurationError` where there is none."""
    from dotmac_isp.plugins.core.errors import ConfigurationError  # noqa: PLC0415

    if not path.exists():
        raise ConfigurationError(
            f"there is no policy at {path}",
            source=path,
            remedy="Without one, every plugin gets what its manifest asks for",
        )
    return path


def _manager(home: Path | None) -> Any:
    """Knows what is installed and configured; it is not started."""
    from dotmac_isp.plugins.core.manager import PluginManager  # noqa: PLC0415

    from ._places import find_home  # noqa: PLC0415

    return PluginManager(home=find_home(home))


def _asked(plugin: InstalledPlugin, what: str | None) -> list[str]:
    """The permissions that are meant. Raises `ConfigurationError` for a method that needs none."""
    from dotmac_isp.plugins.core.errors import ConfigurationError  # noqa: PLC0415

    features = plugin.manifest.features.values()
    if what is None:
        own = [one.permission for one in features if one.permission is not None]
        return list(dict.fromkeys([*plugin.manifest.permissions, *own]))
    needed = [one.permission for one in features if what in one.methods and one.permission is not None]
    if needed or "." in what:
        return needed or [what]
    raise ConfigurationError(
        f"{what} of {plugin.id} needs no permission, or there is no such method",
        remedy="Name a permission such as 'network.olt.configure', or a method of one of the manifest's features",
    )


def _show(no_policy: bool, answers: list[tuple[str, Explanation | None]]) -> None:
    from ._views import paragraph, rows  # noqa: PLC0415 - loads rich

    if no_policy:
        paragraph("no policy: every plugin gets what its manifest asks for, and every caller may call")
    rows(
        ("PERMISSION", "", "BECAUSE", "LINE"),
        (
            (one, "allowed" if verdict.allowed else "refused", verdict.reason, verdict.line or "")
            for one, why in answers
            for verdict in (why.verdicts if why is not None else ())
        ),
    )


def _plain(value: Any) -> Any:
    import msgspec  # noqa: PLC0415

    return msgspec.to_builtins(value)
