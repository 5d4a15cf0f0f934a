"""Telling people and programs: webhooks of our own, everything else through apprise."""

from __future__ import annotations

from ._delivery import Attachment, Delivery, DeliveryError, Message
from ._targets import check_target, redacted, target_id

__all__ = ["Attachment", "Delivery", "DeliveryError", "Message", "check_target", "redacted", "target_id"]
