"""An imported model: no size, range or type in its component is a guess."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import tomllib
from hypothesis import event, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from fleetmark_catalog.load import BUILTIN, load_catalog
from fleetmark_catalog.load.schema import schema
from fleetmark_controller.artifacts.model_formats.model_graph import GraphFacts, Tensor
from fleetmark_controller.artifacts.model_formats.onnx_file import OnnxDescription
from fleetmark_controller.artifacts.model_formats.runtime_limits import onnx_limits
from fleetmark_controller.artifacts.model_import.components import ImportRequest
from fleetmark_controller.artifacts.model_import.imported_model import ImportedModel, component_of
from fleetmark_controller.artifacts.model_import.input_roles import FLOATS, INTEGERS
from fleetmark_controller.artifacts.model_import.plan import plan_import
from fleetmark_core.errors import ErrorKind, FleetmarkError
from tests.support.model_files import Node, Value, onnx_graph, tflite_graph

MODELS = BUILTIN / "model"
LIMITS = onnx_limits(load_catalog([]))
Y = Value("y", "float32", ["batch", 10])


class Importer:
    """Imports models that a test builds."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(
        self,
        model: bytes,
        *,
        shapes: Sequence[str] = (),
        inputs: Sequence[str] = (),
        batch_axes: Sequence[str] = (),
        precision: str = "",
        ending: str = "onnx",
    ) -> ImportedModel:
        path = self._folder / f"m.{ending}"
        path.write_bytes(model)
        wanted = ImportRequest(
            path.name,
            precision=precision,
            shapes=tuple(shapes),
            inputs=tuple(inputs),
            batch_axes=tuple(batch_axes),
        )
        return component_of(path, "0" * 64, wanted, LIMITS)

    def table(self, model: bytes, **options: Any) -> dict[str, Any]:
        """Return the model's table; the component satisfies its schema."""
        component = tomllib.loads(self(model, **options).toml)
        Draft202012Validator(schema("model")).validate(component)
        table: dict[str, Any] = component["model"]
        return table


@pytest.fixture
def imported(tmp_path: Path) -> Importer:
    return Importer(tmp_path)


def refusal(imported: Importer, model: bytes, **options: Any) -> FleetmarkError:
    with pytest.raises(FleetmarkError) as caught:
        imported(model, **options)
    return caught.value


IMAGE = onnx_graph([Value("x", "float32", ["batch", 3, "height", "width"])], [Y])
IDS = Value("ids", "int64", ["batch", "seq"])
TABLE = Value("table", "float32", [1000, 32])
BERT = onnx_graph(
    [
        IDS,
        Value("attention_mask", "int64", ["batch", "seq"]),
        Value("token_type_ids", "int64", ["batch", "seq"]),
        Value("positions", "int32", ["seq"]),
        Value("x_lengths", "int64", ["batch"]),
        Value("extra", "bool", [3]),
        Value("enc_state", "float16", ["seq", "batch"]),
    ],
    [Y],
    nodes=[Node("Cast", ["ids"], "cast"), Node("Gather", ["table", "cast"], "rows")],
    weights=[TABLE],
)


@pytest.mark.parametrize("ending", ["onnx", "tflite"])
def test_open_dimensions_must_be_given(imported: Importer, ending: str) -> None:
    build = onnx_graph if ending == "onnx" else tflite_graph
    model = build([Value("x", "float32", ["batch", 3, "height", "width"])], [Y])
    error = refusal(imported, model, ending=ending)
    named = "[batch, 3, height, width]" if ending == "onnx" else "[?, 3, ?, ?]"
    assert error.kind is ErrorKind.USAGE
    assert str(error) == (
        f"m.{ending}: input x: {named} has open dimensions; give --shape x=1x3x224x224"
    )
    for shape in ("x=1x3x192x256", "1x3x192x256", "3x192x256", "X=1X3X192X256".replace("X=", "x=")):
        table = imported.table(model, shapes=[shape], ending=ending)
        assert table["input"] == {"name": "x", "shape": [3, 192, 256]}


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ("x=2x3x224x224", "the batch axis of [batch, 3, height, width] is 1"),
        ("x=1x4x224x224", "dimension 1 is 3 in the file"),
        ("x=224x224", "has 4 dimensions [batch, 3, height, width], the given shape has 2"),
        ("x=1x3x0x224", "is not a shape"),
        ("x=1x3x-1x224", "is not a shape"),
        ("x=", "is not a shape"),
        ("y=1x3x224x224", "the model has no input 'y'"),
    ],
)
def test_a_shape_must_match_the_file(imported: Importer, shape: str, says: str) -> None:
    error = refusal(imported, IMAGE, shapes=[shape])
    assert error.kind is ErrorKind.USAGE
    assert says in str(error)
    assert "given twice" in str(refusal(imported, IMAGE, shapes=["3x2x2", "x=3x2x2"]))


