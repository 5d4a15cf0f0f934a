"""What the reference host says at its start: what runs, what does not, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dotmac_isp.plugins.core.model import tenant_label

from ._text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from dotmac_isp.plugins.core.model import InstanceRef

    from ._administration import Administration
    from ._bring_up import Outcome

__all__ = ["StartReport"]

_WORDS: Final = {"up": "started", "off": "off", "down": "not started"}
#: Above so many instances only those that do not run are named, and the others counted.
_MOST: Final = 50
_NAMED: Final = 5


class StartReport:
    """Writes lines through `say`."""

    def __init__(self, administration: Administration, socket: Path, say: Callable[[str], None]) -> None:
        self._administration: Final = administration
        self._socket: Final = socket
        self._say: Final = say
        self._told = 0

    def begin(self) -> None:
        """The host itself, and what cannot be used of what is installed."""
        facts = self._administration.facts
        manager = self._administration.manager
        self._say(f"dotmac-plugins host, pid {facts.pid}, home {facts.home}")
        self._say(f"control   {self._socket}")
        if facts.metrics:
            self._say(f"metrics   {facts.metrics}")
        if facts.environment:
            self._say(f"scenario  {facts.environment}")
        self._say(f"policy    {manager.inventory().policy}")
        for problem in manager.problems:
            self._say(clean(f"{'problem' if problem.severity == 'error' else 'note':<9} {problem}"))

    def tell(self, outcome: Outcome) -> None:
        """One instance."""
        self._told += outcome.result == "up"
        if outcome.result == "up" and self._told > _MOST:
            return
        where = f"{outcome.plugin_id or 'every plugin'}@{tenant_label(outcome.tenant_id)}"
        what = outcome.version if outcome.result == "up" else f"{outcome.state}: {outcome.reason}"
        self._say(clean(f"{_WORDS[outcome.result]:<12} {where}  {what}"))

    def end(self, outcomes: list[Outcome], missing: Sequence[InstanceRef] = ()) -> None:
        """The sum. `missing`: what takes long, and is started while the host runs."""
        if missing:
            named = ", ".join(map(str, missing[:_NAMED])) + (" …" if len(missing) > _NAMED else "")
            self._say(clean(f"starting     {named}: takes long; the host does not wait for it"))
        tenants = {one.tenant_id for one in outcomes}
        if not tenants:
            folder = self._administration.manager.home / "tenants"
            self._say(f"no tenant has a file in {folder}, so nothing was started")
        up = sum(one.result == "up" for one in outcomes)
        down = sum(one.result == "down" for one in outcomes)
        off = sum(one.result == "off" for one in outcomes)
        self._say(f"ready: {up} started, {down} not started, {off} off, for {len(tenants)} tenants")
