"""The life of OLTs and ONUs: commands that are followed to their end, admission of ONUs, stuck states, change events.

`DeviceMethods` are the methods of the plugin's handle; what they do loads late.
"""

from __future__ import annotations

from ._admission import Admission, AdmissionAction, judge_admission
from ._methods import DeviceMethods
from ._stuck import Stuck, StuckWatch

__all__ = ["Admission", "AdmissionAction", "DeviceMethods", "Stuck", "StuckWatch", "judge_admission"]
