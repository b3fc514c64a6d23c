"""Opens the model of a job whose samples are tensors: random ones, or those of a data set."""

from __future__ import annotations

from dataclasses import replace

from fleetmark_harness.adapters import Adapter, open_job_model
from fleetmark_harness.exit_codes import BAD_JOB, JobError
from fleetmark_harness.job import JobSpec
from fleetmark_harness.labeled_tensors import labeled_task, times_answers
from fleetmark_harness.sample_values import STORED, stored_arrays
from fleetmark_harness.tensors import RandomTensors, with_values


def load(job: JobSpec, batch_size: int) -> tuple[Adapter, RandomTensors]:
    """Load the job's model, and create samples for it.

    Raises:
        JobError: BAD_JOB in accuracy mode; BAD_INPUT, NO_RUNTIME.
    """
    dataset = job.table("dataset")
    has_labels = dataset.get("layout") == STORED and "labels" in dataset
    if job.mode == "accuracy" and not has_labels:
        raise JobError(BAD_JOB, "the samples have no labels: the accuracy cannot be measured")
    arrays = stored_arrays(job)
    model = with_values(job.table("model"), arrays, int(dataset.get("seed", 0)))
    job = replace(job, job={**job.job, "model": model})
    adapter = open_job_model(job, batch_size)
    if job.mode == "accuracy" or (has_labels and times_answers(job, arrays)):
        return adapter, labeled_task(job, adapter, batch_size, arrays)
    return adapter, RandomTensors(job, adapter, batch_size, arrays)
