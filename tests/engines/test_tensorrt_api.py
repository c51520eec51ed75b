# SPDX-License-Identifier: Apache-2.0
"""Check that every TensorRT name that we use exists in the Python bindings of each generation.

The bindings are wheels of about a megabyte. The libraries that they link, which take gigabytes, are
replaced by stubs with the nine symbols that the bindings look up. `pytest --tensorrt-bindings
FOLDER` names a folder with one folder per wheel, installed by
pip install --no-deps --target FOLDER/10.0 ...
"""

import ast
import json
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import dbnet_trt
import pytest
from fakes import tensorrt as fake_tensorrt

ALWAYS = {
    "": {"init_libnvinfer_plugins"},
    "Builder": {
        "build_serialized_network",
        "create_builder_config",
        "create_network",
        "create_optimization_profile",
    },
    "DataType": {"FLOAT", "HALF", "name"},
    "ExecutionContextAllocationStrategy": {"USER_MANAGED"},
    "IBuilderConfig": {
        "add_optimization_profile",
        "create_timing_cache",
        "get_timing_cache",
        "max_aux_streams",
        "profiling_verbosity",
        "progress_monitor",
        "set_flag",
        "set_timing_cache",
    },
    "BuilderFlag": set(),
    "ICudaEngine": {
        "create_execution_context",
        "get_tensor_dtype",
        "get_tensor_mode",
        "get_tensor_name",
        "get_tensor_profile_shape",
        "num_io_tensors",
    },
    "IExecutionContext": {
        "device_memory",
        "execute_async_v3",
        "get_tensor_shape",
        "infer_shapes",
        "set_input_shape",
        "set_tensor_address",
        "update_device_memory_size_for_shapes",
    },
    "ILayer": {"get_output", "name", "num_outputs", "type"},
    "ILogger": {"ERROR", "INFO", "INTERNAL_ERROR", "VERBOSE", "WARNING", "log"},
    "INetworkDefinition": {"get_layer", "num_layers"},
    "IOptimizationProfile": {"set_shape"},
    "IProgressMonitor": {"phase_finish", "phase_start", "step_complete"},
    "ITensor": {"dtype", "shape"},
    "ITimingCache": {"serialize"},
    "LayerType": {"CONVOLUTION", "name"},
    "NetworkDefinitionCreationFlag": {"STRONGLY_TYPED"},
    "OnnxParser": {"get_error", "num_errors", "parse"},
    "ParserError": {"desc", "node_name", "node_operator"},
    "ProfilingVerbosity": {"DETAILED"},
    "Runtime": {"deserialize_cuda_engine"},
    "TensorIOMode": {"INPUT", "OUTPUT"},
}
"""Names that every generation has."""

SOMETIMES = {
    "BuilderFlag": {"REQUIRE_USER_ALLOCATION"},
    "ComputeCapability": {"SM75", "SM86"},
    "CudaGraphStrategy": {"DISABLED"},
    "DynamicShapesKernelSpecializationStrategy": {"EAGER"},
    "EngineValidity": {"INVALID"},
    "IBuilderConfig": {"num_compute_capabilities", "set_compute_capability"},
    "ICudaEngine": {"create_runtime_config"},
    "IExecutionContext": {"set_device_memory"},
    "IRuntimeConfig": {
        "cuda_graph_strategy",
        "dynamic_shapes_kernel_specialization_strategy",
        "set_execution_context_allocation_strategy",
    },
    "Runtime": {"get_engine_validity"},
}
"""Names that are used only if present, all of which TensorRT-RTX must have."""

SYMBOLS = [
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "getBuilderPluginRegistry",
    "getNvOnnxParserVersion",
    "getPluginRegistry",
    "initLibNvInferPlugins",
]
LIBRARIES = ["nvinfer", "nvonnxparser", "nvinfer_plugin"]

LIST_NAMES = """
import ctypes, json, sys
folder, module, *libraries = sys.argv[1:]
for library in libraries:
    ctypes.CDLL(library, ctypes.RTLD_GLOBAL)
sys.path.insert(0, folder)
bindings = __import__(module)
classes = {name: getattr(bindings, name) for name in dir(bindings)}
print(json.dumps([bindings.__version__, {
    "": dir(bindings),
    **{name: dir(each) for name, each in classes.items() if isinstance(each, type)},
}]))
"""

Api = dict[str, list[str]]


