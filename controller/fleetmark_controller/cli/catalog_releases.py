"""`controller catalog key` and `controller catalog release`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fleetmark_cli.output import echo
from fleetmark_cli.renamed import note
from fleetmark_controller.cli import options
from fleetmark_core.plural import counted

if TYPE_CHECKING:
    from fleetmark_controller.signing.key_file import CatalogKey
    from fleetmark_core.release import Release
    from fleetmark_protos.v1 import catalog_pb2

_PATIENCE_S = 900.0
_FILE = click.Path(dir_okay=False)
_key = click.option(
    "--key", "key_path", metavar="FILE", type=_FILE, help="File with the catalog key."
)


@click.group(name="key")
def key_command() -> None:
    """Create, show and rotate the catalog key, which signs what devices may run.

    By default a controller creates a catalog key in its home. A key that is stored on another
    machine protects devices from a compromised controller.
    """


@key_command.command(name="create")
@click.option("--out", metavar="FILE", type=_FILE, required=True, help="File to write the key to.")
@options.as_json
def create_key(out: str, as_json: bool) -> None:
    """Create a catalog key in FILE, readable only by you, without a controller.

    For a new controller, write `catalog_key = "..."` into its config.toml before its first start.
    For a controller that already has a key, use `key rotate`.
    """
    from pathlib import Path

    from fleetmark_controller.signing import key_file

    key = key_file.create_key()
    _write_key(Path(out), key)
    _show_key(key, out, as_json)


@key_command.command(name="show")
@_key
@options.as_json
@options.controller
def show_key(key_path: str | None, as_json: bool, address: str | None) -> None:
    """Show the controller's catalog key and release, or the public part of a key file."""
    from pathlib import Path

    from fleetmark_controller.signing import key_file
    from fleetmark_protos.v1 import catalog_pb2

    if key_path:
        _show_key(key_file.read(Path(key_path)), key_path, as_json)
        return
    with options.connect(address) as client:
        trust = client.call(client.catalog.GetTrust, catalog_pb2.GetTrustRequest())
    _show_trust(trust, as_json)


@key_command.command(name="rotate")
@_key
@click.option("--out", metavar="FILE", type=_FILE, help="With --key: file for the new key.")
@options.as_json
@options.controller
def rotate_key(key_path: str | None, out: str | None, as_json: bool, address: str | None) -> None:
    """Replace the catalog key. Devices accept the new key, because the old key signs it.

    Without --key, the controller rotates the key in its home and signs a release. With --key, no
    controller is needed: sign the next release with the new key file.
    """
    from pathlib import Path

    from fleetmark_controller.signing import key_file
    from fleetmark_protos.v1 import catalog_pb2

    if bool(key_path) != bool(out):
        raise click.UsageError("--key and --out require each other: the old and the new key file")
    if key_path and out:
        successor = key_file.read(Path(key_path)).successor()
        _write_key(Path(out), successor)
        _show_key(successor, out, as_json)
        return
    with options.connect(address) as client:
        request = catalog_pb2.SignReleaseRequest(rotate=True)
        trust = client.call(client.catalog.SignRelease, request, _PATIENCE_S)
    _show_trust(trust, as_json)


@click.group(name="release", invoke_without_command=True)
@click.option("--key", "key_path", metavar="FILE", type=_FILE, hidden=True)
@click.option("--propose", metavar="FILE", type=_FILE, hidden=True)
@click.option("--sign", "draft", metavar="FILE", type=_FILE, hidden=True)
@click.option("--out", metavar="FILE", type=_FILE, hidden=True)
@click.option("--install", metavar="FILE", type=_FILE, hidden=True)
@click.option("--json", "as_json", is_flag=True, hidden=True)
@options.hidden_controller
@click.pass_context
def release_command(
    context: click.Context,
    key_path: str | None,
    propose: str | None,
    draft: str | None,
    out: str | None,
    install: str | None,
    as_json: bool,
    address: str | None,
) -> None:
    """Sign what devices may run: the components and wheels of the catalog.

    Devices run only orders for a signed release. `sign` signs on the controller's host, or with
    --key on the machine that has the key. If that machine has no network: run `propose FILE`, then
    `sign FILE --key FILE --out FILE` on that machine, then `install FILE`.
    """
    if context.invoked_subcommand is not None:
        return
    # Until version 0.1, options chose what `propose`, `sign` and `install` do now.
    chosen = [name for name in (propose, draft, install) if name]
    if len(chosen) > 1:
        raise click.UsageError("--propose, --sign and --install cannot be combined")
    if propose:
        note("controller catalog release propose")
        _propose(propose, as_json, address)
    elif install:
        note("controller catalog release install")
        _install(install, as_json, address)
    else:
        note("controller catalog release sign")
        _sign(draft, key_path, out, as_json, address)


@release_command.command(name="propose")
@click.argument("file", metavar="FILE", type=_FILE)
@options.as_json
@options.controller
def propose_release(file: str, as_json: bool, address: str | None) -> None:
    """Write an unsigned release of the controller's whole catalog to FILE."""
    _propose(file, as_json, address)


@release_command.command(name="sign")
@click.argument("file", metavar="[FILE]", required=False, type=_FILE)
@_key
@click.option("--out", metavar="FILE", type=_FILE, help="With FILE: file for the signed release.")
@options.as_json
@options.controller
def sign_release(
    file: str | None, key_path: str | None, out: str | None, as_json: bool, address: str | None
) -> None:
    """Sign a release of the controller's whole catalog, so that devices accept orders for it.

    Without options, the controller signs with the key in its home. With --key, this machine signs
    and sends the release to the controller. With FILE, --key and --out, this machine signs the
    proposed release in FILE and needs no controller.
    """
    _sign(file, key_path, out, as_json, address)


