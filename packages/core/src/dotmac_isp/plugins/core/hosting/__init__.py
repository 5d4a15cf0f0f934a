"""Where instances live. Inline so far: in the host's process, each call in a task of its own under a fence."""

from __future__ import annotations

from ._fence import Fence, Running
from ._inline import InlineAPI
from ._tasks import PluginTaskCrash, TaskKeeper, TaskOwner
from ._told import told
from ._watch import BlockingWatch

__all__ = ["BlockingWatch", "Fence", "InlineAPI", "PluginTaskCrash", "Running", "TaskKeeper", "TaskOwner", "told"]
