"""One instance's life: its states, its steps, its failures and their remedies."""

from __future__ import annotations

from ._blueprint import Blueprint, instance_folder, provides_secrets
from ._house import House, Tenant
from ._instance import Instance
from ._life import Life
from ._parts import HealthParts, PartHealth
from ._states import StateMachine, StateRecord
from ._status import InstanceStatus
from ._whole import to_the_end, wait_out

__all__ = [
    "Blueprint",
    "HealthParts",
    "House",
    "Instance",
    "InstanceStatus",
    "Life",
    "PartHealth",
    "StateMachine",
    "StateRecord",
    "Tenant",
    "instance_folder",
    "provides_secrets",
    "to_the_end",
    "wait_out",
]