@cache
def list_names(folder: str, module: str, *libraries: str) -> tuple[str, Api]:
    """List the version and the names of every class, in a separate process."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LIST_NAMES, folder, module, *libraries],
        capture_output=True,
        text=True,
        check=True,
    )
    version, classes = json.loads(done.stdout)
    return version, classes


@cache
def rtx_names() -> Api:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx-cu13 is not installed")
    return list_names("", "tensorrt_rtx")[1]


def make_stubs(folder: Path, generation: str) -> list[str]:
    """Compile libraries that have the symbols and nothing else."""
    compiler = shutil.which("cc") or shutil.which("g++")
    if compiler is None:
        pytest.skip("there is no C compiler")
    source = folder / "stub.c"
    source.write_text("".join(f"void {name}(void) {{}}\n" for name in SYMBOLS))
    made = []
    for name in LIBRARIES:
        library = folder / f"lib{name}.so.{generation}"
        soname = f"-Wl,-soname,{library.name}"
        command = [compiler, "-shared", "-fPIC", "-x", "c", str(source), soname, "-o", str(library)]
        subprocess.run(command, check=True)
        made.append(str(library))
    return made


def missing(api: Api, wanted: dict[str, set[str]]) -> list[str]:
    return [
        f"{name}.{member}"
        for name, members in wanted.items()
        for member in sorted(members or {"__init__"})
        if member not in api.get(name, [])
    ]


def test_bindings_have_all_required_names(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    given = request.config.getoption("--tensorrt-bindings")
    if given is None:
        pytest.skip("no --tensorrt-bindings FOLDER: TensorRT's wheels are not looked at")
    folders = sorted(path.parent for path in Path(given).glob("*/tensorrt_bindings"))
    generations = set()
    for folder in folders:
        (info,) = folder.glob("tensorrt*.dist-info")
        generation = info.name.split("-")[1].split(".")[0]
        stubs = make_stubs(tmp_path, generation)
        version, api = list_names(str(folder), "tensorrt_bindings", *stubs)
        generations.add(version.split(".")[0])
        assert missing(api, ALWAYS) == [], version
        assert missing(api, {"IExecutionContext": {"no_such_name"}})
    assert generations == {"10", "11"}


def test_rtx_has_all_names() -> None:
    api = rtx_names()
    assert missing(api, ALWAYS) == []
    assert missing(api, SOMETIMES) == []


def used_names(file: str) -> set[str]:
    """List every attribute that a module uses, including `hasattr` and derived classes."""
    tree = ast.parse((Path(dbnet_trt.__file__).parent / file).read_text())
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    names |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    constants = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return names | {value for value in constants if isinstance(value, str)}


MODULES = ("building/compile.py", "engines/tensorrt.py")


def flat(*tables: dict[str, set[str]]) -> set[str]:
    return {name for table in tables for members in table.values() for name in members}


def test_tables_contain_all_names_that_the_code_uses() -> None:
    """A new call needs a line in a table, so that it is checked in the other generations."""
    of_library = {name for members in rtx_names().values() for name in members}
    used = set().union(*(used_names(file) for file in MODULES)) & of_library
    # Attributes of other objects: the standard library's, NumPy's and our own.
    ours = {"DEBUG", "allocate", "enqueue", "load_library", "nbytes", "release"}
    ours |= {"float16", "float32", "tensorrt_rtx"}
    python = {name for name in used if name.startswith("__") or hasattr(dict, name)}
    generic = {name for kind in (str, bytes, list, Path) for name in dir(kind)}
    tables = flat(ALWAYS, SOMETIMES) | set(ALWAYS) | set(SOMETIMES)
    assert used - tables - python - generic - ours == set()


def test_tables_contain_no_other_names() -> None:
    used = set().union(*(used_names(file) for file in MODULES))
    built_from_text = {"SM75", "SM86", "CONVOLUTION"}
    assert flat(ALWAYS, SOMETIMES) - used - built_from_text == set()


def test_fake_has_no_other_names() -> None:
    tree = ast.parse(Path(fake_tensorrt.__file__).read_text())
    classes: dict[str, Any] = {
        node.name: node for node in tree.body if isinstance(node, ast.ClassDef)
    }
    pairs = {
        "_Context": "IExecutionContext",
        "_Engine": "ICudaEngine",
        "_EngineWithConfig": "ICudaEngine",
        "_RuntimeConfig": "IRuntimeConfig",
    }
    for fake, real in pairs.items():
        methods = {n.name for n in classes[fake].body if isinstance(n, ast.FunctionDef)}
        known = ALWAYS.get(real, set()) | SOMETIMES.get(real, set())
        assert methods - {"__init__"} - known == set(), fake
