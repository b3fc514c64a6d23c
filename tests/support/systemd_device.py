"""A device with systemd of its own: namespaces over this machine's files, nothing of which changes.

It boots in seconds, needs root, and ends with the process that holds it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path

from tests.support.processes import until

SYSTEMD = Path("/lib/systemd/systemd")
# No hardware, no network and no login is set up: this machine's own are in use.
_MASKED = (
    *("systemd-udevd", "systemd-udev-trigger", "systemd-modules-load", "systemd-sysctl"),
    *("systemd-remount-fs", "systemd-firstboot", "systemd-random-seed", "systemd-timesyncd"),
    *("systemd-networkd", "systemd-resolved", "systemd-logind", "networking", "cron", "postgresql"),
)
_BOOT = """
set -eu
base=$1 masked=$2
mount --make-rprivate /
mount -t tmpfs -o size=2g device "$base"
r=$base/root
mkdir "$base/upper" "$base/work" "$r"
mount -t overlay overlay -o "lowerdir=/,upperdir=$base/upper,workdir=$base/work" "$r"
mount -t proc proc "$r/proc"
mount -t sysfs sysfs "$r/sys"
mount -t cgroup2 cgroup2 "$r/sys/fs/cgroup"
mount -t tmpfs tmpfs "$r/dev"
for node in null zero full random urandom tty; do
    : >"$r/dev/$node"
    mount --bind "/dev/$node" "$r/dev/$node"
done
mkdir "$r/dev/pts" "$r/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$r/dev/pts"
ln -s pts/ptmx "$r/dev/ptmx"
ln -s /proc/self/fd "$r/dev/fd"
mount -t tmpfs -o mode=755 tmpfs "$r/run"
for folder in dev/shm tmp; do mount -t tmpfs -o mode=1777 tmpfs "$r/$folder"; done
units=$r/etc/systemd/system
mkdir -p "$units"
printf '[Unit]\\nRequires=basic.target dbus.service\\nAfter=basic.target\\n' >"$units/device.target"
for unit in $masked; do ln -sf /dev/null "$units/$unit.service"; done
: >"$r/etc/fstab"
mkdir "$r/.old"
cd "$r"
pivot_root . .old
umount -l /.old
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    "$3" --system --unit=device.target --log-target=null --show-status=no
"""


def cgroup2() -> Path | None:
    """Return the mount point of control groups version 2."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(where)
    return None


class SystemdDevice:
    """One such device."""

    def __init__(self, holder: subprocess.Popen[bytes]) -> None:
        self.holder = holder
        children = Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text().split()
        self.enter = [
            *("nsenter", "-t", children[0], "-m", "-p", "-C", "-i", "-u", "--root"),
            *("env", "-i", "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"),
            *("sh", "-c", 'cd / && exec "$@"', "sh"),
        ]

    def run(self, *command: str, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
        """Run a command as root on the device."""
        done = subprocess.run(
            [*self.enter, *command], input=stdin, capture_output=True, check=False
        )
        return subprocess.CompletedProcess(
            command, done.returncode, done.stdout.decode(), done.stderr.decode()
        )

    def ask(self, *command: str) -> str:
        """Run a command that must succeed; return its output."""
        done = self.run(*command)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def copy(self, source: Path, target: str) -> None:
        """Copy a file or folder of this machine to a path on the device."""
        packed = BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            archive.add(source, arcname=target.lstrip("/"))
        done = self.run("tar", "-x", "-C", "/", "-f", "-", stdin=packed.getvalue())
        assert done.returncode == 0, done.stderr

    def until(self, look: Callable[[], object], unit: str) -> None:
        """Wait until `look` is true; if it does not become so, show what the unit said."""
        try:
            until(look, unit, patience_s=300)
        except AssertionError as error:
            output = self.run("journalctl", "--no-pager", "--lines=30", "--unit", unit).stdout
            raise AssertionError(f"{error}\n{output}") from error

    def show(self, unit: str, name: str) -> str:
        """Return a property of a unit."""
        return self.ask("systemctl", "show", unit, "--property", name, "--value")


def systemd_device_skip_reason() -> str:
    """Return why such a device is not possible here; empty if it is."""
    if os.geteuid() != 0:
        return "needs root"
    if not SYSTEMD.exists() or cgroup2() is None:
        return "needs systemd and control groups of the second version"
    missing = [t for t in ("unshare", "nsenter", "systemctl", "dbus-daemon") if not shutil.which(t)]
    return f"needs {', '.join(missing)}" if missing else ""


@contextmanager
def booted_device(folder: Path) -> Iterator[SystemdDevice | None]:
    """Yield a device that ends with the block; None if this kernel does not allow one."""
    top = cgroup2()
    assert top is not None
    group = top / f"device-{os.getpid()}-{time.monotonic_ns()}"
    group.mkdir()
    join = f'echo $$ >"{group}/cgroup.procs" && exec "$@"'
    unshare = ("unshare", "--mount", "--pid", "--fork", "--cgroup", "--ipc", "--uts")
    script = ("sh", "-c", _BOOT, "sh", str(folder), " ".join(_MASKED), str(SYSTEMD))
    holder = subprocess.Popen(
        ["sh", "-c", join, "sh", *unshare, "--kill-child", *script], stdin=subprocess.DEVNULL
    )
    try:
        yield _when_up(holder)
    finally:
        holder.kill()
        holder.wait()
        for _ in range(100):
            with suppress(OSError):
                for below in sorted(group.rglob("*/"), reverse=True):
                    below.rmdir()
                group.rmdir()
                break
            time.sleep(0.05)


def _when_up(holder: subprocess.Popen[bytes]) -> SystemdDevice | None:
    end = time.monotonic() + 60
    while time.monotonic() < end and holder.poll() is None:
        with suppress(IndexError, OSError):
            device = SystemdDevice(holder)
            if device.run("systemctl", "is-system-running").stdout.strip() in (
                "running",
                "degraded",
            ):
                return device
        time.sleep(0.2)
    return None
