# SPDX-License-Identifier: Apache-2.0
"""The kernels compiled by NVRTC 12.9, the last that knows the GTX 10 series; no GPU is needed."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ("boxes", "components", "preprocess")

# Parts of the standard library's headers that the sources use; NVRTC has none of them.
HEADERS = {
    "algorithm": """namespace std {
        template <class T> T clamp(T value, T low, T high); template <class T> T min(T a, T b);
        }""",
    "cmath": "namespace std { using ::floor; using ::lrint; }",
    "cstddef": "namespace std { using size_t = decltype(sizeof 0); using ptrdiff_t = long; }",
    "cstdint": """namespace std {
        using int16_t = short; using int32_t = int;
        using uint8_t = unsigned char; using uint16_t = unsigned short; using uint32_t = unsigned;
        }""",
    "vector": """namespace std {
        template <class T> struct vector { vector(int size); T& operator[](int i); };
        }""",
}


def in_wheel(package: str, path: str) -> Path:
    """Find a file of one of NVIDIA's wheels; without it the test is skipped."""
    try:
        return Path(str(metadata.distribution(package).locate_file(f"nvidia/{path}")))
    except metadata.PackageNotFoundError:
        pytest.skip(f"no {package}, which the dev extra brings on Linux")


def strings(values: list[str]) -> ctypes.Array[ctypes.c_char_p]:
    return (ctypes.c_char_p * len(values))(*(value.encode() for value in values))


def read(get_size: Callable[..., int], get: Callable[..., int], program: ctypes.c_void_p) -> bytes:
    size = ctypes.c_size_t()
    get_size(program, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    get(program, buffer)
    return buffer.raw


def compile_source(architecture: str, source: str, name: str = "kernel.cu") -> tuple[bytes, str]:
    """Compile a source for an architecture, as the build does.

    Returns:
        PTX for one like "compute_75", machine code for one like "sm_75", or b"" if it fails; and
        the compiler's messages.
    """
    nvrtc = ctypes.CDLL(str(in_wheel("nvidia-cuda-nvrtc-cu12", "cuda_nvrtc/lib/libnvrtc.so.12")))
    folders = [
        ROOT,
        in_wheel("nvidia-cuda-runtime-cu12", "cuda_runtime/include"),
        in_wheel("nvidia-cuda-cccl-cu12", "cuda_cccl/include"),
    ]
    options = [f"--gpu-architecture={architecture}", "-std=c++17", "-default-device"]
    options += ["--fmad=false", "-lineinfo", *(f"-I{folder}" for folder in folders)]
    program = ctypes.c_void_p()
    names, texts = strings(list(HEADERS)), strings(list(HEADERS.values()))
    nvrtc.nvrtcCreateProgram(
        ctypes.byref(program), source.encode(), name.encode(), len(HEADERS), texts, names
    )
    try:
        status = nvrtc.nvrtcCompileProgram(program, len(options), strings(options))
        log = read(nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog, program).decode()
        if status != 0:
            return b"", log
        if architecture.startswith("compute"):
            return read(nvrtc.nvrtcGetPTXSize, nvrtc.nvrtcGetPTX, program).rstrip(b"\0"), log
        return read(nvrtc.nvrtcGetCUBINSize, nvrtc.nvrtcGetCUBIN, program), log
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def compile_kernels(architecture: str) -> dict[str, str]:
    """Compile kernels/*.cu: PTX by the name of its source, as in "boxes"."""
    texts = {}
    for name in SOURCES:
        source = (ROOT / "kernels" / f"{name}.cu").read_text(encoding="utf-8")
        code, log = compile_source(architecture, source, f"kernels/{name}.cu")
        assert code, log
        texts[name] = code.decode()
    return texts
