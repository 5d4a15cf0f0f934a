"""A vendor with keys, and what it issues."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from dotmac_isp.plugins.core.licensing import KeyRing, Licence, generate_key, issue_licence

if TYPE_CHECKING:
    from pathlib import Path

DAY = 86_400


class Issuer:
    """A vendor: signs licences, and puts its public key where a host finds it."""

    def __init__(self, key_id: str = "acme-1") -> None:
        self.key_id = key_id
        self.private, self.public = generate_key()
        self.now = int(time.time())

    def licence(self, **changes: Any) -> Licence:
        base = Licence(
            id="L-1",
            vendor="Acme",
            licensee="An ISP",
            plugin="one",
            issued_at=self.now - DAY,
            not_before=self.now - DAY,
            expires_at=self.now + 100 * DAY,
            tenants=("t",),
        )
        return msgspec.structs.replace(base, **changes)

    def issue(self, **changes: Any) -> str:
        return issue_licence(self.licence(**changes), private_key_pem=self.private, key_id=self.key_id)

    def trust_in(self, home: Path) -> None:
        folder = home / "licences" / "keys"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self.key_id}.pem").write_bytes(self.public)

    def put(self, home: Path, name: str = "one.jwt", **changes: Any) -> Path:
        path = home / "licences" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.issue(**changes))
        return path


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def keys(issuer: Issuer) -> KeyRing:
    ring = KeyRing()
    ring.add(issuer.key_id, issuer.public, source="acme")
    return ring
