"""TLS as an ingress before VOLTHA has it: a certificate of the server, and on demand one of each client."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc

if TYPE_CHECKING:
    from os import PathLike

__all__ = ["server_credentials"]


def server_credentials(
    certificate: str | PathLike[str], key: str | PathLike[str], client_ca: str | PathLike[str] | None
) -> Any:
    """What gRPC needs, from PEM files; with ``client_ca`` every client must show a certificate of these authorities.

    Raises ``ValueError`` for files that cannot be used, with their names.
    """
    if not (certificate and key):
        raise ValueError("TLS needs a certificate and its key: give both or neither")
    try:
        # gRPC takes anything, and refuses each connection later without a word.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except (OSError, ValueError) as error:
        raise ValueError(f"certificate {certificate} with key {key} cannot be used: {error}") from None
    try:
        if client_ca:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(client_ca)
        authorities = Path(client_ca).read_bytes() if client_ca else None
    except OSError as error:
        raise ValueError(f"the authorities of clients, {client_ca}, cannot be used: {error}") from None
    return grpc.ssl_server_credentials(
        [(Path(key).read_bytes(), Path(certificate).read_bytes())],
        root_certificates=authorities,
        require_client_auth=authorities is not None,
    )
