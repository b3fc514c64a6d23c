"""LoadGen's settings: a user.conf, the test settings made from it, and an audit.config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleetmark_harness.calibrate import Calibration
from fleetmark_harness.exits import LOADGEN_FAILED, JobError

USER_CONF = "user.conf"
AUDIT_CONFIG = "audit.config"
"""LoadGen looks for it in the working directory, and it overrides every other setting."""
_KEYS = {"min_duration_ms": "min_duration", "min_query_count": "min_query_count"}
# LoadGen makes twice the queries that duration ÷ latency asks for. With this factor the run stays
# long enough unless it is a third quicker than the quick end of the calibration, and the queries,
# 370 bytes each, take two thirds of the memory that the bare figure would cost.
_LATENCY_MARGIN = 1.4
# LoadGen adds a tenth of its own.
_RATE_MARGIN = 1.1
# In Server queries come at random times: at half of the rate that the calibration shows, few wait.
_SERVER_SHARE = 0.5
_PERFORMANCE_ONLY = 2


@dataclass(frozen=True)
class Wanted:
    """What a job may say instead of its profile."""

    min_duration_ms: int
    target_qps: float | None = None
    target_latency_ms: float | None = None


def user_conf(
    scenario: str, settings: Mapping[str, Any], calibration: Calibration, wanted: Wanted
) -> str:
    """The text of user.conf for one scenario.

    `settings` are the profile's for this scenario; what `wanted` says replaces theirs.
    """
    values: dict[str, Any] = {_KEYS[key]: value for key, value in settings.items() if key in _KEYS}
    values["min_duration"] = min_duration_ms = wanted.min_duration_ms
    if scenario == "Offline":
        rate = calibration.samples_per_s * _RATE_MARGIN
        if "min_sample_count" in settings:
            # LoadGen issues one query of rate × duration samples: the rate carries the minimum.
            rate = max(rate, int(settings["min_sample_count"]) * 1000.0 / min_duration_ms)
        values["target_qps"] = f"{rate:.6g}"
    elif scenario == "Server":
        values["target_qps"] = f"{server_rate(calibration, wanted):.6g}"
        limit_ms = wanted.target_latency_ms or settings.get("target_latency_ms")
        if limit_ms:
            values["target_latency"] = f"{limit_ms:.6g}"
    else:
        # In milliseconds.
        values["target_latency"] = f"{calibration.latency_ns * _LATENCY_MARGIN / 1e6:.6g}"
    return "".join(f"*.{scenario}.{key} = {value}\n" for key, value in sorted(values.items()))


def server_rate(calibration: Calibration, wanted: Wanted) -> float:
    """Queries a second in Server."""
    return wanted.target_qps or calibration.samples_per_s * _SERVER_SHARE


def audit_config(settings: Mapping[str, int]) -> str:
    """The text of audit.config: a performance run with these settings."""
    values = {"mode": _PERFORMANCE_ONLY, **settings}
    return "".join(f"*.*.{key} = {value}\n" for key, value in values.items())


def expected_samples(scenario: str, calibration: Calibration, wanted: Wanted) -> int:
    """About how many samples a performance run will have; a bound in the usual case."""
    min_duration_ms = wanted.min_duration_ms
    rate = calibration.samples_per_s
    if scenario == "Server":
        rate = server_rate(calibration, wanted)
    margin = 1.6 if scenario == "Offline" else 1.2
    return int(margin * rate * min_duration_ms / 1000) + 1024


def test_settings(loadgen: Any, conf: Path, model: str, scenario: str, mode: str) -> Any:
    """LoadGen's settings from `conf` and its embedded mlperf.conf, which only the first call reads.

    Raises:
        JobError: LOADGEN_FAILED: LoadGen does not take the file.
    """
    settings = loadgen.TestSettings()
    code = settings.FromConfig(str(conf), model, scenario)
    if code != 0:
        raise JobError(LOADGEN_FAILED, f"LoadGen refuses {conf.name}: FromConfig gave {code}")
    settings.scenario = getattr(loadgen.TestScenario, scenario)
    # A compliance test is a performance run: its audit.config says what is different.
    modes = loadgen.TestMode
    settings.mode = modes.AccuracyOnly if mode == "accuracy" else modes.PerformanceOnly
    return settings
