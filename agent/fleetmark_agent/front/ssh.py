"""A connection to a device by OpenSSH's own client, with the operator's keys and configuration.

One master connection carries everything; scripts and forwards use its control socket. What this
client demands (verified host keys, no agent forwarding, no local commands) takes precedence over
the configuration.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from itertools import chain
from pathlib import Path

from fleetmark_agent.front import bounded_process
from fleetmark_agent.front.host_keys import host_key_error
from fleetmark_agent.front.transport import Forward, device_error
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.network_address import join_address
from fleetmark_core.ssh_address import SshAddress

_CONNECT_S = 60.0
_LONGEST_SOCKET_PATH = 104
_DEMANDED = (
    "BatchMode=yes",
    "StrictHostKeyChecking=yes",
    "ForwardAgent=no",
    "ForwardX11=no",
    "PermitLocalCommand=no",
    "RemoteCommand=none",
    "RequestTTY=no",
    "ControlPersist=no",
    "LogLevel=ERROR",
    "ConnectTimeout=20",
    "ServerAliveInterval=15",
    "ServerAliveCountMax=3",
)


class SshTransport:
    """One open connection; see `Transport`."""

    def __init__(self, address: SshAddress, jump: str = "", config: str = "") -> None:
        """Connect.

        Args:
            address: the device.
            jump: jump hosts, in the form of `parse_jump`; empty for those of the configuration.
            config: configuration file of OpenSSH; empty for the operator's own.

        Raises:
            FleetmarkError: the device cannot be reached, its host key is not known or has changed,
                or it refuses the user.
        """
        self._address, self._jump, self._config = address, jump, config
        self._folder = tempfile.TemporaryDirectory(prefix="fm-front-")
        self._socket = str(Path(self._folder.name) / "s")
        self._master: subprocess.Popen[bytes] | None = None
        try:
            self._connect()
        except BaseException:
            self.close()
            raise

    def _words(self, *more: str) -> list[str]:
        words = ["ssh", "-S", self._socket]
        for option in _DEMANDED:
            words += ["-o", option]
        if self._address.user:
            words += ["-l", self._address.user]
        if self._address.port:
            words += ["-p", str(self._address.port)]
        return [*words, *more]

    def _client_words(self, *more: str) -> list[str]:
        # A client reads no configuration: it would ask the master for the forwards there. Without
        # its master it must fail, not connect itself.
        alone = ("-F", "none", "-o", "ControlMaster=no", "-o", "ProxyCommand=false")
        return self._words(*alone, *more)

    def _connect(self) -> None:
        jump = ("-J", self._jump) if self._jump else ()
        config = ("-F", self._config) if self._config else ()
        alone = ("-o", "ControlMaster=yes", "-o", "ClearAllForwardings=yes")
        words = self._words(*config, *alone, *jump, "-N", "-T", "--", self._address.host)
        if shutil.which("ssh") is None:
            raise FleetmarkError(
                ErrorKind.INSTALL_MISSING, "OpenSSH's client `ssh` is not installed"
            )
        master = self._master = bounded_process.start_bound(words)
        assert master.stdout is not None and master.stderr is not None
        self._readers = [bounded_process.BoundedReader(s) for s in (master.stdout, master.stderr)]
        deadline = time.monotonic() + _CONNECT_S
        while not Path(self._socket).exists():
            if master.poll() is not None:
                self._readers[1].join(2.0)
                raise self._refusal(self._readers[1].text())
            if time.monotonic() > deadline:
                raise device_error(f"no SSH connection within {_CONNECT_S:g} s", str(self._address))
            time.sleep(0.02)

    def _refusal(self, errors: str) -> FleetmarkError:
        found = host_key_error(errors, self._address, self._jump, self._config)
        if found is not None:
            return found
        lines = [line.strip() for line in errors.splitlines() if line.strip()]
        why = lines[-1][:300] if lines else "ssh ended without a message"
        advice = ""
        if "Permission denied" in why:
            user = self._address.user or "the user of OpenSSH's configuration"
            why = f"the device refuses {user}: {why}"
            advice = "Check the user, and that `ssh` connects with a key and without a password"
        return device_error(why, str(self._address), advice)

    def run(self, script: str, data: Iterable[bytes] = (), timeout_s: float = 60.0) -> bytes:
        """Run a script; see `Transport.run`."""
        code = script.encode()
        # The script travels on standard input: dash would read ahead of a script there, so that
        # `dd` takes exactly its bytes. The user's shell, of whatever kind, only sees these words.
        command = f"exec sh -c 'eval \"$(dd bs=1 count={len(code)} 2>/dev/null)\"'"
        words = self._client_words("-T", "--", self._address.host, command)
        done = bounded_process.run(words, chain((code,), data), timeout_s)
        if done.fault:
            raise device_error(f"a script was aborted: {done.fault}", str(self._address))
        if done.code == 255:
            raise device_error("the SSH connection was lost", str(self._address))
        return done.output

    def forward(self, folder: str, host: str, ports: Iterable[int]) -> list[Forward]:
        """Forward ports; see `Transport.forward`."""
        made = []
        for port in ports:
            path, target = f"{folder}/{port}.sock", join_address(host, port)
            if len(path) <= _LONGEST_SOCKET_PATH and self._forward(f"{path}:{target}").code == 0:
                made.append(Forward(port))
                continue
            done = self._forward(f"127.0.0.1:0:{target}")
            number = done.output.decode("ascii", "replace").strip()
            if done.code != 0 or not number.isdecimal():
                raise device_error(
                    "its SSH server forwards neither UNIX sockets nor ports",
                    str(self._address),
                    "Allow AllowStreamLocalForwarding or AllowTcpForwarding in its configuration",
                )
            made.append(Forward(port, int(number)))
        return made

    def _forward(self, what: str) -> bounded_process.Completed:
        words = self._client_words("-O", "forward", "-R", what, "--", self._address.host)
        return bounded_process.run(words, (), 30.0)

    def wait(self, timeout_s: float) -> bool:
        """Wait for the end of the connection; see `Transport.wait`."""
        assert self._master is not None
        with suppress(subprocess.TimeoutExpired):
            self._master.wait(timeout_s)
            return False
        return True

    def close(self) -> None:
        """Close the connection."""
        if self._master is not None:
            if self._master.poll() is None:
                self._master.terminate()
                with suppress(subprocess.TimeoutExpired):
                    self._master.wait(3.0)
            bounded_process.end(self._master)
            for stream in (self._master.stdout, self._master.stderr):
                if stream is not None:
                    stream.close()
            self._master = None
        self._folder.cleanup()
