"""MLPerf Inference's minimums, and the seeds of each round."""

from __future__ import annotations

from typing import NamedTuple

# MLPerf Inference's minimums (inference_rules, sections "Scenarios" and "LoadGen").
MIN_DURATION_MS = 600_000
OFFLINE_MIN_SAMPLES = 24_576


class Seeds(NamedTuple):
    """LoadGen's three seeds of a round."""

    qsl: int
    sample_index: int
    schedule: int


# The seeds that MLCommons drew for each round, as its submission checker compares them.
ROUND_SEEDS: dict[str, Seeds] = {
    "v5.0": Seeds(6023615788873153749, 15036839855038426416, 9933818062894767841),
    "v5.1": Seeds(1780908523862526354, 14771362308971278857, 18209322760996052031),
    "v6.0": Seeds(2465351861681999779, 14276810075590677512, 3936089224930324775),
    "v6.1": Seeds(2085463073848966840, 2747215439041700203, 16159082839903944936),
}
