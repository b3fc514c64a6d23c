"""The harness that runs inside a job: LoadGen integration and one thin adapter per runtime.

Job contract v1, as a program sees it:

- `FLEETMARK_JOB` is the absolute path of a JSON file: `{"format": 1, "job_id", "epoch", "scenario",
  "mode", "profile", "parameters": {…}, "inputs": {"model": "/abs", "dataset": "/abs"}, "packages":
  {"name": "/abs"}, "job": {…}}`; `job` is the lockfile's description of model, data set, runtime
  and benchmark. In mode crosscheck, `software` has `{"name": {"version", "path"}}` of what the
  agent detected on the device.
- `FLEETMARK_OUT` is the absolute path of a new, empty folder, which is also the working directory.
  The program leaves these files there: `mlperf_log_summary.txt`, `mlperf_log_detail.txt`,
  `mlperf_log_accuracy.json` as LoadGen wrote them; `samples.i64`, one little-endian int64 of
  nanoseconds per sample (in all modes except accuracy and crosscheck); with `profile_ops`,
  in mode performance, `operator_profile.json`, a Chrome trace; `result.json`.
- File descriptor 3 takes JSON lines `{"phase", "done", "total"}` of progress. The phase is load,
  warmup, calibrate, run (in mode find-performance: search, in mode crosscheck: crosscheck), write
  or profile; total is 0 if unknown. A job must not depend on a reader.
- The exit code says how the job ended: `fleetmark_harness.exit_codes`.

The harness imports the standard library, numpy and LoadGen, and each adapter its runtime; it
imports no other Fleetmark package. The controller packs it as a wheel and ships it like any
package.
"""

__version__ = "1.6.0"
