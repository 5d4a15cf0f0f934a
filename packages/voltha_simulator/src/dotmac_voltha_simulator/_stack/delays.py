"""How long things take, in seconds of the real system, from the recordings (files 02, 02b, 03 and 06)."""

from __future__ import annotations

from typing import Final

OLT_DIAL: Final = 0.05  # enable -> serial number and address are known
OLT_HEARTBEAT: Final = 2.0  # enable or return -> ACTIVE
OLT_LINK_CHECK: Final = 2.0  # loss of the link -> UNREACHABLE
OLT_REENABLE: Final = 0.005
OLT_REBOOT_NOTICED: Final = 6.4  # reboot command -> UNREACHABLE
OLT_RESTART: Final = 10.0  # how long the hardware is away
OLT_REBOOTED: Final = 0.05  # shown as REBOOTED
OLT_RETURN: Final = 3.0  # REBOOTED -> ACTIVE
OLT_DELETE: Final = 2.0

ONU_DISCOVERY: Final = 0.03  # OLT active -> first ONU of each PON
ONU_DISCOVERY_STEP: Final = 0.1  # between two ONUs of one PON
ONU_DISCOVERED: Final = 0.05
ONU_OMCI: Final = 0.03
ONU_MIB: Final = 0.14
ONU_READY: Final = 0.005
UNI_LIVE: Final = 0.03
ONU_DISABLE: Final = 0.04
ONU_REENABLED: Final = 0.05
ONU_REBOOT: Final = 10.0
ONU_DELETE: Final = 5.0
ONU_REDISCOVERY: Final = 5.0

FLOW_VERDICT: Final = 0.01  # until an adapter has refused a flow or taken it
FLOW_VERDICT_BLOCKED: Final = 7.2  # the same behind a deletion that hangs
FLOW_VERDICT_SLOW: Final = 10.0  # the ONU's answer to tags it cannot make sense of
TECH_PROFILE: Final = 0.03
FLOWS_PUSHED: Final = 0.03
FLOW_TIMEOUT: Final = 5.0

OPTICAL_INFO: Final = 1.0
OLT_PORT_TIMEOUT: Final = 3.0
ONU_OFF_TIMEOUT: Final = 2.0
ONU_HISTORY: Final = 10.0
ACTIVE_ALARMS: Final = 0.5

IMAGE_TRANSFER: Final = 0.9  # an image of a few kB by OMCI (file 10)
IMAGE_COMMIT: Final = 0.003

CORE_RESTART: Final = 2.4
ADAPTER_RECONCILE_OLT: Final = 3.0
ADAPTER_RECONCILE_ONU: Final = 0.5
