"""`policy.toml`: what it may say, and what is said about what it must not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from dotmac_isp.plugins.core.errors import ConfigurationError, UnknownSettingError
from dotmac_isp.plugins.core.permissions import Policy, permissions_check, read_policy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WHOLE = """\
# who may do what
[permissions]
anonymous = "deny"
max_security_level = 'standard'

[permissions.plugins."*"]
allow = [
  "monitoring.*",   # "network.*" is not meant here ]
  'network.*',
]
deny = []

[permissions.roles]
noc.allow = ["network.olt.*"]

[permissions.users."alice@isp.example"]
deny = [\"\"\"network.olt.configure\"\"\"]

[permissions.tenants]
"isp-*" = { max_security_level = "minimal", roles.field = { allow = ["network.onu.provision"] } }

[permissions.tenants.-]
max_security_level = "system"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "policy.toml"
    path.write_text(text, encoding="utf-8")
    return path


def read(folder: Path, text: str) -> Policy:
    return read_policy(write(folder, text))


def test_every_rule_knows_its_table_and_line_however_the_file_is_written(tmp_path: Path) -> None:
    policy = read(tmp_path, WHOLE)
    assert [(str(rule), rule.line) for rule in policy.rules] == [
        ('[permissions.plugins."*"] allow "monitoring.*"', 8),
        ('[permissions.plugins."*"] allow "network.*"', 9),
        ('[permissions.roles.noc] allow "network.olt.*"', 14),
        ('[permissions.users."alice@isp.example"] deny "network.olt.configure"', 17),
        ('[permissions.tenants."isp-*".roles.field] allow "network.onu.provision"', 20),
    ]
    assert policy.for_tenant("t").max_level.line == 4
    assert policy.for_tenant(None).max_level.line == 23
    assert policy.for_tenant("t").anonymous.line == 3


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("[permissions]\nanonymus = 'deny'", 2, "Did you mean 'anonymous'"),
        ("[permissions.roles.noc]\nallow = 'network.*'", 2, "is 'network.*'"),
        ("[permissions.roles.noc]\nallow = [\n'network.*',\n5]", 4, "allow[1] is 5"),
        ("[permissions.roles.noc]\n\nallow = ['network..olt']", 3, "A permission is a dotted name"),
        ("[permissions.roles.noc]\nallow = ['']", 2, "A permission is a dotted name"),
        ("[permissions]\nmax_security_level = 'high'", 2, "'minimal', 'standard', 'elevated', 'system'"),
        ("[permissions.tenants.t]\nanonymous = true", 2, "Write 'allow' or 'deny'"),
        ("[permissions]\n[permissions.tenants.'a b']\nanonymous = 'deny'", 2, "is no tenant"),
        ("[permissions]\n[permissions.plugins.'1']\nallow = []", 2, "is no plugin"),
        ("[permissions.roles.noc]\nallows = []", 2, "Did you mean 'allow'"),
        ("[permission]\n", 1, "Did you mean 'permissions'"),
        ("\n[permission.roles.noc]\nallow = []", 2, "Did you mean 'permissions'"),
        ("permissions = 5", 1, "permissions is 5"),
        ("[permissions]\n\nanonymous = \n", 3, "is not TOML"),
    ],
)
def test_what_is_wrong_is_told_with_its_line_and_what_would_be_right(
    tmp_path: Path, text: str, line: int, said: str
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigurationError) as caught:
        read_policy(path)
    assert said in str(caught.value)
    assert caught.value.line == line
    assert str(path) in str(caught.value)
    (finding,) = permissions_check(path, set())
    assert (finding.severity, finding.line) == ("error", line)


def test_an_unknown_key_is_an_error_of_its_own_kind(tmp_path: Path) -> None:
    with pytest.raises(UnknownSettingError):
        read(tmp_path, "[permissions]\nplugin = {}")


def test_a_file_that_is_not_utf_8_or_no_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_bytes(b"[permissions]\n# \xff")
    with pytest.raises(ConfigurationError, match=r"policy\.toml is not UTF-8"):
        read_policy(tmp_path / "policy.toml")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_policy(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_policy(tmp_path / "none.toml")


def test_an_empty_policy_grants_nothing(tmp_path: Path) -> None:
    policy = read(tmp_path, "")
    assert policy.rules == ()
    assert policy.for_tenant("t").plugin("one", "network.olt.configure") is None


def test_a_permission_that_no_plugin_knows_is_found_with_the_nearest_one(tmp_path: Path) -> None:
    known = {"network.olt.configure", "network.fiber.manage", "analytics.*"}
    text = """\
[permissions.roles.noc]
allow = ["network.*", "network.olt.configure", "analytics.reports.read"]
deny = ["network.olt.configur"]
[permissions.plugins.one]
allow = ["billing.*"]
"""
    first, second = permissions_check(write(tmp_path, text), known)
    assert (first.severity, first.line, first.remedy) == ("warning", 5, "Is its plugin not installed?")
    assert "billing.*" in first.message
    assert (second.line, second.remedy) == (3, "Did you mean 'network.olt.configure'?")


def test_a_policy_that_everybody_may_change_is_told(tmp_path: Path) -> None:
    path = write(tmp_path, "")
    path.chmod(0o666)
    (finding,) = permissions_check(path, set())
    assert finding.severity == "warning"
    assert "every user of this machine may change" in finding.message


def test_the_table_for_isolation_is_kept_for_those_who_read_it(tmp_path: Path) -> None:
    text = (
        "[isolation.plugins.one]\nmemory = '64 MiB'\n[[isolation.hosts]]\nname = 'a'\n[[isolation.hosts]]\nname = 'b'\n"
    )
    policy = read(tmp_path, text)
    assert policy.other["isolation"]["hosts"] == [{"name": "a"}, {"name": "b"}]


AWKWARD = """\
isolation."a.b".'c' = 1979-05-27 07:32:00 # a date with a blank
isolation.text = \"\"\"
[not] # a table ""quoted\"\"\"\"
[[isolation.hosts]]
list = [ # ]
  { x.y = "}", z = [1, 2] },
  '"',
]
[[isolation.hosts]]
[isolation.hosts.deeper]
empty = []
"""


def test_every_key_and_item_of_an_awkward_file_has_its_line() -> None:
    import tomli

    from dotmac_isp.plugins.core.permissions._lines import Lines

    for text in (AWKWARD, AWKWARD.replace("\n", "\r\n")):
        lines = Lines(text)
        found = {path: lines.of(path) for path in paths(tomli.loads(text))}
        assert found == {
            ("isolation",): 1,
            ("isolation", "a.b"): 1,
            ("isolation", "a.b", "c"): 1,
            ("isolation", "text"): 2,
            ("isolation", "hosts"): 4,
            ("isolation", "hosts", 0): 4,
            ("isolation", "hosts", 0, "list"): 5,
            ("isolation", "hosts", 0, "list", 0): 6,
            ("isolation", "hosts", 0, "list", 0, "x"): 6,
            ("isolation", "hosts", 0, "list", 0, "x", "y"): 6,
            ("isolation", "hosts", 0, "list", 0, "z"): 6,
            ("isolation", "hosts", 0, "list", 0, "z", 0): 6,
            ("isolation", "hosts", 0, "list", 0, "z", 1): 6,
            ("isolation", "hosts", 0, "list", 1): 7,
            ("isolation", "hosts", 1): 9,
            ("isolation", "hosts", 1, "deeper"): 10,
            ("isolation", "hosts", 1, "deeper", "empty"): 11,
        }


def paths(value: Any, above: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if above:
        yield above
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from paths(item, (*above, key))
