"""Discovery: what is installed, and what is wrong with it, without running any of it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dotmac_isp.plugins.core.discovery import Discovery, discover
from dotmac_isp.plugins.core.model import SecurityLevel

Install = Callable[..., Path]
BOOM = "raise RuntimeError('this code must not run')\n"


def look(site: Path, **options: object) -> Discovery:
    return discover(path=[str(site)], **options)  # type: ignore[arg-type]


def only_problem(found: Discovery) -> str:
    assert not found.plugins
    (problem,) = found.problems
    return str(problem)


def test_a_plugin_in_a_package_is_found_with_its_manifest_and_none_of_its_code_runs(
    site: Path, install: Install
) -> None:
    table = install("vendor-one", "one", package="vendor_one", code=BOOM, manifest='category = "monitoring"\n')
    found = look(site)
    plugin = found.plugins["one"]
    assert found.problems == ()
    assert (plugin.module, plugin.class_name) == ("vendor_one", "Plugin")
    assert (plugin.distribution, plugin.version, plugin.editable) == ("vendor-one", "1.2", False)
    assert plugin.manifest.version == "1.2", "the distribution's, when the manifest has none"
    assert plugin.manifest_path == table
    assert plugin.info.category == "monitoring"
    assert "vendor_one" not in sys.modules


def test_the_manifest_is_in_the_first_regular_package_below_namespaces(site: Path, install: Install) -> None:
    table = install("vendor-deep", "deep", package="vendor_ns.inner.pack")
    point = site / "vendor_deep-1.2.dist-info" / "entry_points.txt"
    (site / "vendor_ns/inner/pack/sub").mkdir()
    (site / "vendor_ns/inner/pack/sub/__init__.py").write_text(BOOM)
    point.write_text("[dotmac_isp.plugins]\ndeep = vendor_ns.inner.pack.sub:Plugin\n")
    assert look(site).plugins["deep"].manifest_path == table


def test_a_plain_module_in_namespaces_has_its_manifest_beside_it(site: Path, install: Install) -> None:
    install("vendor-a", "a", module="vendor_ns.area.first", code=BOOM)
    install("vendor-b", "b", module="vendor_ns.area.second", code=BOOM)
    found = look(site)
    assert [plugin.manifest_path.name for plugin in found.plugins.values()] == ["first.toml", "second.toml"]
    assert "vendor_ns" not in sys.modules


def test_two_plugins_of_one_distribution_have_a_table_each_and_ids_are_sorted(site: Path, install: Install) -> None:
    table = install("vendor-two", "zeta", package="vendor_two")
    with table.open("a") as file:
        file.write('[alpha]\nname = "Alpha"\n')
    points = site / "vendor_two-1.2.dist-info" / "entry_points.txt"
    points.write_text(
        "[console_scripts]\nx = y:z\n\n[dotmac_isp.plugins]\n# a comment\nzeta=vendor_two:Plugin\nalpha = vendor_two:Plugin [extra]\n"
        "[other]\nnot = a.plugin:X\n"
    )
    assert list(look(site).plugins) == ["alpha", "zeta"]


def test_what_pip_installs_or_removes_later_is_seen_by_the_next_discovery(site: Path, install: Install) -> None:
    assert not look(site).plugins
    table = install("vendor-late", "late")
    assert list(look(site).plugins) == ["late"]
    (site / "vendor_late-1.2.dist-info" / "entry_points.txt").unlink()
    table.unlink()
    assert not look(site).plugins


def test_of_a_distribution_that_is_there_twice_the_first_on_the_path_counts(
    site: Path, install: Install, tmp_path: Path
) -> None:
    install("vendor-one", "one", version="1.2")
    older = tmp_path / "older"
    (older / "Vendor.One-1.0.dist-info").mkdir(parents=True)
    (older / "Vendor.One-1.0.dist-info" / "entry_points.txt").write_text("[dotmac_isp.plugins]\none = gone:Plugin\n")
    found = discover(path=[str(site), str(older)])
    assert found.problems == ()
    assert found.plugins["one"].version == "1.2"


def test_two_distributions_with_one_id_load_neither_and_both_are_named(site: Path, install: Install) -> None:
    install("vendor-a", "same", package="vendor_a")
    install("vendor-b", "same", package="vendor_b")
    install("vendor-c", "other")
    found = look(site)
    assert list(found.plugins) == ["other"], "the others are not affected"
    (problem,) = found.problems
    assert problem.plugin_id == "same"
    assert "vendor-a 1.2 and vendor-b 1.2" in problem.message
    assert problem.remedy is not None
    assert "python -m pip uninstall vendor-a or vendor-b" in problem.remedy


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('core = ">=7"\n', "needs core API >=7; this is 0.1.0"),
        ('python = "<3"\n', "needs Python <3; this is 3."),
    ],
)
def test_a_plugin_that_does_not_fit_is_left_out_with_the_upgrade_that_may_help(
    site: Path, install: Install, more: str, said: str
) -> None:
    install("vendor-one", "one", manifest=more)
    problem = only_problem(look(site))
    assert said in problem
    assert "python -m pip install --upgrade vendor-one" in problem


def test_a_blocked_version_is_left_out_with_the_operators_reason(site: Path, install: Install) -> None:
    install("vendor-one", "one")
    problem = only_problem(look(site, blocked={"one": "<2 | loses flows"}))
    assert "one 1.2 (vendor-one) is blocked here (<2): loses flows" in problem
    assert list(look(site, blocked={"one": ">=2 | too new", "two": "*"}).plugins) == ["one"]


def test_a_block_that_nobody_can_read_blocks(site: Path, install: Install) -> None:
    install("vendor-one", "one")
    assert "no version range" in only_problem(look(site, blocked={"one": "all of them"}))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('categry = "monitoring"\n', "one.categry is not known. Did you mean 'category'?"),
        ('category = "router"\n', "one.category is 'router'"),
        ("permissions = [1]\n", "one.permissions[0] is 1"),
        ('core = "newest"\n', "one.core is 'newest'. Write a version range such as"),
        ('version = "final"\n', "one.version is 'final'. Write a version such as"),
        ('requires = { two = "new" }\n', "one.requires.two is 'new'"),
        ('settings = "module"\n', "one.settings is 'module'. Write it as 'package.module:Class'"),
        ('environment = ["host"]\n', "one.environment[0] is 'host'"),
        ('[one.secrets]\nrequird = ["a"]\n', "one.secrets.requird is not known. Did you mean 'required'?"),
        ('[one.features.olt]\nmethods = "all"\n', "one.features.olt.methods is 'all'"),
        ('[one.features.olt]\nmethod = ["all"]\n', "one.features.olt.method is not known. Did you mean 'methods'?"),
        ("name = \n", "is not TOML: Invalid value (at line 3, column 8)"),
        ('id = "two"\n', "one.id is 'two'"),
    ],
)
def test_a_bad_manifest_is_told_with_file_key_value_and_remedy(
    site: Path, install: Install, more: str, said: str
) -> None:
    table = install("vendor-one", "one", manifest=more)
    install("vendor-fine", "fine")
    found = look(site)
    assert list(found.plugins) == ["fine"]
    (problem,) = found.problems
    assert str(table) in problem.message
    assert said in str(problem)


def test_a_missing_manifest_and_a_missing_table_and_a_missing_module_are_told(site: Path, install: Install) -> None:
    install("vendor-a", "a", manifest=None)
    install("vendor-b", "b").write_text('[bee]\nname = "B"\n')
    (install("vendor-c", "c").parent / "__init__.py").unlink()
    texts = {problem.plugin_id: str(problem) for problem in look(site).problems}
    assert "must ship dotmac-plugin.toml in the package, with the table [a]" in texts["a"]
    assert "has no table [b]" in texts["b"]
    assert "there are: [bee]" in texts["b"]
    assert "names the module vendor_c, which vendor-c does not have" in texts["c"]


@pytest.mark.parametrize("value", ["vendor_x", "vendor_x:", "a b:C", "vendor_x:C.method", ""])
def test_an_entry_point_that_names_no_class_is_told(site: Path, install: Install, value: str) -> None:
    install("vendor-one", "one")
    (site / "vendor_one-1.2.dist-info" / "entry_points.txt").write_text(f"[dotmac_isp.plugins]\none = {value}\n")
    assert "must be 'package.module:Class'" in only_problem(look(site))


def test_an_id_that_could_leave_its_folder_is_refused(site: Path, install: Install) -> None:
    install("vendor-one", "one").write_text('["../one"]\nname = "x"\n')
    points = site / "vendor_one-1.2.dist-info" / "entry_points.txt"
    points.write_text("[dotmac_isp.plugins]\n../one = vendor_one:Plugin\n")
    assert "A plugin id has 1 to 64 letters" in only_problem(look(site))


def test_a_damaged_distribution_does_not_stop_the_others(site: Path, install: Install) -> None:
    install("vendor-one", "one")
    (site / "broken-1.0.dist-info").mkdir()
    (site / "broken-1.0.dist-info" / "entry_points.txt").write_bytes(b"[dotmac_isp.plugins]\nx = \xff\xfe:Y\n")
    (site / "nameless.dist-info").mkdir()
    found = look(site)
    assert list(found.plugins) == ["one"]
    (problem,) = found.problems
    assert "the entry points of broken cannot be read" in str(problem)
    assert "--force-reinstall broken" in str(problem)


def test_a_manifest_gives_every_secret_name_once_and_defaults_that_are_safe(site: Path, install: Install) -> None:
    more = '[one.secrets]\nrequired = ["user"]\noptional = ["key"]\n[one.features.f]\nsecrets = ["key", "cert"]\n'
    install("vendor-one", "one", manifest=more)
    manifest = look(site).plugins["one"].manifest
    assert manifest.secret_names == ("user", "key", "cert")
    assert manifest.security_level is SecurityLevel.STANDARD
    assert manifest.permissions == ()
