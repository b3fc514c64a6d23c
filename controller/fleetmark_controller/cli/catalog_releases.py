"""`controller catalog key`, `release`, `pack` and `unpack`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fleetmark_cli.output import echo
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


@click.command(name="release")
@_key
@click.option("--propose", metavar="FILE", type=_FILE, help="Write an unsigned release.")
@click.option("--sign", "draft", metavar="FILE", type=_FILE, help="Sign this proposed release.")
@click.option("--out", metavar="FILE", type=_FILE, help="With --sign: file for the signed release.")
@click.option("--install", metavar="FILE", type=_FILE, help="Install this signed release.")
@options.as_json
@options.controller
def release_command(
    key_path: str | None,
    propose: str | None,
    draft: str | None,
    out: str | None,
    install: str | None,
    as_json: bool,
    address: str | None,
) -> None:
    """Sign a release of the controller's whole catalog, so that devices accept orders for it.

    Without options, the controller signs with the key in its home. With --key FILE, this machine
    signs and sends the release to the controller. If the machine with the key has no network: run
    --propose FILE, then --sign FILE --key FILE --out FILE on that machine, then --install FILE.
    """
    from pathlib import Path

    from fleetmark_protos.v1 import catalog_pb2

    chosen = [
        name
        for name, value in (("--propose", propose), ("--sign", draft), ("--install", install))
        if value
    ]
    if len(chosen) > 1:
        raise click.UsageError(f"{' and '.join(chosen)} cannot be combined")
    if bool(draft) != bool(out) or (draft and not key_path):
        raise click.UsageError("--sign requires --key and --out")
    if draft and out and key_path:
        _sign_offline(Path(draft), Path(key_path), Path(out), as_json)
        return
    with options.connect(address) as client:
        if install:
            envelope = _read(Path(install))
        elif propose or key_path:
            request = catalog_pb2.ProposeReleaseRequest()
            proposal = client.call(client.catalog.ProposeRelease, request, _PATIENCE_S)
            if propose:
                _write(Path(propose), proposal.release)
                _show_added(list(proposal.added), propose, as_json)
                return
            assert key_path is not None
            envelope = _sealed(proposal.release, Path(key_path))
        else:
            made = catalog_pb2.SignReleaseRequest()
            trust = client.call(client.catalog.SignRelease, made, _PATIENCE_S)
            _show_trust(trust, as_json)
            return
        wanted = catalog_pb2.InstallReleaseRequest(envelope=envelope)
        trust = client.call(client.catalog.InstallRelease, wanted, _PATIENCE_S)
    _show_trust(trust, as_json)


@click.command(name="pack")
@click.argument("campaign")
@click.option("--out", metavar="FILE", type=_FILE, required=True, help="Archive to write.")
@options.as_json
@options.controller
def pack_command(campaign: str, out: str, as_json: bool, address: str | None) -> None:
    """Write results of a CAMPAIGN, and all that is needed to repeat it, to one archive."""
    from pathlib import Path

    from fleetmark_cli import output
    from fleetmark_controller.export.atomic import atomic
    from fleetmark_protos.v1 import catalog_pb2

    request = catalog_pb2.PackRequest(campaign_id=campaign)
    size_bytes = 0
    with (
        options.connect(address) as client,
        atomic(Path(out)) as scratch,
        scratch.open("wb") as file,
    ):
        for part in client.stream(client.catalog.Pack, request):
            size_bytes += file.write(part.data)
    if as_json:
        output.print_json({"file": out, "size_bytes": size_bytes})
        return
    echo(f"{out}, {size_bytes:,} bytes. `controller catalog unpack {out} DIR` verifies it")


@click.command(name="unpack")
@click.argument("file", metavar="FILE", type=click.Path(dir_okay=False, exists=True))
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False))
@click.option("--trust", metavar="FINGERPRINT", help="Require a signature by this catalog key.")
@options.as_json
def unpack_command(file: str, folder: str, trust: str | None, as_json: bool) -> None:
    """Verify a pack and extract it to DIR, without a controller."""
    from pathlib import Path

    from fleetmark_cli import output
    from fleetmark_controller.signing.pack_reader import unpack_pack

    found = unpack_pack(Path(file), Path(folder), trust or "")
    if as_json:
        output.print_json(found)
        return
    output.print_fields(found)
    echo(f"See {folder}/README.md")


def _sealed(release: bytes, key_path: object) -> bytes:
    from pathlib import Path

    from fleetmark_controller.signing import key_file
    from fleetmark_core.release import parse_release, seal_release

    key = key_file.read(Path(str(key_path)))
    return seal_release(parse_release(release), key.private, key.rotations).canonical()


def _sign_offline(draft: object, key_path: object, out: object, as_json: bool) -> None:
    from pathlib import Path

    from fleetmark_core.release import parse_release

    data = _read(Path(str(draft)))
    release = parse_release(data)
    _write(Path(str(out)), _sealed(data, key_path))
    _show_added(_names(release), str(out), as_json)


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
