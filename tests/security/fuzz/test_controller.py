"""What the controller reads besides messages: files, archives, logs, words of its users."""

from __future__ import annotations

import gzip
import io
import json
import math
import sys
import tempfile
import wave
import zipfile
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_catalog.load import BUILTIN
from fleetmark_catalog.load.parse import KINDS, check, read_component, read_wheels
from fleetmark_catalog.selectors import parse_selector
from fleetmark_cli.paths import ConfigError
from fleetmark_cli.sanitize import ControlCharFilter
from fleetmark_controller.api import serde, validation
from fleetmark_controller.artifacts import foreign_deb
from fleetmark_controller.artifacts.catalog_registry import Catalogs
from fleetmark_controller.artifacts.from_wheel import read_members
from fleetmark_controller.artifacts.model_formats.model_check import check_model
from fleetmark_controller.artifacts.model_import.plan import plan_import
from fleetmark_controller.artifacts.recipes import idx_selection, wav_clips
from fleetmark_controller.cli.options import DURATION
from fleetmark_controller.client import credentials
from fleetmark_controller.evaluation import samples, telemetry
from fleetmark_controller.evaluation.accuracy import load_labels, top_k
from fleetmark_controller.export import report_data
from fleetmark_controller.export.report import render
from fleetmark_controller.home.endpoint import read_device_endpoint, read_endpoint
from fleetmark_controller.home.settings import check_listen, load_settings
from fleetmark_controller.loadgen.accuracy_log import parse_accuracy
from fleetmark_controller.loadgen.errors import IngestError
from fleetmark_controller.loadgen.loadgen_log import parse_detail
from fleetmark_controller.loadgen.summary import read_summary
from fleetmark_controller.wheelbuild import repack
from fleetmark_core import versions
from fleetmark_core.capabilities import Interpreter
from fleetmark_core.clock import iso, parse_iso
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.records import Final, parse_final
from fleetmark_core.wheel_tags import wheel_rank
from fleetmark_protos.v1 import common_pb2, session_pb2
from tests.security.fuzz.damage import ANYTHING, damaged, damaged_text, documents, other_values
from tests.support import evaluation_cases as cases
from tests.support.export_cases import Campaign
from tests.support.model_files import Node, Value, onnx_graph, tflite_graph
from tests.unit.controller.test_evaluate_hostile import evaluate_file, sane
from tests.unit.controller.test_export_report import Page
from tests.unit.controller.test_models import external, field, onnx
from tests.unit.controller.test_wheelbuild import BUILD

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def file(folder: str, name: str, data: bytes) -> Path:
    path = Path(folder) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


# --- what agents say, as it is taken from messages ---

REF = common_pb2.AttemptRef(device_id="d", job_id="j", epoch=7, boot_id="b")
REPORT = session_pb2.AttemptReport(
    attempt=REF,
    state=common_pb2.ATTEMPT_STATE_RUNNING,
    progress=common_pb2.Progress(phase="run", done=1, total=2),
    reason="r",
)
FACTS = {
    "os": {"family": "linux", "name": "Debian", "version": "12", "kernel": "6"},
    "arch": "x86_64",
    "cpu": {"logical_cores": 2, "usable_cores": 2, "features": ["a"]},
    "memory": {"total_bytes": 5},
    "storage": {"total_bytes": 5, "free_bytes": 5},
    "software": [{"name": "s", "version": "1", "path": "/p", "details": {"a": "b"}}],
    "tags": ["linux"],
}


