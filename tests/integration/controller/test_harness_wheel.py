"""The harness is packed into the same bytes everywhere, and all of it comes out again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_controller.artifacts import pack_harness
from fleetmark_core.safe_unpack import UnpackLimits, unpack

NAME = st.from_regex(r"[a-z][a-z0-9_]{0,6}", fullmatch=True)
TREE = st.dictionaries(
    st.tuples(st.sampled_from(["", "sub/", "other/"]), NAME).map(lambda p: f"{p[0]}{p[1]}.py"),
    st.binary(max_size=300),
    max_size=8,
)


def lay(folder: Path, tree: dict[str, bytes], moment: int) -> Path:
    for name, content in tree.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
        os.utime(folder / name, (moment, moment))
    return folder


@given(tree=TREE, moment=st.integers(0, 4_000_000_000))
def test_packing_depends_on_names_and_bytes_only(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[str, bytes], moment: int
) -> None:
    base = tmp_path_factory.mktemp("pack")
    tree = {name: data for name, data in tree.items() if name not in ("con.py", "nul.py")}
    tree["__init__.py"] = b'__version__ = "1.2.3"\n'
    blob, data = pack_harness(lay(base / "one", tree, moment))
    backwards = dict(reversed(list(tree.items())))
    (base / "two" / "__pycache__").mkdir(parents=True)
    (base / "two" / "__pycache__" / "x.py").write_bytes(b"left by an interpreter")
    again, same = pack_harness(lay(base / "two", backwards, 1_000_000_000))
    assert (blob, data) == (again, same)
    (base / "wheel").write_bytes(data)
    found = unpack(base / "wheel", base / "out", UnpackLimits(1 << 20))
    inside = {path.as_posix() for path in found if path.parts[0] == "fleetmark_harness"}
    assert inside == {f"fleetmark_harness/{name}" for name in tree}
    for name, content in tree.items():
        assert (base / "out" / "fleetmark_harness" / name).read_bytes() == content
    changed = {**tree, "__init__.py": tree["__init__.py"] + b"#"}
    assert pack_harness(lay(base / "three", changed, moment))[0].sha256 != blob.sha256