@pytest.mark.parametrize("placeholder", ["?", "-1", "None", "unknown"])
def test_a_placeholder_is_no_name_of_a_dimension(imported: Importer, placeholder: str) -> None:
    """Exporters write it for each size that they do not know."""
    sizes = [placeholder, 3, placeholder, placeholder]
    model = onnx_graph([Value("x", "float32", sizes)], [Value("y", "float32", [placeholder, 5])])
    assert "input x: [?, 3, ?, ?] has open dimensions" in str(refusal(imported, model))
    table = imported.table(model, shapes=["1x3x32x320"])
    assert table["input"] == {"name": "x", "shape": [3, 32, 320]}
    named = onnx_graph([Value("x", "float32", ["n", 3, "size", "size"])], [Y])
    assert "a name has one size" in str(refusal(imported, named, shapes=["1x3x32x320"]))


def test_every_open_input_has_its_line(imported: Importer) -> None:
    model = onnx_graph([IDS, Value("mask", "int64", ["batch", "other"])], [Y])
    lines = refusal(imported, model).what.splitlines()
    assert lines == [
        "input ids: [batch, seq] has open dimensions; give --shape ids=1x128",
        "input mask: [batch, other] has open dimensions; give --shape mask=1x128",
    ]


def test_a_shape_without_even_a_rank_must_be_given(imported: Importer) -> None:
    model = onnx_graph([Value("x", "float32", None)], [Value("y", "float32", None)])
    assert "unknown number of dimensions" in str(refusal(imported, model))
    table = imported.table(model, shapes=["1x3x8x8"])
    assert table["input"]["shape"] == [3, 8, 8]
    assert table["output"] == {"name": "y"}
    assert "the batch axis" in str(refusal(imported, model, shapes=["3x8x8"]))


def test_each_input_gets_a_value(imported: Importer) -> None:
    """A named dimension has one size, and `batch` follows the batch on every axis."""
    model = imported(BERT, shapes=["ids=1x128"])
    table = imported.table(BERT, shapes=["ids=1x128"])
    assert table["input"] == {"name": "ids", "shape": [128], "dtype": "int64", "range": [0, 999]}
    rows = [tuple(entry.values()) for entry in table["constants"]]
    assert rows == [
        ("attention_mask", [1, 128], "int64", 1, 0),
        ("token_type_ids", [1, 128], "int64", 0, 0),
        ("positions", [128], "int32", 0),
        ("x_lengths", [1], "int64", 128, 0),
        ("extra", [3], "bool", 0),
        ("enc_state", [128, 1], "float16", 0, 1),
    ]
    assert model.plan.sample.why == "it indexes a table of 1,000"
    assert [note.split()[1] for note in model.plan.notes] == ["extra"]


