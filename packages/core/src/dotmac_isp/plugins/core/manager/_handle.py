"""What the host application holds of an instance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..lifecycle import Instance, InstanceStatus
    from ..model import InstanceRef, PluginInfo, PluginState

__all__ = ["PluginHandle"]


class PluginHandle:
    """Calls an instance's public methods through the gate: `await handle.provision_olt("10.0.0.1:9191", "openolt")`.

    It names the (plugin, tenant) pair, not one object, so it stays good over restarts.
    """

    def __init__(self, find: Callable[[], Instance]) -> None:
        self._find: Final = find

    @property
    def ref(self) -> InstanceRef:
        """Which instance this is."""
        return self._find().ref

    @property
    def info(self) -> PluginInfo:
        """What the plugin is, from its manifest."""
        return self._find().plugin.info

    @property
    def state(self) -> PluginState:
        """The instance's state now."""
        return self._find().state

    def status(self) -> InstanceStatus:
        """Everything about the instance now."""
        return self._find().status()

    async def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method by name. Raises what the plugin raised, or a `CallError` of the host."""
        result: Any = self._find().method(method)(*args, **kwargs)
        return await result

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return self._find().method(name)

    def __repr__(self) -> str:
        return f"<PluginHandle {self.ref}>"
