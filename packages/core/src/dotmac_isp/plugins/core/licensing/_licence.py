"""A licence as a value, and what it covers; pure."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec

from ..discovery._manifest import in_range
from ..errors import LicenceError
from ..model import tenant_label

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["Code", "Licence", "LicenceRefusedError", "day_of", "licence_facts", "refusal"]

Code = Literal[
    "too long",
    "malformed",
    "truncated",
    "not signed",
    "algorithm",
    "unknown key",
    "other key",
    "altered",
    "claims",
    "revoked",
    "other plugin",
    "other version",
    "other tenant",
    "not yet valid",
    "expired",
    "feature",
    "limit",
    "missing",
    "not verifiable",
]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Seconds = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799)]  # the end of the year 9999
Amount = Annotated[int, msgspec.Meta(ge=0)]


#: How far the vendor's clock and this machine's may differ, seconds.
_SKEW: Final = 300


class LicenceRefusedError(LicenceError):
    """A licence that does not count; `code` says why in a word."""

    def __init__(self, code: Code, message: str, *, remedy: str | None = None) -> None:
        self.code: Final = code
        super().__init__(message, remedy=remedy)


class Licence(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a vendor allows: the claims of a token. Times are Unix times in seconds; both ends of the validity are in it.

    In the token the fields have JWT's names where there is one (`jti`, `iss`, `sub`, `iat`, `nbf`, `exp`). A field that is not known
    makes the token invalid: it might be a restriction that would not be kept.
    """

    id: Name = msgspec.field(name="jti")
    vendor: Name = msgspec.field(name="iss")
    #: Whom it was given to.
    licensee: Name = msgspec.field(name="sub")
    plugin: Name
    issued_at: Seconds = msgspec.field(name="iat")
    not_before: Seconds = msgspec.field(name="nbf")
    expires_at: Seconds = msgspec.field(name="exp")
    #: Seconds after `expires_at` in which the plugin still works, and says everywhere that it does so on borrowed time.
    grace: Amount = 0
    #: PEP 440 range of the plugin's versions; empty: all.
    versions: str = ""
    #: Tenant ids; `-` is the system tenant, `*` every tenant.
    tenants: tuple[Name, ...]
    #: Features beyond the plugin itself (a manifest's `features.….licence`); `*` is all.
    features: tuple[Name, ...] = ()
    #: The most of something over all tenants together: `devices`, `instances`, `events_per_day`, …; what is not named has no limit.
    limits: dict[str, Amount] = {}

    @property
    def begins_at(self) -> int:
        """From when on it counts: not before it was issued, whatever the clock says (clocks may differ by five minutes)."""
        return max(self.not_before, self.issued_at - _SKEW)

    @property
    def ends_at(self) -> int:
        """When it stops, grace included."""
        return self.expires_at + self.grace

    def covers_tenant(self, tenant_id: str | None) -> bool:
        """Whether it was given for this tenant."""
        return "*" in self.tenants or tenant_label(tenant_id) in self.tenants

    def covers_feature(self, feature: str) -> bool:
        """Whether it has this feature."""
        return not feature or "*" in self.features or feature in self.features


def refusal(
    licence: Licence,
    *,
    plugin_id: str,
    version: str,
    tenant_id: str | None,
    feature: str,
    now: float,
    revoked: Collection[str],
) -> LicenceRefusedError | None:
    """Why the licence does not cover this; `None`: it does."""
    name = f"licence {licence.id}"
    if licence.id in revoked:
        return LicenceRefusedError("revoked", f"{name} was revoked", remedy=f"Ask {licence.vendor} for another one")
    if licence.plugin != plugin_id:
        return LicenceRefusedError("other plugin", f"{name} is for the plugin {licence.plugin}, not for {plugin_id}")
    if not in_range(version, licence.versions):
        text = f"{name} covers the versions {licence.versions} of {plugin_id}, and {version} is installed"
        return LicenceRefusedError("other version", text)
    if not licence.covers_tenant(tenant_id):
        text = f"{name} is for {_tenants(licence)}, not for tenant {tenant_label(tenant_id)}"
        return LicenceRefusedError("other tenant", text)
    if not licence.covers_feature(feature):
        has = ", ".join(licence.features) or "none"
        return LicenceRefusedError("feature", f"{name} does not have the feature {feature!r} (it has: {has})")
    return _out_of_time(licence, now)


def _out_of_time(licence: Licence, now: float) -> LicenceRefusedError | None:
    if now < licence.begins_at:
        text = f"licence {licence.id} is not valid before {day_of(licence.begins_at)}"
        return LicenceRefusedError("not yet valid", text, remedy="Is this machine's clock right?")
    if now > licence.ends_at:
        grace = f", and its grace period on {day_of(licence.ends_at)}" if licence.grace else ""
        return LicenceRefusedError(
            "expired",
            f"licence {licence.id} expired on {day_of(licence.expires_at)}{grace}",
            remedy=f"Ask {licence.vendor} for a new one",
        )
    return None


def _tenants(licence: Licence) -> str:
    named = ", ".join(licence.tenants[:5]) + (", …" if len(licence.tenants) > 5 else "")  # noqa: PLR2004 - enough for a sentence
    return f"tenant {named}" if len(licence.tenants) == 1 else f"the tenants {named}"


def day_of(at: float) -> str:
    """A time for people, in UTC."""
    try:
        moment = dt.datetime.fromtimestamp(at, tz=dt.UTC)
    except (OverflowError, ValueError):
        return "a day after the year 9999"
    return moment.strftime("%Y-%m-%d %H:%M UTC")


def decode_claims(payload: bytes) -> Licence:
    """The claims of a token whose signature is right. Raises `LicenceRefusedError` that says what is wrong with them."""
    try:
        licence = msgspec.json.decode(payload, type=Licence)
        in_range("0", licence.versions)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        text = str(error).replace("`", "'")
        raise LicenceRefusedError("claims", f"the licence says something that cannot be: {text}") from None
    except ValueError:
        raise LicenceRefusedError("claims", "the licence's 'versions' is no version range (PEP 440)") from None
    if not licence.not_before <= licence.expires_at:
        raise LicenceRefusedError("claims", "the licence ends before it begins")
    return licence


def as_claims(licence: Licence) -> dict[str, Any]:
    """The claims that a token carries."""
    plain: dict[str, Any] = msgspec.to_builtins(licence)
    return plain


def licence_facts(licence: Licence) -> dict[str, str]:
    """What a licence says, for people; what it does not say is left out."""
    facts = {
        "licence": licence.id,
        "vendor": licence.vendor,
        "licensee": licence.licensee,
        "plugin": f"{licence.plugin} {licence.versions}".strip(),
        "tenants": ", ".join(licence.tenants),
        "features": ", ".join(licence.features),
        "limits": ", ".join(f"{amount} {name.replace('_', ' ')}" for name, amount in licence.limits.items()),
        "begins": day_of(licence.begins_at),
        "ends": day_of(licence.expires_at),
        "grace until": day_of(licence.ends_at) if licence.grace else "",
    }
    return {name: fact for name, fact in facts.items() if fact}
