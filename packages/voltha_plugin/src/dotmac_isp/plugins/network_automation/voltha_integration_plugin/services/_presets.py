"""The operators' workflows as presets: what a service of each kind says when only tags and speeds are given (section 4.4). Pure."""

from __future__ import annotations

import difflib
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["PRESETS", "with_preset"]

_VOICE: Final = 7
_VIDEO: Final = 5


def _priorities(value: int) -> dict[str, int]:
    return dict.fromkeys(("us_c_priority", "us_s_priority", "ds_c_priority", "ds_s_priority"), value)


#: By name of the workflow: values that a configuration need not give, and may override.
PRESETS: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        # AT&T: untagged at the user's port, one inner tag per subscriber, authentication and DHCP by the controller.
        "att": {"tagging": "double", "uni_tag": "untagged", "eapol": True, "dhcp": True},
        # Deutsche Telekom: transparent ONU, one outer tag per user port, nothing trapped.
        "dt": {"tagging": "single"},
        # Türk Telekom: three services on one user port, each with a technology profile of its own.
        "tt-hsia": {"name": "hsia", "tagging": "double", "uni_tag": 35, "s_tag": 900},
        "tt-voip": {
            "name": "voip",
            "tagging": "double",
            "uni_tag": 65,
            "c_tag": 444,
            "s_tag": 333,
            "technology_profile": 65,
            "dhcp": True,
            "mac_learning": True,
            **_priorities(_VOICE),
        },
        "tt-vod": {
            "name": "vod",
            "tagging": "double",
            "uni_tag": 55,
            "c_tag": 55,
            "s_tag": 555,
            "technology_profile": 66,
            "dhcp": True,
            "igmp": True,
            "mac_learning": True,
            **_priorities(_VIDEO),
        },
        # Telecom Italia: the OLT passes the inner tag on as it is, PPPoE.
        "tim": {"tagging": "transparent", "uni_tag": "untagged", "pppoe": True},
        # Fibre to the building: management and control channel of the DPU (the ONU swaps the tag), and its subscribers (the OLT does).
        "fttb-management": {
            "name": "DPU_MGMT_TRAFFIC",
            "tagging": "onu_translate",
            "c_tag": 6,
            "s_tag": 60,
            "us_c_priority": 3,
            "us_s_priority": 7,
            "dhcp": True,
            "mac_learning": True,
        },
        "fttb-ancp": {
            "name": "DPU_ANCP_TRAFFIC",
            "tagging": "onu_translate",
            "c_tag": 4,
            "s_tag": 40,
            "us_s_priority": 7,
            "mac_learning": True,
        },
        "fttb-subscriber": {"name": "FTTB_SUBSCRIBER_TRAFFIC", "tagging": "olt_translate"},
    }
)


def with_preset(values: dict[str, Any]) -> dict[str, Any]:
    """The configuration with what its `workflow` says filled in; raises `ValueError` for a workflow that does not exist."""
    workflow = values.get("workflow")
    if workflow is None:
        return values
    preset = PRESETS.get(workflow) if isinstance(workflow, str) else None
    if preset is None:
        near = difflib.get_close_matches(str(workflow), PRESETS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(PRESETS)}"
        raise ValueError(f"workflow is {workflow!r}: {hint}")
    return {**preset, **values}
