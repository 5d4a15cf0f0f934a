"""From a request to an administrative method: known methods, checked parameters, an audit record for each call."""

from __future__ import annotations

import difflib
import inspect
import typing
from typing import TYPE_CHECKING, Any, Final

import msgspec

from dotmac_isp.plugins.core.audit import acting

from ._administration import Administration
from ._errors import BadRequestError
from ._who import Who, tenant_of

if TYPE_CHECKING:
    from ._peers import Peer
    from ._who import Progress
    from ._wire import Request

__all__ = ["METHODS", "Control"]


class _Method:
    """One administrative method, and what its parameters must be, from its own signature."""

    def __init__(self, name: str) -> None:
        self.name: Final = name
        function = getattr(Administration, name)
        hints = typing.get_type_hints(function)
        fields: list[Any] = []
        for parameter in list(inspect.signature(function).parameters.values())[2:]:
            kind = hints[parameter.name]
            required = parameter.default is inspect.Parameter.empty
            fields.append((parameter.name, kind) if required else (parameter.name, kind, parameter.default))
        self._shape: Final = msgspec.defstruct(
            f"parameters_of_{name}", fields, kw_only=True, forbid_unknown_fields=True
        )

    def check(self, params: dict[str, Any]) -> dict[str, Any]:
        """The parameters as the method takes them. Raises `BadRequestError`."""
        try:
            return msgspec.structs.asdict(msgspec.convert(params, self._shape))
        except msgspec.ValidationError as error:
            names = ", ".join(self._shape.__struct_fields__) or "none"
            raise BadRequestError(f"{self.name}: {error}", remedy=f"Its parameters are: {names}") from None


#: Every method by its name on the wire, which is the command's; `list` would hide the type inside the class.
METHODS: Final = {
    {"inventory": "list"}.get(name, name): _Method(name)
    for name, function in vars(Administration).items()
    if not name.startswith("_") and inspect.iscoroutinefunction(function)
}


class Control:
    """Answers requests of the control socket, and of the process itself where no host runs."""

    def __init__(self, administration: Administration) -> None:
        self._administration: Final = administration

    async def answer(self, request: Request, peer: Peer, progress: Progress) -> Any:
        """Do what is asked for. Raises what stands in the way; either way there is an audit record with the caller's uid."""
        method = METHODS.get(request.method)
        if method is None:
            close = difflib.get_close_matches(request.method, METHODS, n=1)
            remedy = f"Did you mean {close[0]!r}?" if close else f"There are: {', '.join(METHODS)}"
            raise BadRequestError(f"there is no method {request.method[:80]!r}", remedy=remedy)
        params = method.check(request.params)
        who = Who(peer.uid, progress)
        try:
            with acting(who.name):
                answer = await getattr(self._administration, method.name)(who, **params)
        except BaseException as error:
            await self._audit(method.name, params, who, f"failed: {type(error).__name__}")
            raise
        await self._audit(method.name, params, who, "done")
        return answer

    async def _audit(self, method: str, params: dict[str, Any], who: Who, outcome: str) -> None:
        """Names only: what a setting is set to, or a method called with, may be confidential."""
        manager = self._administration.manager
        if not manager.running:
            return  # the host is going down and its trail is closed
        about = [str(params["method"])] if method == "call" else sorted(params.get("settings") or ())
        try:
            tenant_id = tenant_of(params.get("tenant"))
        except ValueError:
            tenant_id = None
        manager.audit.record(
            f"control {method}",
            outcome,
            detail=f"by {who.name}{': ' if about else ''}{', '.join(about)}",
            plugin_id=params.get("plugin_id") or "",
            tenant_id=tenant_id,
            user_id=who.name,
        )
        await manager.audit.settle()
