"""Which host and port an instance may connect to, and which addresses a name may not lead to. Values only, no network."""

from __future__ import annotations

import fnmatch
import ipaddress
from typing import TYPE_CHECKING, Final, TypeAlias

from ._plan import Endpoint

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Address", "AllowList", "as_address", "refused_address"]

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

#: Where clouds tell a machine its credentials, besides the link-local addresses: AWS (IPv6), Alibaba, Azure, Oracle.
METADATA: Final = frozenset(
    ipaddress.ip_address(text) for text in ("fd00:ec2::254", "100.100.100.200", "168.63.129.16", "192.0.0.192")
)
#: "This host on this network" (RFC 1122): many systems take 0.0.0.0/8 for themselves.
THIS_HOST: Final = ipaddress.ip_network("0.0.0.0/8")
#: IPv4 addresses in IPv6 clothes, besides the mapped and 6to4 ones that Python knows (RFC 6052, RFC 8215).
TRANSLATED: Final = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))
UNSPECIFIED_AND_LOOPBACK: Final = ipaddress.IPv6Address("::1")
COMPATIBLE: Final = ipaddress.ip_network("::/96")
LOW_32: Final = 0xFFFFFFFF
LARGEST_PORT: Final = 65535


def as_address(text: str) -> Address | None:
    """The address that *text* spells out, without a zone; `None` for a name."""
    try:
        return ipaddress.ip_address(text.strip("[]").partition("%")[0])
    except ValueError:
        return None


def normal_host(host: str) -> str:
    """Names in lower case without the root's dot, addresses in their usual form."""
    address = as_address(host)
    return str(address) if address is not None else host.rstrip(".").lower()


class AllowList:
    """The endpoints of one instance, and the hosts that its Kafka clusters may advertise."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self._endpoints = {(normal_host(one.host), one.port): one for one in endpoints}
        self._patterns: list[tuple[str, int | None]] = []

    def allow_advertised(self, pattern: str) -> None:
        """Add a host pattern, with a port if it has one: `kafka-*.example.net`, `10.1.2.*:9092`."""
        host, colon, port = pattern.rpartition(":")
        if colon and port.isdigit():
            self._patterns.append((host.lower(), int(port)))
        else:
            self._patterns.append((pattern.lower(), None))

    def find(self, host: str, port: int) -> Endpoint | None:
        """The endpoint that allows it; `None` if nothing does."""
        wanted = normal_host(host)
        if not 0 < port <= LARGEST_PORT:
            return None
        if (listed := self._endpoints.get((wanted, port))) is not None:
            return listed
        for pattern, only in self._patterns:
            if only in (None, port) and fnmatch.fnmatchcase(wanted, pattern):
                return Endpoint(wanted, port, "kafka")
        return None


def refused_address(address: Address, endpoint: Endpoint) -> str:
    """Why this address may not be connected to for *endpoint*; empty where it may.

    What is on the host itself, on the link, or a cloud's metadata service is refused unless the operator listed the very
    address (or `localhost`), or a network that it is in. Private networks are where an operator's equipment is: allowed.
    """
    if as_address(endpoint.host) == address or any(address in network for network in _networks(endpoint)):
        return ""
    for inner in (*_inside(address), address):
        if endpoint.host.lower() == "localhost" and inner.is_loopback:
            continue
        if why := _special(inner):
            return why
    return ""


def _networks(endpoint: Endpoint) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    return [ipaddress.ip_network(text, strict=False) for text in endpoint.networks]


def _inside(address: Address) -> list[Address]:
    """The IPv4 addresses that a packet to this IPv6 address may end at."""
    if isinstance(address, ipaddress.IPv4Address):
        return []
    found: list[Address] = [one for one in (address.ipv4_mapped, address.sixtofour) if one is not None]
    if address > UNSPECIFIED_AND_LOOPBACK and any(address in network for network in (*TRANSLATED, COMPATIBLE)):
        found.append(ipaddress.IPv4Address(int(address) & LOW_32))
    return found


def _special(address: Address) -> str:
    kinds = (
        (address in METADATA, "a cloud's metadata service"),
        (address.is_loopback, "the host itself (loopback)"),
        (address.is_link_local, "a link-local address (metadata services are there)"),
        (address.is_unspecified or address in THIS_HOST, "the host itself"),
        (address.is_multicast, "a multicast address"),
        # Translated addresses are "reserved" for Python, but what counts is the address inside.
        (address.is_reserved and not any(address in one for one in (*TRANSLATED, COMPATIBLE)), "a reserved address"),
    )
    return next((what for is_it, what in kinds if is_it), "")
