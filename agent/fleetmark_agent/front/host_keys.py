"""Explains why OpenSSH's client refused a host key."""

from __future__ import annotations

import re

from fleetmark_agent.front import bounded_process
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.ssh_address import SshAddress

_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")
_KNOWN_PLACE = re.compile(r"Offending \S+ key in (.+):([0-9]+)")
_UNKNOWN = re.compile(r"No (\S+) host key is known for")


def host_key_error(
    errors: str, address: SshAddress, jump: str, config: str
) -> FleetmarkError | None:
    """Return the error for a refused host key, with the fingerprints; None for another failure.

    Args:
        errors: what the client wrote to standard error.
        address: the device.
        jump: its jump hosts; their presence rules out asking the device for its key directly.
        config: configuration file of OpenSSH that was used, or an empty string.
    """
    if "HOST IDENTIFICATION HAS CHANGED" in errors:
        sent = _FINGERPRINT.search(errors)
        place = _KNOWN_PLACE.search(errors)
        known = _fingerprint_at(place[1], int(place[2])) if place else ""
        where = f" ({place[1]}, line {place[2]})" if place else ""
        return FleetmarkError(
            ErrorKind.UNTRUSTED,
            f"the host key has changed: known is {known or 'another key'}{where}, and the device"
            f" sent {sent[0] if sent else 'another one'}",
            str(address),
            "An attacker may be between here and the device. If you know that the key was replaced,"
            " remove the known one with ssh-keygen -R",
        )
    if not _UNKNOWN.search(errors) and "Host key verification failed" not in errors:
        return None
    found = "" if jump else _asked_fingerprints(address, config)
    shown = f"; the device sends {found}" if found else ""
    return FleetmarkError(
        ErrorKind.UNTRUSTED,
        f"the host key is not known{shown}",
        str(address),
        "Compare it with `ssh-keygen -lf` of the host key on the device, and then add it to"
        " known_hosts, for example by connecting once with ssh",
    )


def _fingerprint_at(path: str, line: int) -> str:
    """Return the fingerprint in a line of a known_hosts file; empty if it cannot be read."""
    try:
        done = bounded_process.run(["ssh-keygen", "-lf", path], (), 10.0)
        with open(path, "rb") as file:  # noqa: PTH123
            kept = [number for number, text in enumerate(file, 1) if _is_key(text)]
        shown = _FINGERPRINT.findall(done.output.decode("utf-8", "replace"))
        return str(shown[kept.index(line)])
    except (OSError, ValueError, IndexError):
        return ""


def _is_key(text: bytes) -> bool:
    return bool(text.strip()) and not text.lstrip().startswith(b"#")


def _asked_fingerprints(address: SshAddress, config: str) -> str:
    """Ask the device for its host key, as the configuration resolves its name."""
    try:
        words = ["ssh", *(("-F", config) if config else ()), "-G"]
        if address.port:
            words += ["-p", str(address.port)]
        done = bounded_process.run([*words, "--", address.host], (), 10.0)
        pairs = dict(
            line.split(" ", 1) for line in done.output.decode().splitlines() if " " in line
        )
        if pairs.get("proxyjump") or pairs.get("proxycommand"):
            return ""
        host, port = pairs.get("hostname", address.host), pairs.get("port", "22")
        # ssh-keyscan has no `--`; a name that begins with a dash is not one of a host.
        if host.startswith("-"):
            return ""
        keys = bounded_process.run(
            ["ssh-keyscan", "-T", "5", "-t", "ed25519", "-p", port, host], (), 15.0
        )
        listed = bounded_process.run(["ssh-keygen", "-lf", "-"], (keys.output,), 10.0)
    except (OSError, ValueError):
        return ""
    shown = _FINGERPRINT.search(listed.output.decode("utf-8", "replace"))
    return shown[0] if shown else ""