@pytest.mark.fuzz("hello, heartbeat and report")
@given(st.data())
def test_what_an_agent_says_is_clean_or_refused(data: st.DataObject) -> None:
    from google.protobuf.message import DecodeError

    from fleetmark_protos import plain
    from fleetmark_protos.v1 import capabilities_pb2

    facts = plain.from_plain(FACTS, capabilities_pb2.Capabilities)
    shown = session_pb2.AttemptReport()
    shown.CopyFrom(REPORT)
    shown.signed_order = b"{}"
    hello = session_pb2.Hello(
        protocol=1,
        device_id="d",
        name="n",
        boot_id="b",
        labels={"site": "lab"},
        capabilities=facts,
        highest_epoch=5,
        attempts=[REPORT, shown],
        lockfiles=[b"{}"],
    )
    output = data.draw(damaged(hello.SerializeToString()))
    with suppress(DecodeError, FleetmarkError, FleetmarkError):
        found = serde.hello_from(session_pb2.Hello.FromString(output))
        assert found.name.isprintable() and len(found.labels) <= validation.MAX_LABELS
        assert all(report.key.device_id == found.device_id for report in found.attempts)
    with suppress(DecodeError, FleetmarkError):
        report = serde.report_from(
            session_pb2.AttemptReport.FromString(data.draw(damaged(REPORT.SerializeToString())))
        )
        assert report.reason.isprintable() and 0 < report.key.epoch < 1 << 63


FINAL = Final(3, "ab" * 32, "completed", "", 0, False, 1, 2, {"a": 1}).payload()


@pytest.mark.fuzz("records")
@given(documents(FINAL, b'{"columns": ["elapsed_ms"], "rows": [[1.0]]}'))
def test_a_record_is_a_document_or_refused(data: bytes) -> None:
    with suppress(FleetmarkError):
        validation.document(data, "record 1")
    with suppress(FleetmarkError):
        parse_final(data)


@pytest.mark.fuzz("telemetry")
@given(
    st.lists(st.sampled_from(["elapsed_ms", "temperature_c", "load", "x"]), max_size=4),
    st.lists(ANYTHING | st.lists(ANYTHING, max_size=4), max_size=6),
)
def test_telemetry_holds_readings_alone(columns: list[str], rows: list[Any]) -> None:
    found = telemetry.read(columns, rows)
    for column in found.columns.values():
        assert all(value is None or math.isfinite(value) for value in column)


# --- logs ---

RUN = cases.LOADGEN_LOGS / "singlestream_performance"
ACCURACY = cases.LOADGEN_LOGS / "singlestream_accuracy"
SUMMARY = (RUN / "mlperf_log_summary.txt").read_bytes()
DETAIL = (RUN / "mlperf_log_detail.txt").read_bytes()
ANSWERS = (ACCURACY / "mlperf_log_accuracy.json").read_bytes()[:1500].rpartition(b",\n")[0] + b"]"


