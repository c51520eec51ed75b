# SPDX-License-Identifier: Apache-2.0
"""Check that the installed package finds in the demo photo what the repository says it finds.

python -I release/installed.py          # -I: the package as installed, not a folder beside
python -I release/installed.py --write  # after a change of the default model
"""

from __future__ import annotations

import platform
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
from dbnet_trt import CpuConfig, Detections, Detector, _core
from dbnet_trt.opening import choose_backend

RELEASE = Path(__file__).resolve().parent
DEMO = RELEASE.parent / "tests" / "data" / "demo.jpg"
FOUND = RELEASE / "demo.json"
"""What the default model found there in fp32, built by GCC, in OpenVINO: one line of JSON."""


def difference(found: Detections, expected: Detections) -> float:
    """Return the largest distance between corners, in pixels.

    Raises:
        SystemExit: They are not the same texts, or their scores differ by more than 0.01.
    """
    if len(found) != len(expected) or np.abs(found.scores - expected.scores).max() > 0.01:
        sys.exit(f"expected {expected}, got {found}")
    return float(np.abs(found.quads - expected.quads).max())


def main(write: bool) -> None:
    """Compare, or write what is found."""
    found = Detector(cpu=CpuConfig(precision="fp32", num_threads=1)).detect(DEMO)
    if write:
        FOUND.write_text(found.to_json() + "\n", encoding="utf-8")
    expected = Detections.from_json(FOUND.read_text(encoding="utf-8"))
    apart = difference(found, expected)
    if apart > 0.5:
        sys.exit(f"corners are up to {apart:.2f} px from those expected (at most 0.5)")
    names = ("dbnet-trt", "numpy", choose_backend(CpuConfig()))
    cpu = Path("/proc/cpuinfo")  # that of the host in qemu
    avx2 = platform.machine() == "x86_64" and cpu.is_file() and " avx2 " in cpu.read_text("utf-8")
    if platform.system() == "Linux" and _core.uses_avx2() != avx2:
        sys.exit(f"the core says that AVX2 is used: {_core.uses_avx2()}; /proc/cpuinfo differs")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    machine = platform.machine() + (" with AVX2" if _core.uses_avx2() else "")
    print(
        f"{machine}, Python {platform.python_version()}, {versions}: {len(found)} texts, at most "
        f"{apart:.3f} px from those expected"
    )


if __name__ == "__main__":
    main("--write" in sys.argv[1:])