def test_values_can_be_given(imported: Importer) -> None:
    wanted = ["ids=randint:5:50", "extra=ones", "x_lengths=64", "enc_state=0.5"]
    table = imported.table(BERT, shapes=["ids=1x128"], inputs=wanted)
    assert table["input"]["range"] == [5, 50]
    values = {entry["name"]: entry["value"] for entry in table["constants"]}
    assert (values["extra"], values["x_lengths"], values["enc_state"]) == (1, 64, 0.5)
    both = onnx_graph([Value("a", shape=["n", 4]), Value("b", shape=["n", 2])], [Y])
    assert imported.table(both)["input"] == {"name": "a", "shape": [4]}
    other = imported.table(both, inputs=["b=uniform:-1:1.5"])["input"]
    assert other == {"name": "b", "shape": [2], "range": [-1, 1.5]}


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("ids=normal", "describes no values"),
        ("enc_state=normal:0:0", "describes no values"),
        ("enc_state=normal:0:-1", "describes no values"),
        ("ids=normal:0:1", "randint:LOW:HIGH, not normal"),
        ("ids=array:a0", "have no array 'a0'"),
        ("ids=uniform:0:9", "randint:LOW:HIGH, not uniform"),
        ("ids=randint:0:1000", "outside the table of 1,000"),
        ("ids=randint:9:0", "describes no values"),
        ("ids=randint:0.5:9", "describes no values"),
        ("ids=nan", "describes no values"),
        ("ids=1e999", "describes no values"),
        ("ids=0.5", "0.5 is not an integer"),
        ("extra=2", "does not fit into bool"),
        ("enc_state=1e6", "does not fit into float16"),
        ("idz=ones", "Did you mean 'ids'?"),
        ("ones", "names no input"),
    ],
)
def test_values_must_be_possible(imported: Importer, spec: str, says: str) -> None:
    error = refusal(imported, BERT, shapes=["ids=1x128"], inputs=[spec])
    assert error.kind is ErrorKind.USAGE
    assert says in str(error)


def test_random_integers_are_no_values_of_a_float(imported: Importer) -> None:
    model = onnx_graph([Value("x", shape=["n", 4])], [Y])
    assert "uniform:LOW:HIGH, not randint" in str(refusal(imported, model, inputs=["randint:0:1"]))


def test_several_inputs_have_random_values(imported: Importer) -> None:
    wanted = ["ids=randint:0:9", "extra=randint:0:1", "attention_mask=randint:0:1"]
    table = imported.table(BERT, shapes=["ids=1x128"], inputs=wanted)
    assert (table["input"]["name"], table["input"]["range"]) == ("ids", [0, 9])
    others = {entry["name"]: entry for entry in table["constants"]}
    assert others["extra"]["range"] == others["attention_mask"]["range"] == [0, 1]
    # Only the mask has a batch axis, so only its values differ by sample.
    assert others["attention_mask"]["batch_axis"] == 0
    assert "batch_axis" not in others["extra"]
    assert "value" in others["positions"]


def test_only_one_input_has_the_samples_of_a_data_set(imported: Importer) -> None:
    wanted = ["ids=dataset/one", "attention_mask=dataset/two"]
    error = refusal(imported, BERT, shapes=["ids=1x128"], inputs=wanted)
    assert "only one input can have the samples of a data set" in str(error)


def test_normal_values_have_mean_and_deviation(imported: Importer) -> None:
    model = onnx_graph([Value("x", shape=["n", 4])], [Y])
    plan = imported(model, inputs=["normal:0.5:2"]).plan
    assert plan.sample.describe_values() == "normal, mean 0.5, deviation 2"
    assert imported.table(model, inputs=["normal:0.5:2"])["input"]["normal"] == [0.5, 2]


MAJOR = onnx_graph(
    [Value("x", shape=[1, 4]), Value("h", shape=[2, 1, 8])], [Value("y", shape=[7, 1, 5])]
)


def test_a_batch_axis_can_be_given(imported: Importer) -> None:
    table = imported.table(MAJOR, batch_axes=["h=1", "y=1"])
    assert table["constants"][0]["batch_axis"] == 1
    assert table["output"]["batch_axis"] == 1
    assert table["output"]["shape"] == [7, 5]
    table = imported.table(MAJOR, batch_axes=["h=none", "y=none"])
    assert "batch_axis" not in table["constants"][0]
    assert "batch_axis" not in table["output"]


@pytest.mark.parametrize(
    ("axis", "says"),
    [
        ("x=1", "its batch must be the first axis"),
        ("h=3", "has no axis 3"),
        ("h=0", "axis 0 of [2, 1, 8] is 2, and the batch is 1"),
        ("y=9", "has no axis 9"),
        ("h=-1", "'-1' is not an axis"),
        ("z=1", "has no input 'z'"),
    ],
)
def test_a_batch_axis_must_be_possible(imported: Importer, axis: str, says: str) -> None:
    assert says in str(refusal(imported, MAJOR, batch_axes=[axis]))


