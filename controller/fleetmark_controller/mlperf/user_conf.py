"""Check that a user.conf is the one that the run read and has only permitted settings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

_LINE = re.compile(r"(\S+)\.(\w+)\.(\w+) = (\S+)")
_REQUESTED: dict[str, dict[str, tuple[str, float]]] = {
    "SingleStream": {
        "target_latency": ("requested_single_stream_expected_latency_ns", 1e6),
    },
    "MultiStream": {
        "target_latency": ("requested_multi_stream_expected_latency_ns", 1e6),
    },
    "Offline": {"target_qps": ("requested_offline_expected_qps", 1)},
    "Server": {
        "target_qps": ("requested_server_target_qps", 1),
        "target_latency": ("requested_server_target_latency_ns", 1e6),
    },
}
_COMMON: dict[str, tuple[str, float]] = {
    "min_duration": ("requested_min_duration_ms", 1),
    "min_query_count": ("requested_min_query_count", 1),
}
_PRINTED = 1e-4


def check_user_conf(conf: bytes, scenario: str, values: Mapping[str, object]) -> Iterator[str]:
    """Yield problems of `conf`, compared with the requested settings in the log."""
    known = {**_COMMON, **_REQUESTED.get(scenario, {})}
    seen: set[str] = set()
    for line in conf.decode("utf-8", "replace").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            yield f"has a line that is no setting: {line[:80]!r}"
            continue
        _, where, key, text = match.groups()
        if where not in (scenario, "*") or key not in known:
            yield f"sets {where}.{key}, which a submitter must not set for {scenario}"
            continue
        if key in seen:
            yield f"sets {key} twice"
        seen.add(key)
        name, factor = known[key]
        asked = values.get(name)
        try:
            figure = float(text) * factor
        except ValueError:
            figure = float("nan")
        if not isinstance(asked, (int, float)) or not abs(figure - asked) <= _PRINTED * abs(asked):
            yield f"sets {key} to {text}, the run was asked for {asked}"
    for key in sorted(set(known) - seen):
        yield f"does not set {key}"
