"""Measures resolving: `make bench-resolve`.

It uses a catalog of 1,000 components (packages in three layers, in four versions each, with version
ranges) and 100 different devices. Each device resolves one benchmark, then ten. Only the library's
own caches are kept between devices. It prints JSON, and exits with 1 if the first figure, resolving
one benchmark for each device, exceeds the limit in CPU time: one thread does everything, and a busy
neighbor must not affect the result.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from resolve_catalog import load, make_devices, write_catalog

from fleetmark_catalog.resolve import Configuration, expand, resolve
from fleetmark_core.digest import sha256_hex
from fleetmark_core.lockfile import BlobRef

HARNESS = BlobRef("fleetmark_harness-1.0.0-py3-none-any.whl", "0" * 64, 1000)


def main() -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="bench/resolve.py")
    parser.add_argument("--components", type=int, default=1000)
    parser.add_argument("--devices", type=int, default=100)
    parser.add_argument("--limit-s", type=float, default=2.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        write_catalog(Path(scratch), options.components)
        began = time.perf_counter()
        catalog = load(Path(scratch))
        load_s = time.perf_counter() - began
        devices = make_devices(options.devices)
        benchmarks = [
            part.name for part in catalog.all("benchmark") if part.name != "fashion-mnist"
        ]
        began = time.perf_counter()
        configurations: dict[str, Configuration] = {
            name: expand(catalog, name, scenarios=["Offline"], modes=["performance"])[0]
            for name in benchmarks
        }
        expand_s = time.perf_counter() - began
        digests: list[bytes] = []

        def measure(each: int) -> tuple[float, float, int]:
            fitting = 0
            began, began_cpu = time.perf_counter(), time.process_time()
            for number, device in enumerate(devices):
                for step in range(each):
                    name = benchmarks[(number * each + step) % len(benchmarks)]
                    answer = resolve(catalog, configurations[name], device, HARNESS)
                    fitting += answer.lock is not None
                    digests.append(
                        answer.lock.canonical()
                        if answer.lock
                        else "\n".join(answer.reasons).encode()
                    )
            return time.perf_counter() - began, time.process_time() - began_cpu, fitting

        one_s, one_cpu_s, one_fit = measure(1)
        ten_s, ten_cpu_s, ten_fit = measure(10)
    figures = {
        "components": len(catalog.all()),
        "devices": len(devices),
        "load_s": round(load_s, 3),
        "expand_all_s": round(expand_s, 3),
        "resolve_one_each_s": round(one_s, 3),
        "resolve_one_each_cpu_s": round(one_cpu_s, 3),
        "resolve_one_each_fitting": one_fit,
        "resolve_ten_each_s": round(ten_s, 3),
        "resolve_ten_each_cpu_s": round(ten_cpu_s, 3),
        "resolve_ten_each_fitting": ten_fit,
        "answers_sha256": sha256_hex(b"\0".join(digests)),
        "limit_s": options.limit_s,
    }
    print(json.dumps(figures, indent=2))
    return 0 if one_cpu_s < options.limit_s else 1


if __name__ == "__main__":
    sys.exit(main())
