"""Rows of views `runs` and `results`, of genuine runs, for tests of exports."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import numpy as np

from fleetmark_controller.evaluation.samples import decode
from fleetmark_controller.export.columns import VIEWS
from fleetmark_controller.export.rows import RowSource
from tests.support.evaluation_cases import evaluated

HOSTILE = "<script>alert(1)</script>\"'&{{ 7*7 }}"


def columns(view: str) -> list[str]:
    """Return the columns of the store's view."""
    return [name for name in VIEWS[view] if name != "samples_sha256"]


def source(view: str, rows: list[dict[str, Any]]) -> RowSource:
    """Return a row source of the rows by name."""
    names = columns(view)
    return RowSource(names, [tuple(row.get(name) for name in names) for row in rows])


class Campaign:
    """Every genuine run on some devices, as SQLite would give the rows."""

    def __init__(self, devices: tuple[str, ...] = ("board",), **changes: Any) -> None:
        self.runs: list[dict[str, Any]] = []
        self.results: list[dict[str, Any]] = []
        self.blobs: dict[str, bytes] = {}
        for device in devices:
            for name, accuracy in (
                ("singlestream_performance", "singlestream_accuracy"),
                ("singlestream_invalid", None),
                ("multistream_performance", None),
                ("offline_performance", "offline_accuracy"),
                ("server_performance", None),
            ):
                self._add(device, name, accuracy, changes)

    def samples(self, run_id: str) -> np.ndarray | None:
        """Return a run's samples."""
        blob = self.blobs.get(run_id)
        return decode(blob) if blob else None

    def _add(self, device: str, name: str, accuracy: str | None, changes: dict[str, Any]) -> None:
        run = self._run(device, name, "performance", changes)
        known = self._run(device, accuracy, "accuracy", changes) if accuracy else {}
        self.results.append(
            {
                **run,
                "repetition": 1,
                "accuracy": known.get("accuracy"),
                "accuracy_metric": known.get("accuracy_metric"),
                "performance_run_id": run["run_id"],
                "accuracy_run_id": known.get("run_id"),
            }
        )

    def _run(self, device: str, name: str, mode: str, changes: dict[str, Any]) -> dict[str, Any]:
        facts = asdict(evaluated(name))
        facts.pop("problems")
        facts.pop("loadgen_reasons")
        blob = facts.pop("samples")
        facts["search"] = facts.pop("search_trace")
        run_id = f"{device}-{name}"
        if blob:
            self.blobs[run_id] = blob
        scenario = {"s": "SingleStream", "m": "MultiStream", "o": "Offline"}
        row = {
            **facts,
            "run_id": run_id,
            "campaign_id": "campaign-1",
            "job_id": f"job-{run_id}",
            "epoch": (1 << 32) + 1,
            "official": 1,
            "device": device,
            "arch": "arm64",
            "os": "Debian GNU/Linux 12",
            "board": None,
            "benchmark": "fashion-mnist",
            "model": "dscnn",
            "precision": "fp32",
            "dataset": "fashion-mnist-1000",
            "runtime": "onnxruntime",
            "runtime_version": "1.23.2",
            "accelerator": "CPUExecutionProvider",
            "scenario": "Server" if name.startswith("server") else scenario[name[0]],
            "mode": mode,
            "profile": "quick",
            # Of another configuration: else it would be a repetition of the valid one.
            "parameters": json.dumps({"threads": 4 if name.endswith("invalid") else 1}),
            "submittable": int(facts["submittable"]),
            "condition_reasons": json.dumps(facts["condition_reasons"]),
            "lockfile_sha256": "ab" * 32,
            "agent_version": "0.1.0",
            **changes,
        }
        self.runs.append(row)
        return row
