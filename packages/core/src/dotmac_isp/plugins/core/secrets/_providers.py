"""Where secrets are kept: environment variables and files. Vaults come as plugins, through the provider hook."""

from __future__ import annotations

import asyncio
import os
import re
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from ..errors import SecretError
from ..model import Secret, validate_tenant_id

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["EnvironmentSecrets", "FileSecrets", "SecretProvider", "environment_name"]

_LARGEST: Final = 1 << 16
_OTHER: Final = re.compile(r"[^A-Z0-9]")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


@runtime_checkable
class SecretProvider(Protocol):
    """Somewhere secrets are kept. `name` is how errors call it."""

    @property
    def name(self) -> str: ...

    async def provide(self, reference: str, tenant: str | None) -> Secret | str | None:
        """The secret for the tenant, else the one for all tenants, else `None`."""


def environment_name(secret: str, tenant: str | None) -> tuple[str, ...]:
    """The variables that hold a secret, first the tenant's: `("VOLTHA_USERNAME__TENANT_123", "VOLTHA_USERNAME")`."""
    name = _OTHER.sub("_", secret.upper())
    return (name,) if tenant is None else (f"{name}__{_OTHER.sub('_', tenant.upper())}", name)


class EnvironmentSecrets:
    """Secrets from environment variables, read at each call. An empty variable counts as none."""

    name: Final = "environment"

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._environ = os.environ if environ is None else environ
        self._tenants: dict[str, str] = {}

    async def provide(self, reference: str, tenant: str | None) -> Secret | None:
        for variable in environment_name(reference, tenant):
            value = self._environ.get(variable)
            if value:
                self._check_owner(variable, reference, tenant)
                return Secret(reference, value)
        return None

    def _check_owner(self, variable: str, reference: str, tenant: str | None) -> None:
        """Tenants `a-b` and `A_B` have one variable between them: the second one must not get the first one's secret."""
        if tenant is None or variable == environment_name(reference, None)[-1]:
            return
        owner = self._tenants.setdefault(variable, tenant)
        if owner != tenant:
            raise SecretError(
                f"{variable} serves tenant {owner} already and would serve tenant {tenant}, too",
                remedy="Keep the secrets of one of them in files or in a vault",
            )

    def where(self, reference: str, tenant: str | None) -> str:
        """Where one could put the secret, for remedies."""
        return " or ".join(environment_name(reference, tenant))


class FileSecrets:
    """One file per secret, as systemd credentials and Kubernetes lay them out; a tenant's own in a folder of its name.

    `<directory>/<tenant>/<name>`, then `<directory>/<name>`; read at each call, one line end at the end is cut off.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.name: Final = f"files in {directory}"

    async def provide(self, reference: str, tenant: str | None) -> Secret | None:
        if not _NAME.fullmatch(reference):
            return None
        validate_tenant_id(tenant)
        folders = [self._directory] if tenant is None else [self._directory / tenant, self._directory]
        value = await asyncio.to_thread(_first_text, [folder / reference for folder in folders])
        return Secret(reference, value) if value else None

    def where(self, reference: str, tenant: str | None) -> str:
        """Where one could put the secret, for remedies."""
        return str(self._directory / (tenant or "") / reference)


def _first_text(files: Sequence[Path]) -> str | None:
    for file in files:
        try:
            with file.open("rb") as stream:
                content = stream.read(_LARGEST + 1)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            continue
        except OSError as error:
            raise SecretError(
                f"{file} cannot be read: {error.strerror}", remedy="Let the host's user read it"
            ) from None
        if len(content) > _LARGEST:
            raise SecretError(
                f"{file} is larger than {_LARGEST} bytes", remedy="A secret's file holds the secret alone"
            )
        try:
            text = content.decode()
        except UnicodeDecodeError:
            raise SecretError(f"{file} is not UTF-8", remedy="Save the secret as text") from None
        text = text.removesuffix("\n").removesuffix("\r")
        if text:
            return text
    return None
