"""The configuration file: what a wrong one gets."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dotmac_isp.plugins.config import PATH
from dotmac_isp.plugins.core.errors import ConfigurationError, UnknownSettingError
from dotmac_isp.plugins.core.settings import ConfigurationFile
from dotmac_isp.plugins.core.settings._positions import Positions

if TYPE_CHECKING:
    from pathlib import Path

GOOD = """{
  "vendor_integrations": {
    "voltha_integration": {
      "enabled": true,
      "configuration": {
        "voltha_port": 50057
      }
    }
  }
}
"""


def load(tmp_path: Path, text: str | bytes) -> ConfigurationFile:
    path = tmp_path / "vendor_integrations.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return ConfigurationFile.load(path)


def test_the_packaged_file_has_the_plugins_and_scenarios_of_the_specification_in_its_order() -> None:
    file = ConfigurationFile.packaged()
    assert file.path == PATH
    assert list(file.vendor_integrations) == ["voltha_integration", "analytics_events"]
    assert list(file.deployment_scenarios) == ["development", "production"]
    assert file.vendor_integrations["voltha_integration"].configuration == {
        "voltha_host": "voltha.fiber.local",
        "voltha_port": 50057,
        "voltha_rest_port": 8881,
        "device_monitoring_interval": 30,
    }
    for entry in json.loads(PATH.read_text())["vendor_integrations"].values():
        printed = ["plugin_id", "name", "module_path", "class_name", "enabled", "configuration", "security"]
        assert list(entry) == printed, "exactly the keys that the specification prints, all of them"
        assert list(entry["security"]) == ["required_permissions", "secrets_required"]


def test_a_good_file_knows_the_lines_of_its_keys(tmp_path: Path) -> None:
    file = load(tmp_path, GOOD)
    path = ("vendor_integrations", "voltha_integration", "configuration")
    assert file.line_of((*path, "voltha_port")) == 6
    assert file.line_of((*path, "not there")) == 5, "the nearest key above"


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ('"enabled": true,', '"enabled": true', 5, "line 5, column 7: Expecting ',' delimiter"),
        ("true", "yes", 4, "line 4, column 18: Expecting value"),
        ("true", '"yes"', 4, "line 4: vendor_integrations.voltha_integration.enabled is 'yes'. Expected 'bool'"),
        ("true", "null", 4, "enabled is None. Expected 'bool'"),
        ('"enabled"', '"enabeld"', 4, "voltha_integration.enabeld is not known. Did you mean 'enabled'?"),
        ('"vendor_integrations"', '"vendors"', 2, "vendors is not known"),
        ('"enabled": true', '"enabled": true, "enabled": false', 4, "column 24: vendor_integrations.voltha_integration.enabled is there twice, first in line 4"),
        ('"enabled": true', '"plugin_id": "other"', 4, "plugin_id is 'other'. It must be 'voltha_integration'"),
        ('"enabled": true', '"security": {"secrets_required": ["a", 1]}', 4, "security.secrets_required[1] is 1. Expected 'str'"),
        ('"enabled": true', '"security": {"secrets": []}', 4, "security.secrets is not known. Did you mean 'secrets_required'?"),
        ("50057", "NaN", None, "NaN is no JSON number"),
        (GOOD, "[]", None, "the file is []. Expected 'object'"),
        (GOOD, "", 1, "line 1, column 1: Expecting value"),
        (GOOD, '{"deployment_scenarios": {"production": {"voltha_integration": {"enable": true}}}}', 1, "enable is not known. Did you mean 'enabled'?"),
        (GOOD, "[" * 100_000, None, "nested too deeply"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_told_with_file_line_key_value_and_remedy(
    tmp_path: Path, old: str, new: str, line: int | None, said: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, GOOD.replace(old, new))
    assert said in str(caught.value)
    assert str(tmp_path / "vendor_integrations.json") in str(caught.value)
    assert caught.value.line == line
    assert isinstance(caught.value, UnknownSettingError) is ("is not known" in said)


def test_a_wrong_table_is_never_quoted(tmp_path: Path) -> None:
    text = GOOD.replace('"enabled": true', '"security": {"secrets_required": {"voltha-password": "hunter2"}}')
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, text)
    assert "hunter2" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"absent.json cannot be read: No such file"):
        ConfigurationFile.load(tmp_path / "absent.json")
    with pytest.raises(ConfigurationError, match=r"is not UTF-8"):
        load(tmp_path, b'{"a": "\xff"}')


def test_a_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    assert list(load(tmp_path, "\ufeff" + GOOD).vendor_integrations) == ["voltha_integration"]


values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=12,
)


@given(values, st.sampled_from([None, 1, "\t"]))
def test_every_key_of_any_json_is_found_where_it_is_written(value: Any, indent: int | str | None) -> None:
    text = json.dumps(value, indent=indent)
    positions = Positions(text)
    lines = text.split("\n")

    def check(part: Any, path: tuple[str | int, ...]) -> None:
        children = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
        for key, child in children:
            place = positions.of((*path, key))
            assert place is not None
            written = lines[place.line - 1][place.column - 1 :]
            start = json.dumps(key) if isinstance(part, dict) else json.dumps(child, indent=indent).split("\n")[0]
            assert written.startswith(start)
            check(child, (*path, key))

    check(value, ())
    assert positions.duplicates == []
