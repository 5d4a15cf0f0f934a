"""The dashboards of all tenants, and the links by which they are shared."""

from __future__ import annotations

import hmac
import secrets
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ..._plain import EventError
from ..._times import span
from ._board import Boards
from ._config import Dashboard, parse_dashboard

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._meta import Meta
    from ..sharing import Change

__all__ = ["Dashboards", "Share"]

_KIND: Final = "dashboard"
_SHARE: Final = "share"
_WEEK: Final = 7 * 86400.0
_LONGEST: Final = 366 * 86400.0
_MOST_SHARES: Final = 500
_MOST: Final = 500


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """A link that shows one dashboard of one tenant, until it expires or is ended."""

    id: str
    tenant: str
    dashboard_id: str
    created_at: float
    expires_at: float


class Dashboards:
    """Use from one event loop."""

    def __init__(self, meta: Meta) -> None:
        self._meta = meta
        self.boards = Boards()
        self._shares = {key: msgspec.convert(value, Share) for _, key, value in meta.list(_SHARE)}

    def create(self, tenant: str, raw: object) -> Dashboard:
        dashboard = parse_dashboard(raw)
        if len(self._meta.list(_KIND, tenant)) >= _MOST:
            raise EventError("dashboard", dashboard.title, f"at most {_MOST} dashboards; delete some")
        self._meta.put(_KIND, tenant, dashboard.id, dashboard)
        return dashboard

    def change(self, tenant: str, dashboard_id: str, raw: object) -> Dashboard | None:
        """Another dashboard under the same id, so that its links go on. `None`: there is none."""
        before = self.get(tenant, dashboard_id)
        if before is None:
            return None
        made = msgspec.structs.replace(parse_dashboard(raw), id=dashboard_id, created_at=before.created_at)
        self._meta.put(_KIND, tenant, dashboard_id, made)
        self.boards.forget(dashboard_id)
        return made

    def get(self, tenant: str, dashboard_id: str) -> Dashboard | None:
        value = self._meta.get(_KIND, tenant, dashboard_id)
        return None if value is None else msgspec.convert(value, Dashboard)

    def list(self, tenant: str) -> Sequence[Dashboard]:
        return [msgspec.convert(value, Dashboard) for _, _, value in self._meta.list(_KIND, tenant)]

    def delete(self, tenant: str, dashboard_id: str) -> bool:
        """Delete it, and end its links."""
        gone = self._meta.delete(_KIND, tenant, dashboard_id)
        if gone:
            self.boards.forget(dashboard_id)
            for share in self.shares(tenant, dashboard_id):
                self.unshare(tenant, share.id)
        return gone

    def heard(self, change: Change) -> None:
        """Another collector changed or deleted a dashboard."""
        self.boards.forget(change.id)

    def heard_link(self, change: Change) -> None:
        """Another collector made or ended a link."""
        value = self._meta.get(_SHARE, change.tenant, change.id)
        if value is None:
            self._shares.pop(change.id, None)
        else:
            self._shares[change.id] = msgspec.convert(value, Share)

    # -- links -------------------------------------------------------------------------------------------------------

    def share(self, tenant: str, dashboard_id: str, expires_in: Any = None) -> tuple[Share, str]:
        """Make a link; its token opens this dashboard and nothing else. Raises `EventError`."""
        seconds = _WEEK if expires_in is None else span(expires_in, "expires_in")
        if seconds > _LONGEST:
            raise EventError("expires_in", expires_in, "at most 366 days")
        if len(self.shares(tenant)) >= _MOST_SHARES:
            raise EventError("share", dashboard_id, f"at most {_MOST_SHARES} links; end some")
        now = time.time()
        made = Share(
            id=secrets.token_hex(16), tenant=tenant, dashboard_id=dashboard_id, created_at=now, expires_at=now + seconds
        )
        self._meta.put(_SHARE, tenant, made.id, made)
        self._shares[made.id] = made
        return made, f"{made.id}.{self._signature(made)}"

    def _signature(self, share: Share) -> str:
        told = "\0".join((share.id, share.tenant, share.dashboard_id, repr(share.expires_at)))
        return self._meta.sign(b"dashboard link", told.encode())

    def shares(self, tenant: str, dashboard_id: str = "") -> Sequence[Share]:
        """The links of a tenant that have not expired."""
        now = time.time()
        for old in [one for one in self._shares.values() if one.tenant == tenant and one.expires_at <= now]:
            self.unshare(tenant, old.id)
        return [one for one in self._shares.values() if one.tenant == tenant and dashboard_id in {"", one.dashboard_id}]

    def unshare(self, tenant: str, share_id: str) -> bool:
        share = self._shares.get(share_id)
        if share is None or share.tenant != tenant:
            return False
        del self._shares[share_id]
        return self._meta.delete(_SHARE, tenant, share_id)

    def opened(self, token: str) -> tuple[str, Dashboard] | None:
        """The tenant and the dashboard that a link's token opens; `None`: nothing (any more)."""
        share_id, _, signature = token.partition(".")
        share = self._shares.get(share_id)
        if share is None or share.expires_at <= time.time():
            return None
        if not hmac.compare_digest(signature.encode(), self._signature(share).encode()):
            return None
        dashboard = self.get(share.tenant, share.dashboard_id)
        return None if dashboard is None else (share.tenant, dashboard)
