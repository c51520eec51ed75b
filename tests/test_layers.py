# SPDX-License-Identifier: Apache-2.0
"""Layers of the package: no module imports from a layer above its own, and none in a circle.

Imports inside functions count as well.
"""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import dbnet_trt

FLOORS = (
    ("_core", "errors", "files", "cache", "layout"),
    ("extras", "gpu_status", "settings", "crops", "conversions"),
    ("card", "images"),
    ("detections", "zoo"),
    ("engines",),
    ("pipeline", "network", "data"),
    ("opening",),
    ("detector",),
    ("evaluation", "synth", "reading"),
    ("training", "building", "tracking"),
    ("serving", "bulk"),
    ("cli", "__init__"),
    ("__main__",),
)
"""Modules by layer, from the bottom up; modules of one layer do not import each other."""

ROOT = Path(dbnet_trt.__file__).parent


def imports(file: Path) -> set[str]:
    """List the modules that a file imports from this package, as in "engines.onnx_model"."""
    package = file.relative_to(ROOT).parts[:-1]
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            names = [".".join((*base, *(node.module or "").split("."))).strip(".")]
            for name in names + [f"{names[0]}.{each.name}".strip(".") for each in node.names]:
                path = ROOT / name.replace(".", "/")
                if name == "_core" or path.with_suffix(".py").is_file():
                    found.add(name)
                elif (path / "__init__.py").is_file():
                    found.add(f"{name}.__init__" if name else "__init__")
    return found


FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in ROOT.rglob("*.py")
}


def test_no_import_goes_up() -> None:
    floor = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
    upward = []
    for name, file in FILES.items():
        room = name.partition(".")[0]
        for other in imports(file) - {"__init__"}:
            target = other.partition(".")[0]
            if target != room and floor[target] >= floor[room]:
                upward.append(f"{name} imports {other}")
    assert upward == []


def test_no_import_goes_in_a_circle() -> None:
    graph = {name: imports(file) - {name, "_core"} for name, file in FILES.items()}
    graph["__init__"].clear()  # __init__ runs before every module
    TopologicalSorter(graph).prepare()
