"""Sending a message to one target, once."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from ._targets import WEBHOOKS, forbidden_host, redacted

__all__ = ["Attachment", "Delivery", "DeliveryError", "Message"]

_log: Final = logging.getLogger(__name__)
_SECONDS: Final = 30.0
_AT_ONCE: Final = 8
_OK: Final = range(200, 300)


class DeliveryError(Exception):
    """A message did not arrive; the text says why, without the target's secrets."""


class Attachment(msgspec.Struct, frozen=True):
    name: str
    kind: str
    body: bytes


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What is told. `data` is for programs; `key` is the same when the same message is sent again."""

    subject: str
    text: str
    html: str = ""
    data: dict[str, Any] = msgspec.field(default_factory=dict)
    key: str = ""
    #: info, success, warning or failure.
    mood: str = "info"
    attachment: Attachment | None = None


class Delivery:
    """Sends; a few at once, each with a bound in time."""

    def __init__(self, allowed_hosts: frozenset[str] = frozenset()) -> None:
        self._allowed = allowed_hosts
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def send(self, target: str, message: Message) -> None:
        """Raises `DeliveryError`."""
        async with self._room:
            try:
                async with asyncio.timeout(_SECONDS):
                    reason = await asyncio.to_thread(forbidden_host, target, self._allowed)
                    if reason:
                        raise DeliveryError(reason)
                    await (_webhook if urlsplit(target).scheme in WEBHOOKS else _service)(target, message)
            except TimeoutError:
                raise DeliveryError(f"{redacted(target)} did not answer within {_SECONDS:.0f} s") from None


async def _webhook(target: str, message: Message) -> None:
    import aiohttp  # noqa: PLC0415

    told = {"subject": message.subject, "text": message.text, "key": message.key, **message.data}
    data: Any = msgspec.json.encode(told)
    headers = {"Content-Type": "application/json", "Idempotency-Key": message.key or "none"}
    if message.attachment is not None:
        data = aiohttp.FormData()
        data.add_field("message", msgspec.json.encode(told), content_type="application/json")
        data.add_field(
            "file", message.attachment.body, filename=message.attachment.name, content_type=message.attachment.kind
        )
        headers.pop("Content-Type")
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.post(target, data=data, headers=headers, allow_redirects=False) as response,
        ):
            await response.content.read(4096)
            if response.status not in _OK:
                raise DeliveryError(f"{redacted(target)} answered {response.status}")
    except (aiohttp.ClientError, OSError) as error:
        raise DeliveryError(f"{redacted(target)} cannot be reached: {type(error).__name__}") from None


async def _service(target: str, message: Message) -> None:
    try:
        import apprise  # noqa: PLC0415 - only where a service is told
    except ImportError:
        raise DeliveryError(
            "mail and services need apprise. Run: pip install 'dotmac-plugin-analytics[alerts]'; webhooks go without it"
        ) from None
    try:
        await asyncio.to_thread(_told, apprise, target, message)
    except DeliveryError:
        raise
    except Exception as error:  # noqa: BLE001
        # Whatever a service's module raises; its words may hold the address with its password.
        raise DeliveryError(f"{redacted(target)} failed: {type(error).__name__}") from None


def _told(apprise: Any, target: str, message: Message) -> None:
    service = apprise.Apprise.instantiate(
        target, asset=apprise.AppriseAsset(app_id="dotmac", app_desc="dotmac analytics")
    )
    if service is None:
        raise DeliveryError(f"{redacted(target)} is no complete address for apprise")
    teller = apprise.Apprise()
    teller.add(service)
    body, form = (message.html, "html") if message.html else (message.text, "text")
    with tempfile.TemporaryDirectory() as folder:
        attach = None
        if message.attachment is not None:
            path = Path(folder) / message.attachment.name
            path.write_bytes(message.attachment.body)
            attach = str(path)
        if not teller.notify(
            title=message.subject, body=body, body_format=form, notify_type=message.mood, attach=attach
        ):
            raise DeliveryError(f"{redacted(target)} did not take it")
