"""The book of a host: what its folder allows, over time."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from dotmac_isp.plugins.core.discovery import Feature, Manifest
from dotmac_isp.plugins.core.errors import LicenceError
from dotmac_isp.plugins.core.licensing import (
    LicenceClock,
    LicenceRefusedError,
    SignedLicences,
    install_licence,
)
from dotmac_isp.plugins.core.model import InstanceRef

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("jwt", reason="PyJWT is not installed (extra licences)")

DAY = 86_400
T, U = InstanceRef("one", "t"), InstanceRef("one", "u")
REQUIRED = Manifest(id="one", name="One", version="1.0", licence="required")


class Time:
    """Clocks that a test turns."""

    def __init__(self, now: float) -> None:
        self.wall = now
        self.gone = 0.0

    def pass_by(self, seconds: float) -> None:
        self.wall += seconds
        self.gone += seconds

    def clock(self) -> LicenceClock:
        return LicenceClock(wall=lambda: self.wall, monotonic=lambda: self.gone)


@pytest.fixture
def time(issuer: Any) -> Time:
    return Time(issuer.now)


@pytest.fixture
def make_book(home: Path, time: Time) -> Callable[..., SignedLicences]:
    def make(manifest: Manifest = REQUIRED, **options: Any) -> SignedLicences:
        return SignedLicences(home, manifest_of=lambda _: manifest, clock=time.clock(), **options)

    return make


MakeBook = Callable[..., SignedLicences]


def test_a_plugin_that_demands_none_needs_none(make_book: MakeBook) -> None:
    book = make_book(Manifest(id="one", name="One", version="1.0"))
    assert book.refuse_activation(T) is None
    assert book.refuse_call(T, "anything") is None
    assert book.state_of(T) is None
    assert book.count(T, "devices", 10**9) is None


def test_a_plugin_that_demands_one_is_refused_without_and_told_what_to_do(make_book: MakeBook, home: Path) -> None:
    why = make_book().refuse_activation(T)
    assert why == f"one needs a licence, and there is none for it. Install one into {home / 'licences'}"


def test_a_licence_put_into_the_folder_counts_at_once_and_one_taken_away_no_more(
    make_book: MakeBook, issuer: Any, home: Path
) -> None:
    issuer.trust_in(home)
    book = make_book()
    assert book.refuse_call(T, "x") is not None
    path = issuer.put(home)
    assert book.refresh()
    assert book.refuse_call(T, "x") is None
    assert book.refuse_activation(T) is None
    assert "not for tenant u" in str(book.refuse_call(U, "x"))
    assert not book.refresh()
    path.unlink()
    assert book.refresh()
    assert book.refuse_call(T, "x") is not None


def test_features_are_demanded_for_their_methods_only(make_book: MakeBook, issuer: Any, home: Path) -> None:
    manifest = Manifest(
        id="one", name="One", version="1.0", features={"olt": Feature(methods=("provision_olt",), licence="olt-pro")}
    )
    issuer.trust_in(home)
    book = make_book(manifest)
    assert book.refuse_activation(T) is None, "the rest of the plugin is a community plugin"
    assert book.refuse_call(T, "list") is None
    assert "the feature 'olt-pro' of one needs a licence" in str(book.refuse_call(T, "provision_olt"))
    issuer.put(home)
    book.refresh()
    assert "does not have the feature 'olt-pro' (it has: none)" in str(book.refuse_call(T, "provision_olt"))
    issuer.put(home, "more.jwt", id="L-2", features=("olt-pro",))
    book.refresh()
    assert book.refuse_call(T, "provision_olt") is None


def test_expiry_warns_early_degrades_by_grace_and_then_stops_with_the_reason(
    make_book: MakeBook, issuer: Any, home: Path, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dotmac_isp.plugins.core.licensing import _signed

    monkeypatch.setattr(_signed, "monotonic", lambda: time.gone)
    issuer.trust_in(home)
    issuer.put(home, grace=10 * DAY)
    book = make_book()
    told: list[str] = []

    def standing() -> tuple[bool, bool]:
        book.refresh(told.append)
        state = book.state_of(T)
        assert state is not None
        return book.refuse_call(T, "x") is None, state.degraded

    assert standing() == (True, False)
    assert told == []
    time.pass_by(71 * DAY)
    assert standing() == (True, False)
    assert "licensed until" in told[-1]
    time.pass_by(29 * DAY + 1)
    assert standing() == (True, True), "in its grace period"
    assert "works in its grace period until" in told[-1]
    time.pass_by(10 * DAY)
    works, _ = standing()
    assert not works
    assert "what needs it is off" in told[-1]
    assert "and its grace period on" in str(book.refuse_call(T, "x"))
    assert len(told) == len(set(told)) == 3, "each is told once"


def test_an_end_between_two_looks_is_kept_to_the_second(
    make_book: MakeBook, issuer: Any, home: Path, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dotmac_isp.plugins.core.licensing import _signed

    monkeypatch.setattr(_signed, "monotonic", lambda: time.gone)
    issuer.trust_in(home)
    issuer.put(home, expires_at=issuer.now + 30)
    book = make_book()
    assert book.refuse_call(T, "x") is None
    time.pass_by(30)
    assert book.refuse_call(T, "x") is None
    time.pass_by(1.5)
    assert "expired on" in str(book.refuse_call(T, "x"))


def test_a_renewed_licence_silences_the_old_one(make_book: MakeBook, issuer: Any, home: Path) -> None:
    issuer.trust_in(home)
    issuer.put(home, expires_at=issuer.now + DAY)
    book = make_book()
    assert len(list(book.problems())) == 1
    issuer.put(home, "new.jwt", id="L-2", tenants=("*",))
    book.refresh()
    assert list(book.problems()) == []


@pytest.mark.parametrize("line", ["L-1", "  L-1   # returned by the customer", "key:acme-1"])
def test_what_was_revoked_counts_no_more(make_book: MakeBook, issuer: Any, home: Path, line: str) -> None:
    issuer.trust_in(home)
    issuer.put(home)
    book = make_book()
    assert book.refuse_call(T, "x") is None
    (home / "licences" / "revoked.txt").write_text(f"# revoked\n\n{line}\n")
    book.refresh()
    why = str(book.refuse_call(T, "x"))
    assert ("was revoked" in why) or ("'acme-1', which is not among the trusted ones" in why)


def test_a_revocation_list_that_cannot_be_read_stops_every_licence(
    make_book: MakeBook, issuer: Any, home: Path
) -> None:
    issuer.trust_in(home)
    issuer.put(home)
    (home / "licences" / "revoked.txt").write_bytes(b"\xff\xfe")
    assert "nobody knows what was revoked" in str(make_book().refuse_call(T, "x"))


def test_a_vendor_changes_keys_and_both_count_as_long_as_both_are_there(
    make_book: MakeBook, issuer: Any, home: Path
) -> None:
    new = type(issuer)("acme-2")
    issuer.trust_in(home)
    new.trust_in(home)
    issuer.put(home)
    new.put(home, "u.jwt", id="L-2", tenants=("u",))
    book = make_book()
    assert (book.refuse_call(T, "x"), book.refuse_call(U, "x")) == (None, None)
    (home / "licences" / "keys" / "acme-1.pem").unlink()
    book.refresh()
    assert book.refuse_call(T, "x") is not None
    assert book.refuse_call(U, "x") is None


def test_keys_that_a_package_brings_count_for_its_plugins_and_never_instead_of_the_operator_s(
    make_book: MakeBook, issuer: Any, home: Path
) -> None:
    issuer.put(home)
    book = make_book()
    book.bring_keys("vendor-one", {"acme-1": issuer.public}, ["one"])
    assert book.refuse_call(T, "x") is None
    other = type(issuer)("acme-1")
    other.trust_in(home)
    book.refresh()
    assert "the licence for one does not count" in str(book.refuse_call(T, "x"))
    assert any("is taken by another key" in text for text in book.problems())


def test_the_clock_set_back_changes_nothing_and_is_noticed(
    make_book: MakeBook, issuer: Any, home: Path, time: Time
) -> None:
    issuer.trust_in(home)
    issuer.put(home)
    book = make_book()
    time.pass_by(100 * DAY + 5)
    book.refresh()
    assert book.refuse_activation(T) is not None
    time.wall -= 50 * DAY
    book.refresh()
    assert book.refuse_activation(T) is not None
    assert any("clock was set back" in text for text in book.problems())
    time.pass_by(10)
    book.remember()
    # … and neither does starting the host anew.
    again = make_book()
    assert again.refuse_activation(T) is not None
    assert any("clock was set back" in text for text in again.problems())


def test_a_clock_put_right_by_a_little_is_nobody_s_business(
    make_book: MakeBook, issuer: Any, home: Path, time: Time
) -> None:
    issuer.trust_in(home)
    issuer.put(home)
    book = make_book()
    time.pass_by(DAY)
    book.refresh()
    time.wall -= 120
    assert list(book.problems()) == []


def test_devices_are_a_level_over_all_tenants_of_a_licence(make_book: MakeBook, issuer: Any, home: Path) -> None:
    issuer.trust_in(home)
    issuer.put(home, tenants=("t", "u"), limits={"devices": 10})
    book = make_book()
    assert book.count(T, "devices", 6) is None
    assert book.count(T, "devices", 7) is None
    why = book.count(U, "devices", 4)
    assert why == "licence L-1 allows 10 devices, and this would make 11; ask Acme for more"
    assert book.count(U, "devices", 3) is None, "what was refused was not counted"
    assert book.count(T, "devices", 8) is not None
    book.forget(T)
    assert book.count(U, "devices", 10) is None
    assert book.count(U, "ports", 10**6) is None, "what is not limited"


def test_events_of_a_day_are_counted_until_midnight_and_over_a_restart(
    make_book: MakeBook, issuer: Any, home: Path, time: Time
) -> None:
    issuer.trust_in(home)
    issuer.put(home, limits={"events_per_day": 100})
    book = make_book()
    assert book.count(T, "events_per_day", 90) is None
    assert "allows 100 events per day, and this would make 101" in str(book.count(T, "events_per_day", 11))
    book.remember()
    book = make_book()
    assert book.count(T, "events_per_day", 11) is not None
    assert book.count(T, "events_per_day", 10) is None
    time.pass_by(DAY)
    assert book.count(T, "events_per_day", 100) is None


def test_instances_are_counted_at_activation(make_book: MakeBook, issuer: Any, home: Path) -> None:
    issuer.trust_in(home)
    issuer.put(home, tenants=("t", "u", "v"), limits={"instances": 2})
    loaded: list[str | None] = ["t"]
    book = make_book(peers=lambda _: loaded)
    assert book.refuse_activation(T) is None
    assert book.refuse_activation(U) is None
    loaded.append("u")
    assert book.refuse_activation(T) is None, "it has its place already"
    assert "allows 2 instances, and this would make 3" in str(book.refuse_activation(InstanceRef("one", "v")))


@pytest.mark.parametrize(
    ("token", "said"),
    [
        ("", "is no licence"),
        ("x" * 2**20, "a licence has at most 65536"),
        ("ey.", "cut off"),
        ("\0\1", "is no licence"),
    ],
)
def test_a_file_that_is_no_licence_is_named_and_harms_nothing(
    make_book: MakeBook, issuer: Any, home: Path, token: str, said: str
) -> None:
    issuer.trust_in(home)
    issuer.put(home)
    (home / "licences" / "broken.jwt").write_text(token)
    book = make_book()
    assert book.refuse_call(T, "x") is None
    (text,) = book.problems()
    assert "broken.jwt does not count" in text
    assert said in text


def test_state_that_cannot_be_read_is_none(make_book: MakeBook, issuer: Any, home: Path) -> None:
    issuer.trust_in(home)
    issuer.put(home, limits={"events_per_day": 5})
    for text in ("", "[]", '{"last_seen": "x", "today": [["a"], 5]}', "\x00"):
        (home / "licences" / "state.json").write_text(text)
        assert make_book().count(T, "events_per_day", 5) is None


def test_without_the_extra_plugins_that_demand_a_licence_are_refused_with_the_remedy(
    make_book: MakeBook, issuer: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    issuer.trust_in(home)
    token = issuer.put(home).read_text()
    monkeypatch.setitem(sys.modules, "jwt", None)
    why = str(make_book().refuse_activation(T))
    assert "licences cannot be verified: jwt is not installed" in why
    assert 'pip install "dotmac-plugins-core[licences]"' in why
    with pytest.raises(LicenceError, match="PyJWT is not installed"):
        install_licence(home, token)


def test_core_and_the_book_s_door_load_nothing_of_it() -> None:
    import subprocess

    code = (
        "import sys\nfrom dotmac_isp.plugins.core import PluginManager\n"
        "assert not {'jwt', 'cryptography'} & set(sys.modules), 'loaded'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_installing_verifies_first_and_leaves_what_is_there_when_it_refuses(issuer: Any, home: Path) -> None:
    token = issuer.issue()
    with pytest.raises(LicenceRefusedError, match="is not among the trusted ones"):
        install_licence(home, token)
    issuer.trust_in(home)
    licence, path = install_licence(home, f"\n{token}\n")
    assert (licence.id, path.name, path.stat().st_mode & 0o777) == ("L-1", "one.L-1.jwt", 0o600)
    assert path.read_text().strip() == token
    install_licence(home, token)
    install_licence(home, issuer.issue(expires_at=issuer.now + 200 * DAY, issued_at=issuer.now))
    with pytest.raises(LicenceError, match="a later issue"):
        install_licence(home, token)
    for changes, said in (
        ({"expires_at": issuer.now - 60}, "expired on"),
        ({"id": "gone"}, "was revoked"),
    ):
        (home / "licences" / "revoked.txt").write_text("gone\n")
        with pytest.raises(LicenceRefusedError, match=said):
            install_licence(home, issuer.issue(**changes))
    assert install_licence(home, issuer.issue(id="../../x", not_before=issuer.now + DAY))[1].parent == path.parent
    assert sorted(one.name for one in (home / "licences").glob("*.jwt")) == ["one.L-1.jwt", "one._x.jwt"]
    assert not list((home / "licences").glob(".*"))
