"""Paths of a submission's files, which differ between rounds.

Up to v5.1 measurements and compliance have trees of their own. Since v6.0 everything about a
scenario is in one folder, and `code` is called `src`.
"""

from __future__ import annotations

from dataclasses import dataclass

from fleetmark_controller.mlperf.problems import MLPERF, NOTICE

SCENARIO_FOLDERS = {
    name.lower(): name
    for name in ("SingleStream", "MultiStream", "Server", "Offline", "Interactive")
}
"""Lower-case folder names, which the official checkers accept (`SCENARIO_MAPPING`)."""
IMPLEMENTATION = "fleetmark"
"""Name of the implementation, in file names and below the code folder."""
SUMMARY, DETAIL = "mlperf_log_summary.txt", "mlperf_log_detail.txt"
ANSWERS, ACCURACY = "mlperf_log_accuracy.json", "accuracy.txt"
VERIFIED_ACCURACY, VERIFIED_PERFORMANCE = "verify_accuracy.txt", "verify_performance.txt"
USER_CONF, README, MANIFEST = "user.conf", "README.md", "manifest.json"
MODEL_MAPPING = "model_mapping.json"


@dataclass(frozen=True)
class SubmissionPath:
    """Place of one result: a model on a system in a scenario."""

    system: str
    model: str
    folder: str
    """The scenario's folder: its name, possibly in lower case."""

    @property
    def scenario(self) -> str:
        """The scenario that the folder's name means."""
        return SCENARIO_FOLDERS.get(self.folder, self.folder)

    @property
    def path(self) -> str:
        """The result's path below a tree of results."""
        return f"{self.system}/{self.model}/{self.folder}"


@dataclass(frozen=True)
class Layout:
    """Paths in one submitter's tree of a round, relative to the tree's root, with slashes."""

    round: str
    division: str
    submitter: str

    @property
    def has_measurements_tree(self) -> bool:
        """Return whether measurements and compliance have their own trees, with code in `code`."""
        return self.round in ("v5.0", "v5.1")

    @property
    def level_of_files(self) -> str:
        """The severity of an unexpected file: the checker of v6.1 does not look for them."""
        return MLPERF if self.has_measurements_tree else NOTICE

    @property
    def root(self) -> str:
        """The submitter's folder."""
        return f"{self.division}/{self.submitter}"

    @property
    def code(self) -> str:
        """The folder of all code."""
        return f"{self.root}/{'code' if self.has_measurements_tree else 'src'}"

    def code_of(self, model: str) -> str:
        """Return the folder of the code that ran a model."""
        return f"{self.code}/{model}/{IMPLEMENTATION}"

    @property
    def calibration(self) -> str:
        """The document about quantization, which the closed division requires."""
        return f"{self.root}/documentation/calibration.md"

    @property
    def model_mapping(self) -> str:
        """The file that maps model names to benchmarks in the open division."""
        return f"{self.root}/{MODEL_MAPPING}"

    def system(self, system: str) -> str:
        """Return the path of a system's description."""
        return f"{self.root}/systems/{system}.json"

    def results(self, place: SubmissionPath) -> str:
        """Return the folder of a result."""
        return f"{self.root}/results/{place.path}"

    def performance(self, place: SubmissionPath) -> str:
        """Return the folder of its performance run."""
        return f"{self.results(place)}/performance/run_1"

    def accuracy(self, place: SubmissionPath) -> str:
        """Return the folder of its accuracy run."""
        return f"{self.results(place)}/accuracy"

    def measurements(self, place: SubmissionPath) -> str:
        """Return the folder that describes how the result was measured."""
        return (
            f"{self.root}/measurements/{place.path}"
            if self.has_measurements_tree
            else self.results(place)
        )

    def implementation(self, place: SubmissionPath) -> str:
        """Return the path of the file that describes weights and inputs."""
        name = (
            f"{place.system}_{IMPLEMENTATION}_{place.folder}"
            if self.has_measurements_tree
            else "measurements"
        )
        return f"{self.measurements(place)}/{name}.json"

    def test(self, place: SubmissionPath, test: str) -> str:
        """Return the folder of a compliance test."""
        base = (
            f"{self.root}/compliance/{place.path}"
            if self.has_measurements_tree
            else self.results(place)
        )
        return f"{base}/{test}"
