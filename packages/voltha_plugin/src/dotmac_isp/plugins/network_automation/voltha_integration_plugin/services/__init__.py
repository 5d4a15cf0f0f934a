"""Subscriber services: what they may say, the meters and flows that stand for them, bringing those to VOLTHA and keeping them there.

What is listed here is light. `_subscribers` and what it stands on load protobufs, so they are imported where they are used.
"""

from __future__ import annotations

from ._meter import BandwidthProfile
from ._presets import PRESETS
from ._service import ServiceConfig

__all__ = ["PRESETS", "BandwidthProfile", "ServiceConfig"]
