"""Values of devices: measured on demand, published by VOLTHA, kept for a while, and named as Prometheus names them."""

from __future__ import annotations

from ._prometheus import Sample

__all__ = ["Sample"]
