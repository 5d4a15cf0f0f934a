"""The course of an upgrade: loading, activation with its reboot, commit, and everything that ends it early."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._stack import delays
from .slots import STATE, Upgrade
from .source import beginning

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._stack.records import OnuRecord
    from .._stack.stack import Stack

    Reboot = Callable[[Stack, OnuRecord], None]


async def load(stack: Stack, onu: OnuRecord, upgrade: Upgrade, url: str, reboot: Reboot) -> None:
    """Fetch the image and let the ONU take it."""
    found = await beginning(url)
    if onu.upgrades.get(upgrade.version) is not upgrade or not upgrade.loading:
        return
    upgrade.set(image=STATE.IMAGE_DOWNLOADING)
    stack.background.later(delays.IMAGE_TRANSFER, _loaded, stack, onu, upgrade, found, reboot)


def _loaded(stack: Stack, onu: OnuRecord, upgrade: Upgrade, found: bytes, reboot: Reboot) -> None:
    if not upgrade.loading:
        return
    if not found.startswith(upgrade.version.encode()):
        # The ONU refuses the end of the transfer; the adapter says this of any such refusal (surprise 39).
        upgrade.set(
            download=STATE.DOWNLOAD_FAILED,
            reason=STATE.CANCELLED_ON_ONU_STATE,
            image=STATE.IMAGE_DOWNLOADING_ABORTED,
        )
        return
    onu.hardware.slots.load(upgrade.version)
    upgrade.set(download=STATE.DOWNLOAD_SUCCEEDED, image=STATE.IMAGE_INACTIVE)
    if upgrade.activate_on_success:
        activate(stack, onu, upgrade, reboot)


def activate(stack: Stack, onu: OnuRecord, upgrade: Upgrade, reboot: Reboot) -> None:
    """Start the ONU from the other slot. It reboots, whatever lies there (surprise 40)."""
    upgrade.set(image=STATE.IMAGE_ACTIVATING)
    if onu.hardware.slots.resting == upgrade.version:
        onu.hardware.slots.swap()
    reboot(stack, onu)


def came_up(onu: OnuRecord) -> None:
    """The ONU runs again after an activation: see with which image."""
    slots = onu.hardware.slots
    for upgrade in onu.upgrades.values():
        if upgrade.image != STATE.IMAGE_ACTIVATING:
            continue
        if slots.running != upgrade.version:
            upgrade.set(image=STATE.IMAGE_ACTIVATION_ABORTED)
        else:
            upgrade.set(image=STATE.IMAGE_ACTIVE)
            if upgrade.commit_on_success:
                slots.commit()
                upgrade.set(image=STATE.IMAGE_COMMITTED)


def commit(stack: Stack, onu: OnuRecord, upgrade: Upgrade) -> None:
    """Make the running image the one that the ONU starts with."""
    upgrade.set(image=STATE.IMAGE_COMMITTING)
    stack.background.later(delays.IMAGE_COMMIT, _committed, onu, upgrade)


def _committed(onu: OnuRecord, upgrade: Upgrade) -> None:
    onu.hardware.slots.commit()
    upgrade.set(image=STATE.IMAGE_COMMITTED)


def lost(onu: OnuRecord) -> None:
    """The ONU is gone while it was loading (section 6.1)."""
    for upgrade in onu.upgrades.values():
        if upgrade.loading:
            upgrade.set(download=STATE.DOWNLOAD_FAILED, reason=STATE.CANCELLED_ON_ONU_STATE, image=STATE.IMAGE_UNKNOWN)
