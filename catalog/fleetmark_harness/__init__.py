"""What runs inside a job: LoadGen glue and one thin adapter per runtime.

Job contract v1, as a program sees it:

- `FLEETMARK_JOB` is the absolute path of a JSON file: `{"format": 1, "job_id", "epoch",
  "scenario", "mode", "profile", "parameters": {…}, "inputs": {"model": "/abs", "dataset": "/abs"},
  "packages": {"name": "/abs"}, "job": {…}}`; `job` is what the lock says of model, data set,
  runtime and benchmark.
- `FLEETMARK_OUT` is the absolute path of a fresh, empty folder, which is the working directory too.
  The program leaves there: `mlperf_log_summary.txt`, `mlperf_log_detail.txt`,
  `mlperf_log_accuracy.json` as LoadGen wrote them; `samples.i64`, one little-endian int64 of
  nanoseconds a sample (performance only); `result.json`.
- File descriptor 3 takes JSON lines `{"phase", "done", "total"}` of progress, phase being load,
  warmup, calibrate, run or write, total 0 where unknown. Nobody need read them.
- The exit code says how it ended: `fleetmark_harness.exits`.

The harness imports the standard library, numpy and LoadGen, and each adapter its runtime; nothing
of Fleetmark. It is packed by the controller and travels like any package.
"""

__version__ = "1.1.0"