LOOKUPS: dict[str, Sequence[Node]] = {
    "direct": [Node("Gather", ["table", "ids"], "rows")],
    "after other nodes": [
        Node("Cast", ["ids"], "a"),
        Node("Unsqueeze", ["a", "axes"], "b"),
        Node("Where", ["less", "sum", "b"], "c"),
        Node("DequantizeLinear", ["table", "scale"], "real"),
        Node("Gather", ["real", "c"], "rows"),
    ],
    "on the last axis": [Node("Gather", ["turned", "ids"], "rows", axis=1)],
    "on axis -1": [Node("Gather", ["turned", "ids"], "rows", axis=-1)],
}


@pytest.mark.parametrize("case", LOOKUPS)
def test_the_range_of_token_ids_is_that_of_their_table(imported: Importer, case: str) -> None:
    weights = [TABLE, Value("turned", "float32", [32, 1000])]
    ids = Value("ids", "int32", ["batch", 16])
    model = onnx_graph([ids], [Y], nodes=LOOKUPS[case], weights=weights)
    assert imported.table(model)["input"]["range"] == [0, 999]


@pytest.mark.parametrize("kind", ["GATHER", "EMBEDDING_LOOKUP"])
def test_a_tflite_table_gives_the_range_too(imported: Importer, kind: str) -> None:
    inputs = ["table", "cast"] if kind == "GATHER" else ["cast", "table"]
    nodes = [
        Node("CAST", ["ids"], "same"),
        Node("SELECT_V2", ["less", "less", "same"], "cast"),
        Node(kind, inputs, "rows"),
    ]
    model = tflite_graph(
        [Value("ids", "int32", [None, 16]), Value("less", "int32", [1, 16])],
        [Y],
        nodes=nodes,
        weights=[TABLE],
    )
    table = imported.table(model, ending="tflite")
    assert table["input"] == {"name": "ids", "shape": [16], "dtype": "int32", "range": [0, 999]}


@pytest.mark.parametrize(
    "nodes",
    [
        (),
        [Node("Add", ["ids", "one"], "a"), Node("Gather", ["table", "a"], "rows")],
        [Node("Gather", ["computed", "ids"], "rows")],
        [Node("Cast", ["a"], "a"), Node("Gather", ["table", "a"], "rows")],
    ],
    ids=["no lookup", "computed indices", "computed table", "a cycle"],
)
def test_integers_of_unknown_meaning_are_asked_for(
    imported: Importer, nodes: Sequence[Node]
) -> None:
    model = onnx_graph([Value("ids", "int64", [1, 16])], [Y], nodes=nodes, weights=[TABLE])
    error = refusal(imported, model)
    assert error.kind is ErrorKind.USAGE
    assert "Give --input ids=randint:0:999" in str(error)
    assert imported.table(model, inputs=["randint:0:9"])["input"]["range"] == [0, 9]


@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS])
def test_types_that_a_job_can_create_are_accepted(imported: Importer, dtype: str) -> None:
    model = onnx_graph([Value("x", dtype, ["batch", 4])], [Value("y", dtype, ["batch", 4])])
    table = imported.table(model, inputs=["zeros"])
    assert table["input"].get("dtype", "float32") == dtype


@pytest.mark.parametrize("dtype", ["bfloat16", "string"])
@pytest.mark.parametrize("ending", ["onnx", "tflite"])
def test_other_types_are_refused_by_name(imported: Importer, dtype: str, ending: str) -> None:
    build = onnx_graph if ending == "onnx" else tflite_graph
    x, bad = Value("x", "float32", ["batch", 4]), Value("text", dtype, ["batch", 4])
    error = refusal(imported, build([x, bad], [Y]), ending=ending)
    assert error.kind is ErrorKind.BAD_DOCUMENT
    assert f"input text: {dtype} is not supported" in str(error)
    assert f"output text: {dtype}" in str(refusal(imported, build([x], [bad]), ending=ending))


