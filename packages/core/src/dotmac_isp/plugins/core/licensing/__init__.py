"""Whether a plugin's licence covers what is asked (design, decision 7): at the gate for every call, and before an instance activates.

Plugins whose manifest demands no licence (community plugins) need none. Licences are tokens signed with Ed25519, verified without a
network against the vendors' public keys. Verifying needs the extra `licences`; nothing of it loads before a plugin demands a licence.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from ._protocol import CommunityLicences, LicenceBook, LicenceState

if TYPE_CHECKING:
    from ._clock import LicenceClock
    from ._folder import LicenceFolder, install_licence
    from ._keys import KeyRing, VendorKey, generate_key
    from ._licence import Licence, LicenceRefusedError, licence_facts
    from ._signed import SignedLicences
    from ._tokens import Inspection, inspect_licence, issue_licence, verify_licence

__all__ = [
    "CommunityLicences",
    "Inspection",
    "KeyRing",
    "Licence",
    "LicenceBook",
    "LicenceClock",
    "LicenceFolder",
    "LicenceRefusedError",
    "LicenceState",
    "SignedLicences",
    "VendorKey",
    "generate_key",
    "inspect_licence",
    "install_licence",
    "issue_licence",
    "licence_facts",
    "verify_licence",
]

_HOMES: Final = {
    "LicenceClock": "_clock",
    "LicenceFolder": "_folder",
    "install_licence": "_folder",
    "KeyRing": "_keys",
    "VendorKey": "_keys",
    "generate_key": "_keys",
    "Licence": "_licence",
    "LicenceRefusedError": "_licence",
    "licence_facts": "_licence",
    "SignedLicences": "_signed",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES.get(name, '_tokens')}"), name)
    globals()[name] = value
    return value
