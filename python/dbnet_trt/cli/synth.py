# SPDX-License-Identifier: Apache-2.0
"""The command `dbnet synth`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ..synth.scenes import SynthConfig, write_scenes
from .console import line, out

DEFAULT_SCENES = SynthConfig()


def synth(
    folder: Path,
    count: int = 1000,
    /,
    *,
    processes: int = 1,
    config: Annotated[SynthConfig, Parameter(name="*")] = DEFAULT_SCENES,
) -> None:
    """Draw synthetic scenes: pictures of text with its exact outlines.

    Parameters
    ----------
    folder
        Folder for images/ and samples.jsonl; train on jsonl:FOLDER/samples.jsonl.
    count
        Number of pictures.
    processes
        Number of processes that draw; the pictures do not depend on it.
    """
    file = write_scenes(folder, count, config=config, processes=processes)
    out.print(line((file, "bold"), f"  {count} pictures"), soft_wrap=True)
