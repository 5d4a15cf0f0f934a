"""Secrets: where they come from, who may read them, and that nothing shows them."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dotmac_isp.plugins.core.discovery import Feature, Manifest, SecretNames
from dotmac_isp.plugins.core.errors import SecretError, SecretMissingError, TenantIdError
from dotmac_isp.plugins.core.model import Secret
from dotmac_isp.plugins.core.secrets import (
    EnvironmentSecrets,
    FileSecrets,
    InstanceSecrets,
    Redactor,
    SecretChain,
    SecretProvider,
    environment_name,
)

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST = Manifest(
    id="voltha_integration",
    name="VOLTHA",
    version="1",
    secrets=SecretNames(required=("voltha-username", "voltha-password"), optional=("voltha-ca",)),
    features={"olt": Feature(secrets=("olt-key",)), "onu": Feature()},
)


class Broken:
    name = "vault"

    def __init__(self, error: BaseException) -> None:
        self._error = error

    async def provide(self, reference: str, tenant: str | None) -> str | None:
        raise self._error


class Odd:
    name = "odd"

    async def provide(self, reference: str, tenant: str | None) -> str | None:
        return 42  # type: ignore[return-value]


class Plain:
    name = "plain"

    async def provide(self, reference: str, tenant: str | None) -> str | None:
        return "text" if reference == "a" else ""


def reader(environ: dict[str, str], tenant: str | None = "tenant_123") -> InstanceSecrets:
    return InstanceSecrets(SecretChain([EnvironmentSecrets(environ)]), MANIFEST, tenant)


def test_the_variables_of_a_secret_are_the_tenants_then_everybodys() -> None:
    assert environment_name("voltha-username", "tenant_123") == ("VOLTHA_USERNAME__TENANT_123", "VOLTHA_USERNAME")
    assert environment_name("analytics.api-key", None) == ("ANALYTICS_API_KEY",)


async def test_a_tenants_variable_wins_over_everybodys_and_an_empty_one_counts_as_none() -> None:
    environ = {"VOLTHA_USERNAME": "all", "VOLTHA_USERNAME__T1": "one", "VOLTHA_USERNAME__T2": ""}
    chain = SecretChain([EnvironmentSecrets(environ)])
    found = [await chain.get("voltha-username", tenant) for tenant in ("t1", "t2", None)]
    assert [one.reveal() if one else None for one in found] == ["one", "all", "all"]


async def test_a_changed_variable_is_seen_by_the_next_call(monkeypatch: pytest.MonkeyPatch) -> None:
    chain = SecretChain([EnvironmentSecrets()])
    monkeypatch.setenv("ROTATING_KEY", "old-value")
    first = await chain.get("rotating-key", None)
    monkeypatch.setenv("ROTATING_KEY", "new-value")
    second = await chain.get("rotating-key", None)
    assert first is not None
    assert second is not None
    assert (first.reveal(), second.reveal()) == ("old-value", "new-value")


async def test_files_are_read_from_the_tenants_folder_then_the_common_one(tmp_path: Path) -> None:
    (tmp_path / "t1").mkdir()
    (tmp_path / "t1" / "user").write_text("of t1\n")
    (tmp_path / "user").write_text("  common \r\n")
    (tmp_path / "pem").write_text("line 1\nline 2\n\n")
    files = FileSecrets(tmp_path)
    assert isinstance(files, SecretProvider)
    values = [await files.provide("user", tenant) for tenant in ("t1", "t2", None)]
    assert [one.reveal() if one else None for one in values] == ["of t1", "  common ", "  common "]
    pem = await files.provide("pem", "t1")
    assert pem is not None
    assert pem.reveal() == "line 1\nline 2\n", "one line end is cut off, no more"
    assert await files.provide("t1", None) is None, "a folder is no secret"
    assert await files.provide("absent", "t1") is None


@pytest.mark.parametrize("reference", ["../user", "/etc/passwd", "a/b", "", ".hidden"])
async def test_a_name_cannot_leave_the_folder(tmp_path: Path, reference: str) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    (tmp_path / "user").write_text("outside")
    assert await FileSecrets(folder).provide(reference, None) is None


async def test_a_tenant_that_is_none_is_refused_before_a_file_is_read(tmp_path: Path) -> None:
    with pytest.raises(TenantIdError):
        await FileSecrets(tmp_path).provide("user", "../other")


async def test_a_file_that_cannot_be_used_is_named_and_never_quoted(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"hunter2\xff")
    (tmp_path / "large").write_text("x" * 70_000)
    chain = SecretChain([FileSecrets(tmp_path)])
    with pytest.raises(SecretError, match=r"binary is not UTF-8") as caught:
        await chain.get("binary", None)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    with pytest.raises(SecretError, match=r"larger than"):
        await chain.get("large", None)


async def test_a_file_that_may_not_be_read_is_an_error_not_an_absent_secret(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read every file")
    (tmp_path / "locked").write_text("value")
    (tmp_path / "locked").chmod(0)
    with pytest.raises(SecretError, match=r"cannot be read"):
        await FileSecrets(tmp_path).provide("locked", None)


async def test_the_first_provider_that_has_it_gives_it_in_the_operators_order(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("file")
    environment = EnvironmentSecrets({"A": "variable"})
    one = await SecretChain([FileSecrets(tmp_path), environment]).get("a", None)
    two = await SecretChain([environment, FileSecrets(tmp_path)]).get("a", None)
    plain = await SecretChain([Plain()]).get("a", None)
    assert one is not None
    assert two is not None
    assert plain == Secret("a", "text")
    assert (one.reveal(), two.reveal()) == ("file", "variable")
    assert await SecretChain([Plain()]).get("b", None) is None


@pytest.mark.parametrize("error", [RuntimeError("it was hunter2"), SystemExit("hunter2"), SecretError("sealed")])
async def test_a_failing_provider_is_named_with_the_secret_and_no_older_value_is_taken_instead(
    error: BaseException,
) -> None:
    chain = SecretChain([Broken(error), EnvironmentSecrets({"A": "old"})])
    with pytest.raises(SecretError) as caught:
        await chain.get("a", "t1")
    assert "the secret provider 'vault' failed for 'a' of tenant t1" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    with pytest.raises(SecretError, match=r"it gave something of type int"):
        await SecretChain([Odd()]).get("a", None)


async def test_an_instance_reads_only_what_its_manifest_names() -> None:
    secrets = reader({"OTHER": "x", "OLT_KEY": "k", "VOLTHA_USERNAME": "u"})
    key = await secrets.get("olt-key")
    assert key is not None
    with pytest.raises(
        SecretError, match=r"may not read the secret 'other'.*voltha-username, voltha-password, voltha-ca"
    ):
        await secrets.get("other")


async def test_missing_secrets_are_told_with_the_variables_that_would_set_them() -> None:
    secrets = reader({"VOLTHA_USERNAME__TENANT_123": "u"})
    assert await secrets.missing_required() == ("voltha-password",)
    assert await secrets.missing_optional() == ("voltha-ca", "olt-key")
    assert await secrets.switched_off() == {"olt": ("olt-key",)}
    with pytest.raises(SecretMissingError) as caught:
        await secrets.require("voltha-password")
    assert caught.value.names == ("voltha-password",)
    assert "VOLTHA_PASSWORD__TENANT_123 or VOLTHA_PASSWORD" in str(caught.value)


async def test_the_operators_file_may_require_more() -> None:
    chain = SecretChain([EnvironmentSecrets({"VOLTHA_USERNAME": "u", "VOLTHA_PASSWORD": "p"})])
    secrets = InstanceSecrets(chain, MANIFEST, None, also_required=["voltha-ca", "site-key"])
    assert await secrets.missing_required() == ("voltha-ca", "site-key")
    assert await secrets.missing_optional() == ("olt-key",)
    assert await secrets.get("site-key") is None


async def test_what_a_chain_hands_out_is_redacted_from_then_on() -> None:
    redactor = Redactor()
    chain = SecretChain([EnvironmentSecrets({"KEY": 'p@ss "word"'})], redactor=redactor)
    assert redactor.redact('p@ss "word"') == 'p@ss "word"'
    await chain.get("key", None)
    text = 'a p@ss "word" b https://u:p%40ss%20%22word%22@h {"k": "p@ss \\"word\\""}'
    assert redactor.redact(text) == 'a ******** b https://u:********@h {"k": "********"}'


def test_short_values_are_left_alone_and_overlapping_ones_leave_nothing() -> None:
    redactor = Redactor()
    for value in ("abc", "abcdef", "defghi", "abcd"):
        redactor.register(value)
    assert redactor.redact("abc") == "abc"
    assert redactor.redact("xabcdefghix abcd") == "x********x ********"


words = st.text(alphabet="abc%\"'é ", min_size=4, max_size=8)


@given(st.lists(words, max_size=6), st.lists(words, max_size=6))
def test_no_registered_value_is_left_in_a_redacted_text(values: list[str], noise: list[str]) -> None:
    redactor = Redactor()
    for value in values:
        redactor.register(value)
    mixed = "".join(one + other for one, other in zip(values + noise, noise + values, strict=True))
    shown = redactor.redact(mixed)
    assert not any(value in shown for value in values)
    assert redactor.redact(shown) == shown


def test_values_may_be_registered_while_others_redact() -> None:
    redactor = Redactor()
    failures: list[str] = []

    def work(number: int) -> None:
        for index in range(200):
            value = f"secret-{number}-{index}"
            redactor.register(value)
            if value in redactor.redact(f"<{value}>"):
                failures.append(value)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
