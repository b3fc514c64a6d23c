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
    "--key", "key_path", metavar="FILE", type=_FILE, help="The file of the catalog key."
)


@click.group(name="key")
def key_command() -> None:
    """The catalog key, which signs what boards may run.

    A controller makes one for itself in its home. Kept on another machine, it stands between a
    controller that was taken over and the boards.
    """


@key_command.command(name="create")
@click.option("--out", metavar="FILE", type=_FILE, required=True, help="Where it is written.")
@options.as_json
def create_key(out: str, as_json: bool) -> None:
    """Make a catalog key in FILE, readable by you alone; needs no controller.

    Tell a new controller with the line `catalog_key = "..."` in its config.toml, before its first
    start. One that has a key already hands over to another with `key rotate`.
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
    """Show the controller's catalog key and its release, or the public part of a FILE."""
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
@click.option("--out", metavar="FILE", type=_FILE, help="With --key: where the new one is written.")
@options.as_json
@options.controller
def rotate_key(key_path: str | None, out: str | None, as_json: bool, address: str | None) -> None:
    """Hand over to a new catalog key; boards follow, because the old one signs the new one.

    Without --key the controller does it with the key in its home, and signs a release. With --key
    it needs no controller: sign the next release with the new file.
    """
    from pathlib import Path

    from fleetmark_controller.signing import key_file
    from fleetmark_protos.v1 import catalog_pb2

    if bool(key_path) != bool(out):
        raise click.UsageError("--key and --out go together: the old file, and the new one")
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
@click.option("--propose", metavar="FILE", type=_FILE, help="Write what is to be signed to FILE.")
@click.option("--sign", "draft", metavar="FILE", type=_FILE, help="Sign what was proposed in FILE.")
@click.option("--out", metavar="FILE", type=_FILE, help="With --sign: where the release goes.")
@click.option("--install", metavar="FILE", type=_FILE, help="Give the controller this release.")
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
    """Sign all that the controller's catalog has now, so that boards follow orders for it.

    Without options the controller signs with the key in its home. With --key FILE this machine
    signs and hands the release over. Where no network leads from one to the other: --propose FILE,
    then --sign FILE --key FILE --out FILE on the machine with the key, then --install FILE.
    """
    from pathlib import Path

    from fleetmark_protos.v1 import catalog_pb2

    chosen = [
        name
        for name, value in (("--propose", propose), ("--sign", draft), ("--install", install))
        if value
    ]
    if len(chosen) > 1:
        raise click.UsageError(f"{' and '.join(chosen)} are steps of their own")
    if bool(draft) != bool(out) or (draft and not key_path):
        raise click.UsageError("--sign goes with --key and --out")
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
@click.option("--out", metavar="FILE", type=_FILE, required=True, help="Where it is written.")
@options.as_json
@options.controller
def pack_command(campaign: str, out: str, as_json: bool, address: str | None) -> None:
    """Put all that a CAMPAIGN ran and gave into one archive, for others to verify and repeat."""
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
@click.option("--trust", metavar="FINGERPRINT", help="The catalog key that must have signed it.")
@options.as_json
def unpack_command(file: str, folder: str, trust: str | None, as_json: bool) -> None:
    """Verify a pack and lay it out in DIR, whole or not at all; needs no controller."""
    from pathlib import Path

    from fleetmark_cli import output
    from fleetmark_controller.signing.pack_reader import unpack_pack

    found = unpack_pack(Path(file), Path(folder), trust or "")
    if as_json:
        output.print_json(found)
        return
    output.print_fields(found)
    echo(f"Read on in {folder}/README.md")


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
            "pin for boards": f"{trust.ca_sha256}.{trust.catalog_sha256}",
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
