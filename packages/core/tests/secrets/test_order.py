"""The operator's order of secret providers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dotmac_isp.plugins.core.errors import ConfigurationError
from dotmac_isp.plugins.core.manager._secrets import in_order
from dotmac_isp.plugins.core.secrets import EnvironmentSecrets, FileSecrets

if TYPE_CHECKING:
    from pathlib import Path


class Own:
    name = "own"

    async def provide(self, reference: str, tenant: str | None) -> str | None:
        return None


class Plugins(Own):
    name = "secret plugins"


def names(said: str | None, folder: Path) -> list[str]:
    own = [FileSecrets(folder), EnvironmentSecrets(), Own()]
    return [type(one).__name__ for one in in_order(said, Plugins(), own)]


@pytest.mark.parametrize("said", [None, "", "  "])
def test_without_an_order_plugins_come_first_and_the_hosts_own_as_they_come(said: str | None, tmp_path: Path) -> None:
    assert names(said, tmp_path) == ["Plugins", "FileSecrets", "EnvironmentSecrets", "Own"]


def test_the_order_is_the_operators_and_a_kind_that_it_leaves_out_is_not_asked(tmp_path: Path) -> None:
    assert names("environment, Files,plugins", tmp_path) == ["EnvironmentSecrets", "Own", "FileSecrets", "Plugins"]
    assert names("plugins", tmp_path) == ["Plugins", "Own"]
    assert names("files,environment", tmp_path) == ["FileSecrets", "Own", "EnvironmentSecrets"]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("plugin,files", r"names 'plugin', which is no kind of provider\. Did you mean 'plugins'\?"),
        ("vault", "names 'vault', which is no kind of provider. Known are plugins, files, environment"),
        ("files,files", "names 'files' twice"),
        ("files,", "names ''"),
    ],
)
def test_an_order_that_cannot_be_is_refused_with_the_nearest_kind(said: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=told):
        names(said, tmp_path)
