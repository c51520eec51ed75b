# SPDX-License-Identifier: Apache-2.0
"""What `dbnet detect` writes, as the command line names it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..files import is_folder
from ..images.sources import Outputs, is_known

RUN_SUFFIX = ".run.json"
"""What the name of the file beside the lines ends with, which says how they were made."""

PART_SUFFIX = ".part"
"""What the name of a table ends with until it is complete."""


@dataclass(frozen=True, slots=True)
class Targets:
    """Files to write, and whether to replace or continue them."""

    pictures: Path | None = None
    """File for one picture or one video, or folder for many pictures."""

    lines: Path | None = None
    """File of JSON lines, or "-" for standard output."""

    csv: Path | None = None
    """File of comma-separated values."""

    parquet: Path | None = None
    """File of Parquet."""

    overwrite: bool = False
    """Whether to replace the files of lines and tables."""

    resume: bool = False
    """Whether to append to the file of lines, and to write the tables anew from all of it."""

    def __post_init__(self) -> None:
        for option, path in self.named.items():
            if is_folder(path):
                raise ValueError(f"{option} {path} is a folder; name a file")

    @property
    def named(self) -> dict[str, Path]:
        """The files of lines and tables that are named, by option."""
        files = {"--json": self.lines, "--csv": self.csv, "--parquet": self.parquet}
        return {option: path for option, path in files.items() if path is not None}

    @property
    def outputs(self) -> Outputs:
        """What is written and no input; an image or video of that name may be an input."""
        named = list(self.named.values())
        ends = (RUN_SUFFIX, PART_SUFFIX)
        beside = [path.with_name(path.name + end) for path in named for end in ends]
        paths = [*named, *beside, *([self.pictures] if self.pictures is not None else [])]
        return Outputs(path for path in paths if is_folder(path) or not is_known(path.name))
