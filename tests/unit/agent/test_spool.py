"""The spool: what was appended is there after any crash; what was torn is cut off."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_agent.state.attempt_key import LocalAttemptKey
from fleetmark_agent.state.files import RealFiles
from fleetmark_agent.state.spool import Spool, SpoolFull
from fleetmark_core.records import MAX_PAYLOAD_BYTES

KEY = LocalAttemptKey("job", 1)
OTHER = LocalAttemptKey("job", 2)
QUOTA = 1 << 30


class FullFiles(RealFiles):
    """A disk with so much room: an append that cannot be appended leaves part of itself behind."""

    room = 1 << 40

    def append_sync(self, name: str, data: bytes) -> None:
        part = data[: max(0, self.room)]
        self.room -= len(part)
        if part:
            super().append_sync(name, part)
        if len(part) < len(data):
            raise OSError(28, "No space left on device")


def filled(path: Path) -> Spool:
    spool = Spool(RealFiles(path), QUOTA)
    for number in range(4):
        spool.append(KEY, "event", b"%d" % number * 10)
    spool.acknowledge(KEY, 2)
    spool.append(KEY, "final", b"end")
    return spool


def test_records_are_numbered_kept_and_read_back(tmp_path: Path) -> None:
    filled(tmp_path)
    again = Spool(RealFiles(tmp_path), QUOTA)
    assert (again.last_seq(KEY), again.acknowledged(KEY), again.is_sealed(KEY)) == (5, 2, True)
    pending = again.pending(KEY, 1 << 20)
    assert (pending[0].kind, pending[0].payload) == ("event", b"2" * 10)
    assert [r.seq for r in pending] == [3, 4, 5]
    assert [r.seq for r in again.read(KEY, 0, 1 << 20)] == [1, 2, 3, 4, 5]
    assert [r.seq for r in again.read(KEY, 0, 1)] == [1]
    assert again.read(KEY, 0, 0) == [] == again.read(KEY, 5, 100) == again.read(OTHER, 0, 100)


def test_a_tail_torn_at_any_byte_is_cut_and_the_rest_is_whole(tmp_path: Path) -> None:
    filled(tmp_path)
    path = tmp_path / "spool" / "job.1.spool"
    data = path.read_bytes()
    whole = [0]
    seen = 0
    for size in range(len(data) + 1):
        path.write_bytes(data[:size])
        spool = Spool(RealFiles(tmp_path), QUOTA)
        assert spool.last_seq(KEY) in (seen, seen + 1)
        seen = spool.last_seq(KEY)
        if path.stat().st_size == size:
            whole.append(size)
        assert path.stat().st_size == whole[-1]
        # And it goes on from there.
        assert spool.append(OTHER, "event", b"x").seq >= 1
        if not spool.is_sealed(KEY):
            assert spool.append(KEY, "event", b"next").seq == seen + 1
    assert seen == 5
    assert len(whole) == 8  # nothing, five records, the acknowledgement, and nothing once more


@pytest.mark.fuzz("spool file")
@given(st.data())
def test_a_changed_byte_never_yields_another_record(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    root = tmp_path_factory.mktemp("spool")
    filled(root)
    path = root / "spool" / "job.1.spool"
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    spool = Spool(RealFiles(root), QUOTA)
    found = [(r.seq, r.payload) for r in spool.read(KEY, 0, 1 << 20)]
    expected = [(n + 1, b"%d" % n * 10) for n in range(4)] + [(5, b"end")]
    assert found == expected[: len(found)]


def test_a_full_disk_leaves_no_half_record(tmp_path: Path) -> None:
    files = FullFiles(tmp_path)
    spool = Spool(files, QUOTA)
    spool.append(KEY, "event", b"one")
    files.room = 10
    with pytest.raises(OSError, match="No space left"):
        spool.extend(KEY, [("event", b"two"), ("final", b"three")])
    assert spool.last_seq(KEY) == 1 and not spool.is_sealed(KEY)
    files.room = 1 << 20
    assert [r.seq for r in spool.extend(KEY, [("event", b"two"), ("final", b"3")])] == [2, 3]
    assert Spool(RealFiles(tmp_path), QUOTA).last_seq(KEY) == 3


def test_the_quota_holds_for_new_attempts_only(tmp_path: Path) -> None:
    spool = Spool(RealFiles(tmp_path), 100)
    spool.append(KEY, "event", b"x" * 200)
    with pytest.raises(SpoolFull, match="the limit is 100") as caught:
        spool.append(OTHER, "event", b"x")
    assert caught.value.quota_bytes == 100
    spool.append(KEY, "final", b"x" * 200)
    spool.forget(KEY)
    spool.append(OTHER, "event", b"x")
    with pytest.raises(SpoolFull):
        spool.admit(100)
    assert spool.attempts() == [OTHER]


@pytest.mark.parametrize("entry", [("event", b"x" * (MAX_PAYLOAD_BYTES + 1)), ("rumour", b"x")])
def test_what_is_no_record_is_refused(tmp_path: Path, entry: tuple[str, bytes]) -> None:
    spool = Spool(RealFiles(tmp_path), QUOTA)
    with pytest.raises(ValueError, match="cannot be appended"):
        spool.append(KEY, *entry)
    spool.append(KEY, "final", b"")
    with pytest.raises(ValueError, match="cannot be appended"):
        spool.append(KEY, "event", b"after the end")


def test_acknowledgements_never_go_back_nor_beyond(tmp_path: Path) -> None:
    spool = filled(tmp_path)
    spool.acknowledge(KEY, 1)
    spool.acknowledge(KEY, 6)
    assert spool.acknowledged(KEY) == 2
    spool.acknowledge(KEY, 5)
    assert spool.pending(KEY, 1 << 20) == []
    assert Spool(RealFiles(tmp_path), QUOTA).acknowledged(KEY) == 5


def test_other_files_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    filled(tmp_path)
    for name in ("notes.txt", "job.x.spool", "job.01.spool", ".spool"):
        (tmp_path / "spool" / name).write_bytes(b"mine")
    assert Spool(RealFiles(tmp_path), QUOTA).attempts() == [KEY]
    assert (tmp_path / "spool" / "notes.txt").read_bytes() == b"mine"
