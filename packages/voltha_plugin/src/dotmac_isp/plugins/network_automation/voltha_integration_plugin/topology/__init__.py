"""The network from stack to subscriber, as data, text and picture."""

from __future__ import annotations

from ._formats import TOPOLOGY_FORMATS, render_topology

__all__ = ["TOPOLOGY_FORMATS", "render_topology"]
