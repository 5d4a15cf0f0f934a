"""Tokens: what counts as a licence, and how everything else is refused."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from dotmac_isp.plugins.core.errors import LicenceError
from dotmac_isp.plugins.core.licensing import (
    KeyRing,
    LicenceRefusedError,
    generate_key,
    inspect_licence,
    issue_licence,
    verify_licence,
)
from dotmac_isp.plugins.core.licensing._licence import as_claims

if TYPE_CHECKING:
    from pathlib import Path

jwt = pytest.importorskip("jwt", reason="PyJWT is not installed (extra licences)")

DAY = 86_400


def test_a_licence_that_covers_what_is_asked_is_read_with_everything_in_it(issuer: Any, keys: KeyRing) -> None:
    token = issuer.issue(features=("olt",), limits={"devices": 5}, grace=DAY, versions=">=1,<2", tenants=("t", "-"))
    for tenant in ("t", None):
        licence = verify_licence(token, keys, plugin_id="one", version="1.5", tenant_id=tenant, feature="olt")
        assert licence == issuer.licence(
            features=("olt",), limits={"devices": 5}, grace=DAY, versions=">=1,<2", tenants=("t", "-")
        )
    seen = inspect_licence(token)
    assert (seen.algorithm, seen.key_id, seen.licence) == ("EdDSA", "acme-1", licence)


def test_another_jwt_library_reads_what_we_issue(issuer: Any) -> None:
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    claims = jwt.decode(issuer.issue(), load_pem_public_key(issuer.public), algorithms=["EdDSA"])
    assert (claims["iss"], claims["sub"], claims["jti"], claims["plugin"]) == ("Acme", "An ISP", "L-1", "one")


def ec_key() -> Any:
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def ed448_key() -> Any:
    from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey

    return Ed448PrivateKey.generate()


def part(data: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(data).encode()).rstrip(b"=").decode()


def refused(token: str, keys: KeyRing, **asked: Any) -> LicenceRefusedError:
    asked = {"plugin_id": "one", "version": "1.0", "tenant_id": "t", **asked}
    with pytest.raises(LicenceRefusedError) as caught:
        verify_licence(token, keys, **asked)
    return caught.value


def test_another_algorithm_is_refused(issuer: Any, keys: KeyRing) -> None:
    claims = as_claims(issuer.licence())
    # The classic: the public key, which everybody has, as the secret of an HMAC.
    hmac = f"{part({'alg': 'HS256', 'kid': 'acme-1'})}.{part(claims)}.{'A' * 43}"
    es256 = jwt.encode(claims, ec_key(), algorithm="ES256", headers={"kid": "acme-1"})
    for token, name in ((hmac, "HS256"), (es256, "ES256")):
        error = refused(token, keys)
        assert error.code == "algorithm"
        assert f"signed with '{name}'; only EdDSA (Ed25519) counts" in str(error)


@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE"])
def test_an_unsigned_licence_is_refused(issuer: Any, keys: KeyRing, name: str) -> None:
    token = f"{part({'alg': name, 'kid': 'acme-1'})}.{part(as_claims(issuer.licence()))}."
    error = refused(token, keys)
    assert error.code == "not signed"
    assert "is not signed" in str(error)


def test_a_licence_of_another_key_is_refused(issuer: Any, keys: KeyRing) -> None:
    other = type(issuer)("umbrella-1")
    error = refused(other.issue(), keys)
    assert error.code == "unknown key"
    assert "signed with the key 'umbrella-1', which is not among the trusted ones (acme-1)" in str(error)
    keys.add(other.key_id, other.public, source="umbrella")
    other.key_id = "acme-1"
    error = refused(other.issue(), keys)
    assert error.code == "other key"
    assert "names the key 'acme-1', and was signed with another one, 'umbrella-1'" in str(error)


def test_an_altered_licence_is_refused(issuer: Any, keys: KeyRing) -> None:
    header, payload, signature = issuer.issue().split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "==="))
    claims["limits"] = {"devices": 10**6}
    for token in (
        f"{header}.{part(claims)}.{signature}",
        f"{header}.{payload}.{'B' + signature[1:] if signature[0] != 'B' else 'C' + signature[1:]}",
        f"{part({'alg': 'EdDSA', 'typ': 'dotmac-licence+jwt', 'kid': 'acme-1'})}.{payload}.{signature}",
    ):
        error = refused(token, keys)
        assert error.code == "altered"
        assert "altered after it was signed" in str(error)


def test_every_single_changed_character_is_noticed(issuer: Any, keys: KeyRing) -> None:
    token = issuer.issue()
    for place in range(0, len(token), 7):
        sign = "A" if token[place] != "A" else "B"
        refused(f"{token[:place]}{sign}{token[place + 1 :]}", keys)


@pytest.mark.parametrize(
    ("changes", "asked", "code", "said"),
    [
        ({}, {"tenant_id": "u"}, "other tenant", "is for tenant t, not for tenant u"),
        ({}, {"tenant_id": None}, "other tenant", "not for tenant -"),
        ({}, {"plugin_id": "two"}, "other plugin", "is for the plugin one, not for two"),
        ({"versions": "<1"}, {}, "other version", "covers the versions <1 of one, and 1.0 is installed"),
        ({}, {"feature": "olt"}, "feature", "does not have the feature 'olt' (it has: none)"),
        ({}, {"revoked": {"L-1"}}, "revoked", "licence L-1 was revoked"),
    ],
)
def test_what_the_licence_is_not_for_is_refused(
    issuer: Any, keys: KeyRing, changes: dict[str, Any], asked: dict[str, Any], code: str, said: str
) -> None:
    error = refused(issuer.issue(**changes), keys, **asked)
    assert error.code == code
    assert said in str(error)


def test_time_is_kept_to_the_second_on_both_ends(issuer: Any, keys: KeyRing) -> None:
    begins, ends = issuer.now - DAY, issuer.now + 100 * DAY
    token, graced = issuer.issue(), issuer.issue(grace=DAY)
    for now in (begins, ends):
        assert verify_licence(token, keys, plugin_id="one", tenant_id="t", now=now)
    assert verify_licence(graced, keys, plugin_id="one", tenant_id="t", now=ends + DAY)
    early = refused(token, keys, now=begins - 1)
    assert early.code == "not yet valid"
    assert "is not valid before" in str(early)
    late = refused(token, keys, now=ends + 1)
    assert (late.code, "expired on" in str(late)) == ("expired", True)
    later = refused(graced, keys, now=ends + DAY + 1)
    assert (later.code, "its grace period on" in str(later)) == ("expired", True)


def test_a_licence_does_not_count_before_it_was_issued(issuer: Any, keys: KeyRing) -> None:
    token = issuer.issue(issued_at=issuer.now + DAY, not_before=0)
    assert refused(token, keys, now=issuer.now).code == "not yet valid"
    assert verify_licence(token, keys, plugin_id="one", tenant_id="t", now=issuer.now + DAY - 60)


def test_a_truncated_licence_is_refused_wherever_it_was_cut(issuer: Any, keys: KeyRing) -> None:
    token = issuer.issue()
    for length in range(3, len(token)):
        error = refused(token[:length], keys)
        assert error.code in {"truncated", "malformed"}, token[:length]
        if length > token.rindex("."):
            assert "it is cut off" in str(error)
    assert refused("", keys).code == "malformed"


def test_a_licence_of_a_megabyte_is_refused_before_it_is_looked_at(issuer: Any, keys: KeyRing) -> None:
    for token in ("x" * 2**20, f"{'e' * 2**19}.{'y' * 2**18}.{'z' * 2**18}", issuer.issue() + "A" * 2**20):
        error = refused(token, keys)
        assert error.code == "too long"
        assert "a licence has at most 65536" in str(error)
    with pytest.raises(LicenceRefusedError, match="hosts take 65536"):
        issuer.issue(tenants=tuple(f"tenant-{number}" for number in range(10_000)))


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "EdDSA", "kid": "acme-1", "crit": ["b64"], "b64": False},
        {"alg": "EdDSA", "kid": "acme-1", "jwk": {"kty": "OKP"}},
        {"alg": "EdDSA", "kid": 5},
        {"kid": "acme-1"},
        ["EdDSA"],
    ],
)
def test_a_header_that_says_more_or_less_than_it_should_is_refused(issuer: Any, keys: KeyRing, header: Any) -> None:
    _, payload, signature = issuer.issue().split(".")
    assert refused(f"{part(header)}.{payload}.{signature}", keys).code == "malformed"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"machines": ["a"]}, "unknown field 'machines'"),
        ({"exp": "tomorrow"}, "Expected 'int'"),
        ({"exp": -1}, "Expected 'int' >= 0"),
        ({"exp": 0}, "ends before it begins"),
        ({"limits": {"devices": -5}}, "Expected 'int' >= 0"),
        ({"tenants": "t"}, "Expected 'array'"),
        ({"versions": "newest"}, "is no version range"),
        ({"plugin": ""}, "length >= 1"),
    ],
)
def test_signed_claims_that_make_no_sense_are_refused(
    issuer: Any, keys: KeyRing, changes: dict[str, Any], said: str
) -> None:
    from dotmac_isp.plugins.core.licensing._keys import private_key

    claims = as_claims(issuer.licence()) | changes
    key = private_key(issuer.private)
    token = jwt.encode(claims, key, algorithm="EdDSA", headers={"kid": "acme-1", "typ": "dotmac-licence+jwt"})
    error = refused(token, keys)
    assert error.code == "claims"
    assert said in str(error)


def test_a_key_that_came_with_a_plugin_counts_for_its_plugins_only(issuer: Any) -> None:
    ring = KeyRing()
    ring.add("acme-1", issuer.public, source="vendor-two", plugins={"two"})
    error = refused(issuer.issue(), ring)
    assert error.code == "unknown key"
    assert "came with two and counts for nothing else" in str(error)
    assert verify_licence(issuer.issue(plugin="two"), ring, tenant_id="t").plugin == "two"


def test_keys_are_read_in_every_form_and_bad_ones_are_named(issuer: Any, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from jwt.algorithms import OKPAlgorithm

    public = serialization.load_pem_public_key(issuer.public)
    jwk = json.loads(OKPAlgorithm.to_jwk(public))
    second = json.loads(OKPAlgorithm.to_jwk(serialization.load_pem_public_key(generate_key()[1])))
    other = ed448_key().public_key()
    pem = other.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    files: dict[str, bytes] = {
        "a.pem": issuer.public,
        "b.jwk": json.dumps({**jwk, "kid": "by-kid"}).encode(),
        "c.json": json.dumps({"keys": [{**jwk, "kid": "set-1"}, {**second, "kid": "set-2"}]}).encode(),
        "d.pem": issuer.private,
        "e.pem": b"-----BEGIN PUBLIC KEY-----\nrubbish\n-----END PUBLIC KEY-----",
        "f.pem": pem,
        "g.json": b"[]",
        "h.jwk": json.dumps({**jwk, "d": "x"}).encode(),
        "i.pem": b"x" * 20_000,
        "j.jwk": json.dumps({**second, "kid": "a"}).encode(),
        "readme.txt": b"not a key",
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    ring = KeyRing.read(tmp_path)
    assert {one.id for one in ring} == {"a", "by-kid", "set-1", "set-2"}
    told = "\n".join(ring.problems)
    assert len(ring.problems) == 7
    for name, why in {
        "d.pem": "private key",
        "e.pem": "no public key in PEM",
        "f.pem": "no Ed25519 key",
        "g.json": "no JWK",
        "h.jwk": "private key",
        "i.pem": "longer than any key",
        "j.jwk": "the key id 'a' is taken by another key",
    }.items():
        assert any(name in one and why in one for one in ring.problems), (name, told)
    assert "rubbish" not in told


def test_a_vendor_s_private_key_is_never_shown(issuer: Any) -> None:
    secret = issuer.private.decode().splitlines()[1]
    for broken in (issuer.private.replace(b"BEGIN", b"BEGUN"), issuer.public, b""):
        with pytest.raises(LicenceError) as caught:
            issue_licence(issuer.licence(), private_key_pem=broken, key_id="k")
        assert secret not in str(caught.value)
    private, _ = generate_key(b"hunter2")
    assert issue_licence(issuer.licence(), private_key_pem=private, key_id="k", password=b"hunter2")
    with pytest.raises(LicenceError, match="its password is another one"):
        issue_licence(issuer.licence(), private_key_pem=private, key_id="k", password=b"hunter3")
