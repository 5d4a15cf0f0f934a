"""Where a message goes: `https://…` for a webhook, `mailto://…` and the other addresses of apprise for services."""

from __future__ import annotations

import hashlib
import ipaddress
import socket
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from ..._plain import EventError

__all__ = ["WEBHOOKS", "check_target", "forbidden_host", "redacted", "target_id"]

WEBHOOKS: Final = frozenset({"http", "https"})
#: Those of apprise's services that talk to somebody elsewhere; the others act on this machine.
_SERVICES: Final = frozenset(
    [
        "mailto",
        "mailtos",
        "slack",
        "msteams",
        "discord",
        "tgram",
        "ntfy",
        "ntfys",
        "gotify",
        "gotifys",
        "pagerduty",
        "opsgenie",
        "twilio",
        "mmost",
        "mmosts",
        "rocket",
        "rockets",
        "matrix",
        "matrixs",
        "pover",
        "signal",
        "signals",
        "wxteams",
        "zulip",
        "sns",
        "ses",
        "signl4",
        "splunk",
        "victorops",
        "guilded",
        "webexteams",
        "teams",
        "googlechat",
        "gchat",
        "json",
        "jsons",
    ]
)
#: Services at an address that the target names, so that the address is looked at first.
_NAMED_HOSTS: Final = frozenset(
    [
        "http",
        "https",
        "mailto",
        "mailtos",
        "ntfy",
        "ntfys",
        "gotify",
        "gotifys",
        "mmost",
        "mmosts",
        "rocket",
        "rockets",
        "matrix",
        "matrixs",
        "signal",
        "signals",
        "json",
        "jsons",
    ]
)
_MOST: Final = 2000
_SECRET_FIELDS: Final = frozenset({"pass", "password", "token", "secret", "key", "apikey", "secret_key"})


def check_target(value: object, field: str) -> str:
    """Raises `EventError` (which does not show the address: it may hold a password) unless a message can go there."""
    if not isinstance(value, str) or len(value) > _MOST or not value.isprintable():
        raise EventError(
            field, type(value).__name__, "an address such as 'https://host/hook' or 'mailto://user:password@host'"
        )
    try:
        parts = urlsplit(value)
        scheme, host = parts.scheme.lower(), parts.hostname
        _ = parts.port
    except ValueError:
        scheme, host = "", None
    if scheme not in WEBHOOKS | _SERVICES or not host:
        raise EventError(field, f"{scheme}://…", "https://, mailto:// or one of " + ", ".join(sorted(_SERVICES)))
    return value


def redacted(target: str) -> str:
    """The address as it may be shown: without user, password, and what follows the host in services' addresses."""
    parts = urlsplit(target)
    host = parts.hostname or ""
    port = f":{parts.port}" if parts.port else ""
    if parts.scheme in WEBHOOKS:
        return (
            f"{parts.scheme}://{host}{port}{parts.path[:1]}…"
            if parts.path.strip("/")
            else f"{parts.scheme}://{host}{port}"
        )
    to = dict(parse_qsl(parts.query)).get("to", "")
    named = parts.scheme in _NAMED_HOSTS
    return f"{parts.scheme}://{host + port if named else '…'}" + (f" to {to}" if to and named else "")


def target_id(target: str) -> str:
    """Names a target where the address itself must not stand."""
    return hashlib.blake2b(target.encode(), digest_size=12).hexdigest()


def forbidden_host(target: str, allowed: frozenset[str]) -> str:
    """Why nothing may be sent there, or "". Loopback and link-local addresses are the collector's own, not a tenant's.

    `allowed` are hosts that the operator named. Asks the resolver: call it from a thread.
    """
    parts = urlsplit(target)
    host = (parts.hostname or "").lower()
    if parts.scheme not in _NAMED_HOSTS or host in allowed:
        return ""
    try:
        found = {item[4][0] for item in socket.getaddrinfo(host, parts.port or 443, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError) as error:
        return f"{host} is not known: {error}"
    for text in found:
        address = ipaddress.ip_address(str(text).partition("%")[0])
        mapped = getattr(address, "ipv4_mapped", None) or address
        if mapped.is_loopback or mapped.is_link_local or mapped.is_unspecified or mapped.is_multicast:
            return f"{host} is an address of the collector's own machine or link; the operator allows it with notify_hosts, or --notify-host {host}"
    return ""
