"""What a manifest says about where its plugin runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dotmac_isp.plugins.core.discovery import EndpointRule, endpoints_of, files_of, in_bytes, read_manifest
from dotmac_isp.plugins.core.errors import ManifestError

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = {
    "host": "Voltha.example.net",
    "port": 50057,
    "kafka": "k1:9092, k2:9093",
    "nothing": "",
    "six": "2001:db8::1",
    "ca": None,
    "stacks": {
        "north": {"host": "10.0.0.1", "port": 1, "kafka": "", "ca": "/n.pem"},
        "south": {"host": "10.0.0.2", "port": None, "ca": None},
    },
}


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("{host}:{port}", [("voltha.example.net", 50057, "tcp")]),
        ("{kafka}", [("k1", 9092, "tcp"), ("k2", 9093, "tcp")]),
        ("{nothing}", []),
        ("{ca}", []),
        ("{six}:{port}", [("2001:db8::1", 50057, "tcp")]),
        ("[2001:db8::2]:443, api.example.net:443", [("2001:db8::2", 443, "tcp"), ("api.example.net", 443, "tcp")]),
    ],
)
def test_addresses_are_made_of_settings(address: str, found: list[tuple[str, int, str]]) -> None:
    assert endpoints_of((EndpointRule(address=address),), SETTINGS) == found


def test_an_address_counts_for_each_entry_of_a_table_with_what_that_has_over_the_rest() -> None:
    rules = (
        EndpointRule(address="{host}:{port}", kind="grpc", each="stacks"),
        EndpointRule(address="{kafka}", kind="kafka", each="stacks"),
    )
    assert endpoints_of(rules, SETTINGS) == [
        ("voltha.example.net", 50057, "grpc"),
        ("10.0.0.1", 1, "grpc"),
        ("10.0.0.2", 50057, "grpc"),
        ("k1", 9092, "kafka"),
        ("k2", 9093, "kafka"),
    ]
    assert endpoints_of(rules, {**SETTINGS, "stacks": None})[0] == ("voltha.example.net", 50057, "grpc")


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        (EndpointRule(address="{hots}:1"), "{hots} names no setting; there are: ca, host"),
        (EndpointRule(address="{host}"), "is no 'host:port'"),
        (EndpointRule(address="{host}:0"), "is no 'host:port'"),
        (EndpointRule(address="a:70000"), "is no 'host:port'"),
        (EndpointRule(address="a:1", each="nobody"), "nobody names no setting"),
    ],
)
def test_an_address_that_is_none_is_named(rule: EndpointRule, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        endpoints_of((rule,), SETTINGS)


def test_files_are_found_in_settings_and_in_tables_of_them() -> None:
    assert files_of(("ca", "stacks.*.ca", "unknown"), SETTINGS) == ["/n.pem"]


@pytest.mark.parametrize(
    ("text", "size"), [("256 MiB", 256 << 20), ("1.5kB", 1500), ("0", 0), (7, 7), ("2GB", 2 * 10**9)]
)
def test_sizes_have_units(text: str | int, size: int) -> None:
    assert in_bytes(text) == size


def test_a_wrong_key_or_value_is_named_with_what_would_be_right(tmp_path: Path) -> None:
    path = tmp_path / "dotmac-plugin.toml"
    wrong = {
        'mode = "prison"': r"p\.hosting\.mode",
        "preload = ['a-b']": r"p\.hosting\.preload\[0\] is 'a-b'.*a module's name",
        "limits = { memory = 'much' }": r"p\.hosting\.limits\.memory is 'much'",
        "limits = { memry = 1 }": r"p\.hosting\.limits\.memry is not known.*'memory'",
        "endpoints = [{ address = '' }]": r"p\.hosting\.endpoints\[0\]\.address",
    }
    for line, said in wrong.items():
        path.write_text(f'[p]\nname = "P"\nversion = "1"\n[p.hosting]\n{line}\n')
        with pytest.raises(ManifestError, match=said):
            read_manifest(path, "p")
    path.write_text('[p]\nname = "P"\nversion = "1"\n[p.hosting]\nlimits = { memory = "1 MiB", cpu = 0.5, disk = 0 }\n')
    assert read_manifest(path, "p").hosting.limits.given() == {"memory": 1 << 20, "cpu": 0.5, "disk": 0}
