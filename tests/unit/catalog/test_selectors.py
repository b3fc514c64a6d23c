from __future__ import annotations

import operator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from fleetmark_catalog.selectors import Subject, check_words, parse_selector, unknown_words
from fleetmark_core.errors import ErrorKind, FleetmarkError
from tests.support.sample_devices import interpreter, sample_device, subject

ARM = subject(arch="aarch64", name="pi-1", labels={"site": "lab2"})
X86 = subject()

MATCHES = {
    "": True,
    "x86_64": True,
    "amd64": True,
    "X86_64": True,
    "arm64": False,
    "aarch64": False,
    "linux": True,
    "rpi4": True,
    "rpi4,site=lab1": True,
    "rpi4,site=lab2": False,
    "site": True,
    "arch=amd64": True,
    "arch in (arm64,armv7)": False,
    "arch in (arm64, x86_64)": True,
    "!cuda": True,
    "!x86_64": False,
    "!(rpi4,cuda)": True,
    "!!rpi4": True,
    "memory>=4GiB": True,
    "memory>4GiB": False,
    "memory>=4GB": True,
    "memory<5e9": None,
    "memory=4194304KiB": True,
    "memory != 4GiB": False,
    "free<16GiB,storage>=30GiB": True,
    "cores>=4": True,
    "cores==4": True,
    "cores in (2,4)": True,
    "frequency>=1.5GHz": True,
    "onnxruntime": True,
    "onnxruntime>=1.20": True,
    "onnxruntime>=1.100": False,
    "onnxruntime<2": True,
    "onnxruntime=1.23": True,
    "tensorrt>=8": False,
    "tensorrt!=8": True,
    "python>=3.11": True,
    "python=3.11": True,
    "python=3.1": False,
    "kernel>=6": True,
    "os=debian": True,
    "os_version>=12": True,
    "libc_version>=2.28": True,
    'board="Raspberry Pi 4 Model B"': True,
    "board=Raspberry*": True,
    "soc=bcm2711": True,
    "soc=rk3588": False,
    "name=bench-07": True,
    "name=bench-*": True,
    "name in (a,bench-07)": True,
    "name!=bench-07": False,
    "row>=2": True,
    "row>=10": False,
    "accelerator=gpu": False,
    "accelerator!=gpu": True,
    "memory>=lots": False,
}


@pytest.mark.parametrize("text", [text for text, hit in MATCHES.items() if hit is not None])
def test_the_grammar(text: str) -> None:
    assert parse_selector(text).explain(X86).matches is MATCHES[text]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("arm64", "not arm64: arch is x86_64"),
        ("cuda", "no tag cuda"),
        ("memory>=8GiB", "memory>=8GiB: memory is 4 GiB"),
        ("onnxruntime>=1.30", "onnxruntime>=1.30: onnxruntime is 1.23.2"),
        ("site=lab2", "site=lab2: site is lab1"),
        ("rack=3", "rack=3: no rack"),
        ("libc=musl", "libc=musl: libc is glibc"),
        ("accelerator=gpu", "accelerator=gpu: accelerator is unavailable"),
        ("!rpi4", "excluded: rpi4"),
        ("rpi4,cuda,cores>8", "no tag cuda; cores>8: cores is 4"),
        ("arch in (arm64,armv7)", "arch in (arm64,armv7): arch is x86_64"),
    ],
)
def test_a_miss_names_the_predicate_and_the_actual_value(text: str, reason: str) -> None:
    explanation = parse_selector(text).explain(X86)
    assert not explanation.matches
    assert explanation.reason == reason


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("arm64,,", 7),
        ("memory>=", 9),
        ("rpi4 cuda", 6),
        ("arch in (", 10),
        ("in=3", 1),
        ("a;b", 2),
        ("(arm64", 7),
        ("=3", 1),
    ],
)
def test_bad_syntax_gets_a_caret(text: str, column: int) -> None:
    with pytest.raises(FleetmarkError) as caught:
        parse_selector(text)
    assert caught.value.kind is ErrorKind.UNKNOWN_WORD
    lines = caught.value.what.splitlines()
    assert lines[1] == f"  {text}"
    assert lines[2].index("^") == column + 1


