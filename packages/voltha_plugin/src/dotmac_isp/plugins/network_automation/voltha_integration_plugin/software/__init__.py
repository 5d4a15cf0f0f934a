"""Software of ONUs: loaded, activated and committed one by one or in waves, and nothing activated that was not loaded."""

from __future__ import annotations

from ._image import ImageSpec, ImageState, Slots
from ._rollout import Rollout, RolloutRules
from ._step import Step, next_step

__all__ = ["ImageSpec", "ImageState", "Rollout", "RolloutRules", "Slots", "Step", "next_step"]
