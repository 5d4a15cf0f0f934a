"""From the plugin to the collector: what was acknowledged waits on disk and is sent until the collector has it."""

from __future__ import annotations

from ._client import API_KEY, CollectorClient, RefusedError
from ._outbox import Outbox, claim_outbox
from ._sender import Sender

__all__ = ["API_KEY", "CollectorClient", "Outbox", "RefusedError", "Sender", "claim_outbox"]
