"""A real OpenSSH server on loopback."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from fleetmark_agent.startup.find_controller import is_reachable
from fleetmark_core import process_tree
from tests.support.processes import free_port, until

_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"
DROPBEAR = shutil.which("dropbear", path=_PATH)
SSHD = shutil.which("sshd", path=_PATH)
needs_ssh_server = pytest.mark.skipif(
    not (SSHD and shutil.which("ssh")) or os.getuid() != 0,
    reason="needs OpenSSH's server and client, and root to start the server",
)
needs_dropbear = pytest.mark.skipif(
    not (DROPBEAR and shutil.which("dropbearkey") and shutil.which("ssh")) or os.getuid() != 0,
    reason="needs Dropbear, OpenSSH's client, and root to start the server",
)


class Dropbear:
    """A Dropbear server on loopback, whose sessions see `home` as the home folder of root."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder, self.port = folder, free_port()
        folder.mkdir()
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "user")]
        subprocess.run(words, check=True)
        (home / ".ssh").mkdir(mode=0o700)
        shutil.copy(folder / "user.pub", home / ".ssh/authorized_keys")
        home.chmod(0o700)
        words = ["dropbearkey", "-t", "ed25519", "-f", str(folder / "host")]
        shown = subprocess.run(words, check=True, capture_output=True, text=True).stdout
        key = next(line for line in shown.splitlines() if line.startswith("ssh-ed25519 "))
        (folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {key}\n")
        self.client_config = write_client_config(folder)
        script = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"]
        command += [str(home), str(Path("~root").expanduser()), str(DROPBEAR), "-F", "-E", "-s"]
        command += ["-p", f"127.0.0.1:{self.port}", "-r", str(folder / "host"), "-P", "/dev/null"]
        with (folder / "dropbear.log").open("wb") as log:
            self._server = subprocess.Popen(command, stdout=log, stderr=log)
        until(lambda: is_reachable(f"127.0.0.1:{self.port}"), "the SSH server")

    def stop(self) -> None:
        """End the server and its connections."""
        for pid in process_tree.descendants(self._server.pid):
            if Path(f"/proc/{pid}/comm").read_text().strip() == "dropbear":
                os.kill(pid, signal.SIGKILL)
        self._server.kill()
        self._server.wait()


def write_client_config(folder: Path) -> Path:
    """Write a configuration of OpenSSH's client with key and known hosts of `folder`."""
    path = folder / "ssh_config"
    path.write_text(
        f"Host *\n  IdentityFile {folder}/user\n  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {folder}/known_hosts\n  GlobalKnownHostsFile none\n"
        f"  ControlMaster auto\n  LocalForward {free_port()} 127.0.0.1:1\n"
    )
    return path


class SshServer:
    """A server on loopback that accepts one key, and connections to it."""

    def __init__(self, folder: Path, *lines: str) -> None:
        """Start it; `lines` are added to its configuration."""
        self.folder, self.port = folder, free_port()
        folder.mkdir()
        for name in ("host", "user"):
            words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
            subprocess.run(words, check=True)
        shutil.copy(folder / "user.pub", folder / "authorized_keys")
        Path("/run/sshd").mkdir(exist_ok=True)  # where the server separates its privileges
        host_key = (folder / "host.pub").read_text()
        names = f"[127.0.0.1]:{self.port},[localhost]:{self.port}"
        (folder / "known_hosts").write_text(f"{names} {host_key}")
        (folder / "sshd_config").write_text(
            f"ListenAddress 127.0.0.1:{self.port}\n"
            f"HostKey {folder}/host\n"
            f"AuthorizedKeysFile {folder}/authorized_keys\n"
            "PidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin yes\n"
            + "".join(f"{line}\n" for line in lines)
        )
        self.client_config = write_client_config(folder)
        command = [str(SSHD), "-D", "-e", "-f", str(folder / "sshd_config")]
        with (folder / "sshd.log").open("wb") as log:
            self._server = subprocess.Popen(command, stdout=log, stderr=log)
        self._tunnel: subprocess.Popen[bytes] | None = None
        until(lambda: is_reachable(f"127.0.0.1:{self.port}"), "the SSH server")

    def forward(self, *forwards: str) -> None:
        """Connect, and forward ports of the device until `cut`."""
        options = [
            *("-F", "none", "-i", str(self.folder / "user"), "-p", str(self.port), "-N"),
            *("-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"),
            *("-o", f"UserKnownHostsFile={self.folder / 'known_hosts'}"),
            *("-o", "ExitOnForwardFailure=yes"),
        ]
        for one in forwards:
            options += ["-R", one]
        self._tunnel = subprocess.Popen(["ssh", *options, f"{getpass.getuser()}@127.0.0.1"])

    def cut(self) -> None:
        """Kill the connection."""
        if self._tunnel is not None:
            self._tunnel.kill()
            self._tunnel.wait()

    def stop(self) -> None:
        self.cut()
        self._server.kill()
        self._server.wait()
