# SPDX-License-Identifier: Apache-2.0
"""Feed files to the Python readers, guided by what code each one reaches (needs atheris).

    python tests/fuzz/guided.py KIND [option of libFuzzer]...
    python tests/fuzz/guided.py images -max_total_time=60

Kinds are those of `fuzz.py`. A file that fails is written to the working directory; give its path
as an option to run it again.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import tempfile
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[1]))

with atheris.instrument_imports(include=["dbnet_trt"]):
    from dbnet_trt.images import video

    from fuzz.kinds import make_kinds


def main() -> None:
    """Fuzz the kind of file that the command line names."""
    video.silence_opencv()
    logging.getLogger("dbnet_trt").addHandler(logging.NullHandler())
    with tempfile.TemporaryDirectory(prefix="dbnet-fuzz-") as name:
        folder, corpus = Path(name), Path(name, "corpus")
        corpus.mkdir()
        kinds = make_kinds(folder)
        if len(sys.argv) < 2 or sys.argv[1] not in kinds:
            raise SystemExit(f"expected one of {', '.join(kinds)}")
        kind = kinds[sys.argv[1]]
        for number, seed in enumerate(kind.seeds):
            (corpus / str(number)).write_bytes(seed)

        def read(data: bytes) -> None:
            """Read a file; any error but the expected ones ends the run."""
            with contextlib.suppress(*kind.errors):
                kind.read(data, folder)

        atheris.Setup([sys.argv[0], *sys.argv[2:], str(corpus)], read)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
