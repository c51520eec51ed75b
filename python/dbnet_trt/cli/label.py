# SPDX-License-Identifier: Apache-2.0
"""The command `dbnet label`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from ..data.label_studio import CONFIG, local_address, make_prediction, make_task
from ..detector import Detector
from ..errors import DBNetError, ImageError
from ..files import is_folder, write_atomically
from ..images import video
from ..images.decode import MAX_PIXELS
from ..images.load import load_image
from ..images.sources import Outputs, find_sources, is_glob, real_path
from ..reading import Reader, open_reader, read_text
from ..settings import SizePolicy
from .console import SOME_FAILED, SUCCESS, err, line, number, out, progress_bar
from .options import DEFAULT_OPTIONS, RunOptions


def label(
    inputs: list[str],
    /,
    *,
    output: Path,
    root: Path | None = None,
    text: Annotated[bool, Parameter(negative="")] = False,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    options: Annotated[RunOptions, Parameter(name="*")] = DEFAULT_OPTIONS,
) -> int:
    """Outline the text in images as tasks for Label Studio, where people correct them.

    Beside the tasks lies the labelling interface to set up the project with, OUTPUT with the suffix
    .xml. What Label Studio exports as JSON is read as labelstudio:EXPORT.json.

    Parameters
    ----------
    inputs
        Images, folders or globs. An image that is named twice is one task.
    output
        File of tasks to write (.json).
    root
        Label Studio's LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT, which holds the folders of images; by
        default the folder that holds the one that is given, or the one image's.
    text
        Also read the text, as `dbnet read` does, for the transcriptions.
    overwrite
        Replace existing files of tasks and interface.
    """
    if output.suffix.lower() != ".json":
        raise ValueError(f"expected a .json file to write tasks to, got {output}")
    interface = output.with_suffix(".xml")
    for file in (output, interface):
        if file.exists() and not overwrite:
            raise ValueError(f"{file} exists; name another file, or give --overwrite to replace it")
    video.silence_opencv()
    sources = list(find_sources(inputs, Outputs([output])))
    videos = [source for source in sources if video.is_video(source)]
    if videos:
        raise ValueError(f"dbnet label takes images, but {videos[0]} is a video or a camera")
    folder = root or _choose_root(inputs)
    addresses = [local_address(source, folder) for source in sources]
    detector = options.open_detector(polygons=text)
    labeller = _Labeller(
        detector,
        options.size(detector.card),
        options.max_pixels or MAX_PIXELS,
        open_reader(cpu=options.cpu) if text else None,
    )
    tasks = []
    num_failed = 0
    with progress_bar("photo", transient=True, disable=len(sources) < 2) as bar:
        shown = bar.add_task("labelling", total=len(sources), photo="")
        for source, address in zip(sources, addresses, strict=True):
            bar.advance(shown)
            try:
                prediction = labeller.predict(source)
            except ImageError as error:
                num_failed += 1
                err.print(line(("skipped:", "red"), " ", (error, "")), soft_wrap=True)
                continue
            tasks.append(make_task(address, prediction))
    _write(output, json.dumps(tasks, indent=1) + "\n")
    _write(interface, CONFIG)
    done = f"  {number(len(tasks), 'task')}; labelling interface: "
    out.print(line((output, "bold"), done, (interface, "bold")), soft_wrap=True)
    return SOME_FAILED if num_failed else SUCCESS


class _Labeller:
    def __init__(
        self, detector: Detector, size: SizePolicy | None, max_pixels: int, reader: Reader | None
    ) -> None:
        self._detector, self._size = detector, size
        self._max_pixels, self._reader = max_pixels, reader

    def predict(self, source: str) -> dict[str, Any]:
        """Detect the text in a file, as a prediction.

        Raises:
            ImageError: The file cannot be read.
        """
        image = load_image(source, max_pixels=self._max_pixels)
        found = self._detector.detect(image, size=self._size)
        if self._reader is not None:
            found = read_text(found, image, self._reader)
        return make_prediction(found, image.shape[:2], self._detector.card.name)


def _choose_root(inputs: list[str]) -> Path:
    """Choose the parent of the images' folder: Label Studio serves folders below its root."""
    if len(inputs) != 1 or is_glob(inputs[0]):
        raise ValueError("several inputs are given; name the folder that holds all by --root")
    path = Path(real_path(inputs[0]))
    return path.parent if is_folder(path) else path.parent.parent


def _write(path: Path, text: str) -> None:
    try:
        write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    except OSError as error:
        raise DBNetError(f"{path} cannot be written: {error.strerror or error}") from error
