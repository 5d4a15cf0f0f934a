"""Who programs an OLT's flows: this plugin over gRPC, or a controller over its REST interface. What both can do, as one protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .._follow import Follower
    from .._session import Session
    from ._builder import Place
    from ._service import ServiceConfig
    from ._stored import ServiceKey, StoredService

__all__ = ["Owner"]


class Owner(Protocol):
    """Brings services to an OLT and takes them away. `name` is stored with each service."""

    @property
    def name(self) -> str: ...

    async def require_alone(self, session: Session, place: Place) -> None:
        """Raise `ForeignFlowsError` when somebody else programs this OLT's flows."""

    async def plan(self, session: Session, key: ServiceKey, place: Place, service: ServiceConfig) -> StoredService:
        """The service with what will stand for it; raises `ServiceConflictError`. Claimed in the index in the same step."""

    async def put_in(self, session: Session, item: StoredService, follower: Follower, *, again: bool = False) -> None:
        """Bring it to VOLTHA and see it on the devices; raises what went wrong. Doing it twice changes nothing.

        `again` says that it was there before, so that an ONU that has nothing new to do need not say that it did it.
        """

    async def take_out(self, session: Session, item: StoredService, follower: Follower) -> int:
        """Remove exactly what stands for it and follow that until it is gone; gives how many flows there were."""

    async def release(self, session: Session, item: StoredService) -> int:
        """Give back what it shared with others, and nobody uses any more; gives how many meters that was."""

    async def is_installed(self, session: Session, item: StoredService) -> bool:
        """Whether everything that should stand for it is there."""
