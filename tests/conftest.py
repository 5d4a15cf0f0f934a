"""What every test below tests/ may ask for: where the checkout is and which packages it has."""

from __future__ import annotations

from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
PACKAGE_FOLDERS = sorted(path.parent for path in CHECKOUT.glob("packages/*/pyproject.toml"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test with the argument `package_folder` runs once for each package of the checkout."""
    if "package_folder" in metafunc.fixturenames:
        metafunc.parametrize("package_folder", PACKAGE_FOLDERS, ids=lambda folder: folder.name, scope="session")


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The folder that holds packages/, tests/ and noxfile.py."""
    return CHECKOUT


@pytest.fixture(scope="session")
def package_folders() -> list[Path]:
    """The folders of all packages of the checkout, in alphabetical order."""
    return PACKAGE_FOLDERS
