"""What has to be done next with one ONU so that it gets an image: decided from what it has, not from what was sent. Pure.

So it is the same after a crash, a lost answer or an ONU that came back. Nothing is activated that the ONU does not list as valid:
VOLTHA would answer "activating" and reboot the ONU (surprise 40).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Collection

    from ._image import ImageState, Slots

__all__ = ["Command", "Goal", "Step", "next_step"]

Command = Literal["download", "activate", "commit"]
Goal = Literal["load", "activate", "commit"]

_REACHED: Final = {"load": "loaded", "activate": "active", "commit": "committed"}


class Step(msgspec.Struct, frozen=True):
    """`send` a command, `wait`, or it is over: `done` (with what is reached) or `failed` (with why)."""

    what: Literal["send", "wait", "done", "failed"]
    command: Command | None = None
    why: str = ""


def next_step(slots: Slots, state: ImageState, version: str, goal: Goal, sent: Collection[Command]) -> Step:
    """The next step towards `goal`; `sent` are the commands that were sent in this attempt and are not to be repeated."""
    if slots.active == version:
        return _active(slots, state, version, goal, sent)
    if state.download in ("REQUESTED", "STARTED"):
        return Step("wait", why="loading")
    if version in slots.valid:
        return _loaded(state, goal, sent)
    return _absent(state, sent)


def _active(slots: Slots, state: ImageState, version: str, goal: Goal, sent: Collection[Command]) -> Step:
    if goal != "commit" or slots.committed == version:
        return Step("done", why=_REACHED[goal])
    if "commit" not in sent:
        return Step("send", "commit")
    return Step("failed", why=state.trouble) if state.image == "COMMIT_ABORTED" else Step("wait", why="committing")


def _loaded(state: ImageState, goal: Goal, sent: Collection[Command]) -> Step:
    if goal == "load":
        return Step("done", why=_REACHED[goal])
    if "activate" not in sent:
        return Step("wait", why="activating") if state.image == "ACTIVATING" else Step("send", "activate")
    if state.image == "ACTIVATION_ABORTED":
        return Step("failed", why=state.trouble)
    return Step("wait", why="activating: the ONU restarts with it")


def _absent(state: ImageState, sent: Collection[Command]) -> Step:
    if "download" not in sent:
        return Step("send", "download")  # what an earlier attempt left behind is no reason not to try
    if state.trouble:
        return Step("failed", why=state.trouble)
    return Step("wait", why="loading")
