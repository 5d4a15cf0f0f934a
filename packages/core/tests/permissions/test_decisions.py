"""What a policy decides, against a plain and slow reading of the same file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import tomli
from hypothesis import given, settings
from hypothesis import strategies as st

from dotmac_isp.plugins.core.model import InstanceRef, PluginContext, SecurityLevel
from dotmac_isp.plugins.core.permissions import PolicyAuthoriser, permissions_diff, permissions_explain, read_policy
from dotmac_isp.plugins.core.permissions._globs import covers, overlaps

if TYPE_CHECKING:
    from pathlib import Path

# A reader of the file that knows nothing of indexes, layers and caches.


def plain_match(pattern: list[str], name: list[str]) -> bool:
    """The definition of a pattern, segment by segment and character by character."""
    if not pattern or not name:
        return not pattern and not name
    if pattern == ["*"]:
        return True
    if pattern[0] == "*":
        return plain_match(pattern[1:], name[1:])
    return plain_text(pattern[0], name[0]) and plain_match(pattern[1:], name[1:])


def plain_text(pattern: str, text: str) -> bool:
    if not pattern:
        return not text
    if pattern[0] == "*":
        return plain_text(pattern[1:], text) or (bool(text) and plain_text(pattern, text[1:]))
    return bool(text) and pattern[0] == text[0] and plain_text(pattern[1:], text[1:])


def plain_rules(data: dict[str, Any], tenant: str, kind: str, names: list[str]) -> list[tuple[str, str]]:
    permissions = data.get("permissions", {})
    scopes = [permissions, *(one for key, one in permissions.get("tenants", {}).items() if plain_text(key, tenant))]
    found = []
    for scope in scopes:
        for subject, grants in scope.get(kind, {}).items():
            for name in names:
                if plain_text(subject, name):
                    found += [(effect, pattern) for effect, patterns in grants.items() for pattern in patterns]
    return found


def plain_allows(rules: list[tuple[str, str]], permission: str) -> bool:
    fitting = {effect for effect, pattern in rules if plain_match(pattern.split("."), permission.split("."))}
    return fitting == {"allow"}


def plain_decision(
    data: dict[str, Any], tenant: str, plugin: str, permission: str, user: str | None, roles: list[str]
) -> bool:
    if not plain_allows(plain_rules(data, tenant, "plugins", [plugin]), permission):
        return False
    if user is None and not roles:
        return plain_anonymous(data, tenant)
    rules = plain_rules(data, tenant, "users", [user] if user is not None else [])
    return plain_allows(rules + plain_rules(data, tenant, "roles", roles), permission)


def plain_anonymous(data: dict[str, Any], tenant: str) -> bool:
    permissions = data.get("permissions", {})
    tenants = {key: one["anonymous"] for key, one in permissions.get("tenants", {}).items() if "anonymous" in one}
    if tenant in tenants:
        return tenants[tenant] == "allow"
    fitting = {said for key, said in tenants.items() if plain_text(key, tenant)}
    if fitting:
        return fitting == {"allow"}
    return permissions.get("anonymous", "allow") == "allow"


SEGMENTS = ["a", "b", "ab", "aba"]
NAMES = st.lists(st.sampled_from(SEGMENTS), min_size=1, max_size=4).map(".".join)
PATTERNS = st.lists(st.sampled_from([*SEGMENTS, "*", "a*", "*b", "a*a", "**"]), min_size=1, max_size=4).map(".".join)
PLUGINS = ["one", "two", "one_more"]
PEOPLE = ["ann", "ben", "an.na"]
ROLES = ["noc", "field", "n.oc"]
TENANTS = ["t", "t-1", "T", "-"]


def grants() -> st.SearchStrategy[dict[str, list[str]]]:
    lists = st.lists(PATTERNS, max_size=3)
    return st.fixed_dictionaries({}, optional={"allow": lists, "deny": lists})


def subjects(names: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from([*names, "*", f"{names[0]}*", "*n*"]), grants(), max_size=3)


def scopes() -> dict[str, st.SearchStrategy[Any]]:
    return {
        "anonymous": st.sampled_from(["allow", "deny"]),
        "plugins": subjects(PLUGINS),
        "users": subjects(PEOPLE),
        "roles": subjects(ROLES),
    }


POLICIES = st.fixed_dictionaries(
    {},
    optional={
        **scopes(),
        "tenants": st.dictionaries(
            st.sampled_from([*TENANTS, "*", "t*", "*-*"]), st.fixed_dictionaries({}, optional=scopes()), max_size=3
        ),
    },
)
CALLS = st.tuples(
    st.sampled_from(TENANTS),
    st.sampled_from(PLUGINS),
    NAMES,
    st.none() | st.sampled_from(PEOPLE),
    st.lists(st.sampled_from(ROLES), max_size=2),
)


def as_toml(table: dict[str, Any], above: tuple[str, ...] = ("permissions",)) -> str:
    lines = [f"[{'.'.join(map(quoted, above))}]"]
    lines += [f"{key} = {value_as_toml(value)}" for key, value in table.items() if not isinstance(value, dict)]
    lines += [as_toml(value, (*above, key)) for key, value in table.items() if isinstance(value, dict)]
    return "\n".join(lines)


def value_as_toml(value: Any) -> str:
    return f"[{', '.join(map(quoted, value))}]" if isinstance(value, list) else quoted(value)


def quoted(text: str) -> str:
    return f'"{text}"'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("policies")


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_no_sequence_of_policies_decides_otherwise_than_a_plain_reading(folder: Path, data: st.DataObject) -> None:
    """The cache included: policies replace each other in one authoriser, and every call is made again under each."""
    calls = data.draw(st.lists(CALLS, min_size=1, max_size=6))
    authoriser: PolicyAuthoriser | None = None
    path = folder / "policy.toml"
    for said in data.draw(st.lists(POLICIES, min_size=1, max_size=3)):
        path.write_text(as_toml(said), encoding="utf-8")
        policy = read_policy(path)
        plain = tomli.loads(path.read_text(encoding="utf-8"))
        if authoriser is None:
            authoriser = PolicyAuthoriser(policy)
        else:
            authoriser.replace(policy)
        for tenant, plugin, permission, user, roles in (*calls, *calls):
            ref = InstanceRef(plugin, None if tenant == "-" else tenant)
            context = PluginContext(tenant_id=ref.tenant_id, user_id=user, roles=tuple(roles))
            why = authoriser.refuse_call(ref, permission, context)
            assert (why is None) == plain_decision(plain, tenant, plugin, permission, user, roles), why
            explained = permissions_explain(
                policy, plugin_id=plugin, permission=permission, tenant_id=ref.tenant_id, user_id=user, roles=roles
            )
            assert explained.allowed == (why is None)


@settings(max_examples=200, deadline=None)
@given(POLICIES, st.sampled_from(TENANTS), st.sampled_from(PLUGINS), st.lists(NAMES, max_size=3))
def test_a_plugin_activates_exactly_when_everything_that_it_asks_for_is_granted(
    folder: Path, said: dict[str, Any], tenant: str, plugin: str, asked: list[str]
) -> None:
    path = folder / "activation.toml"
    path.write_text(as_toml(said), encoding="utf-8")
    plain = tomli.loads(path.read_text(encoding="utf-8"))
    ref = InstanceRef(plugin, None if tenant == "-" else tenant)
    why = PolicyAuthoriser(read_policy(path)).refuse_activation(ref, asked)
    rules = plain_rules(plain, tenant, "plugins", [plugin])
    assert (why is None) == all(plain_allows(rules, one) for one in asked), why


@settings(max_examples=300, deadline=None)
@given(PATTERNS, PATTERNS, st.lists(NAMES, min_size=1, max_size=30))
def test_patterns_that_a_plugin_asks_for_are_never_granted_more_than_their_names_would_be(
    pattern: str, asked: str, names: list[str]
) -> None:
    meant = [name for name in names if plain_match(asked.split("."), name.split("."))]
    if covers(pattern, asked):
        assert all(plain_match(pattern.split("."), name.split(".")) for name in meant)
    if any(plain_match(pattern.split("."), name.split(".")) for name in meant):
        assert overlaps(pattern, asked)
    assert covers(pattern, pattern)


def decide(folder: Path, text: str, permission: str, **caller: Any) -> str | None:
    path = folder / "policy.toml"
    path.write_text(text, encoding="utf-8")
    tenant = caller.pop("tenant_id", "t")
    context = PluginContext(tenant_id=tenant, **caller)
    return PolicyAuthoriser(read_policy(path)).refuse_call(InstanceRef("one", tenant), permission, context)


ALL = "[permissions.plugins.one]\nallow = ['*']\n"


def test_a_refusal_names_the_caller_the_rule_the_file_and_the_line(tmp_path: Path) -> None:
    text = f"{ALL}[permissions.roles.noc]\nallow = ['*']\ndeny = ['network.olt.*']\n"
    why = decide(tmp_path, text, "network.olt.configure", user_id="ann", roles=("noc",))
    assert why == (
        "user 'ann' with role noc may not use network.olt.configure: "
        '[permissions.roles.noc] deny "network.olt.*" (policy.toml, line 5)'
    )
    why = decide(tmp_path, text, "network.olt.configure", user_id="ann")
    assert why == "user 'ann' does not hold network.olt.configure in tenant t: no rule in policy.toml grants it"


def test_what_the_plugin_was_not_granted_nobody_may_use(tmp_path: Path) -> None:
    text = "[permissions.users.'*']\nallow = ['*']\n"
    why = decide(tmp_path, text, "network.olt.configure", user_id="ann")
    assert why is not None
    assert "tenant t has not granted one network.olt.configure" in why
    assert "[permissions.plugins.one]" in why


def test_calls_of_the_host_itself_are_its_own_unless_the_policy_says_otherwise(tmp_path: Path) -> None:
    assert decide(tmp_path, ALL, "a.b") is None
    why = decide(tmp_path, f'[permissions]\nanonymous = "deny"\n{ALL}', "a.b")
    assert why is not None
    assert 'anonymous = "deny" (policy.toml, line 2)' in why
    assert decide(tmp_path, ALL, "a.b", user_id="") is not None, "an empty user name is a user, not the host"


def test_roles_in_a_list_count_as_roles_in_a_tuple(tmp_path: Path) -> None:
    text = f"{ALL}[permissions.roles.noc]\nallow = ['*']\n"
    assert decide(tmp_path, text, "a.b", roles=["noc"]) is None
    assert decide(tmp_path, text, "a.b", roles=["field"]) is not None


@pytest.mark.parametrize(
    ("text", "tenant", "most"),
    [
        ("", "t", "standard"),
        ("[permissions]\nmax_security_level = 'minimal'", "t", "minimal"),
        (
            "[permissions]\nmax_security_level = 'minimal'\n[permissions.tenants.t]\nmax_security_level = 'system'",
            "t",
            "system",
        ),
        (
            "[permissions.tenants.'*']\nmax_security_level = 'system'\n[permissions.tenants.'t*']\nmax_security_level = 'minimal'",
            "t",
            "minimal",
        ),
        ("[permissions.tenants.-]\nmax_security_level = 'elevated'", None, "elevated"),
    ],
)
def test_a_plugin_that_declares_more_than_its_tenant_accepts_does_not_activate(
    tmp_path: Path, text: str, tenant: str | None, most: str
) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(text, encoding="utf-8")
    levels = list(SecurityLevel)
    for level in levels:
        authoriser = PolicyAuthoriser(read_policy(path), level_of=lambda _, level=level: level)
        why = authoriser.refuse_activation(InstanceRef("one", tenant), ())
        accepted = levels.index(level) <= levels.index(SecurityLevel(most))
        assert (why is None) == accepted
        if why is not None:
            assert f"accepts at most {most!r}" in why


def test_kept_decisions_do_not_grow_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dotmac_isp.plugins.core.permissions import _policy

    monkeypatch.setattr(_policy, "_MOST_KEPT", 10)
    path = tmp_path / "policy.toml"
    path.write_text(ALL, encoding="utf-8")
    authoriser = PolicyAuthoriser(read_policy(path))
    for number in range(100):
        authoriser.refuse_call(InstanceRef("one", "t"), "a.b", PluginContext(user_id=f"user-{number}"))
        assert len(authoriser._kept) <= 10


def test_the_difference_of_two_policies_is_what_they_decide_otherwise(tmp_path: Path) -> None:
    old, new = tmp_path / "old.toml", tmp_path / "new.toml"
    old.write_text("[permissions.roles.noc]\nallow = ['network.*']\n", encoding="utf-8")
    new.write_text(
        "[permissions.roles.noc]\nallow = ['network.*']\ndeny = ['network.olt.configure']\n"
        "[permissions.tenants.t]\nmax_security_level = 'system'\nusers.ann.allow = ['network.onu.*']\n",
        encoding="utf-8",
    )
    known = {"network.olt.configure", "network.onu.provision"}
    changes = permissions_diff(read_policy(old), read_policy(new), known)
    assert {(one.tenant, one.kind, one.subject, one.what, one.before, one.after) for one in changes} == {
        (None, "roles", "noc", "network.olt.configure", "granted", "denied"),
        ("t", "roles", "noc", "network.olt.configure", "granted", "denied"),
        ("t", "users", "ann", "network.onu.provision", "not granted", "granted"),
        ("t", "tenant", "", "max_security_level", "standard", "system"),
    }
    assert permissions_diff(read_policy(new), read_policy(new), known) == ()


def test_a_pattern_that_no_known_permission_fits_is_part_of_the_difference(tmp_path: Path) -> None:
    old, new = tmp_path / "old.toml", tmp_path / "new.toml"
    old.write_text("", encoding="utf-8")
    new.write_text("[permissions.roles.noc]\nallow = ['billing.*']\n", encoding="utf-8")
    (change,) = permissions_diff(read_policy(old), read_policy(new), {"network.olt.configure"})
    assert (change.tenant, change.what, change.after) == (None, "billing.*", "granted")
