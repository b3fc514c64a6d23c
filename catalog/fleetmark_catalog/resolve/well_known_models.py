"""Names under which operators ask for models of MLPerf and of the ONNX Model Zoo.

Most of them are benchmarks of the catalog (`ALIASES`). For a model that the catalog does not have,
`WELL_KNOWN` says where its official file is. The places and file names are those of MLCommons' own
repositories.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_MOBILE = "https://github.com/mlcommons/mobile_models"


@dataclass(frozen=True)
class WellKnownModel:
    """A model that operators ask for by name, and that the catalog does not have.

    Attributes:
        name: the usual name, which is also the name to import it under.
        others: other names, without punctuation, in lower case.
        task: what it is used for, and by which suite.
        file: name of the official file.
        place: page of the publisher from which the file can be got.
    """

    name: str
    others: tuple[str, ...]
    task: str
    file: str
    place: str


WELL_KNOWN = (
    WellKnownModel(
        "ssd-mobilenet-v2",
        ("ssdmobilenetv2300", "mobilenetv2ssd"),
        "object detection of MLPerf Mobile v0.7",
        "ssd_mobilenet_v2_300_float.tflite",
        f"{_MOBILE}, folder v0_7/tflite",
    ),
)

ALIASES = {
    "resnet50": ("resnet", "resnet50v15", "resnet50mlperf"),
    "resnet50-v1": ("resnet50zoo",),
    "retinanet": ("retinanet800x800", "resnext50", "resnext50retinanet"),
    "bert-large": ("bert", "bert99", "bert999", "bertlargesquad"),
    "3d-unet": ("unet", "unet3d", "3dunet99", "3dunet999", "3dunetkits19"),
    "yolov11": ("yolo", "yolo11", "yolo11l", "yolo95", "yolo99"),
    "mobilebert": ("mobilebertsquad",),
    "mobilenet-edgetpu": ("mobilenetedgetpu224",),
    "mobilenet-v4": ("mobilenetv4large", "mobilenetv4convlarge"),
    "mobiledet": ("mobiledetssd", "ssdmobiledet"),
    "mosaic": ("mobilesegmenter",),
    "deeplabv3": ("deeplab", "deeplabv3plus", "deeplabv3mnv2"),
    "edsr": ("edsrf32b5",),
    "vww": ("visualwakewords", "persondetection"),
    "kws": ("keywordspotting",),
    "ic": ("resnet8", "mlperftinyic"),
    "ad": ("anomalydetection", "toycar"),
    "wakeword": ("streamingwakeword", "strww"),
    "ssd": ("ssdresnet34", "ssd12"),
    "ssd-mobilenet": ("mobilenetssd", "ssdmobilenetv1"),
    "tiny-yolov3": ("yolov3tiny", "tinyyolo"),
    "squeezenet": ("squeezenet10",),
    "efficientnet-lite4": ("efficientnet", "efficientnetlite"),
    "bertsquad": ("bertbase", "bertsquad12"),
}
"""Benchmarks of the catalog, and other names for them: without punctuation, in lower case."""


def find_alias(name: str) -> str:
    """Return the benchmark that operators mean by `name`, or an empty text.

    Punctuation and case do not count.
    """
    plain = _plain(name)
    return next(
        (known for known, others in ALIASES.items() if plain in (_plain(known), *others)), ""
    )


def find_well_known(name: str) -> WellKnownModel | None:
    """Return the model that operators mean by `name`; punctuation and case do not count."""
    plain = _plain(name)
    return next((each for each in WELL_KNOWN if plain in (_plain(each.name), *each.others)), None)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
