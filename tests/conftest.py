"""What several areas of tests share."""

from __future__ import annotations

import pytest

from fleetmark_catalog.core.capabilities import (
    Board,
    Capabilities,
    Cpu,
    Interpreter,
    Memory,
    Os,
    Storage,
)

GIB = 2**30


@pytest.fixture
def x86_board() -> Capabilities:
    """An x86_64 Debian board with Python 3.11."""
    platforms = [f"manylinux_2_{minor}_x86_64" for minor in range(36, 4, -1)]
    return Capabilities(
        os=Os("linux", "Debian GNU/Linux", "12", "6.1.0", "glibc", "2.36"),
        arch="x86_64",
        board=Board(model="Test board"),
        cpu=Cpu(logical_cores=2, usable_cores=2, model="Test CPU"),
        memory=Memory(total_bytes=4 * GIB, swap_bytes=0),
        storage=Storage(total_bytes=64 * GIB, free_bytes=32 * GIB),
        interpreters=(
            Interpreter(
                "/usr/bin/python3.11",
                "3.11.7",
                "cpython",
                ("cp311",),
                (*platforms, "manylinux2014_x86_64", "linux_x86_64"),
            ),
        ),
        tags=("linux", "x86_64"),
    )
