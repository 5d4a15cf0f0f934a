"""What Vault, or the way to it, can answer instead of a secret. No text of these holds a token or a value."""

from __future__ import annotations

from typing import Final

__all__ = ["Refused", "Unavailable", "VaultFailure", "worth_retrying"]

_FORBIDDEN: Final = 403
_NOT_FOUND: Final = 404
#: Statuses of which Vault's documentation ("HTTP Status Codes", "/sys/health") says that another try may succeed:
#: not consistent yet, too many requests or standby, DR secondary, performance standby, internal error, third party, sealed.
_PASSING: Final = frozenset({412, 429, 472, 473, 500, 501, 502, 503, 504})


class VaultFailure(Exception):  # noqa: N818 - its two kinds are a state and an answer
    """The base of both."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message: Final = message
        self.retry_after: Final = retry_after


class Unavailable(VaultFailure):
    """Vault cannot answer now: not reached, sealed, standby, overloaded."""


class Refused(VaultFailure):
    """Vault answered no, and will say the same again."""

    def __init__(self, status: int, path: str, reasons: tuple[str, ...]) -> None:
        self.status: Final = status
        self.path: Final = path
        self.reasons: Final = reasons
        said = "; ".join(" ".join(one.split()) for one in reasons) or "no reason given"
        super().__init__(f"Vault answered {status} for {path}: {said}")

    @property
    def forbidden(self) -> bool:
        return self.status == _FORBIDDEN

    @property
    def missing(self) -> bool:
        """Nothing lies there. Vault says 404 also where nothing is mounted, or for KV 1 paths on KV 2; that is no such answer."""
        wrong = ("no handler for route", "route entry not found", "versioned k/v secrets engine", "unsupported path")
        return self.status == _NOT_FOUND and not any(sign in one.lower() for one in self.reasons for sign in wrong)

    @classmethod
    def passing(cls, status: int) -> bool:
        """Whether the status tells of a state that passes."""
        return status in _PASSING


def worth_retrying(error: BaseException) -> bool:
    """Whether to ask again."""
    return isinstance(error, Unavailable)