@pytest.mark.fuzz("LoadGen's detail and summary logs")
@given(damaged(DETAIL), damaged(SUMMARY))
def test_a_damaged_log_is_evaluated_or_refused(detail: bytes, summary: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = file(folder, "mlperf_log_detail.txt", detail)
        with suppress(IngestError):
            parse_detail(path)
        sane(evaluate_file(path))
        output = file(folder, "mlperf_log_summary.txt", summary)
        with suppress(IngestError):
            assert read_summary(output).validity in ("VALID", "INVALID", None)


@pytest.mark.fuzz("LoadGen's accuracy log")
@given(documents(ANSWERS))
def test_damaged_answers_are_answers_or_refused(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder, suppress(IngestError):
        found = parse_accuracy(file(folder, "mlperf_log_accuracy.json", data))
        assert 0 <= top_k(found, np.arange(2000)).value <= 1


def packed_labels() -> list[bytes]:
    idx = b"\0\0\x08\x01" + (5).to_bytes(4, "big") + bytes(range(5))
    whole = io.BytesIO()
    np.savez(whole, y=np.arange(5, dtype=np.uint8))
    small = io.BytesIO()
    np.savez_compressed(small, y=np.arange(5, dtype=np.int64))
    return [idx, gzip.compress(idx), whole.getvalue(), small.getvalue()]


@pytest.mark.fuzz("labels of data sets (npz, idx, gzip, cifar)")
@given(damaged(*packed_labels()), st.sampled_from(["", "cifar"]))
def test_damaged_labels_are_labels_or_refused(data: bytes, layout: str) -> None:
    with tempfile.TemporaryDirectory() as folder, suppress(IngestError):
        assert load_labels(file(folder, "labels", data), "y", layout).ndim == 1


@pytest.mark.fuzz("samples")
@given(damaged(np.arange(9, dtype="<i8").tobytes()), damaged(samples.encode(np.arange(30))))
def test_damaged_samples_are_samples_or_refused(raw: bytes, blob: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder, suppress(IngestError):
        samples.read_raw(file(folder, "samples.i64", raw))
    with suppress(IngestError):
        samples.decode(blob)


@pytest.mark.fuzz("a program's own claim (result.json)")
@given(documents((RUN / "result.json").read_bytes()))
def test_any_claim_of_a_program(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        claim = file(folder, "result.json", data)
        files = {**cases.files(RUN), "result": claim}
        sane(evaluate_file(RUN / "mlperf_log_detail.txt", files=files))


# --- the catalog ---

COMPONENTS = [path for path in sorted(BUILTIN.glob("*/*/component.toml"))][::6]
TEXTS = [path.read_bytes() for path in COMPONENTS]
LOCK = {
    "wheels": {
        "a-1-py3-none-any.whl": {"name": "a", "version": "1", "sha256": "ab" * 32, "size_bytes": 5}
    },
    "sets": [
        {"version": "1", "python": "3.11", "arch": "x86_64", "wheels": ["a-1-py3-none-any.whl"]}
    ],
}


@pytest.mark.fuzz("component.toml")
@given(st.integers(0, len(TEXTS) - 1), damaged(*TEXTS))
def test_a_damaged_component_is_named_as_such(number: int, data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = COMPONENTS[number].parent
        file(folder, f"{place.parent.name}/{place.name}/component.toml", data)
        try:
            read_component(Path(folder) / place.parent.name / place.name)
        except FleetmarkError as error:
            assert error.kind is ErrorKind.INVALID_COMPONENT and "component.toml" in str(error)


@pytest.mark.fuzz("values in component.toml")
@given(other_values(*(tomllib.loads(text.decode()) for text in TEXTS)))
def test_a_component_with_other_values_is_named_as_such(values: Any) -> None:
    if isinstance(values, dict) and values.get("kind") in list(KINDS):
        try:
            check(values, values["kind"], Path("component.toml"))
        except FleetmarkError as error:
            assert error.kind is ErrorKind.INVALID_COMPONENT


@pytest.mark.fuzz("wheel lock")
@given(documents(json.dumps(LOCK).encode()))
def test_a_damaged_wheel_lock_is_named_as_such(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            read_wheels(file(folder, "wheels.json", data))
        except FleetmarkError as error:
            assert error.kind is ErrorKind.INVALID_COMPONENT


def zipped(compression: int) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", compression) as archive:
        archive.writestr("thing-1.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("thing-1.dist-info/METADATA", "Name: thing\nVersion: 1\n")
        archive.writestr("thing/data.bin", bytes(50))
    return data.getvalue()


ZIPS = [zipped(zipfile.ZIP_STORED), zipped(zipfile.ZIP_DEFLATED), zipped(zipfile.ZIP_LZMA)]


@pytest.mark.fuzz("members of wheels")
@given(damaged(*ZIPS))
def test_a_damaged_wheel_gives_its_members_or_an_error(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = file(folder, "thing-1-py3-none-any.whl", data)
        try:
            read_members(path, ["thing/data.bin"], 1000)
        except FleetmarkError as error:
            assert error.kind is ErrorKind.ARTIFACT_UNAVAILABLE


@pytest.mark.fuzz("wheels that were built")
@given(damaged(*ZIPS))
def test_a_damaged_build_is_refused(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source = file(folder, "linux.whl", data)
        try:
            repack.repack(source, BUILD, Path(folder) / BUILD.filename)
        except FleetmarkError as error:
            assert error.kind is ErrorKind.ARTIFACT_UNAVAILABLE


@pytest.mark.fuzz("names of wheels")
@given(damaged_text("numpy-1.26.4-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"))
def test_any_name_is_a_wheels_or_not(name: str) -> None:
    python = Interpreter("/p", "3.11.2", "cpython", ("cp311",), ("linux_x86_64",))
    rank = wheel_rank(name, python)
    assert rank is None or rank >= 0


@pytest.mark.fuzz("apt's listing")
@given(damaged_text("Packages|bookworm|main|http://deb.example.org/debian/\n" * 3))
def test_any_listing_names_archives_or_none(text: str) -> None:
    try:
        assert all("\n" not in found for found in foreign_deb.archives(text))
    except FleetmarkError as error:
        assert error.kind is ErrorKind.ARTIFACT_UNAVAILABLE


def sound() -> bytes:
    data = io.BytesIO()
    with wave.open(data, "wb") as out:
        out.setframerate(16000)
        out.setnchannels(1)
        out.setsampwidth(2)
        out.writeframes(bytes(200))
    return data.getvalue()


IDX = gzip.compress(b"\0\0\x08\x03" + b"\0\0\0\x02" * 3 + bytes(8))


@pytest.mark.fuzz("sounds and idx files of packages")
@given(damaged(sound()), damaged(IDX) | damaged(gzip.decompress(IDX)).map(gzip.compress))
def test_damaged_sources_of_data_sets_are_errors_that_recipes_may_raise(
    clip: bytes, packed: bytes
) -> None:
    from fleetmark_controller.artifacts.recipes import RAISED

    with suppress(*RAISED):
        wav_clips._sound(clip, "a.wav", 16000)
    with suppress(*RAISED):
        idx_selection._read(packed)


@pytest.mark.fuzz("list of added catalogs")
@given(documents(b'[{"location": "/a", "commit": "", "name": "n"}]'))
def test_a_damaged_list_of_catalogs_is_named_as_such(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        catalogs = Catalogs(Path(folder))
        catalogs._list.parent.mkdir(parents=True, exist_ok=True)
        catalogs._list.write_bytes(data)
        with suppress(FleetmarkError):
            catalogs._added()


@pytest.mark.fuzz("model files")
@given(st.data())
def test_a_damaged_model_is_one_or_is_refused(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(sorted(MODELS)))
    with tempfile.TemporaryDirectory() as folder:
        ending = kind.split()[-1]
        path = file(folder, f"m.{ending}", data.draw(damaged(MODELS[kind])))
        try:
            model = check_model(path, path.name)
        except FleetmarkError as error:
            assert error.kind is ErrorKind.BAD_DOCUMENT
            return
        assert model is not None
        try:
            plan_import(model, ["ids=1x8"])
        except FleetmarkError as error:
            assert error.kind in (ErrorKind.BAD_DOCUMENT, ErrorKind.USAGE)


def models() -> dict[str, bytes]:
    found = {"onnx": onnx(field(5, field(8, b"w") + field(9, bytes(100)))) or external(b"")}
    ids, y = Value("ids", "int32", ["batch", "seq"]), Value("y", "float32", ["batch", 4])
    table = Value("table", "float32", [1000, 8])
    nodes = [Node("Cast", ["ids"], "cast"), Node("Gather", ["table", "cast"], "y", axis=-1)]
    found["graph onnx"] = onnx_graph([ids], [y], nodes=nodes, weights=[table])
    nodes = [Node("CAST", ["ids"], "cast"), Node("GATHER", ["table", "cast"], "y")]
    found["graph tflite"] = tflite_graph([ids], [y], nodes=nodes, weights=[table])
    small = [p for p in sorted(BUILTIN.glob("model/*/*.tflite")) if p.stat().st_size < 300_000]
    if small:
        found["tflite"] = small[0].read_bytes()
    return found


MODELS = models()

# --- the user's words and files ---


@pytest.mark.fuzz("selectors")
@given(damaged_text("arm64,site=lab1", "not (memory>=2GiB or rpi4)", 'name="a b"', "cpu.cores>2"))
def test_a_damaged_selector_is_one_or_is_refused(text: str) -> None:
    with suppress(FleetmarkError):
        parse_selector(text)


@pytest.mark.fuzz("versions and ranges")
@given(damaged_text("1.23.2", "2.0rc1", "r35.4.1"), damaged_text(">=1.20,<2", "==1.*", "~=2.14"))
def test_any_version_and_range(version: str, wanted: str) -> None:
    for scheme in versions.SCHEMES:
        if versions.is_version(version, scheme) and versions.is_range(wanted, scheme):
            assert versions.in_range(version, wanted, scheme) in (True, False)


@pytest.mark.fuzz("times and durations")
@given(
    damaged_text("2026-01-31T12:00:00+02:00", "0001-01-01T00:00+14:00", "9999-12-31T23:59-12:00"),
    damaged_text("90s", "1.5h", "2d", "7"),
)
def test_any_time_and_duration(moment: str, duration: str) -> None:
    with suppress(ValueError):
        iso(parse_iso(moment))
    with suppress(click.UsageError):
        assert math.isfinite(DURATION.convert(duration, None, None))


@pytest.mark.fuzz("the controller's config.toml and addresses")
@given(
    damaged(b'listen = "0.0.0.0:1"\nlease_s = 3.0\nadvertise = true\ncatalogs = ["/a"]\n'),
    damaged_text("0.0.0.0:7117", "[::]:7117", "localhost:1"),
)
def test_settings_of_a_controller_are_right_or_named(data: bytes, address: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file(folder, "config.toml", data)
        with suppress(FleetmarkError, ConfigError):
            asdict(load_settings(Path(folder)))
    with suppress(FleetmarkError):
        assert 0 <= check_listen(address)[1] <= 65535


@pytest.mark.fuzz("endpoint.json and the list of homes")
@given(documents(b'{"address": "h:1", "device_address": "h:2", "pid": 5}', b'["/a"]'))
def test_damaged_notes_of_a_controller_are_none(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file(folder, "endpoint.json", data)
        address, pid = read_endpoint(Path(folder))
        assert isinstance(address, str) and isinstance(pid, int)
        assert isinstance(read_device_endpoint(Path(folder)), str)
        file(folder, "fleetmark/controllers.json", data)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_DATA_HOME", folder)
            patch.setenv("FLEETMARK_CONTROLLER_HOME", folder)
            assert all(isinstance(home, Path) for home in credentials.homes_here())
            with suppress(FleetmarkError):
                credentials.find(None)


# --- what is shown ---


@pytest.mark.fuzz("output of jobs on a terminal")
@given(damaged("Grüße\n\x1b[31mred\x1b[0m\r\n\t\x9b".encode()), st.integers(0, 40))
def test_no_output_moves_a_terminal(data: bytes, cut: int) -> None:
    plain = ControlCharFilter()
    text = plain.clean(data[:cut]) + plain.clean(data[cut:])
    assert all(letter.isprintable() or letter in "\n\t" for letter in text)


@pytest.fixture(scope="module")
def campaign() -> Campaign:
    return Campaign()


@pytest.mark.fuzz("cells of the HTML report")
@given(st.data())
def test_no_cell_breaks_out_of_the_report(campaign: Campaign, data: st.DataObject) -> None:
    texts = damaged_text("<script>alert(1)</script>", "\"' onload=x", "{{ 7*7 }}", "&lt;")
    row = dict(data.draw(st.sampled_from(campaign.results)))
    for name in data.draw(st.lists(st.sampled_from(sorted(row)), max_size=6)):
        row[name] = data.draw(texts | st.sampled_from([0, -1, 1e308, None]))
    rows = [row, *campaign.results[:2]]
    page = Page(render(report_data.build(campaign.runs, rows)))
    assert page.count("script") == 0 and not page.unclosed
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
