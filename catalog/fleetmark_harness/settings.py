"""LoadGen's settings: a user.conf, the test settings made from it, and an audit.config."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleetmark_harness.calibrate import Calibration
from fleetmark_harness.exit_codes import LOADGEN_FAILED, JobError
from fleetmark_harness.job import JobSpec

USER_CONF = "user.conf"
AUDIT_CONFIG = "audit.config"
"""LoadGen looks for it in the working directory. It overrides every other setting."""
_KEYS = {"min_duration_ms": "min_duration", "min_query_count": "min_query_count"}
# LoadGen creates twice as many queries as duration ÷ latency. With this factor the run is long
# enough unless it is a third faster than the fast end of the calibration, and the queries, 370
# bytes each, take two thirds of the memory that they would take without it.
_LATENCY_MARGIN = 1.4
# LoadGen itself adds another tenth.
_RATE_MARGIN = 1.1
# LoadGen's Offline query has this many times rate × duration samples, or the minimum query count if
# that is more (kSlack in test_settings_internal.cc).
_OFFLINE_SLACK = 1.1
# In Server, queries arrive at random times: at half of the calibrated rate, few of them wait.
_SERVER_SHARE = 0.5
_PERFORMANCE_ONLY = 2


@dataclass(frozen=True)
class RequestedSettings:
    """Values of a job that replace those of its profile and of the calibration.

    `target_qps` is Server's rate, or the rate that LoadGen expects in Offline. `target_latency_ms`
    is the limit in Server, and in other scenarios the query latency that LoadGen expects.
    """

    min_duration_ms: int
    target_qps: float | None = None
    target_latency_ms: float | None = None


def wanted_of(job: JobSpec) -> RequestedSettings:
    """Return the values that the job's parameters set.

    Raises:
        JobError: BAD_JOB: a parameter is not a number above 0.
    """
    override = job.positive("min_duration_s")
    table = job.profile_settings[job.scenario]
    ms = int(table["min_duration_ms"]) if override is None else int(override * 1000)
    return RequestedSettings(
        max(1, ms), job.positive("target_qps"), job.positive("target_latency_ms")
    )


def user_conf(
    scenario: str,
    settings: Mapping[str, Any],
    calibration: Calibration,
    wanted: RequestedSettings,
    count: int | None = None,
) -> str:
    """Return the text of user.conf for one scenario.

    Args:
        scenario: the scenario.
        settings: the profile's settings for this scenario.
        calibration: the measured latency.
        wanted: values that replace those of `settings`.
        count: minimum number of queries (in Offline: of samples), instead of that of `settings`.
    """
    values: dict[str, Any] = {_KEYS[key]: value for key, value in settings.items() if key in _KEYS}
    values["min_duration"] = min_duration_ms = wanted.min_duration_ms
    least_samples = int(settings.get("min_sample_count", 1))
    if count is not None:
        values["min_query_count"] = least_samples = count
    if scenario == "Offline":
        rate = (wanted.target_qps or calibration.samples_per_s) * _RATE_MARGIN
        if "min_sample_count" in settings:
            # LoadGen issues one query of rate × duration samples, so the rate must ensure the
            # minimum.
            rate = max(rate, least_samples * 1000.0 / min_duration_ms)
        values["target_qps"] = f"{rate:.6g}"
        values["min_query_count"] = offline_sample_count(
            float(values["target_qps"]),
            min_duration_ms,
            int(values.get("min_query_count", 1)),
            calibration.batch_size,
        )
    elif scenario == "Server":
        values["target_qps"] = f"{server_rate(calibration, wanted):.6g}"
        limit_ms = latency_limit_ms(settings, wanted)
        if limit_ms:
            values["target_latency"] = f"{limit_ms:.6g}"
    else:
        # user.conf has target_latency in milliseconds.
        values["target_latency"] = f"{expected_ms(calibration, wanted):.6g}"
    return "".join(f"*.{scenario}.{key} = {value}\n" for key, value in sorted(values.items()))


def offline_sample_count(rate: float, min_duration_ms: int, minimum: int, batch_size: int) -> int:
    """Return the number of samples of an Offline query, in whole batches.

    A runtime with a fixed batch computes a whole batch even for one sample. With a count that is
    not a multiple of the batch, the figure would count fewer samples than were computed. LoadGen
    takes the larger of its minimum query count and its own estimate, so this minimum is above that
    estimate.

    Args:
        rate: LoadGen's target_qps, in samples per second.
        min_duration_ms: minimum duration of the test.
        minimum: minimum number of samples of the profile.
        batch_size: number of samples per call of the model; for 1 the result is `minimum`.
    """
    if batch_size == 1:
        return minimum
    estimate = math.ceil(_OFFLINE_SLACK * rate * min_duration_ms / 1000) + 1
    return math.ceil(max(estimate, minimum) / batch_size) * batch_size


def server_rate(calibration: Calibration, wanted: RequestedSettings) -> float:
    """Return the queries per second in Server."""
    return wanted.target_qps or calibration.samples_per_s * _SERVER_SHARE


def latency_limit_ms(settings: Mapping[str, Any], wanted: RequestedSettings) -> float | None:
    """Return the latency limit in Server, or None if neither the job nor the profile sets one."""
    limit = wanted.target_latency_ms or settings.get("target_latency_ms")
    return float(limit) if limit else None


def expected_ms(calibration: Calibration, wanted: RequestedSettings) -> float:
    """Return the query latency that LoadGen must expect in SingleStream and MultiStream."""
    return wanted.target_latency_ms or calibration.latency_ns * _LATENCY_MARGIN / 1e6


def retarget(
    settings: Any, scenario: str, target: float, batch_size: int, minimum: int = 1
) -> None:
    """Change the value that LoadGen expects: queries or samples per second, or ms per query.

    `minimum` is the minimum number of samples in Offline.

    The effect equals that of `user_conf` with the same value in `RequestedSettings`. It is for all
    tests of a process after the first one, because a process can read user.conf only once.
    """
    if scenario == "Server":
        settings.server_target_qps = target
    elif scenario == "Offline":
        settings.offline_expected_qps = rate = target * _RATE_MARGIN
        settings.min_query_count = offline_sample_count(
            rate, int(settings.min_duration_ms), minimum, batch_size
        )
    elif scenario == "MultiStream":
        settings.multi_stream_expected_latency_ns = int(target * 1e6)
    else:
        settings.single_stream_expected_latency_ns = int(target * 1e6)


def audit_config(settings: Mapping[str, int]) -> str:
    """Return the text of audit.config: a performance run with these settings."""
    values = {"mode": _PERFORMANCE_ONLY, **settings}
    return "".join(f"*.*.{key} = {value}\n" for key, value in values.items())


def expected_samples(scenario: str, calibration: Calibration, wanted: RequestedSettings) -> int:
    """Return the approximate number of samples of a performance run, usually an upper bound."""
    min_duration_ms = wanted.min_duration_ms
    rate = calibration.samples_per_s
    if scenario == "Server":
        rate = server_rate(calibration, wanted)
    elif scenario == "Offline":
        rate = max(rate, wanted.target_qps or 0.0)
    margin = 1.6 if scenario == "Offline" else 1.2
    return int(margin * rate * min_duration_ms / 1000) + 1024


def test_settings(loadgen: Any, conf: Path, model: str, scenario: str, mode: str) -> Any:
    """Return LoadGen's settings from `conf` and LoadGen's embedded mlperf.conf.

    Only the first call in a process reads the files.

    Raises:
        JobError: LOADGEN_FAILED: LoadGen does not accept the file.
    """
    settings = loadgen.TestSettings()
    code = settings.FromConfig(str(conf), model, scenario)
    if code != 0:
        raise JobError(LOADGEN_FAILED, f"LoadGen rejected {conf.name}: FromConfig returned {code}")
    settings.scenario = getattr(loadgen.TestScenario, scenario)
    # A compliance test is a performance run; its audit.config contains the differences.
    modes = loadgen.TestMode
    settings.mode = modes.AccuracyOnly if mode == "accuracy" else modes.PerformanceOnly
    return settings
