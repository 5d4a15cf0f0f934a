"""The questions that are asked of Vault about one address: read it, look whether it changed, renew its lease."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from dotmac_isp.plugins.core.errors import SecretError

from ._documents import Document, current_version, document_of, missing
from ._failures import Refused

if TYPE_CHECKING:
    import hvac  # type: ignore[import-untyped]

    from ._places import Address
    from ._tokens import TokenKeeper

__all__ = ["Reader"]


class Reader:
    """Reads documents with the keeper's token."""

    def __init__(self, tokens: TokenKeeper) -> None:
        self._tokens: Final = tokens
        self._without_metadata: set[Address] = set()
        self._without_lookup = False
        self.reads = 0
        self.renewals = 0

    async def read(self, address: Address, *, patient: bool = True) -> Document:
        """What lies there. Raises `Unavailable`, and `SecretError` for a refusal."""
        try:
            answer = await self._tokens.ask(lambda client: _read(client, address), patient=patient)
        except Refused as refusal:
            if refusal.missing:
                return missing(address)
            raise self._refusal(address, refusal) from None
        self.reads += 1
        return document_of(address, answer)

    async def confirm(self, document: Document) -> Document:
        """The document as it is now, read again only where it changed. Raises as `read`."""
        if document.lease is not None:
            return document if await self._lease_lives(document) else await self.read(document.address, patient=False)
        if document.version is None or document.address in self._without_metadata:
            return await self.read(document.address, patient=False)
        address = document.address
        try:
            metadata = await self._tokens.ask(
                lambda client: client.secrets.kv.v2.read_secret_metadata(address.path, mount_point=address.mount),
                patient=False,
            )
        except Refused as refusal:
            if not refusal.missing:  # a policy for the data alone is enough
                self._without_metadata.add(address)
            return await self.read(address, patient=False)
        if current_version(metadata) == document.version:
            return replace(document, confirmed=time.monotonic())
        return await self.read(address, patient=False)

    async def extend(self, document: Document) -> Document:
        """The same secret with its lease renewed, or another one where that is over. Raises as `read`."""
        lease = document.lease
        if lease is None or not lease.renewable or lease.ends <= time.monotonic():
            return await self.read(document.address)
        lease_id = lease.id
        try:
            answer = await self._tokens.ask(lambda client: client.sys.renew_lease(lease_id.reveal()))
        except Refused:
            return await self.read(document.address)
        renewed = lease.renewed(answer)
        self.renewals += 1
        if renewed.spent:
            return await self.read(document.address)
        return replace(document, lease=renewed, confirmed=time.monotonic())

    async def _lease_lives(self, document: Document) -> bool:
        """Whether nobody revoked the lease. Where the policy does not let us ask, the lease's time tells alone."""
        lease = document.lease
        if lease is None or self._without_lookup:
            return True
        try:
            await self._tokens.ask(lambda client: client.sys.read_lease(lease.id.reveal()), patient=False)
        except Refused as refusal:
            self._without_lookup = refusal.forbidden
            return refusal.forbidden
        return True

    def _refusal(self, address: Address, refusal: Refused) -> SecretError:
        if refusal.forbidden:
            token = self._tokens.token
            policies = ", ".join(token.policies) if token is not None and token.policies else "none"
            return SecretError(
                f"Vault forbids reading {address.api_path}; the token's policies are: {policies}",
                remedy=f'Grant it: path "{address.api_path}" {{ capabilities = ["read"] }}',
            )
        return SecretError(refusal.message, remedy="Compare kv_mount, kv_version and the paths with Vault's mounts")


def _read(client: hvac.Client, address: Address) -> Any:
    if address.engine == "kv2":
        return client.secrets.kv.v2.read_secret_version(
            address.path, mount_point=address.mount, raise_on_deleted_version=True
        )
    if address.engine == "kv1":
        return client.secrets.kv.v1.read_secret(address.path, mount_point=address.mount)
    return client.read(address.path)
