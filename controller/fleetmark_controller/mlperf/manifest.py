"""The manifest of a submission: the run of each part, and the sha256 of the runs' raw logs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fleetmark_controller.mlperf.check_run import AccuracyPart, RunPart, stated_hash
from fleetmark_controller.mlperf.layout import ANSWERS, DETAIL, SUMMARY, SubmissionPath
from fleetmark_controller.mlperf.problems import SubmissionProblem
from fleetmark_core.digest import is_sha256, sha256_hex


class SubmissionManifest:
    """The facts that the exporter recorded from its store."""

    def __init__(self, path: str, values: Mapping[str, Any]) -> None:
        """Parse the values of the document.

        Raises:
            KeyError, TypeError, ValueError: the document is malformed.
        """
        self.path = path
        self.rehearsal = bool(values["rehearsal"])
        self._parts: dict[SubmissionPath, Mapping[str, Any]] = {}
        self._inferred_from: dict[SubmissionPath, str] = {}
        for result in values["results"]:
            place = SubmissionPath(result["system"], result["model"], result["scenario"])
            self._parts[place] = dict(result["parts"])
            if "inferred_from" in result:
                self._inferred_from[place] = str(result["inferred_from"])
        self.locks: set[str] = set()
        for parts in self._parts.values():
            for part in parts.values():
                digests = [part["lock_sha256"], *part["files"].values()]
                if not all(isinstance(digest, str) and is_sha256(digest) for digest in digests):
                    raise ValueError("a digest is not a SHA-256 digest")
                self.locks.add(part["lock_sha256"])

    def measured(self, place: SubmissionPath) -> str:
        """Return the scenario of a result's runs: a different one if the result is inferred."""
        return self._inferred_from.get(place, place.scenario)

    def not_here(self, places: list[SubmissionPath]) -> Iterator[SubmissionProblem]:
        """Yield results that only the tree or the manifest has, and runs that are used twice."""
        for place in sorted(set(self._parts) - set(places), key=lambda place: place.path):
            yield SubmissionProblem(self.path, f"names {place.path}, which is not here")
        runs = [
            part["run_id"]
            for place, parts in self._parts.items()
            if place not in self._inferred_from
            for part in parts.values()
        ]
        for run_id in sorted({run for run in runs if runs.count(run) > 1}):
            yield SubmissionProblem(self.path, f"uses run {run_id} more than once")

    def check(
        self,
        place: SubmissionPath,
        shown: Mapping[str, RunPart],
        texts: Mapping[str, AccuracyPart],
    ) -> Iterator[SubmissionProblem]:
        """Yield logs of one result that differ from those that the device delivered."""
        parts = self._parts.get(place)
        if parts is None:
            yield SubmissionProblem(self.path, f"does not name {place.path}")
            return
        for mode in sorted(set(parts) - set(shown)):
            yield SubmissionProblem(self.path, f"names {mode} of {place.path}, which is not here")
        locks = {part["lock_sha256"] for part in parts.values()}
        if len(locks) > 1:
            yield SubmissionProblem(self.path, f"the runs of {place.path} have different locks")
        for mode, run in shown.items():
            part = parts.get(mode)
            if part is None:
                yield SubmissionProblem(self.path, f"does not name {mode} of {place.path}")
                continue
            files = part["files"]
            for name, data in ((SUMMARY, run.summary), (DETAIL, run.detail)):
                yield from self.other_bytes(f"{run.folder}/{name}", data, files.get(name, ""))
            text = texts.get(mode)
            if text is not None:
                where = f"{text.folder}/{ANSWERS}"
                yield from self.other_bytes(where, text.log, part.get("shown_sha256", ""))
                if stated_hash(text) != files.get(ANSWERS):
                    yield SubmissionProblem(
                        text.folder, "its hash differs from that of the device's accuracy log"
                    )

    @staticmethod
    def other_bytes(path: str, data: bytes, sha256: str) -> Iterator[SubmissionProblem]:
        """Yield a problem if a file's bytes are not those of the store."""
        if data and sha256_hex(data) != sha256:
            yield SubmissionProblem(path, "is not the file that the device delivered")
