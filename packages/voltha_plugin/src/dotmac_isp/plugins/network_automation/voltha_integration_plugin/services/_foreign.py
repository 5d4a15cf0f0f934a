"""Whose flows are these? Flows that this plugin did not make, by the marks that each controller leaves in them. Pure.

ONOS puts the id of the app into the upper 16 bits of a cookie, the olt app's priorities are 1000 and 10000; VGC packs port and
kind of service into it, with priorities 100 and 5000 (sections 4.4 and 7).
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from voltha_protos import openflow_13_pb2 as of

from ._builder import COOKIE_PREFIX

__all__ = ["foreign_flows", "whose"]

_VGC_PRIORITIES: Final = (100, 5000)
_VGC_KINDS: Final = 0x0200 | 0x0100 | 0x0800 | 0x0400
_ONOS_PRIORITIES: Final = (1000, 10000)
_LARGEST_APP: Final = 0x3FF


def foreign_flows(flows: Any) -> dict[str, int]:
    """How many of the listed flows are not of this plugin, by who seems to have made them."""
    found = (whose(flow) for flow in flows.items)
    return dict(Counter(owner for owner in found if owner))


def whose(flow: Any) -> str:
    """Who made a flow, in words; empty for this plugin (of whichever tenant)."""
    cookie = flow.cookie
    if cookie >> 56 == COOKIE_PREFIX:
        return ""
    if flow.priority in _VGC_PRIORITIES and cookie & _VGC_KINDS and (cookie >> 16) & 0xFFFFFFFF in _ports(flow):
        return "the VOLTHA Go controller (VGC)"
    app = cookie >> 48
    if flow.priority in _ONOS_PRIORITIES and 0 < app <= _LARGEST_APP:
        return f"ONOS (app {app})"
    return f"an unknown controller (cookie {cookie:#x}, priority {flow.priority})"


def _ports(flow: Any) -> set[int]:
    named = {field.ofb_field.port for field in flow.match.oxm_fields if field.ofb_field.type == of.OFPXMT_OFB_IN_PORT}
    for step in flow.instructions:
        if step.type == of.OFPIT_WRITE_METADATA:
            named.add(step.write_metadata.metadata & 0xFFFFFFFF)
        if step.type == of.OFPIT_APPLY_ACTIONS:
            named |= {action.output.port for action in step.actions.actions if action.type == of.OFPAT_OUTPUT}
    return named
