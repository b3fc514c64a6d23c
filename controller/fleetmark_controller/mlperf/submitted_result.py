"""One result of a submission, and what applies to it."""

from __future__ import annotations

from dataclasses import dataclass

from fleetmark_controller.mlperf.layout import Layout, SubmissionPath
from fleetmark_controller.mlperf.rules import Rules
from fleetmark_controller.mlperf.tree_reader import TreeReader


@dataclass(frozen=True)
class SubmittedResult:
    """A result in a tree that is checked: one system, model and scenario.

    Attributes:
        tree: the files of the submission.
        layout: where files are in it.
        place: system, model and scenario of the result.
        rules: the rules of the round for the benchmark.
        system_type: `edge`, `datacenter` or both, as its description says.
        network: whether the system is used over a network, as its description says.
    """

    tree: TreeReader
    layout: Layout
    place: SubmissionPath
    rules: Rules
    system_type: str
    network: bool
