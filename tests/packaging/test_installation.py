"""The wheels in fresh environments: alone, together, mixed with editable installs, and gone again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Environment, Wheel

CORE = "core"


def left_of(wheel: Wheel, site_packages: Path) -> list[str]:
    return sorted(name for name in wheel.shipped if (site_packages / name).exists())


def test_a_package_installs_and_imports_with_only_what_it_needs(
    wheel: Wheel, environment: Environment, with_requirements: Callable[[Wheel], list[Wheel]]
) -> None:
    needed = with_requirements(wheel)
    environment.install(*(other.path for other in needed))
    environment.use(needed)


def test_pip_removes_each_package_and_leaves_the_others_working(wheels: list[Wheel], environment: Environment) -> None:
    environment.install(*(wheel.path for wheel in wheels))
    environment.use(wheels)
    for position, wheel in enumerate(wheels):
        environment.uninstall(wheel.distribution)
        assert left_of(wheel, environment.site_packages) == []
        environment.use(wheels[position + 1 :])
    left = [path for path in (environment.site_packages / "dotmac_isp").rglob("*") if path.is_file()]
    assert left == []


@pytest.mark.parametrize("core_is_editable", [True, False], ids=["core-editable", "core-a-wheel"])
def test_editable_installs_and_wheels_share_the_namespace(
    wheels: list[Wheel], environment: Environment, *, core_is_editable: bool
) -> None:
    editable = [wheel for wheel in wheels if (wheel.folder.name == CORE) is core_is_editable]
    others = [wheel for wheel in wheels if wheel not in editable]
    flags = [word for wheel in editable for word in ("--editable", wheel.folder)]
    environment.install(*flags, *(wheel.path for wheel in others))
    environment.use(wheels)


def test_removing_an_editable_install_leaves_the_checkout_as_it_was(
    wheels: list[Wheel], environment: Environment
) -> None:
    core = next(wheel for wheel in wheels if wheel.folder.name == CORE)
    environment.install("--editable", core.folder)
    environment.use([core])
    environment.uninstall(core.distribution)
    assert left_of(core, environment.site_packages) == []
    assert left_of(core, core.folder / "src") == sorted(core.shipped)