@release_command.command(name="install")
@click.argument("file", metavar="FILE", type=_FILE)
@options.as_json
@options.controller
def install_release(file: str, as_json: bool, address: str | None) -> None:
    """Install the signed release in FILE on the controller."""
    _install(file, as_json, address)


def _propose(path: str, as_json: bool, address: str | None) -> None:
    from fleetmark_protos.v1 import catalog_pb2

    with options.connect(address) as client:
        request = catalog_pb2.ProposeReleaseRequest()
        proposal = client.call(client.catalog.ProposeRelease, request, _PATIENCE_S)
    _write(path, proposal.release)
    _show_added(list(proposal.added), path, as_json)


def _sign(
    draft: str | None, key_path: str | None, out: str | None, as_json: bool, address: str | None
) -> None:
    from fleetmark_core.release import parse_release
    from fleetmark_protos.v1 import catalog_pb2

    if bool(draft) != bool(out) or (draft and not key_path):
        raise click.UsageError("a proposed release is signed with --key FILE and --out FILE")
    if draft and out and key_path:
        data = _read(draft)
        release = parse_release(data)
        _write(out, _sealed(data, key_path))
        _show_added(_names(release), out, as_json)
        return
    with options.connect(address) as client:
        if key_path:
            request = catalog_pb2.ProposeReleaseRequest()
            proposal = client.call(client.catalog.ProposeRelease, request, _PATIENCE_S)
            wanted = catalog_pb2.InstallReleaseRequest(envelope=_sealed(proposal.release, key_path))
            trust = client.call(client.catalog.InstallRelease, wanted, _PATIENCE_S)
        else:
            made = catalog_pb2.SignReleaseRequest()
            trust = client.call(client.catalog.SignRelease, made, _PATIENCE_S)
    _show_trust(trust, as_json)


def _install(path: str, as_json: bool, address: str | None) -> None:
    from fleetmark_protos.v1 import catalog_pb2

    with options.connect(address) as client:
        request = catalog_pb2.InstallReleaseRequest(envelope=_read(path))
        trust = client.call(client.catalog.InstallRelease, request, _PATIENCE_S)
    _show_trust(trust, as_json)


def _sealed(release: bytes, key_path: object) -> bytes:
    from pathlib import Path

    from fleetmark_controller.signing import key_file
    from fleetmark_core.release import parse_release, seal_release

    key = key_file.read(Path(str(key_path)))
    return seal_release(parse_release(release), key.private, key.rotations).canonical()


def _names(release: Release) -> list[str]:
    blobs = [f"{name} ({sha256[:12]}…)" for name, sha256, _ in (*release.harnesses, *release.built)]
    return [f"{d['kind']}/{d['name']} {d['version']}" for d in release.components] + blobs


def _show_added(added: list[str], path: str, as_json: bool) -> None:
    from fleetmark_cli import output

    if as_json:
        output.print_json({"file": path, "names": added})
        return
    for line in added:
        echo(line)
    echo(f"{path}: {counted(len(added), 'entry', 'entries')}")


def _show_key(key: CatalogKey, path: str, as_json: bool) -> None:
    from fleetmark_cli import output

    values = {
        "file": path,
        "catalog_key": key.public,
        "fingerprint": key.fingerprint,
        "rotations": len(key.rotations),
    }
    if as_json:
        output.print_json(values)
        return
    output.print_fields(values)


def _show_trust(trust: catalog_pb2.Trust, as_json: bool) -> None:
    from fleetmark_cli import output
    from fleetmark_core.clock import NS_PER_S, iso
    from fleetmark_protos.plain import to_plain

    if as_json:
        output.print_json({"rotations": 0, "unsigned": [], **to_plain(trust)})
        return
    at_hand = "on the controller's host" if trust.has_private_key else "kept elsewhere"
    output.print_fields(
        {
            "catalog key": trust.catalog_key or None,
            "fingerprint": trust.catalog_sha256 or None,
            "private key": at_hand,
            "rotations": trust.rotations,
            "release": trust.serial or None,
            "signed": iso(trust.made_unix_s * NS_PER_S) if trust.serial else None,
            "expires": iso(trust.expires_unix_s * NS_PER_S) if trust.serial else None,
            "components": trust.components or None,
            "pin for devices": f"{trust.ca_sha256}.{trust.catalog_sha256}",
        }
    )
    for reason in trust.unsigned:
        echo(f"unsigned: {reason}")


def _read(path: object) -> bytes:
    from pathlib import Path

    from fleetmark_core.errors import ErrorKind, FleetmarkError
    from fleetmark_core.regular_file import read_regular
    from fleetmark_core.release import MAX_RELEASE_BYTES

    try:
        return read_regular(Path(str(path)), MAX_RELEASE_BYTES)
    except OSError as error:
        raise FleetmarkError(ErrorKind.USAGE, error.strerror or str(error), str(path)) from error


def _write(path: object, data: bytes) -> None:
    from pathlib import Path

    from fleetmark_core.errors import ErrorKind, FleetmarkError

    try:
        Path(str(path)).write_bytes(data)
    except OSError as error:
        raise FleetmarkError(ErrorKind.USAGE, error.strerror or str(error), str(path)) from error


def _write_key(path: object, key: CatalogKey) -> None:
    from pathlib import Path

    from fleetmark_controller.signing import key_file
    from fleetmark_core.errors import ErrorKind, FleetmarkError

    try:
        key_file.write(Path(str(path)), key)
    except OSError as error:
        raise FleetmarkError(ErrorKind.USAGE, error.strerror or str(error), str(path)) from error
