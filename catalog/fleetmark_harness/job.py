"""The job file: read once, validated, immutable."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleetmark_harness.exit_codes import BAD_JOB, JobError

FORMAT = 1
SCENARIOS = ("SingleStream", "MultiStream", "Server", "Offline")
TESTS = ("TEST01", "TEST04")
"""MLPerf's compliance tests: performance runs with an audit.config."""
FIND = "find-performance"
"""Short performance runs that find the settings for a performance run."""
CROSSCHECK = "crosscheck"
"""Short blocks that explain the latency of a performance run; their figures are no result."""
MODES = ("performance", "accuracy", *TESTS, FIND, CROSSCHECK)
PROFILE_OPS = "profile_ops"
"""The parameter that asks for a per-operator profile after a performance run."""
DEFAULT_LIMIT_S = 600.0
"""Time limit of a job whose file and profile have none."""
MULTISTREAM_SAMPLES = 8
"""Samples per query in MultiStream, as MLPerf's rules require."""
_TABLES = ("model", "dataset", "runtime", "benchmark")


@dataclass(frozen=True)
class JobSpec:
    """The job to run. `parameters` are complete: unset ones have their defaults."""

    job_id: str
    epoch: int
    scenario: str
    mode: str
    profile: str
    parameters: Mapping[str, Any]
    inputs: Mapping[str, Path]
    job: Mapping[str, Any]
    out: Path
    limit_s: float
    """Time limit of the job; the agent stops it afterwards."""
    given: Mapping[str, Any] = field(default_factory=dict)
    """The parameters that the order sets, without defaults."""
    software: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Version and path of the software that the agent detected, by name (mode crosscheck)."""
    profile_folder: Path | None = None
    """Folder for the runtime's own profile; None unless the model is opened for profiling."""

    def table(self, name: str) -> Mapping[str, Any]:
        """Return the lockfile's table of `model`, `dataset`, `runtime` or `benchmark`."""
        found: Mapping[str, Any] = self.job[name]
        return found

    def input(self, name: str) -> Path:
        """Return the file of an input.

        Raises:
            JobError: BAD_JOB: the job has no such input.
        """
        path = self.inputs.get(name)
        if path is None:
            raise JobError(BAD_JOB, f"the job has no input {name!r}")
        return path

    @property
    def profile_settings(self) -> Mapping[str, Any]:
        """The benchmark's settings for this profile."""
        found: Mapping[str, Any] = self.table("benchmark")["profiles"][self.profile]
        return found

    @property
    def batch_size(self) -> int:
        """The number of samples that the model gets per call.

        Raises:
            JobError: BAD_JOB: the parameter is not a positive integer.
        """
        if self.scenario == "Offline":
            return self.integer("batch_size")
        return MULTISTREAM_SAMPLES if self.scenario == "MultiStream" else 1

    @property
    def audit(self) -> Mapping[str, int]:
        """LoadGen's settings for this compliance test; empty in other modes.

        Raises:
            JobError: BAD_JOB: the benchmark does not define them.
        """
        if self.mode not in TESTS:
            return {}
        try:
            found = self.table("benchmark")["compliance"][self.mode]
            return {str(key): int(value) for key, value in found.items()}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise JobError(
                BAD_JOB, f"benchmark.compliance has no valid settings for {self.mode}"
            ) from error

    def positive(self, name: str) -> float | None:
        """Return a parameter that is a number above 0, or None if it is not set.

        Raises:
            JobError: BAD_JOB: it is not a number between 0 and 1e9.
        """
        value = self.parameters.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e9:
            raise JobError(BAD_JOB, f"parameter {name} is {value!r}, expected a number above 0")
        return float(value)

    def flag(self, name: str) -> bool:
        """Return a parameter that is true or false; a missing one is false.

        Raises:
            JobError: BAD_JOB: it has another type.
        """
        value = self.parameters.get(name, False)
        if not isinstance(value, bool):
            raise JobError(BAD_JOB, f"parameter {name} is {value!r}, expected true or false")
        return value

    def integer(self, name: str, minimum: int = 1) -> int:
        """Return an integer parameter.

        Raises:
            JobError: BAD_JOB: it is missing, has another type, or is below `minimum`.
        """
        value = self.parameters.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
            raise JobError(
                BAD_JOB, f"parameter {name} is {value!r}, expected an integer of at least {minimum}"
            )
        return value


def read_job(environment: Mapping[str, str] = os.environ) -> JobSpec:
    """Read the job that `FLEETMARK_JOB` and `FLEETMARK_OUT` name.

    Raises:
        JobError: BAD_JOB, naming what is wrong.
    """
    path, out = environment.get("FLEETMARK_JOB", ""), environment.get("FLEETMARK_OUT", "")
    if not path or not out:
        raise JobError(BAD_JOB, "FLEETMARK_JOB and FLEETMARK_OUT must be set")
    if not Path(out).is_dir():
        raise JobError(BAD_JOB, f"FLEETMARK_OUT: folder {out} does not exist")
    try:
        document = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise JobError(BAD_JOB, f"job file {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise JobError(BAD_JOB, f"job file {path} is not JSON: {error}") from error
    return _checked(document, Path(out))


def _checked(document: Any, out: Path) -> JobSpec:
    try:
        if document["format"] != FORMAT:
            raise JobError(
                BAD_JOB,
                f"job format {document['format']!r} is not supported: this harness reads {FORMAT}",
            )
        tables = document["job"]
        job = JobSpec(
            job_id=str(document["job_id"]),
            epoch=int(document["epoch"]),
            scenario=_one_of("scenario", document["scenario"], SCENARIOS),
            mode=_one_of("mode", document["mode"], MODES),
            profile=document["profile"],
            parameters={**tables.get("defaults", {}), **document["parameters"]},
            inputs={str(name): Path(value) for name, value in document["inputs"].items()},
            job=tables,
            out=out,
            limit_s=_limit_s(document),
            given=dict(document["parameters"]),
            software={str(k): dict(v) for k, v in document.get("software", {}).items()},
        )
        for name in _TABLES:
            if not isinstance(tables[name], dict):
                raise TypeError(f"job.{name} is not a JSON object")
        _one_of("profile", job.profile, tuple(tables["benchmark"]["profiles"]))
        if job.scenario not in job.profile_settings:
            raise JobError(BAD_JOB, f"profile {job.profile} has no settings for {job.scenario}")
    except KeyError as error:
        raise JobError(BAD_JOB, f"the job file has no {error.args[0]!r}") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise JobError(BAD_JOB, f"the job file is not valid: {error}") from error
    return job


def _limit_s(document: Mapping[str, Any]) -> float:
    """Return the time limit of the job, or that of its profile if the job file has none."""
    profile = document["job"]["benchmark"]["profiles"].get(document["profile"], {})
    limit = document.get("timeout_s", profile.get("timeout_s", DEFAULT_LIMIT_S))
    if isinstance(limit, bool) or not isinstance(limit, (int, float)) or not 0 < limit < 1e9:
        raise ValueError(f"timeout_s is {limit!r}, expected a number above 0")
    return float(limit)


def _one_of(what: str, value: Any, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise JobError(BAD_JOB, f"{what} {value!r} is not one of {', '.join(allowed)}")
    return str(value)