def test_saved_fleets_are_looked_up() -> None:
    saved = {"nightly": "rpi4,@lab", "lab": "site=lab1", "loop": "@loop2", "loop2": "@loop"}
    assert parse_selector("@nightly,x86_64", saved).explain(X86).matches
    assert not parse_selector("@nightly", saved).explain(ARM).matches
    assert "@nightly: " in parse_selector("@nightly", saved).explain(ARM).reason
    for text, expected in (
        ("@nighty", "no fleet is saved as @nighty"),
        ("@loop", "refers to itself"),
    ):
        with pytest.raises(FleetmarkError, match=expected):
            parse_selector(text, saved)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("arm64", []),
        ("arm46", ["'arm46' (did you mean 'arm64'?)"]),
        ("sit=lab1", ["'sit' (did you mean 'site'?)"]),
        ("memry>=4GiB", ["'memry' (did you mean 'memory'?)"]),
        ("arch=arm46", ["'arm46' (did you mean 'arm64'?)"]),
        ("!rpi44,linux", ["'rpi44' (did you mean 'rpi4'?)"]),
        ("cuda,tensorrt", []),
        ("zzzzzz", ["'zzzzzz'"]),
        ("site=anything", []),
        ("site", []),
    ],
)
def test_unknown_words_get_the_nearest(text: str, expected: list[str]) -> None:
    assert unknown_words(parse_selector(text), [X86, ARM]) == expected


@pytest.mark.parametrize(
    ("text", "carets"),
    [
        ("arm46", "^^^^^"),
        ("rpi4,memry>=4GiB", "     ^^^^^"),
        ("arm46,(rpi4,!arm46)", "^^^^^        ^^^^^"),
        ("arm64x,arm46", "^^^^^^ ^^^^^"),
    ],
)
def test_unknown_words_get_carets(text: str, carets: str) -> None:
    with pytest.raises(FleetmarkError) as caught:
        check_words(parse_selector(text), [X86, ARM])
    lines = caught.value.what.splitlines()
    assert "did you mean" in lines[0]
    assert lines[1:] == [f"  {text}", f"  {carets}"]


def test_an_unknown_word_of_a_saved_fleet_names_the_fleet() -> None:
    with pytest.raises(FleetmarkError, match=r"'arm46' .*, in @odd"):
        check_words(parse_selector("@odd", {"odd": "arm46"}), [X86])


# Against a plain evaluator: random selectors are written as text and evaluated as Python.