FP32 = Value("w", "float32", [100])
PRECISIONS: dict[str, tuple[Sequence[Value], Sequence[str], str]] = {
    "float weights": ([FP32], [], "fp32"),
    "half weights": ([Value("w", "float16", [100]), Value("b", "float32", [10])], [], "fp16"),
    "int8 weights": ([Value("w", "int8", [100]), Value("b", "float32", [10])], [], "int8"),
    "both kinds of int8": (
        [Value("w", "int8", [60]), Value("u", "uint8", [60]), FP32],
        [],
        "int8",
    ),
    "few int8 weights": ([Value("w", "int8", [10]), Value("b", "float32", [100])], [], "fp32"),
    "indices": ([Value("w", "int64", [1000]), Value("b", "float32", [10])], [], "fp32"),
    "QDQ": ([FP32], ["QuantizeLinear", "DequantizeLinear"], "int8"),
    "QLinear": ([FP32], ["QLinearConv"], "int8"),
    "dynamic": ([FP32], ["MatMulInteger"], "int8"),
    "ConvInteger": ([FP32], ["ConvInteger"], "int8"),
    "only dequantized": ([FP32], ["DequantizeLinear"], "fp32"),
}


@pytest.mark.parametrize("case", PRECISIONS)
def test_the_precision_is_that_of_the_graph(imported: Importer, case: str) -> None:
    weights, kinds, expected = PRECISIONS[case]
    nodes = [Node(kind, ["x", "w"], "y") for kind in kinds]
    x = Value("x", "float32", ["batch", 4])
    model = onnx_graph([x], [Y], nodes=nodes, weights=weights)
    assert imported.table(model)["precision"] == expected
    assert imported.table(model, precision="mixed")["precision"] == "mixed"
    if not nodes:
        table = imported.table(tflite_graph([x], [Y], weights=weights), ending="tflite")
        assert table["precision"] == expected


@pytest.mark.parametrize("name", ["dscnn_fp32.onnx", "dscnn_int8.onnx", "dscnn_int8.tflite"])
def test_the_precision_of_real_models(imported: Importer, name: str) -> None:
    data = (MODELS / "fashion-mnist-dscnn" / name).read_bytes()
    table = imported.table(data, ending=name.rpartition(".")[2])
    assert table["precision"] == ("int8" if "int8" in name else "fp32")
    assert table["input"]["shape"] == [28, 28, 1]


@pytest.mark.parametrize("name", ["lid_int8.onnx", "lid_fp32.tflite"])
def test_the_range_of_real_models(imported: Importer, name: str) -> None:
    data = (MODELS / "language-id" / name).read_bytes()
    table = imported.table(data, ending=name.rpartition(".")[2])
    assert table["input"]["range"] == [0, 256]


def test_a_fixed_batch_is_recorded(imported: Importer) -> None:
    model = onnx_graph([Value("x", "float32", [8, 3, 4, 4])], [Value("y", "float32", [8, 10])])
    # An image of eight channels without a batch axis looks the same.
    refusal(imported, model)
    table = imported.table(model, shapes=["8x3x4x4"])
    assert table["input"] == {"name": "x", "shape": [3, 4, 4], "batch": 8}
    assert table["output"] == {"name": "y", "shape": [10], "classes": 10}
    assert "fixes the batch at 8" in imported(model, shapes=["8x3x4x4"]).plan.notes[0]
    refusal(imported, model, shapes=["1x3x4x4"])


def test_an_output_whose_batch_is_not_first(imported: Importer) -> None:
    x, y = Value("x", "float32", ["n", 50, 8]), Value("y", "float32", [50, "n", 8])
    assert imported.table(onnx_graph([x], [y]))["output"] == {
        "name": "y",
        "shape": [50, 8],
        "batch_axis": 1,
    }


@pytest.mark.parametrize(
    ("shape", "output", "says"),
    [
        ([224, 224, 3], [1, 10], "so it is not a batch"),
        (["seq", "batch", 3], ["batch", 10], "the batch must be the first axis"),
        ([16000], [1, 10], "needs a batch axis"),
        ([], [1, 10], "needs a batch axis"),
        (["n", "n"], ["n", 10], "on more than one axis"),
    ],
)
def test_a_model_without_a_batch_axis_is_refused(
    imported: Importer, shape: Sequence[int | str], output: Sequence[int | str], says: str
) -> None:
    model = onnx_graph([Value("x", "float32", shape)], [Value("y", "float32", output)])
    error = refusal(imported, model)
    assert error.kind is ErrorKind.BAD_DOCUMENT
    assert says in str(error)


