"""Secrets are references until the last moment (design, decision 6): providers in the operator's order, one reader per instance, redaction."""

from __future__ import annotations

import asyncio
import json
import os
import re
import threading
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable
from urllib.parse import quote

from .errors import SecretError, SecretMissingError
from .model import Secret, tenant_label, validate_tenant_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from .discovery import Manifest

__all__ = [
    "EnvironmentSecrets",
    "FileSecrets",
    "InstanceSecrets",
    "Redactor",
    "SecretChain",
    "SecretProvider",
    "environment_name",
]

MASK: Final = "********"
_SHORTEST: Final = 4
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

    async def provide(self, reference: str, tenant: str | None) -> Secret | None:
        for variable in environment_name(reference, tenant):
            value = self._environ.get(variable)
            if value:
                return Secret(reference, value)
        return None

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


class Redactor:
    """Knows the values of secrets that were handed out, and takes them out of any text. May be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: The first characters of a value -> values that begin so, longest first; makes a search one pass over the text.
        self._values: dict[str, tuple[str, ...]] = {}

    def register(self, value: str) -> None:
        """Redact this value from now on, also as URLs and JSON write it. Values shorter than 4 characters are no secrets."""
        for form in {value, quote(value, safe=""), json.dumps(value)[1:-1], repr(value)[1:-1]}:
            if len(form) >= _SHORTEST:
                self._add(form)

    def _add(self, form: str) -> None:
        with self._lock:
            known = self._values.get(form[:_SHORTEST], ())
            if form not in known:
                self._values[form[:_SHORTEST]] = tuple(sorted((*known, form), key=len, reverse=True))

    def redact(self, text: str) -> str:
        """The text with every registered value replaced by `********`."""
        if not self._values:
            return text
        parts: list[str] = []
        end = 0
        for start, stop in self._hits(text):
            parts += (text[end:start], MASK)
            end = stop
        return "".join((*parts, text[end:])) if parts else text

    def _hits(self, text: str) -> Iterator[tuple[int, int]]:
        """Stretches to mask, in order; values that overlap make one stretch."""
        values = self._values
        start = stop = -1
        for index in range(len(text) - _SHORTEST + 1):
            for value in values.get(text[index : index + _SHORTEST], ()):
                if text.startswith(value, index):
                    if index > stop:
                        if start >= 0:
                            yield start, stop
                        start = index
                    stop = max(stop, index + len(value))
                    break
        if start >= 0:
            yield start, stop


class SecretChain:
    """The providers in the operator's order: the first that has a secret gives it.

    A provider that fails ends the search with a `SecretError`: asking the next one could bring back an old value.
    """

    def __init__(self, providers: Iterable[SecretProvider], *, redactor: Redactor | None = None) -> None:
        self.providers: Final = tuple(providers)
        self._redactor = redactor

    async def get(self, name: str, tenant: str | None) -> Secret | None:
        """The secret for the tenant, or `None`. What is found is registered with the redactor."""
        for provider in self.providers:
            secret = await self._ask(provider, name, tenant)
            if secret is not None:
                if self._redactor is not None:
                    self._redactor.register(secret.reveal())
                return secret
        return None

    async def _ask(self, provider: SecretProvider, name: str, tenant: str | None) -> Secret | None:
        try:
            answer: object = await provider.provide(name, tenant)
        except SecretError as error:
            raise SecretError(f"{_failed(provider, name, tenant)}: {error.message}", remedy=error.remedy) from None
        except (Exception, SystemExit) as error:  # noqa: BLE001 - providers are plugins; their texts may hold the value
            what = f"{_failed(provider, name, tenant)} with {type(error).__name__}"
            raise SecretError(what, remedy="The provider's own log says more") from None
        if isinstance(answer, str):
            answer = Secret(name, answer)
        if answer is None or isinstance(answer, Secret):
            return answer if answer is not None and answer.reveal() else None
        kind = type(answer).__name__
        raise SecretError(
            f"{_failed(provider, name, tenant)}: it gave something of type {kind}",
            remedy="It must give a Secret or None",
        )

    def where(self, name: str, tenant: str | None) -> str:
        """Where one could put a secret, for remedies."""
        told = (getattr(provider, "where", None) for provider in self.providers)
        return "; ".join(where(name, tenant) for where in told if where is not None)


def _failed(provider: SecretProvider, name: str, tenant: str | None) -> str:
    return f"the secret provider {provider.name!r} failed for {name!r} of tenant {tenant_label(tenant)}"


class InstanceSecrets:
    """The `SecretReader` of one instance: the names of its manifest, for its tenant, resolved at each call.

    `also_required` are names that the operator's configuration file demands beyond the manifest (`security.secrets_required`).
    """

    def __init__(
        self, chain: SecretChain, manifest: Manifest, tenant: str | None, *, also_required: Iterable[str] = ()
    ) -> None:
        self._chain = chain
        self._required = tuple(dict.fromkeys((*manifest.secrets.required, *also_required)))
        self._manifest = manifest
        self._tenant = validate_tenant_id(tenant)

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that may be asked for."""
        return tuple(dict.fromkeys((*self._required, *self._manifest.secret_names)))

    async def get(self, name: str) -> Secret | None:
        """The secret, or `None` when no provider has it. Raises `SecretError` for a name that the manifest does not list."""
        if name not in self.names:
            known = ", ".join(self.names) or "none"
            raise SecretError(
                f"the plugin {self._manifest.id!r} may not read the secret {name!r}",
                remedy=f"Its manifest lists: {known}",
            )
        return await self._chain.get(name, self._tenant)

    async def require(self, name: str) -> Secret:
        """The secret; raises `SecretMissingError` when no provider has it."""
        secret = await self.get(name)
        if secret is None:
            raise self.missing_error([name])
        return secret

    async def missing_required(self) -> tuple[str, ...]:
        """Required secrets that no provider has."""
        return await self._missing(self._required)

    async def missing_optional(self) -> tuple[str, ...]:
        """Optional secrets, those of features included, that no provider has."""
        return await self._missing(name for name in self.names if name not in self._required)

    async def switched_off(self) -> dict[str, tuple[str, ...]]:
        """Features that are off for want of a secret, with the secrets that they lack."""
        lacking = {name: await self._missing(one.secrets) for name, one in self._manifest.features.items()}
        return {name: secrets for name, secrets in lacking.items() if secrets}

    def missing_error(self, names: Sequence[str]) -> SecretMissingError:
        """The error that names missing secrets and where each could be put."""
        several = "s" if len(names) > 1 else ""
        listed = ", ".join(repr(name) for name in names)
        places = ", ".join(self._chain.where(name, self._tenant) for name in names)
        return SecretMissingError(
            f"the plugin {self._manifest.id!r} lacks the secret{several} {listed} for tenant {tenant_label(self._tenant)}",
            names=names,
            remedy=f"Set {places}" if places.strip(", ") else "Give it to one of the host's secret providers",
        )

    async def _missing(self, names: Iterable[str]) -> tuple[str, ...]:
        return tuple([name for name in names if await self._chain.get(name, self._tenant) is None])
