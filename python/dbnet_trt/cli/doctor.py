# SPDX-License-Identifier: Apache-2.0
"""The command `dbnet doctor`: what is installed, what works, and what is missing."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from .. import __version__, _core, zoo
from ..building.verify import draw_samples
from ..cache import cache_folder
from ..detector import Detector
from ..errors import DBNetError
from ..extras import EXTRAS, install_hint
from ..gpu_status import gpus_of_machine, read_cuda_status
from ..settings import Backend, CpuConfig
from .console import SOME_FAILED, SUCCESS, line, out

NEEDED = ("numpy", "pyclipper", "onnx")
"""Packages that come with this one."""

BUILDS = {
    "OpenCV": ("opencv-python", "opencv-python-headless", "opencv-contrib-python",
               "opencv-contrib-python-headless"),
    "ONNX Runtime": ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino",
                     "onnxruntime-directml"),
}  # fmt: skip
"""Builds of one library, of which only one works at a time."""

BACKENDS: tuple[Backend, ...] = ("openvino", "onnxruntime")
"""Libraries that run networks on the CPU: one must be there."""

CPU_FEATURES = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8",
                "asimd", "i8mm", "bf16")  # fmt: skip
"""Instruction sets that change how fast networks run, as Linux names them."""


def doctor() -> int:
    """Say what is installed here, what works, and what is missing.

    The page is made to be pasted into a report of a bug. The exit code is 1 if something that
    detection on the CPU needs does not work.
    """
    for what, answer in _describe():
        out.print(line((f"{what:12}", "bold"), " ", (answer, "")), soft_wrap=True)
    failures = list(_find_failures())
    for failure in failures:
        out.print(line(("not working", "red"), "  ", (failure, "")), soft_wrap=True)
    return SOME_FAILED if failures else SUCCESS


def _describe() -> Iterator[tuple[str, str]]:
    """List what there is, as pairs of a word and a line."""
    yield "dbnet_trt", f"{__version__}, {Path(_core.__file__).parent}"
    yield "python", f"{platform.python_version()}, {platform.platform()}"
    yield "cpu", _describe_cpu()
    needed = (*NEEDED, *_builds("OpenCV"), *_backends())
    yield "needed", ", ".join(map(_version_of, needed))
    found = [each for each in EXTRAS if _has(each)]
    yield "extras", ", ".join(_version_of(each) for each in found) or "none"
    missing = {EXTRAS[each] for each in EXTRAS if each not in found}
    yield "not there", ", ".join(sorted(missing)) or "none"
    cuda = read_cuda_status()
    version = "{}.{}".format(*cuda.runtime) if cuda.runtime else "none"
    built_for = f" for {', '.join(cuda.architectures)}" if cuda.architectures else ""
    yield "cuda build", version + built_for
    yield "cuda driver", "for CUDA {}.{}".format(*cuda.driver) if cuda.driver else "not asked"
    yield "gpus", ", ".join(map(str, cuda.gpus)) or ", ".join(gpus_of_machine()) or "none"
    yield "gpu usable", "yes" if not cuda.problem else f"no: {cuda.problem}"
    yield "cache", str(cache_folder("openvino") or "not writable")
    for name in zoo.MODELS:
        default = " (default)" if name == zoo.DEFAULT_MODEL else ""
        try:
            yield "model", f"{name}{default}: {zoo.find_model(name)[0]}"
        except DBNetError as error:
            yield "model", f"{name}{default}: {error}"


def _find_failures() -> Iterator[str]:
    """Try what detection on the CPU needs, and say what fails."""
    for library in BUILDS:
        if len(builds := _builds(library)) > 1:
            yield (
                f"{len(builds)} builds of {library} overwrite each other: {', '.join(builds)}; "
                "uninstall all, then install one"
            )
    if not any(map(_has, BACKENDS)):
        yield f"no library runs networks on the CPU; {install_hint('onnxruntime')}"
    (sample, *_) = draw_samples()
    for backend in filter(_has, BACKENDS):
        try:
            begin = time.perf_counter()
            detector = Detector(device="cpu", cpu=CpuConfig(backend=backend))
            opened = time.perf_counter()
            count = len(detector.detect(sample))
        except Exception as error:
            yield f"{backend}: {type(error).__name__}: {error}"
            continue
        times = (
            f"opened in {opened - begin:.2f} s, first image {time.perf_counter() - opened:.2f} s"
        )
        out.print(
            line((f"{backend:12}", "bold"), f" works: {detector.card.name}, {count} texts, {times}")
        )
        if not count:
            yield f"{backend} finds no text on a drawn sample"


def _describe_cpu() -> str:
    name, flags = platform.processor() or platform.machine(), set()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = (each.partition(":") for each in info.read_text().splitlines())
        fields = {key.strip(): value.strip() for key, _, value in lines}
        name = fields.get("model name", name)
        flags = set(fields.get("flags", fields.get("Features", "")).split())
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    features = [each for each in CPU_FEATURES if each in flags]
    return f"{name}, {usable} cores usable, {' '.join(features) or 'features not known'}"


def _builds(library: str) -> list[str]:
    return [each for each in BUILDS[library] if _installed(each)]


def _backends() -> list[str]:
    return [*filter(_installed, ("openvino", *BUILDS["ONNX Runtime"]))]


def _installed(package: str) -> str:
    """Return the version of a package, "" if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _has(library: str) -> bool:
    from importlib.util import find_spec

    return find_spec(library) is not None


def _version_of(library: str) -> str:
    return f"{library} {_installed(library)}".strip()
