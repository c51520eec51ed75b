# SPDX-License-Identifier: Apache-2.0
"""Drawn pictures of `dbnet detect`: one file, a video, or a folder that mirrors the input's."""

from __future__ import annotations

import os
from pathlib import Path

from ..detections import Detections
from ..errors import ImageError
from ..extras import install_hint
from ..files import is_folder
from ..images import video
from ..images.ahead import PageOptions
from ..images.load import IMAGE_SUFFIXES, VIDEO_SUFFIXES, WRITTEN_SUFFIXES, Image
from ..images.pages import choose_pages, open_pages
from ..images.sources import Outputs, is_glob, is_known, real_path
from ..images.video import VideoFile, frame_rate, is_live, is_video
from .console import err, line
from .targets import Targets


class Pictures:
    """Pictures of the outlines, in the place that `--save` names. No input is overwritten."""

    def __init__(
        self, targets: Targets, inputs: list[str], first: list[str], options: PageOptions
    ) -> None:
        """Decide whether pictures go to a file, into a video or into a folder.

        Args:
            targets: Files to write.
            inputs: Files, folders, globs, cameras and streams as the user named them.
            first: The first source of them, and the second if there is one.
            options: Which pages of documents are read.

        Raises:
            ValueError: There are more pictures than one file takes, an input would be overwritten,
                or nothing can be written under that name.
        """
        self._file: Path | None = None
        self._video: VideoFile | None = None
        self._folder: Path | None = None
        self._roots = _find_roots(inputs)
        self._inputs = _Inputs(inputs, self._roots, targets.outputs)
        self._used: set[int] = set()  # hashes of paths, as there may be a million
        target = targets.pictures
        if target is None:
            return
        suffix = "" if is_folder(target) else target.suffix.lower()
        one_video = len(first) == 1 and is_video(first[0])
        if suffix in WRITTEN_SUFFIXES:
            if not is_one_picture(first, options):
                raise ValueError(
                    f"--save {target} names one picture, but there are several; name a folder"
                    f"{' or a video (.mp4, .avi)' if one_video else ''}"
                )
            self._file = target
        elif suffix in video.WRITTEN_SUFFIXES:
            if not one_video:
                raise ValueError(
                    f"--save {target} names a video, but what is read is not one video; "
                    "name a folder"
                )
            self._video = VideoFile(target, frame_rate(first[0]))
            if suffix == ".mp4" and not video.writes_h264(target):
                hint = f"is MPEG-4, which browsers do not play; for H.264 {install_hint('av')}"
                err.print(line((f"{target} {hint}", "dim")), soft_wrap=True)
        elif suffix in IMAGE_SUFFIXES | VIDEO_SUFFIXES:
            raise ValueError(
                f"--save {target}: pictures are written as "
                f"{', '.join(sorted(WRITTEN_SUFFIXES))}, "
                f"videos as {', '.join(sorted(video.WRITTEN_SUFFIXES))}"
            )
        else:
            self._folder = target
        if self._folder is None:
            self.check_output("--save", target)

    @property
    def is_file(self) -> bool:
        """Whether all pictures go into one file, picture or video."""
        return self._file is not None or self._video is not None

    def check_output(self, option: str, path: Path) -> None:
        """Check that a file to be written is not among the inputs.

        Raises:
            ValueError: It is.
        """
        if self._inputs.has(path):
            raise ValueError(f"{option} would overwrite the input {path}; name another")

    def reserve(self, name: str, page: int | None = None, frame: int | None = None) -> Path | None:
        """Return a path for a picture, in the folders of the input, that no other picture has.

        The same calls in the same order give the same paths.
        """
        if self._folder is None:
            return self._file
        if is_live(name):
            name = f"camera{name}" if name.isdecimal() else "stream"
        path = Path(name)
        root = next((root for root in self._roots if path.is_relative_to(root)), path.parent)
        folder = path.parent.relative_to(root)
        suffix = path.suffix if path.suffix.lower() in WRITTEN_SUFFIXES else ".jpg"
        stem = path.stem if frame is None else f"{path.stem}_{frame:06d}"
        stem = stem if page is None else f"{stem}_page{page:04d}"
        unique, number = folder / (stem + suffix), 2
        while hash(unique) in self._used:
            unique, number = folder / f"{stem}_{number}{suffix}", number + 1
        self._used.add(hash(unique))
        return self._folder / unique

    def draw(
        self,
        path: Path | None,
        frame: int | None,
        image: Image,
        found: Detections,
        time: float | None = None,
    ) -> None:
        """Draw one image's outlines.

        Args:
            path: Return value of `reserve`.
            frame: Number of the frame; None if it is not of a video.
            image: (H, W, 3) uint8 BGR.
            found: Its detections.
            time: Time of the frame in seconds, if it is known.

        Raises:
            ImageError: The picture or the video cannot be written.
            ValueError: An input would be overwritten.
        """
        if self._video is not None:
            drawn = found.plot(image)
            left_out = max((frame or 0) - self._video.num_frames, 0)
            for _ in range(left_out + 1):  # the video keeps the pace of a live source
                self._video.add(drawn, time)
        elif path is not None:
            self.check_output("--save", path)
            found.save(path, image)

    def close(self) -> None:
        """Finish the video, if there is one."""
        if self._video is not None:
            self._video.close()


class _Inputs:
    """The files that are read: those named, and all images and videos in the folders."""

    def __init__(self, inputs: list[str], roots: list[Path], outputs: Outputs) -> None:
        self._files = {real_path(given) for given in inputs if not is_live(given)}
        self._folders = [real_path(root) for root in roots]
        # A folder for pictures inside an input is left out of it; one that is an input is not.
        self._left_out = None if any(map(outputs.has, self._folders)) else outputs

    def has(self, path: Path) -> bool:
        """Whether a file is one that is read."""
        real = real_path(path)
        if real in self._files:
            return True
        is_inside = any(real.startswith(os.path.join(each, "")) for each in self._folders)
        is_left_out = self._left_out is not None and self._left_out.has(real)
        return is_inside and is_known(real) and not is_left_out


def is_one_picture(first: list[str], options: PageOptions) -> bool:
    """Whether the first sources, at most two, are a single image of one page."""
    if len(first) != 1 or is_video(first[0]):
        return False
    try:
        pages = open_pages(first[0], dpi=options.dpi, max_pixels=options.max_pixels)
        return len(choose_pages(pages, options.pages)) == 1
    except ImageError:  # reported when it is read
        return True


def _find_roots(inputs: list[str]) -> list[Path]:
    """Return the folders among the inputs, and those of globs up to their first wildcard."""
    roots = []
    for given in inputs:
        path = Path(given)
        if is_folder(path):
            roots.append(path)
        elif is_glob(given):
            roots.append(next(part for part in path.parents if not is_glob(str(part))))
    return roots