_RELATIONS = {
    "=": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
_UNITS = {"": 1, "MiB": 2**20, "GiB": 2**30, "GB": 10**9, "kB": 1000}
_TAGS = ["linux", "arm64", "x86_64", "rpi4", "cuda", "onnxruntime"]


def plain(term: tuple[object, ...], device: Subject) -> bool:
    kind, *rest = term
    facts = device.capabilities
    if kind == "tag":
        return rest[0] in {*facts.tags}
    if kind == "not":
        return not plain(rest[0], device)  # type: ignore[arg-type]
    if kind in ("all", "saved"):
        return all(plain(part, device) for part in rest)  # type: ignore[arg-type]
    if kind == "memory":
        relation, number, unit = rest
        return bool(_RELATIONS[relation](facts.memory.total_bytes, number * _UNITS[unit]))  # type: ignore[index,operator]
    if kind == "version":
        relation, version = rest
        actual = Version(facts.software[0].version)
        return bool(_RELATIONS[relation](actual, Version(str(version))))  # type: ignore[index]
    if kind == "site":
        relation, value = rest
        actual = device.labels.get("site")
        return actual == value if relation == "=" else actual != value
    values = rest[0]
    return device.labels.get("site") in values  # type: ignore[operator]


def text_of(term: tuple[object, ...], saved: dict[str, str]) -> str:
    """The selector of a term; what it saves goes to `saved`."""
    kind, *rest = term
    if kind == "saved":
        name = f"fleet-{len(saved)}"
        saved[name] = ""  # taken, while the inner ones are written
        saved[name] = text_of(rest[0], saved)  # type: ignore[arg-type]
        return f"@{name}"
    if kind == "tag":
        return str(rest[0])
    if kind == "not":
        return f"!({text_of(rest[0], saved)})"  # type: ignore[arg-type]
    if kind == "all":
        return "(" + " , ".join(text_of(part, saved) for part in rest) + ")"  # type: ignore[arg-type]
    if kind == "memory":
        return f"memory {rest[0]} {rest[1]}{rest[2]}"
    if kind == "version":
        return f"onnxruntime{rest[0]}{rest[1]}"
    if kind == "site":
        return f"site{rest[0]}{rest[1]}"
    return f"site in ({','.join(rest[0])})"  # type: ignore[arg-type]


_SITES = st.sampled_from(["lab1", "lab2", "lab3"])
_TERMS = st.recursive(
    st.one_of(
        st.tuples(st.just("tag"), st.sampled_from(_TAGS)),
        st.tuples(
            st.just("memory"),
            st.sampled_from(list(_RELATIONS)),
            st.integers(0, 9000),
            st.sampled_from(list(_UNITS)),
        ),
        st.tuples(
            st.just("version"),
            st.sampled_from([">", ">=", "<", "<="]),
            st.from_regex(r"[0-2]\.[0-9]{1,2}(\.[0-9])?", fullmatch=True),
        ),
        st.tuples(st.just("site"), st.sampled_from(["=", "!="]), _SITES),
        st.tuples(st.just("sites"), st.lists(_SITES, min_size=1, max_size=3)),
    ),
    lambda inner: st.one_of(
        st.tuples(st.just("not"), inner),
        st.tuples(st.just("saved"), inner),
        st.lists(inner, min_size=1, max_size=4).map(lambda parts: ("all", *parts)),
    ),
    max_leaves=8,
)


@given(term=_TERMS, arch=st.sampled_from(["x86_64", "aarch64"]), memory=st.integers(0, 9 << 30))
def test_selectors_agree_with_a_plain_evaluator(
    term: tuple[object, ...], arch: str, memory: int
) -> None:
    device = Subject(
        "d", {"site": "lab1"}, sample_device(interpreter(arch=arch), arch=arch, memory=memory)
    )
    saved: dict[str, str] = {}
    explanation = parse_selector(text_of(term, saved), saved).explain(device)
    assert explanation.matches is plain(term, device)
    assert explanation.reason


@pytest.mark.fuzz("selectors")
@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_as_an_unknown_word(text: str) -> None:
    try:
        selector = parse_selector(text)
    except FleetmarkError as error:
        assert error.kind is ErrorKind.UNKNOWN_WORD
    else:
        selector.explain(X86)
        unknown_words(selector, [X86])


@pytest.mark.parametrize(
    ("online", "matches", "reason"),
    [
        (True, True, "online"),
        (False, False, "not online"),
        (None, False, "it is not known whether it is online"),
    ],
)
def test_online_depends_on_presence_alone(online: bool | None, matches: bool, reason: str) -> None:
    device = Subject("d", {"online": "yes"}, sample_device(), online)
    selector = parse_selector("linux,@there", {"there": "online"})
    assert selector.needs_presence
    assert selector.matches(device) == selector.explain(device).matches == matches
    assert reason in selector.explain(device).reason
    absent = parse_selector("!online")
    assert absent.matches(device) == (not matches)
    assert unknown_words(selector, [device]) == []
    assert not parse_selector("linux,site=online").needs_presence
