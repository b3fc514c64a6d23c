"""Service Catalog: components, catalogs, trust and releases."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from fleetmark_catalog.load import Artifact, Catalog, Component, component_bytes
from fleetmark_catalog.resolve import expand, resolve
from fleetmark_controller.api import auth, error_handling
from fleetmark_controller.api.catalog_import import apply_import, prepare_import
from fleetmark_controller.api.file_confirmation import (
    checked_message,
    component_to_confirm,
    confirm_files,
    file_message,
)
from fleetmark_controller.api.thread_progress import in_thread
from fleetmark_controller.api.trust_view import trust_message
from fleetmark_controller.artifacts.acquire import obtain, place_of
from fleetmark_controller.artifacts.catalog_registry import Catalogs
from fleetmark_controller.artifacts.check_files import check_files
from fleetmark_controller.artifacts.fetch_plan import sources_of
from fleetmark_controller.artifacts.file_confirmations import CheckedFile
from fleetmark_controller.artifacts.harness import pack_harness
from fleetmark_controller.artifacts.model_import.imported_model import ImportedModel
from fleetmark_controller.engine.engine import Engine
from fleetmark_controller.identity.issuer import Issuer
from fleetmark_controller.planning.device import Device
from fleetmark_controller.signing import release_builder
from fleetmark_controller.signing.pack_writer import write_pack
from fleetmark_controller.store.devices import devices
from fleetmark_controller.store.devices.selection import named
from fleetmark_controller.store.security import audit
from fleetmark_controller.trial.outcome import TrialOutcome
from fleetmark_controller.trial.trials import Trials
from fleetmark_core.digest import is_sha256, sha256_hex
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.serde import to_plain
from fleetmark_protos.channel import CHUNK_BYTES
from fleetmark_protos.v1 import catalog_pb2, catalog_pb2_grpc

_MAX_UPLOADED = 100


class CatalogService(catalog_pb2_grpc.CatalogServicer):
    """Service for the loaded catalog and its extensions."""

    def __init__(self, engine: Engine, catalogs: Catalogs, issuer: Issuer, trials: Trials) -> None:
        """Serve the catalog of one engine.

        Args:
            engine: the engine.
            catalogs: adds catalogs and components.
            issuer: for the fingerprint of the CA that devices trust.
            trials: runs models before they are imported.
        """
        self._engine = engine
        self._trials = trials
        self._issuer = issuer
        self._catalogs = catalogs
        self._changing = asyncio.Lock()

    @error_handling.unary
    async def ListComponents(
        self, request: catalog_pb2.ListComponentsRequest, context: error_handling.Context
    ) -> catalog_pb2.ListComponentsReply:
        """Return the components of one kind, or all."""
        found = self._engine.catalog.all(request.kind)
        return catalog_pb2.ListComponentsReply(components=[_summary(part) for part in found])

    @error_handling.unary
    async def GetComponent(
        self, request: catalog_pb2.GetComponentRequest, context: error_handling.Context
    ) -> catalog_pb2.ComponentDetail:
        """Return one component, as written and as resolved."""
        catalog = self._engine.catalog
        component = (component_to_confirm if request.with_md5 else Catalog.named)(
            catalog, request.name
        )
        return await asyncio.to_thread(self._detail, component)

    @error_handling.unary
    async def Resolve(
        self, request: catalog_pb2.ResolveRequest, context: error_handling.Context
    ) -> catalog_pb2.ResolveReply:
        """Return what would run on a device."""
        device = await self._device(request.device)
        return await asyncio.to_thread(self._resolve, request, device)

    @error_handling.streaming
    async def Fetch(
        self, request: catalog_pb2.FetchRequest, context: error_handling.Context
    ) -> AsyncIterator[catalog_pb2.FetchEvent]:
        """Obtain the files of a component; yield progress, then the result."""
        known = await self._engine.reader.run(devices.list_all)
        async for item in in_thread(self._fetch, request.name, known):
            if isinstance(item, str):
                yield catalog_pb2.FetchEvent(progress=item)
            else:
                yield catalog_pb2.FetchEvent(result=item)

    @error_handling.streaming
    async def CheckFiles(
        self, request: catalog_pb2.CheckFilesRequest, context: error_handling.Context
    ) -> AsyncIterator[catalog_pb2.CheckFilesEvent]:
        """Obtain files of which only an MD5 is known; yield progress, then what was computed."""
        if len(request.uploaded) > _MAX_UPLOADED:
            raise FleetmarkError(ErrorKind.USAGE, f"more than {_MAX_UPLOADED} uploaded files")
        component = component_to_confirm(self._engine.catalog, request.name)
        known = await asyncio.to_thread(self._catalogs.checked_files, component.id)
        async for item in in_thread(
            check_files,
            component,
            request.files,
            known,
            request.uploaded,
            self._engine.blobs,
            self._engine.settings.mirror_folder,
        ):
            if isinstance(item, str):
                yield catalog_pb2.CheckFilesEvent(progress=item)
                continue
            async with self._changing:
                await asyncio.to_thread(self._catalogs.record_checked, item)
            for file in item:
                await self._note("catalog.check", component.id, file=file.name, sha256=file.sha256)
            yield catalog_pb2.CheckFilesEvent(result=checked_message(component, item))

    @error_handling.unary
    async def ConfirmFiles(
        self, request: catalog_pb2.ConfirmFilesRequest, context: error_handling.Context
    ) -> catalog_pb2.ConfirmFilesReply:
        """Confirm files of which only an MD5 is known, or withdraw their confirmations."""
        component = component_to_confirm(self._engine.catalog, request.component)
        async with self._changing:
            files = await asyncio.to_thread(
                confirm_files,
                self._catalogs,
                component,
                request,
                self._engine.blobs,
                auth.caller_label(),
            )
            # First the audit row: no confirmation takes effect without one.
            for file in files:
                await self._note(
                    "catalog.withdraw" if request.withdraw else "catalog.confirm",
                    component.id,
                    file=file.name,
                    sha256=file.sha256,
                    size_bytes=file.size_bytes,
                )
            self._engine.catalog = await asyncio.to_thread(self._catalogs.record_files, files)
        await self._engine.release_manager.renew_if_due()
        return catalog_pb2.ConfirmFilesReply(files=map(file_message, files))

    @error_handling.unary
    async def AddCatalog(
        self, request: catalog_pb2.AddCatalogRequest, context: error_handling.Context
    ) -> catalog_pb2.AddCatalogReply:
        """Add a catalog: a folder, or a repository at a commit."""
        if not request.commit and not Path(request.location).is_absolute():
            raise FleetmarkError(ErrorKind.USAGE, f"{request.location!r} is not an absolute path")
        async with self._changing:
            catalog, new = await asyncio.to_thread(
                self._catalogs.add, request.location, request.commit
            )
            self._engine.catalog = catalog
        await self._note("catalog.add", request.location, commit=request.commit, components=new)
        return catalog_pb2.AddCatalogReply(components=new)

    @error_handling.unary
    async def ImportModel(
        self, request: catalog_pb2.ImportModelRequest, context: error_handling.Context
    ) -> catalog_pb2.ImportModelReply:
        """Create a component from an uploaded model, and a benchmark of its speed."""
        engine = self._engine
        wanted = [request.sha256, *(file.sha256 for file in request.external)]
        wanted += [request.values_sha256] if request.values_sha256 else []
        for sha256 in wanted:
            if not is_sha256(sha256) or not engine.blobs.has(sha256):
                raise FleetmarkError(ErrorKind.BLOB_MISSING, f"no blob {sha256[:64]}")

        def trial(catalog: Catalog, model: ImportedModel) -> TrialOutcome:
            return self._trials.run(catalog.knowing(engine.builder.known()), model)

        # The model runs before the catalog is locked: that may take minutes.
        prepared = await asyncio.to_thread(
            prepare_import,
            self._catalogs,
            engine.blobs.path(request.sha256),
            request,
            engine.blobs.path,
            None if request.no_trial else trial,
        )
        async with self._changing:
            engine.catalog, reply = await asyncio.to_thread(apply_import, self._catalogs, prepared)
        await self._note("catalog.import", reply.name, sha256=request.sha256)
        return reply

    @error_handling.unary
    async def RemoveModel(
        self, request: catalog_pb2.RemoveModelRequest, context: error_handling.Context
    ) -> catalog_pb2.RemoveModelReply:
        """Remove an imported model and its benchmark."""
        async with self._changing:
            self._engine.catalog, removed = await asyncio.to_thread(
                self._catalogs.remove, request.name
            )
        await self._note("catalog.remove", request.name, components=removed)
        return catalog_pb2.RemoveModelReply(components=removed)

    @error_handling.unary
    async def GetTrust(
        self, request: catalog_pb2.GetTrustRequest, context: error_handling.Context
    ) -> catalog_pb2.Trust:
        """Return the catalog key that devices trust, and the release."""
        return await self._trust()

    @error_handling.unary
    async def ProposeRelease(
        self, request: catalog_pb2.ProposeReleaseRequest, context: error_handling.Context
    ) -> catalog_pb2.ReleaseProposal:
        """Return the contents of the next release, to be signed elsewhere."""
        release_manager = self._engine.release_manager
        proposal = await release_manager.propose()
        keeper = release_manager.known()
        return catalog_pb2.ReleaseProposal(
            release=proposal.canonical(),
            catalog_key=keeper.public,
            added=release_builder.added_since(proposal, keeper.release),
        )

    @error_handling.unary
    async def InstallRelease(
        self, request: catalog_pb2.InstallReleaseRequest, context: error_handling.Context
    ) -> catalog_pb2.Trust:
        """Install a release that was signed elsewhere."""
        await self._engine.release_manager.install(request.envelope, auth.caller_label())
        return await self._trust()

    @error_handling.unary
    async def SignRelease(
        self, request: catalog_pb2.SignReleaseRequest, context: error_handling.Context
    ) -> catalog_pb2.Trust:
        """Sign a release with the controller's catalog key, or with a new key that replaces it."""
        release_manager = self._engine.release_manager
        await (release_manager.rotate if request.rotate else release_manager.release)(
            auth.caller_label()
        )
        return await self._trust()

    @error_handling.streaming
    async def Pack(
        self, request: catalog_pb2.PackRequest, context: error_handling.Context
    ) -> AsyncIterator[catalog_pb2.PackChunk]:
        """Yield one archive of everything that a campaign ran and produced."""
        campaign = await self._engine.find("campaign", request.campaign_id)
        with tempfile.TemporaryDirectory(prefix="fleetmark-pack-") as scratch:
            path = Path(scratch) / "pack.zip"
            await write_pack(
                campaign,
                path,
                reader=self._engine.reader,
                blobs=self._engine.blobs,
                catalog=self._engine.catalog,
                catalog_sha256=self._engine.release_manager.known().fingerprint,
            )
            with path.open("rb") as file:
                while data := await asyncio.to_thread(file.read, CHUNK_BYTES):
                    yield catalog_pb2.PackChunk(data=data)

    async def _trust(self) -> catalog_pb2.Trust:
        return await trust_message(self._engine, self._issuer.authority.ca_sha256)

    async def _note(self, act: str, subject: str, **detail: Any) -> None:
        who = auth.caller_label()
        await self._engine.transactions.run_transaction(
            lambda c, fx, now: audit.add(c, now, who, act, subject, **detail)
        )

    # --- in threads -----------------------------------------------------------------------

    def _detail(self, component: Component) -> catalog_pb2.ComponentDetail:
        checked = {file.name: file for file in self._catalogs.checked_files(component.id)}
        text = component_bytes(component.folder).decode(errors="replace")
        return catalog_pb2.ComponentDetail(
            component=_summary(component),
            folder=str(component.folder),
            toml=text,
            resolved_json=json.dumps(_resolved(component), ensure_ascii=False),
            extends=component.parents,
            sha256=component.sha256,
            license=component.license,
            source=component.source,
            files=[
                self._file(component, artifact, checked.get(artifact.name))
                for artifact in component.artifacts
            ],
        )

    def _file(
        self, component: Component, artifact: Artifact, checked: CheckedFile | None
    ) -> catalog_pb2.ComponentFile:
        places = [place_of(location) for location in artifact.locations]
        return catalog_pb2.ComponentFile(
            name=artifact.name,
            sha256=artifact.sha256,
            size_bytes=artifact.size_bytes,
            present=self._engine.blobs.has(artifact.sha256),
            locations=[str(component.path(artifact.file)), *places] if artifact.file else places,
            md5=artifact.md5,
            confirmed_by=checked.confirmed_by if checked and artifact.is_confirmed else "",
        )

    async def _device(self, name: str) -> Device:
        return await self._engine.reader.run(lambda c: named(c, name))

    def _resolve(
        self, request: catalog_pb2.ResolveRequest, device: Device
    ) -> catalog_pb2.ResolveReply:
        catalog = self._engine.catalog.knowing(self._engine.builder.known())
        harness, _ = pack_harness()
        answers: dict[tuple[str, ...], catalog_pb2.ResolveResult] = {}
        for configuration in expand(
            catalog,
            request.benchmark,
            scenarios=request.scenarios,
            modes=request.modes,
            variations=request.variations,
            profile=request.profile or "quick",
        ):
            # The lockfile does not depend on scenario and mode: one answer for all of them.
            key = (configuration.benchmark, *configuration.variations)
            if key in answers:
                continue
            found = resolve(catalog, configuration, device.capabilities, harness)
            answer = catalog_pb2.ResolveResult(
                configuration=" ".join(
                    filter(None, (configuration.benchmark, ",".join(configuration.variations)))
                ),
                reasons=found.reasons,
                explanation=found.explanation,
            )
            if found.lock is not None:
                content = found.lock.canonical()
                answer.lockfile_sha256 = sha256_hex(content)
                answer.lockfile_json = content.decode()
                answer.bundle_bytes = found.lock.size_bytes()
            answers[key] = answer
        return catalog_pb2.ResolveReply(results=answers.values())

    def _fetch(
        self, name: str, known: list[Device], report_progress: Callable[[str], None]
    ) -> catalog_pb2.FetchResult:
        builder, mirror = self._engine.builder, self._engine.settings.mirror_folder
        while True:
            catalog = self._engine.catalog.knowing(builder.known())
            sources, builds = sources_of(catalog, name, known)
            if not builds:
                break
            builder.build(builds, mirror, report_progress)
        missing = [sha256 for sha256 in sources if not self._engine.blobs.has(sha256)]
        obtain(sources, self._engine.blobs, mirror, report_progress)
        return catalog_pb2.FetchResult(
            files=len(sources),
            size_bytes=sum(source.size_bytes for source in sources.values()),
            new_files=len(missing),
            new_bytes=sum(sources[sha256].size_bytes for sha256 in missing),
        )


def _summary(component: Component) -> catalog_pb2.Component:
    return catalog_pb2.Component(
        kind=component.kind,
        name=component.name,
        version=component.version,
        title=component.title,
        tags=component.tags,
        variations=sorted(component.variations),
    )


def _resolved(component: Component) -> dict[str, object]:
    plain = to_plain(component)
    assert isinstance(plain, dict)
    # Wheels are a lockfile of their own, and folders have no meaning on other machines.
    for key in ("folder", "folders", "wheels"):
        plain.pop(key)
    return plain