def test_a_newer_model_needs_a_newer_runtime(imported: Importer) -> None:
    x = Value("x", "float32", ["batch", 4])
    for ir, opset, version in ((11, 23, ""), (12, 17, "1.28.0"), (8, 27, "1.32.0")):
        model = imported(onnx_graph([x], [Y], ir=ir, opset=opset))
        requires = tomllib.loads(model.toml).get("requires", [])
        assert [entry["version"] for entry in requires] == ([f">={version}"] if version else [])
        assert any(version in note for note in model.plan.notes) or not version
    for ir, opset in ((8, 99), (99, 17)):
        error = refusal(imported, onnx_graph([x], [Y], ir=ir, opset=opset))
        assert error.kind is ErrorKind.BAD_DOCUMENT
        assert f"has IR version {ir} and opset {opset}" in str(error)
        assert "1.32.0, runs IR versions up to 14 and opsets up to 28" in str(error)


# --- property ---

NAMES = ["batch", "n", "seq", "h", "w"]
DIMENSION = st.one_of(st.integers(2, 9), st.just(1), st.just(0), st.sampled_from(NAMES))
USUAL = st.builds(
    lambda first, rest: [first, *rest],
    st.sampled_from(["batch", "batch", "n", 0, 1, 8]),
    st.lists(st.sampled_from(["seq", "h", 0, 3, 16]), min_size=1, max_size=3),
)
SHAPES = st.lists(st.one_of(USUAL, USUAL, st.lists(DIMENSION, max_size=4)), min_size=1, max_size=3)


def tensor(name: str, dtype: str, dimensions: Sequence[int | str]) -> Tensor:
    return Tensor(
        name,
        dtype,
        tuple(size if isinstance(size, int) else 0 for size in dimensions),
        tuple(size if isinstance(size, str) else "" for size in dimensions),
    )


@given(st.data(), SHAPES)
def test_no_size_is_invented(data: st.DataObject, shapes: list[list[int | str]]) -> None:
    """An import is refused, or each size was fixed in the file or given, except the batch."""
    kinds = st.sampled_from(["float32", "int8", "bool"])
    inputs = [tensor(f"i{n}", data.draw(kinds), shape) for n, shape in enumerate(shapes)]
    output = tensor("y", "float32", data.draw(st.sampled_from([[1, 5], ["batch", "h"], [8, 3]])))
    given_shapes = {
        one.name: [
            size or data.draw(st.sampled_from([1, 1, 1, 11] if axis == 0 else [11, 11, 11, 1]))
            for axis, size in enumerate(one.shape)
        ]
        for one in inputs
        if one.shape and data.draw(st.integers(0, 3))
    }
    texts = [f"{name}={'x'.join(map(str, sizes))}" for name, sizes in given_shapes.items()]
    model = OnnxDescription(8, 17, tuple(inputs), (output,), (), GraphFacts())
    try:
        plan = plan_import(model, texts)
    except FleetmarkError as error:
        assert error.kind in (ErrorKind.USAGE, ErrorKind.BAD_DOCUMENT)
        event(f"refused: {error.kind.name}")
        return
    event("planned")
    planned = {entry.name: entry for entry in (plan.sample, *plan.constants)}
    assert set(planned) == {one.name for one in inputs}
    named = {
        one.symbol(axis): size
        for one in inputs
        for axis, size in enumerate(given_shapes.get(one.name, []))
        if one.symbol(axis) and axis != planned[one.name].shape.batch_axis
    }
    for one in inputs:
        entry = planned[one.name].shape
        assert len(entry.sizes) == len(one.shape)
        for axis, size in enumerate(entry.sizes):
            if one.shape[axis]:
                assert size == one.shape[axis]
            elif axis == entry.batch_axis:
                assert size == plan.sample.shape.sizes[0]
            else:
                sizes = given_shapes.get(one.name)
                assert size == (sizes[axis] if sizes else named[one.symbol(axis)])
    assert plan.sample.shape.batch_axis == 0
    for axis, size in enumerate(plan.outputs[0].sizes):
        if axis != plan.outputs[0].batch_axis and not output.shape[axis]:
            assert size == named.get(output.symbol(axis), 0)
