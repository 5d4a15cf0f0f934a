"""Where instances live: in the host's process, each call in a task of its own under a fence, or jailed in one of their own (`remote`)."""

from __future__ import annotations

from ._fence import Fence, Running
from ._host import Host, InlineHost
from ._inline import InlineAPI
from ._policy import IsolationFact, IsolationPolicy, IsolationRules, read_isolation
from ._tasks import PluginTaskCrash, TaskKeeper, TaskOwner
from ._told import told
from ._watch import BlockingWatch

__all__ = [
    "BlockingWatch",
    "Fence",
    "Host",
    "InlineAPI",
    "InlineHost",
    "IsolationFact",
    "IsolationPolicy",
    "IsolationRules",
    "PluginTaskCrash",
    "Running",
    "TaskKeeper",
    "TaskOwner",
    "read_isolation",
    "told",
]
