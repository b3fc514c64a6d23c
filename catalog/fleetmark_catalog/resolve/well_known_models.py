"""Models of MLPerf that the catalog does not have, and where their official files are.

The places and file names are those of MLCommons' own scripts (mlcommons/mlperf-automations, folder
`script/get-ml-model-*`) and of its repository mlcommons/mobile_models.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_ZENODO = "https://zenodo.org/record"
_MOBILE = "https://github.com/mlcommons/mobile_models"


@dataclass(frozen=True)
class WellKnownModel:
    """A model that operators ask for by name.

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
        "resnet50",
        ("resnet", "resnet50v1", "resnet50v15"),
        "image classification of MLPerf Inference",
        "resnet50_v1.onnx",
        f"{_ZENODO}/4735647",
    ),
    WellKnownModel(
        "retinanet",
        ("retinanet800x800", "resnext50", "resnext50retinanet"),
        "object detection of MLPerf Inference",
        "resnext50_32x4d_fpn.onnx",
        f"{_ZENODO}/6617879",
    ),
    WellKnownModel(
        "bert-large",
        ("bert", "bert99", "bert999", "bertlargesquad", "bertsquad"),
        "question answering of MLPerf Inference",
        "model.onnx",
        f"{_ZENODO}/3733910",
    ),
    WellKnownModel(
        "3d-unet",
        ("unet", "unet3d", "3dunet99", "3dunet999", "3dunetkits19"),
        "medical imaging of MLPerf Inference",
        "3dunet_kits19_128x128x128_dynbatch.onnx",
        f"{_ZENODO}/5597155",
    ),
    WellKnownModel(
        "mobilebert",
        ("mobilebertsquad",),
        "question answering of MLPerf Mobile",
        "mobilebert_float_384_gpu.tflite",
        f"{_MOBILE}, folder v0_7/tflite",
    ),
    WellKnownModel(
        "ssd-mobilenet",
        ("ssdmobilenetv2", "mobilenetssd", "ssdmobilenetv2300"),
        "object detection of MLPerf Mobile v0.7",
        "ssd_mobilenet_v2_300_float.tflite",
        f"{_MOBILE}, folder v0_7/tflite",
    ),
    WellKnownModel(
        "mobiledet",
        ("mobiledetssd", "ssdmobiledet"),
        "object detection of MLPerf Mobile",
        "mobiledet.tflite",
        f"{_MOBILE}, folder v1_0/tflite",
    ),
    WellKnownModel(
        "deeplabv3",
        ("deeplab", "deeplabv3plus", "deeplabv3mnv2"),
        "image segmentation of MLPerf Mobile v0.7",
        "deeplabv3_mnv2_ade20k_int8.tflite",
        f"{_MOBILE}, folder v0_7/tflite",
    ),
    WellKnownModel(
        "edsr",
        ("superresolution", "edsrf32b5"),
        "super-resolution of MLPerf Mobile",
        "edsr_f32b5_fp32.tflite",
        f"{_MOBILE}, folder v3_0/tflite",
    ),
    WellKnownModel(
        "mobilenetv4",
        ("mobilenetv4large", "mobilenetv4convlarge"),
        "image classification of MLPerf Mobile",
        "MobileNetV4-Conv-Large-fp32.tflite",
        f"{_MOBILE}, folder v4_0/tflite",
    ),
)


def find_well_known(name: str) -> WellKnownModel | None:
    """Return the model that operators mean by `name`; punctuation and case do not count."""
    plain = _plain(name)
    return next((each for each in WELL_KNOWN if plain in (_plain(each.name), *each.others)), None)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
