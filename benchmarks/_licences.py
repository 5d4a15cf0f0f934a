"""The licence check on the call path, after the first verification, against verifying the token for every call with PyJWT.

A plugin whose manifest demands a licence with a feature, a licence folder with one token and one key. What the gate asks for each call
is asked in a loop; the loop itself is taken off. The figure to look at is the absolute one in the notes (goal: at most 0.2 µs).
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from dotmac_isp.plugins.core.discovery import Feature, Manifest
from dotmac_isp.plugins.core.licensing import Licence, SignedLicences, generate_key, issue_licence
from dotmac_isp.plugins.core.model import InstanceRef

from ._measure import Figure, Sides

__all__ = ["figures"]

ROUNDS = 41
CALLS = 20_000
_THEIRS = 50
GOAL_US = 0.2
_REF = InstanceRef("voltha_integration", "tenant_1")
_OPERATION = "provision_olt"


def figures() -> list[Figure]:
    private, public = generate_key()
    now = int(time.time())
    licence = Licence(
        id="L-1",
        vendor="Acme",
        licensee="An ISP",
        plugin=_REF.plugin_id,
        issued_at=now,
        not_before=now,
        expires_at=now + 86_400,
        tenants=("tenant_1",),
        features=("olt-pro",),
    )
    token = issue_licence(licence, private_key_pem=private, key_id="acme-1")
    manifest = Manifest(
        id=_REF.plugin_id,
        name="x",
        version="1.0",
        licence="required",
        features={"olt": Feature(methods=(_OPERATION,), licence="olt-pro")},
    )
    with tempfile.TemporaryDirectory() as folder:
        keys = Path(folder) / "licences" / "keys"
        keys.mkdir(parents=True)
        (keys / "acme-1.pem").write_bytes(public)
        (keys.parent / "one.jwt").write_text(token, encoding="ascii")
        book = SignedLicences(Path(folder), manifest_of=lambda _: manifest)
        if book.refuse_call(_REF, _OPERATION) is not None or book.refuse_call(_REF, "") is not None:
            raise RuntimeError("the licence does not cover what is measured")
        sides = _sides(book, token, public)
    ours = statistics.median(sides.ours)
    return [
        Figure(
            name="licence check",
            what="licence check on the call path",
            against="PyJWT verifying the token",
            unit="us",
            sides=sides,
            notes={"goal": f"at most {GOAL_US} us: {'met' if ours <= GOAL_US else 'MISSED'} with {ours:.3f} us"},
        )
    ]


def _sides(book: SignedLicences, token: str, public: bytes) -> Sides:
    key = load_pem_public_key(public)
    if not isinstance(key, Ed25519PublicKey):
        raise TypeError(key)
    took_ours, took_theirs = [], []
    check, ref, operation = book.refuse_call, _REF, _OPERATION
    for _ in range(ROUNDS + 1):  # the first warms up
        started = time.perf_counter()
        for _ in range(CALLS):
            pass
        empty = time.perf_counter() - started
        started = time.perf_counter()
        for _ in range(CALLS):
            check(ref, operation)
        middle = time.perf_counter()
        for _ in range(_THEIRS):
            jwt.decode(token, key, algorithms=["EdDSA"])
        ended = time.perf_counter()
        took_ours.append((middle - started - empty) / CALLS * 1e6)
        took_theirs.append((ended - middle) / _THEIRS * 1e6)
    return Sides(tuple(took_ours[1:]), tuple(took_theirs[1:]))
