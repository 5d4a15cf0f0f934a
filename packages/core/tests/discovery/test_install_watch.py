"""Noticing what pip and uv do: when they have finished, and not before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dotmac_isp.plugins.core.discovery import InstallWatch

if TYPE_CHECKING:
    from pathlib import Path


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_change_counts_once_when_it_has_settled(tmp_path: Path) -> None:
    clock = Clock()
    watch = InstallWatch(path=[str(tmp_path), str(tmp_path / "not there")], settle=1.0, clock=clock)
    clock.now = 10.0
    assert not watch.changed(), "nothing was installed"
    (tmp_path / "vendor-1.0.dist-info").mkdir()
    assert not watch.changed(), "it may go on"
    clock.now = 10.5
    (tmp_path / "vendor").mkdir()
    assert not watch.changed(), "it goes on"
    clock.now = 11.2
    assert not watch.changed()
    clock.now = 11.6
    assert watch.changed()
    assert not watch.changed(), "it is told once"


def test_an_installer_in_the_middle_of_its_work_is_waited_for(tmp_path: Path) -> None:
    clock = Clock()
    info = tmp_path / "vendor-1.0.dist-info"
    info.mkdir()
    watch = InstallWatch(path=[str(tmp_path)], settle=1.0, clock=clock)
    aside = info.rename(tmp_path / "~endor-1.0.dist-info")
    for now in (1.0, 5.0, 9.0):
        clock.now = now
        assert not watch.changed(), "pip has put the old version aside and not brought the new one yet"
    aside.rename(tmp_path / "vendor-2.0.dist-info")
    clock.now = 10.0
    assert not watch.changed()
    clock.now = 11.5
    assert watch.changed()
