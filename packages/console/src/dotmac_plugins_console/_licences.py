"""`dotmac-plugins licence …`: for operators (inspect, verify, install) and for vendors (keygen, issue); no host is asked."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from ._options import Debug, Home, Json, OneTenant  # noqa: TC001 - typer reads the annotations
from ._output import guarded, write_json

if TYPE_CHECKING:
    from dotmac_isp.plugins.core.licensing import Licence

__all__ = ["add_to"]

_DAY: Final = 86_400
#: One more than a licence may have, so that one that is too long is refused as such.
_MOST: Final = 1_000_000
TokenFile = Annotated[Path, typer.Argument(metavar="FILE", help="The licence; '-' reads from stdin.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    licence = typer.Typer(
        help="Inspect, verify, install and issue licences.", no_args_is_help=True, rich_markup_mode=None
    )
    for command in (inspect, verify, install, keygen, issue):
        licence.command()(command)
    app.add_typer(licence, name="licence")


def inspect(file: TokenFile, as_json: Json = False, debug: Debug = False) -> None:  # noqa: ARG001
    """Show what a licence says of itself; nothing of it is verified."""

    def work() -> Any:
        from dotmac_isp.plugins.core.licensing import inspect_licence  # noqa: PLC0415 - not for --help

        return inspect_licence(_token(file))

    found = guarded(work, as_json=as_json)
    extra = {"algorithm": found.algorithm, "key id": found.key_id, "verified": "no: see licence verify"}
    _show(found.licence, extra, as_json=as_json)


def verify(
    file: TokenFile,
    keys: Annotated[
        Path | None, typer.Option("--keys", metavar="DIR", help="Public keys; default licences/keys in the home.")
    ] = None,
    plugin: Annotated[str | None, typer.Option("--plugin", metavar="ID", help="It must be for this plugin.")] = None,
    tenant: OneTenant = None,
    feature: Annotated[str, typer.Option("--feature", metavar="NAME", help="It must have this feature.")] = "",
    home: Home = None,
    as_json: Json = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Verify signature, time and revocation, and what else is asked; exit code 1 with the reason when it does not count."""

    def work() -> Any:
        from dotmac_isp.plugins.core.licensing import KeyRing, LicenceFolder, verify_licence  # noqa: PLC0415

        from ._places import find_home  # noqa: PLC0415
        from ._who import tenant_of  # noqa: PLC0415

        folder = LicenceFolder(find_home(home))
        licences, revoked_keys = folder.revoked()
        ring = folder.keys() if keys is None else KeyRing.read(keys)
        ring.forget(revoked_keys)
        for problem in ring.problems:
            typer.echo(f"note: {problem}", err=True)
        return verify_licence(
            _token(file),
            ring,
            plugin_id=plugin,
            tenant_id=tenant_of(tenant),
            any_tenant=tenant is None,
            feature=feature,
            revoked=licences,
        )

    _show(guarded(work, as_json=as_json), {"verified": "yes"}, as_json=as_json)


def install(file: TokenFile, home: Home = None, as_json: Json = False, debug: Debug = False) -> None:  # noqa: ARG001
    """Verify a licence and put it into the home; a running host finds it there."""

    def work() -> Any:
        from dotmac_isp.plugins.core.licensing import install_licence  # noqa: PLC0415

        from ._places import find_home  # noqa: PLC0415

        return install_licence(find_home(home), _token(file))

    licence, path = guarded(work, as_json=as_json)
    _show(licence, {"installed": str(path)}, as_json=as_json)


def keygen(
    private: Annotated[
        Path, typer.Option("--private", metavar="FILE", help="Where the private key goes; must not exist.")
    ],
    public: Annotated[Path, typer.Option("--public", metavar="FILE", help="Where the public key goes: <key id>.pem.")],
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """For vendors: make a key pair. The private key is encrypted where DOTMAC_KEY_PASSWORD is set."""

    def work() -> None:
        from dotmac_isp.plugins.core.licensing import generate_key  # noqa: PLC0415

        secret, open_to_all = generate_key(_password())
        with open(private, "xb", opener=_owner_only) as target:
            target.write(secret)
        public.write_bytes(open_to_all)

    guarded(work)
    typer.echo(f"{private} is the private key: keep it. {public} is for hosts' licences/keys.")


def issue(  # noqa: PLR0917 - typer makes options of them
    key: Annotated[Path, typer.Option("--key", metavar="FILE", help="The vendor's private key (PEM).")],
    key_id: Annotated[str, typer.Option("--key-id", metavar="ID", help="What hosts know the public key by.")],
    licence_id: Annotated[str, typer.Option("--id", metavar="ID", help="The licence's id.")],
    vendor: Annotated[str, typer.Option("--vendor", metavar="NAME")],
    licensee: Annotated[str, typer.Option("--licensee", metavar="NAME")],
    plugin: Annotated[str, typer.Option("--plugin", metavar="ID")],
    tenant: Annotated[list[str], typer.Option("--tenant", metavar="ID", help="'*' is every tenant; repeatable.")],
    days: Annotated[int, typer.Option("--days", min=1, help="How long it is valid.")],
    grace: Annotated[int, typer.Option("--grace-days", min=0, help="How long it works after that.")] = 0,
    versions: Annotated[str, typer.Option("--versions", metavar="RANGE", help="Of the plugin; default all.")] = "",
    feature: Annotated[list[str] | None, typer.Option("--feature", metavar="NAME", help="Repeatable.")] = None,
    limit: Annotated[
        list[str] | None, typer.Option("--limit", metavar="NAME=N", help="Such as devices=1000; repeatable.")
    ] = None,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """For vendors: sign a licence and write it to stdout. The key's password comes from DOTMAC_KEY_PASSWORD."""
    limits = dict(_limit(one) for one in limit or ())

    def work() -> str:
        from dotmac_isp.plugins.core.licensing import Licence, issue_licence  # noqa: PLC0415

        now = int(time.time())
        made = Licence(
            id=licence_id,
            vendor=vendor,
            licensee=licensee,
            plugin=plugin,
            tenants=tuple(tenant),
            features=tuple(feature or ()),
            limits=limits,
            versions=versions,
            issued_at=now,
            not_before=now,
            expires_at=now + days * _DAY,
            grace=grace * _DAY,
        )
        return issue_licence(made, private_key_pem=key.read_bytes(), key_id=key_id, password=_password())

    typer.echo(guarded(work))


def _token(file: Path) -> str:
    """What the file holds, up to more than any licence has."""
    if str(file) == "-":
        data = sys.stdin.buffer.read(_MOST)
    else:
        with file.open("rb") as source:
            data = source.read(_MOST)
    return data.decode("ascii", errors="replace").strip()


def _limit(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    if not name or not number.isdecimal():
        raise typer.BadParameter(f"{text!r} is no NAME=N, such as devices=1000", param_hint="--limit")
    return name, int(number)


def _password() -> bytes | None:
    given = os.environ.get("DOTMAC_KEY_PASSWORD")
    return given.encode() if given else None


def _owner_only(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _show(licence: Licence, extra: dict[str, str], *, as_json: bool) -> None:
    from dotmac_isp.plugins.core.licensing import licence_facts  # noqa: PLC0415

    if as_json:
        import msgspec  # noqa: PLC0415

        write_json({**msgspec.to_builtins(licence), **{key.replace(" ", "_"): value for key, value in extra.items()}})
        return
    from ._views import rows  # noqa: PLC0415 - loads rich

    rows(("", ""), {**licence_facts(licence), **extra}.items())
