"""The jail on another kernel: Debian in an emulated machine, with systemd and control groups of version 2.

    nox -s machine

Builds a small Debian with debootstrap, puts the core and its tests into it, boots it with QEMU, and has systemd run the jail's suites as root and
look at the machine as an ordinary user, both in services with `Delegate=yes`. Needs root, debootstrap, mke2fs and QEMU for this machine's architecture, and
the network for Debian's packages; about ten minutes. It is in no other session: what it tries does not change with most changes.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = ("systemd", "systemd-sysv", "dbus", "python3", "udev", "kmod")
SUITES: Final = "packages/core/tests/hosting/jail"
#: Fails where a guarantee is not enforced.
LOOK: Final = """
from dotmac_isp.plugins.core.hosting import jail
report = jail.machine_report().isolation
print(report, report.problems)
assert all(one.strength is jail.Strength.ENFORCED for one in report.guarantees.values()), report.guarantees
"""
UNIT: Final = """
[Service]
Type=oneshot
Delegate=yes
{user}
WorkingDirectory=/opt/repo
Environment=PYTHONPATH=/opt/site PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
ExecStart=/bin/sh -c '{command}; echo "exit code $?"'
StandardOutput=append:/results/{name}
StandardError=append:/results/{name}
TimeoutStartSec=1h
"""
ALL: Final = """
[Unit]
After=basic.target
[Service]
Type=oneshot
ExecStart=-/bin/systemctl start {names}
ExecStart=/bin/systemctl poweroff -f
TimeoutStartSec=1h
"""
#: Its deadline is too short for an emulated processor.
TOO_SLOW: Final = f"{SUITES}/test_egress.py::test_grpc_over_tls_checks_the_name_of_the_endpoint"
PYTEST: Final = f"python3 -m pytest -q -p no:cacheprovider -o faulthandler_timeout=0 --deselect={TOO_SLOW} {SUITES}"
#: By name: the user that it runs as (none: root), and the command.
SERVICES: Final = {
    "look-as-root": ("", "python3 /opt/look.py"),
    "look-as-user": ("User=isp", "python3 /opt/look.py"),
    "suites-as-root": ("", PYTEST),
}


class Architecture(NamedTuple):
    """What Debian and QEMU call things."""

    debian: str
    qemu: str
    machine: tuple[str, ...]
    console: str


ARCHITECTURES: Final = {
    "x86_64": Architecture("amd64", "qemu-system-x86_64", (), "ttyS0"),
    "aarch64": Architecture("arm64", "qemu-system-aarch64", ("-M", "virt"), "ttyAMA0"),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "site",
        type=Path,
        help="folder with the core, its extra jail and what its tests need, for Debian's Python (3.11)",
    )
    parser.add_argument("--minutes", type=float, default=20, help="how long the machine may run (default: 20)")
    options = parser.parse_args()
    here = ARCHITECTURES.get(platform.machine())
    missing = "an x86_64 or aarch64 processor" if here is None else lacking(here)
    if here is None or missing:
        print(f"not tried: {missing} is missing here", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:  # not below the site, which nox may make TMPDIR
        folder = Path(name)
        build(folder / "root", options.site, here)
        boot(folder, here, options.minutes * 60)
        return tell(folder / "disk")


def lacking(here: Architecture) -> str:
    """What is missing to try it."""
    if os.geteuid():
        return "root"
    return next((tool for tool in ("debootstrap", "mke2fs", "debugfs", here.qemu) if shutil.which(tool) is None), "")


def build(root: Path, site: Path, here: Architecture) -> None:
    """Debian with what is to be tried."""
    included = ",".join((*PACKAGES, f"linux-image-cloud-{here.debian}"))
    run("debootstrap", "--variant=minbase", f"--include={included}", "bookworm", str(root))
    run("chroot", str(root), "useradd", "-m", "isp")
    (root / "results").mkdir(mode=0o777)
    (root / "results").chmod(0o777)
    shutil.copytree(site, root / "opt" / "site")
    for part in (SUITES, "pyproject.toml"):
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        (root / "opt" / "repo" / part).parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / part, root / "opt" / "repo" / part)
    (root / "opt" / "look.py").write_text(LOOK)
    units = root / "etc" / "systemd" / "system"
    for name, (user, command) in SERVICES.items():
        (units / f"{name}.service").write_text(UNIT.format(name=name, user=user, command=command))
    (units / "all.service").write_text(ALL.format(names=" ".join(SERVICES)))
    (units / "multi-user.target.wants" / "all.service").symlink_to("../all.service")


def boot(folder: Path, here: Architecture, seconds: float) -> None:
    """Run the machine until it switches itself off."""
    run("mke2fs", "-q", "-t", "ext4", "-d", str(folder / "root"), str(folder / "disk"), "4G")
    kernel, initrd = (next((folder / "root" / "boot").glob(pattern)) for pattern in ("vmlinuz-*", "initrd.img-*"))
    command = [
        *(here.qemu, *here.machine, "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "2048"),
        *("-nographic", "-no-reboot", "-nic", "none", "-kernel", str(kernel), "-initrd", str(initrd)),
        *("-append", f"root=/dev/vda rw quiet console={here.console} systemd.show_status=0"),
        *("-drive", f"file={folder / 'disk'},format=raw,if=none,id=d", "-device", "virtio-blk,drive=d"),
    ]
    subprocess.run(command, stdin=subprocess.DEVNULL, timeout=seconds, check=True)


def tell(disk: Path) -> int:
    """Show what came out; 0 when everything passed."""
    failed = 0
    for name in SERVICES:
        said = run("debugfs", "-R", f"cat /results/{name}", str(disk))
        print(f"== {name}\n{said}")
        failed += "exit code 0" not in said
    return min(failed, 1)


def run(*command: str) -> str:
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True).stdout


if __name__ == "__main__":
    sys.exit(main())
