"""The book of a host with plugins that demand a licence."""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING, Final

from ..errors import LicenceError
from ._clock import LicenceClock
from ._folder import LicenceFolder
from ._keys import REMEDY, KeyRing
from ._licence import LicenceRefusedError, day_of, refusal
from ._protocol import LicenceState
from ._tokens import inspect_licence, read_token
from ._usage import Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from pathlib import Path

    from ..discovery import Manifest
    from ..model import InstanceRef
    from ._licence import Licence

__all__ = ["SignedLicences"]

_LOG: Final = logging.getLogger("dotmac.licences")
#: How long a decision may be kept at most, seconds: a clock that jumps ahead is noticed after this.
_KEEP: Final = 60.0
#: How long before its end a licence is spoken of, seconds.
_EARLY: Final = 30 * 86_400.0
_FOREVER: Final = float("inf")
#: Of several licences that do not cover something, the one that comes nearest is named: later is nearer.
_NEARNESS: Final = ("other plugin", "revoked", "other version", "other tenant", "not yet valid", "expired", "feature")


class SignedLicences:
    """Decides by the tokens in a host's `licences/`.

    :param manifest_of: the manifest of an instance's plugin (it says what demands a licence); `None`: not known, nothing is demanded.
    :param peers: the tenants for which a plugin is loaded now, for the limit `instances`.
    """

    def __init__(
        self,
        home: Path,
        *,
        manifest_of: Callable[[InstanceRef], Manifest | None],
        peers: Callable[[str], Collection[str | None]] = lambda _: (),
        clock: LicenceClock | None = None,
    ) -> None:
        self._folder: Final = LicenceFolder(home)
        self._manifest_of: Final = manifest_of
        self._peers: Final = peers
        self._clock: Final = clock or LicenceClock()
        remembered = self._folder.state()
        seen = remembered.get("last_seen")
        if isinstance(seen, int | float):
            self._clock.at_least(seen)
        self._usage: Final = Usage(remembered.get("today"))
        #: Keys that packages brought along, by package.
        self._brought: dict[str, tuple[Mapping[str, bytes], frozenset[str]]] = {}
        self._fingerprint: object = None
        self._kept: dict[tuple[str, str | None, str], tuple[float, str | None]] = {}
        self._told: frozenset[str] = frozenset()
        self._remembered_at = monotonic()
        self._read()

    # what the host asks

    def refuse_call(self, instance: InstanceRef, operation: str) -> str | None:
        kept = self._kept.get((instance.plugin_id, instance.tenant_id, operation))
        if kept is not None and monotonic() < kept[0]:
            return kept[1]
        return self._decide(instance, operation)

    def refuse_activation(self, instance: InstanceRef) -> str | None:
        if not self._demands(instance, ""):
            return None
        if self._folder.fingerprint() != self._fingerprint:
            self._read()
        why = self.refuse_call(instance, "")
        if why is not None:
            return why
        others = [tenant for tenant in self._peers(instance.plugin_id) if tenant != instance.tenant_id]
        licence = self._best(instance, "instances")
        if licence is None or (most := licence.limits.get("instances")) is None:
            return None
        running = 1 + sum(licence.covers_tenant(tenant) for tenant in others)
        return None if running <= most else _over(licence, "instances", running, most)

    def count(self, instance: InstanceRef, limit: str, amount: int) -> str | None:
        """Count against a limit, such as `devices` (how many there are now) or `events_per_day` (how many more).

        Gives the sentence that says that there is no room, and counts nothing then. What no licence limits is not counted.
        """
        licence = self._best(instance, limit)
        if licence is None or (most := licence.limits.get(limit)) is None:
            return None
        who, now = (instance.plugin_id, instance.tenant_id), self._clock.now()
        total = self._usage.after(licence.id, limit, who, amount, now)
        if total > most:
            return _over(licence, limit, total, most)
        self._usage.take(licence.id, limit, who, amount, now)
        return None

    def forget(self, instance: InstanceRef) -> None:
        """The instance is unloaded: its devices count no more."""
        self._usage.forget((instance.plugin_id, instance.tenant_id))

    def state_of(self, instance: InstanceRef) -> LicenceState | None:
        """How the instance's licence stands; `None`: it needs none."""
        if not self._demands(instance, ""):
            return None
        why = self.refuse_call(instance, "")
        if why is not None:
            return LicenceState(why)
        licence = self._best(instance, "")
        return None if licence is None else LicenceState(*self._standing(licence))

    # what changes

    def bring_keys(self, source: str, keys: Mapping[str, bytes], plugins: Collection[str]) -> None:
        """Keys that a package brings along; they count for its own plugins only."""
        entry = (dict(keys), frozenset(plugins))
        if self._brought.get(source) != entry:
            self._brought[source] = entry
            self._read()

    def refresh(self, report: Callable[[str], None] = lambda _: None) -> bool:
        """Look at the folder and the clock: whether another decision may be due. What an operator should know is told once."""
        changed = self._folder.fingerprint() != self._fingerprint
        if changed:
            self._read()
        told = frozenset(self.problems())
        for text in sorted(told - self._told):
            _LOG.warning("%s", text)
            report(text)
        changed = changed or told != self._told
        self._told = told
        if changed:
            self._kept = {}
        if monotonic() - self._remembered_at > _KEEP:
            self.remember()
        return changed

    def remember(self) -> None:
        """Keep the time and today's counts for the next run."""
        self._remembered_at = monotonic()
        if not self._licences and not self._refused:
            return
        now = self._clock.now()
        try:
            self._folder.remember({"last_seen": int(now), "today": self._usage.remembered(now)})
        except OSError as error:
            _LOG.error("what was counted against licences cannot be kept: %s", error)

    def problems(self) -> Iterator[str]:
        """What an operator should know: licences that end soon or have ended, tokens and keys that do not count, a clock set back."""
        if self._trouble is not None:
            yield self._trouble
        yield from self._keys.problems
        yield from (f"{path} does not count: {error}" for path, error in self._refused.items())
        if self._clock.behind:
            yield (
                "this machine's clock was set back; licences go by the time that it showed before. "
                f"Set it right; if it ran ahead before, remove {self._folder.path / 'state.json'} while no host runs"
            )
        now = self._clock.now()
        for licences in self._licences.values():
            for one in licences:
                close = now < one.begins_at or one.expires_at - _EARLY <= now
                if close and not any(_replaces(other, one) for other in licences):
                    yield f"licence {one.id} for {one.plugin}: {self._standing(one)[0]}"

    # inside

    def _read(self) -> None:
        self._fingerprint = self._folder.fingerprint()
        self._licences: dict[str, list[Licence]] = {}
        self._refused: dict[Path, LicenceRefusedError] = {}
        self._refused_for: dict[str, LicenceRefusedError] = {}
        self._revoked: frozenset[str] = frozenset()
        self._kept = {}
        self._keys, self._trouble = self._trusted()
        if self._trouble is not None:
            return
        for path, token in self._folder.tokens().items():
            try:
                licence = read_token(token, self._keys)
            except LicenceRefusedError as error:
                self._refused[path] = error
                self._blame(token, error)
            else:
                self._licences.setdefault(licence.plugin, []).append(licence)

    def _trusted(self) -> tuple[KeyRing, str | None]:
        """The keys that count, or why none does."""
        try:
            import cryptography.exceptions  # noqa: F401, PLC0415 - whether they are there
            import jwt  # noqa: F401, PLC0415
        except ImportError as error:
            return KeyRing(), f"licences cannot be verified: {error.name} is not installed. {REMEDY}"
        ring = self._folder.keys()
        for source, (keys, plugins) in self._brought.items():
            for key_id, data in keys.items():
                try:
                    ring.add(key_id, data, source=source, plugins=plugins)
                except LicenceError as error:
                    ring.problems.append(f"a key of {source} is not used: {error}")
        try:
            self._revoked, keys_revoked = self._folder.revoked()
        except LicenceError as error:
            return ring, str(error)
        ring.forget(keys_revoked)
        return ring, None

    def _blame(self, token: str, error: LicenceRefusedError) -> None:
        """Remember for which plugin a token that does not count was meant, to say it where it is missed."""
        try:
            self._refused_for[inspect_licence(token).licence.plugin] = error
        except LicenceRefusedError:
            return

    def _demands(self, instance: InstanceRef, operation: str) -> list[str]:
        """The features that a licence must have for this: empty text for the plugin itself; an empty list: it needs no licence."""
        manifest = self._manifest_of(instance)
        if manifest is None:
            return []
        wanted = [""] if manifest.licence == "required" else []
        return wanted + [
            one.licence for one in manifest.features.values() if one.licence is not None and operation in one.methods
        ]

    def _decide(self, instance: InstanceRef, operation: str) -> str | None:
        now = self._clock.now()
        until, why = now + _KEEP, None
        wanted = self._demands(instance, operation)
        for feature in wanted:
            found = self._refusal(instance, feature, now)
            why = str(found) if found is not None else why
        for licence in self._licences.get(instance.plugin_id, ()):
            edges = (licence.begins_at, licence.expires_at + 1, licence.ends_at + 1)
            until = min([until, *(edge for edge in edges if edge > now)])
        self._kept[instance.plugin_id, instance.tenant_id, operation] = monotonic() + (until - now), why
        return why

    def _refusal(self, instance: InstanceRef, feature: str, now: float) -> LicenceError | None:
        """Why no licence covers the feature; `None`: one does."""
        if self._trouble is not None:
            return LicenceRefusedError("not verifiable", f"{instance.plugin_id} needs a licence, and {self._trouble}")
        reasons: list[LicenceRefusedError] = []
        for licence in self._licences.get(instance.plugin_id, ()):
            why = self._refusal_of(licence, instance, feature, now)
            if why is None:
                return None
            reasons.append(why)
        if reasons:
            return max(reasons, key=lambda one: _NEARNESS.index(one.code))
        blamed = self._refused_for.get(instance.plugin_id)
        if blamed is not None:
            return LicenceRefusedError(blamed.code, f"the licence for {instance.plugin_id} does not count: {blamed}")
        what = f"the feature {feature!r} of {instance.plugin_id}" if feature else instance.plugin_id
        text = f"{what} needs a licence, and there is none for it"
        return LicenceRefusedError("missing", text, remedy=f"Install one into {self._folder.path}")

    def _refusal_of(
        self, licence: Licence, instance: InstanceRef, feature: str, now: float
    ) -> LicenceRefusedError | None:
        manifest = self._manifest_of(instance)
        return refusal(
            licence,
            plugin_id=instance.plugin_id,
            version="0" if manifest is None else manifest.version,
            tenant_id=instance.tenant_id,
            feature=feature,
            now=now,
            revoked=self._revoked,
        )

    def _best(self, instance: InstanceRef, limit: str) -> Licence | None:
        """Of the licences that cover the instance now, the one with the most room; without a limit to judge by, the one that ends last."""
        now = self._clock.now()
        fitting = [
            one
            for one in self._licences.get(instance.plugin_id, ())
            if self._refusal_of(one, instance, "", now) is None
        ]
        return max(fitting, key=lambda one: (one.limits.get(limit, _FOREVER), one.ends_at), default=None)

    def _standing(self, licence: Licence) -> tuple[str, bool]:
        now = self._clock.now()
        if now < licence.begins_at:
            return f"begins on {day_of(licence.begins_at)}", False
        if now > licence.ends_at:
            return f"expired on {day_of(licence.expires_at)}: what needs it is off", True
        if now > licence.expires_at:
            return (
                f"expired on {day_of(licence.expires_at)}; works in its grace period until {day_of(licence.ends_at)}",
                True,
            )
        return f"licensed until {day_of(licence.expires_at)}", False


def _replaces(other: Licence, one: Licence) -> bool:
    """Whether nobody needs `one` any more when it ends."""
    if other.ends_at <= one.ends_at or other.begins_at > one.ends_at:
        return False
    tenants = "*" in other.tenants or set(one.tenants) <= set(other.tenants)
    return tenants and ("*" in other.features or set(one.features) <= set(other.features))


def _over(licence: Licence, limit: str, total: int, most: int) -> str:
    return f"licence {licence.id} allows {most} {limit.replace('_', ' ')}, and this would make {total}; ask {licence.vendor} for more"
