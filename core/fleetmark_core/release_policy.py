"""Checks that a lockfile and an order follow from a release, before a device runs anything.

Only one part of a lockfile is taken as given: its choice of components and variations. All other
content (command, environment, files, inputs, job parameters) is derived again from the signed
definitions and compared. So the author of a lockfile can choose among released components but
cannot add anything. Pure: no clock, no files, no cryptography.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.lockfile import BlobRef, LockedComponent, Lockfile, PackageArchive
from fleetmark_core.modes import modes_of
from fleetmark_core.order import Order
from fleetmark_core.parameter_values import apply_value, check_value, overlay, runtime_mismatch
from fleetmark_core.release import Release
from fleetmark_core.serde import to_plain

_CONTENT = ("program", "model", "dataset")
_JOB_KINDS = ("benchmark", "model", "dataset")


def check_lock(release: Release, lock: Lockfile) -> None:
    """Reject a lockfile that contains anything that does not follow from the release.

    Raises:
        FleetmarkError: NOT_RELEASED: a component or blob that the release does not contain;
            NOT_ALLOWED: a command, variable or value that does not follow from its components.
    """
    parts = [_Part(release, locked) for locked in lock.components]
    _check_program(parts, lock)
    _check_inputs(parts, lock)
    _check_environment(release, parts, lock)
    _check_job_document(parts, lock)


def check_order(release: Release, order: Order, lock: Lockfile) -> None:
    """Reject an order whose scenario, mode, profile or parameters its components do not allow.

    The lockfile must have passed `check_lock`.

    Raises:
        FleetmarkError: NOT_ALLOWED.
    """
    parts = [_Part(release, locked) for locked in lock.components]
    benchmark, program = _only(parts, "benchmark").body, _only(parts, "program").body
    for what, word, words in (
        ("scenario", order.scenario, benchmark.get("scenarios", ())),
        ("mode", order.mode, modes_of(benchmark, program)),
        ("profile", order.profile, benchmark.get("profiles", {})),
    ):
        if word not in words:
            raise _not_allowed_error(f"{lock.benchmark} has no {what} {word[:60]!r}")
    known = program.get("parameters", {})
    for name, value in order.parameters.items():
        definition = known.get(name)
        if definition is None:
            raise _not_allowed_error(f"the program has no parameter {name[:60]!r}")
        try:
            check_value(name, definition, value)
        except FleetmarkError as error:
            raise _not_allowed_error(f"{error.what}. {error.next_step}") from error
        for word, words in (
            (order.scenario, definition.get("scenarios")),
            (order.profile, definition.get("profiles")),
        ):
            if words is not None and word not in words:
                raise _not_allowed_error(f"parameter {name} does not apply to {word}")
    if wrong := runtime_mismatch(order.parameters, known, _runtime_name(lock)):
        raise _not_allowed_error(wrong)


def _runtime_name(lock: Lockfile) -> str:
    runtime = lock.job.get("runtime")
    return str(runtime.get("name", "")) if isinstance(runtime, dict) else ""


class _Part:
    """A locked component with its released definition; `body` has the variations applied."""

    def __init__(self, release: Release, locked: LockedComponent) -> None:
        self.locked = locked
        self.id = f"{locked.kind}/{locked.name}"
        found = release.by_id.get((locked.kind, locked.name, locked.sha256))
        if found is None:
            raise FleetmarkError(
                ErrorKind.NOT_RELEASED,
                f"{self.id} {locked.version} ({locked.sha256[:12]}…) is not in release "
                f"{release.version}",
            )
        self.definition = found
        own = (found["version"], *found["body"].get("newer", ()), *found["body"].get("older", ()))
        # Software that the device already has is locked at the version that was detected there.
        if locked.kind in ("package", *_JOB_KINDS, "program") and locked.version not in own:
            raise FleetmarkError(
                ErrorKind.NOT_RELEASED, f"{self.id} has no version {locked.version} in the release"
            )
        self.body = self._body()

    def _body(self) -> dict[str, Any]:
        body = dict(self.definition["body"])
        known = self.definition.get("variations", {})
        for word in self.locked.variations:
            name = word if word in known else f"{word.rpartition('.')[0]}.#"
            variation = known.get(name)
            if variation is None:
                raise _not_allowed_error(f"{self.id} has no variation {word[:60]!r}")
            change = variation.get("set", {})
            if variation.get("value") is not None:
                try:
                    change = apply_value(name, variation["value"], word, change)
                except FleetmarkError as error:
                    raise _not_allowed_error(
                        f"{self.id}: {error.what}. {error.next_step}"
                    ) from error
            if change:
                body = overlay(body, change)
        return body

    def files(self) -> set[BlobRef]:
        return {BlobRef(*blob) for blob in self.definition.get("files", ())}

    def artifacts(self, words: set[str], role: str = "") -> set[BlobRef]:
        return {
            BlobRef(*entry["blob"])
            for entry in self.definition.get("artifacts", ())
            if set(entry.get("when", ())) <= words and role in ("", entry["role"])
        }

    def wheels(self, python: str) -> set[BlobRef]:
        return {
            BlobRef(*blob)
            for entry in self.definition.get("wheels", ())
            if (entry["version"], entry["python"]) == (self.locked.version, python)
            for blob in entry["wheels"]
        }


def _only(parts: Sequence[_Part], kind: str) -> _Part:
    found = [part for part in parts if part.locked.kind == kind]
    if len(found) != 1:
        raise _not_allowed_error(
            f"the lockfile names {len(found)} components of kind {kind}, expected 1"
        )
    return found[0]


def _check_program(parts: Sequence[_Part], lock: Lockfile) -> None:
    program = _only(parts, "program")
    if list(lock.program.command) != list(program.body.get("command", ())):
        raise _not_allowed_error(
            f"the command {' '.join(lock.program.command)[:200]!r} is not the command of "
            f"{program.id}"
        )
    if lock.benchmark != _only(parts, "benchmark").locked.name:
        raise _not_allowed_error("the lockfile names another benchmark than its components")
    _all_in(lock.program.files, program.files(), f"not a file of {program.id}")
    if {blob.name for blob in lock.program.files} != {blob.name for blob in program.files()}:
        raise _not_allowed_error(f"files of {program.id} are missing")
    outputs = [
        {"name": out["name"], "role": out["role"], "required": out.get("required", True)}
        for out in program.body.get("outputs", ())
    ]
    if to_plain(lock.program.outputs) != outputs:
        raise _not_allowed_error(f"the declared outputs are not those of {program.id}")
    allowed: dict[str, set[str]] = {}
    for part in parts:
        if part is program or part.locked.kind not in (*_CONTENT, "benchmark"):
            for name, value in part.body.get("environment", {}).items():
                allowed.setdefault(name, set()).add(value)
    for name, value in lock.program.environment.items():
        if value not in allowed.get(name, ()):
            raise _not_allowed_error(
                f"no component defines the variable {name[:60]}={value[:60]!r}"
            )
    if set(lock.program.environment) != set(allowed):
        missing = sorted(set(allowed) - set(lock.program.environment))
        raise _not_allowed_error(f"the variable {missing[0]} is missing")


def _check_inputs(parts: Sequence[_Part], lock: Lockfile) -> None:
    words = {word for part in parts for word in part.locked.variations}
    content = [part for part in parts if part.locked.kind in (*_CONTENT, "benchmark")]
    for role, blob in lock.inputs.items():
        if not any(blob in part.artifacts(words, role) for part in content):
            raise _not_released_error(blob, f"not the {role} of the lockfile's components")


def _check_environment(release: Release, parts: Sequence[_Part], lock: Lockfile) -> None:
    environment = lock.environment
    packages = [part for part in parts if part.locked.kind == "package"]
    wheels = {BlobRef(*blob) for blob in (*release.harnesses, *release.built)}
    for part in packages:
        wheels |= part.wheels(environment.python_version)
    for wheel in environment.wheels:
        if wheel not in wheels:
            raise _not_released_error(
                wheel,
                f"not a wheel of the lockfile's packages for Python {environment.python_version}",
            )
    outside = [part for part in parts if part.locked.kind not in (*_CONTENT, "benchmark")]
    if environment.system_site != any(part.body.get("system_site") for part in outside):
        raise _not_allowed_error("no component allows the use of the system's Python packages")
    provided = environment.provided
    if provided is not None:
        provided_values = (
            provided.archive,
            provided.python,
            provided.version,
            provided.unpacked_bytes,
        )
        if provided_values not in [offer for part in packages for offer in _pythons(part)]:
            raise _not_released_error(provided.archive, "not a Python of the lockfile's packages")
    for package in environment.archives:
        if package not in [entry for part in packages for entry in _archives(part)]:
            raise _not_released_error(package.archive, "not an archive of the lockfile's packages")


def _pythons(part: _Part) -> Iterator[tuple[BlobRef, str, str, int]]:
    for build in part.body.get("interpreters", ()):
        for blob in _named(part, build["artifact"]):
            yield blob, build["python"], part.locked.version, int(build["unpacked_bytes"])


def _archives(part: _Part) -> Iterator[PackageArchive]:
    for entry in part.body.get("archives", ()):
        for blob in _named(part, entry["artifact"]):
            yield PackageArchive(
                name=entry.get("name", part.locked.name),
                archive=blob,
                unpacked_bytes=entry["unpacked_bytes"],
                bin=tuple(entry.get("bin", ())),
                lib=tuple(entry.get("lib", ())),
                python=tuple(entry.get("python", ())),
            )


def _named(part: _Part, name: str) -> list[BlobRef]:
    found = (BlobRef(*entry["blob"]) for entry in part.definition.get("artifacts", ()))
    return [blob for blob in found if blob.name == name]


def _check_job_document(parts: Sequence[_Part], lock: Lockfile) -> None:
    """Compare the job document with what its components define."""
    job_values = dict(lock.job)
    expected: dict[str, Any] = {
        part.locked.kind: {**part.body, "name": part.locked.name, "version": part.locked.version}
        for part in parts
        if part.locked.kind in _JOB_KINDS
    }
    known = _only(parts, "program").body.get("parameters", {})
    expected["defaults"] = {
        name: definition["default"] for name, definition in known.items() if "default" in definition
    }
    outside = [part for part in parts if part.locked.kind not in (*_CONTENT, "benchmark")]
    for key, texts in (("runtime", map(_runtime, outside)), ("loadgen", map(_loadgen, outside))):
        if key in job_values and job_values.pop(key) not in list(texts):
            raise _not_allowed_error(f"the job document's {key} does not follow from a component")
    if to_plain(job_values) != to_plain(expected):
        wrong = [
            key for key in {*job_values, *expected} if job_values.get(key) != expected.get(key)
        ]
        raise _not_allowed_error(
            "these keys of the job document do not follow from a component: "
            f"{', '.join(sorted(wrong))[:100]}"
        )


def _runtime(part: _Part) -> dict[str, Any]:
    return {
        "name": part.body.get("adapter", part.locked.name),
        "package": part.locked.name,
        "version": part.locked.version,
        "module": part.body.get("module", ""),
        "memory_bytes": part.body.get("memory_bytes", 0),
    }


def _loadgen(part: _Part) -> dict[str, Any]:
    return {"round": part.body.get("round", ""), "package_version": part.locked.version}


def _all_in(blobs: Sequence[BlobRef], known: set[BlobRef], what: str) -> None:
    for blob in blobs:
        if blob not in known:
            raise _not_released_error(blob, what)


def _not_released_error(blob: BlobRef, what: str) -> FleetmarkError:
    return FleetmarkError(
        ErrorKind.NOT_RELEASED, f"{blob.name[:100]} ({blob.sha256[:12]}…) is {what} in the release"
    )


def _not_allowed_error(what: str) -> FleetmarkError:
    return FleetmarkError(ErrorKind.NOT_ALLOWED, what)
