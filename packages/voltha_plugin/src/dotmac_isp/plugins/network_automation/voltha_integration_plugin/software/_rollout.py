"""A rollout of an image in waves: a canary first, then wave after wave, and a rule when to stop. Pure.

Each ONU's state is remembered, so that a rollout goes on where it was after a restart.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .._errors import ServiceConfigError
from .._validation import explain
from ._image import ImageSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["OnuState", "Rollout", "RolloutRules", "judge_wave", "plan_waves"]

OnuState = Literal["waiting", "working", "activated", "done", "failed"]


class RolloutRules(BaseModel):
    """How a rollout goes. `canary` ONUs go first, alone; one failure among them stops it. Times are in seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    canary: int = Field(default=1, ge=0, description="How many ONUs go first, and have to succeed all")
    wave: int = Field(default=32, ge=1, description="How many ONUs a wave has")
    at_once: int = Field(default=8, ge=1, le=256, description="How many ONUs of a wave at the same time")
    soak: float = Field(
        default=60.0, ge=0, description="How long a wave has to work with the image before it is committed"
    )
    stop_after: int = Field(default=1, ge=1, description="So many failures after the canary stop it")
    timeout: float = Field(default=3600.0, gt=0, description="How long one ONU may take to load and start the image")
    activate: bool = Field(default=True, description="Start the image; else it is only loaded")
    commit: bool = Field(default=True, description="Keep the image for the next start")

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> RolloutRules:
        """Check rules; raises `ServiceConfigError`."""
        try:
            return cls.model_validate(dict(value))
        except ValidationError as error:
            raise ServiceConfigError(f"rules cannot be used: {explain(error, cls.model_fields)}") from None


class Target(msgspec.Struct, kw_only=True):
    """One ONU of a rollout, by serial number."""

    serial: str
    state: OnuState = "waiting"
    why: str = ""


class Rollout(msgspec.Struct, kw_only=True):
    """One rollout: what, to whom, how, and how far it is. `state` stopped: by the rule, or by an operator."""

    id: str
    image: ImageSpec
    rules: dict[str, Any]
    targets: list[Target]
    state: Literal["running", "stopped", "done"] = "running"
    why: str = ""
    wave: int = 0
    began_at: float = msgspec.field(default_factory=time.time)
    updated_at: float = msgspec.field(default_factory=time.time)

    @property
    def how(self) -> RolloutRules:
        return RolloutRules.model_validate(self.rules)

    def counts(self) -> dict[str, int]:
        """How many ONUs are in which state."""
        found: dict[str, int] = dict.fromkeys(("waiting", "working", "activated", "done", "failed"), 0)
        for target in self.targets:
            found[target.state] += 1
        return found

    def plain(self, *, with_targets: bool = True) -> dict[str, Any]:
        """The rollout as `upgrade_status` gives it."""
        shown: dict[str, Any] = {
            "id": self.id,
            "version": self.image.version,
            "url": self.image.url,
            "state": self.state,
            "why": self.why,
            "wave": self.wave,
            "waves": len(plan_waves(self.targets, self.how)),
            "onus": len(self.targets),
            **self.counts(),
            "rules": self.rules,
            "began_at": self.began_at,
            "updated_at": self.updated_at,
        }
        if with_targets:
            shown["targets"] = [msgspec.to_builtins(target) for target in self.targets]
        return shown


def plan_waves(targets: Sequence[Target], rules: RolloutRules) -> list[list[Target]]:
    """The waves in order; the first is the canary's where there is one."""
    first = [list(targets[: rules.canary])] if rules.canary and targets else []
    rest = targets[rules.canary :]
    return first + [list(rest[start : start + rules.wave]) for start in range(0, len(rest), rules.wave)]


_NOTHING: Final = ""


def judge_wave(rollout: Rollout, wave: Sequence[Target], *, is_canary: bool) -> str:
    """Why the rollout has to stop after a wave; empty when it may go on."""
    bad = [target for target in wave if target.state == "failed"]
    if is_canary and bad:
        return f"the canary failed: {', '.join(f'{target.serial} ({target.why})' for target in bad[:3])}"
    total = rollout.counts()["failed"]
    limit = rollout.how.stop_after
    if total >= limit:
        return (
            f"{total} ONUs failed, and {limit} are enough to stop; the last: {bad[-1].serial} ({bad[-1].why})"
            if bad
            else (f"{total} ONUs failed, and {limit} are enough to stop")
        )
    return _NOTHING
