# SPDX-License-Identifier: Apache-2.0
import dataclasses
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from dbnet_trt import BuildError, EngineError
from dbnet_trt.building.build import MAX_DIFFERENCE, MIN_AGREEMENT
from dbnet_trt.building.lowering import (
    OnnxNetwork,
    _combine_statistics,
    halve_edges,
    lower,
    read_network,
)
from dbnet_trt.building.verify import compare, draw_samples
from dbnet_trt.settings import SizePolicy
from dbnet_trt.zoo import resolve_model
from fakes.tiny_model import CARD, make_model
from onnx import TensorProto, helper, numpy_helper

PROBABILITY = dataclasses.replace(CARD, output="probability", output_name="map")


def run(network: OnnxNetwork, batch: np.ndarray) -> np.ndarray:
    return network.on_cpu()(batch)


def element_types(network: OnnxNetwork) -> tuple[int, int]:
    graph = network.model.graph
    first, last = graph.input[0], graph.output[0]
    return first.type.tensor_type.elem_type, last.type.tensor_type.elem_type


def with_end(path: Path, *nodes: onnx.NodeProto, others: tuple[str, ...] = ()) -> Path:
    """Make the tiny model with further nodes between "inner" and the output "map"."""
    model = onnx.load(make_model(path))
    graph = model.graph
    graph.node[-1].output[0] = "inner"
    graph.node.extend(nodes)
    for name in others:
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    onnx.save(model, path)
    return path


def sigmoid(source: str = "inner", target: str = "map") -> onnx.NodeProto:
    return helper.make_node("Sigmoid", [source], [target])


@pytest.mark.parametrize("half", [False, True])
def test_lowered_network_gives_the_same_logits(
    half: bool, tmp_path: Path, rng: np.random.Generator
) -> None:
    original = read_network(make_model(tmp_path / "a.onnx"))
    lowered = lower(original, half=half)
    batch = rng.random((2, 3, 32, 64), np.float32)
    np.testing.assert_allclose(run(lowered, batch), run(original, batch), atol=0.02 * half + 1e-5)
    dtype = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    assert element_types(lowered) == (dtype, dtype)
    assert element_types(original) == (TensorProto.FLOAT, TensorProto.FLOAT)
    assert lowered.card == original.card


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(
    "ending",
    [
        [sigmoid()],
        [sigmoid(target="s"), helper.make_node("Identity", ["s"], ["map"])],
        [
            sigmoid(target="s"),
            helper.make_node("Cast", ["s"], ["c"], to=TensorProto.FLOAT),
            helper.make_node("Transpose", ["c"], ["map"], perm=[0, 1, 2, 3]),
        ],
    ],
    ids=["last", "before an identity", "before a cast and a transposition"],
)
def test_sigmoid_is_removed(
    ending: list[onnx.NodeProto], half: bool, tmp_path: Path, rng: np.random.Generator
) -> None:
    path = with_end(tmp_path / "a.onnx", *ending)
    lowered = lower(read_network(path, PROBABILITY), half=half)
    assert lowered.card.output == "logit"
    batch = rng.random((1, 3, 32, 32), np.float32)
    np.testing.assert_allclose(run(lowered, batch), 20 * batch.mean(axis=1), atol=0.02)


def test_sigmoid_with_other_readers_is_kept(tmp_path: Path, rng: np.random.Generator) -> None:
    path = with_end(
        tmp_path / "a.onnx",
        sigmoid(target="s"),
        helper.make_node("Mul", ["s", "s"], ["squared"]),
        helper.make_node("Add", ["s", "squared"], ["map"]),
    )
    original = read_network(path, PROBABILITY)
    lowered = lower(original, half=False)
    assert lowered.card.output == "probability"
    batch = rng.random((1, 3, 32, 32), np.float32)
    np.testing.assert_array_equal(run(lowered, batch), run(original, batch))


def test_sigmoid_of_a_dropped_output_does_not_count(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    """A sigmoid that also feeds another output is removed together with that output."""
    path = with_end(
        tmp_path / "a.onnx",
        sigmoid(),
        helper.make_node("Mul", ["map", "map"], ["squared"]),
        others=("squared",),
    )
    lowered = lower(read_network(path, PROBABILITY), half=False)
    assert [output.name for output in lowered.model.graph.output] == ["map"]
    assert len(lowered.model.graph.node) == len(onnx.load(path).graph.node) - 1
    assert lowered.card.output == "logit"
    batch = rng.random((1, 3, 32, 32), np.float32)
    np.testing.assert_allclose(run(lowered, batch), 20 * batch.mean(axis=1), rtol=1e-5)


def test_logits_keep_a_sigmoid_that_is_part_of_the_network(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    path = with_end(tmp_path / "a.onnx", sigmoid())
    lowered = lower(read_network(path), half=False)  # the card says that the output is logits
    batch = rng.random((1, 3, 32, 32), np.float32)
    assert run(lowered, batch).max() <= 1


@pytest.mark.parametrize("half", [False, True])
def test_hard_swish_becomes_a_product(half: bool, tmp_path: Path, rng: np.random.Generator) -> None:
    swish = helper.make_node("HardSwish", ["inner"], ["map"])
    original = read_network(with_end(tmp_path / "a.onnx", swish))
    original.model.opset_import[0].version = 14
    lowered = lower(original, half=half)
    kinds = [node.op_type for node in lowered.model.graph.node]
    assert "HardSwish" not in kinds
    assert kinds.count("HardSigmoid") == 1
    batch = rng.normal(0, 3, (2, 3, 32, 64)).astype(np.float32)
    expected = run(original, batch)  # up to 100
    np.testing.assert_allclose(run(lowered, batch), expected, atol=0.1 if half else 1e-4)


def test_fp16_network_stays_fp16(tmp_path: Path, rng: np.random.Generator) -> None:
    once = lower(read_network(make_model(tmp_path / "a.onnx")), half=True)
    twice = lower(once, half=True)
    batch = rng.random((1, 3, 32, 32), np.float32)
    np.testing.assert_array_equal(run(twice, batch), run(once, batch))
    assert element_types(twice) == element_types(once)


@pytest.mark.parametrize("inner", [TensorProto.INT32, TensorProto.FLOAT16])
def test_only_casts_from_half_become_edges(
    inner: int, tmp_path: Path, rng: np.random.Generator
) -> None:
    path = with_end(
        tmp_path / "a.onnx",
        helper.make_node("Cast", ["inner"], ["other"], to=inner),
        helper.make_node("Cast", ["other"], ["map"], to=TensorProto.FLOAT),
    )
    network = read_network(path)
    halve_edges(network.model, network.input_name, network.output_name)
    half = inner == TensorProto.FLOAT16
    assert element_types(network) == (TensorProto.FLOAT, inner if half else TensorProto.FLOAT)
    batch = rng.random((1, 3, 32, 32), np.float32)
    values = 20 * batch.mean(axis=1)
    np.testing.assert_allclose(run(network, batch), values if half else values // 1, atol=0.02)


@pytest.mark.slow
def test_checkpoint_in_half_precision(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    from dbnet_trt.network.checkpoints import save_model
    from dbnet_trt.network.config import ModelConfig
    from dbnet_trt.network.dbnet import DBNet

    monkeypatch.setattr("dbnet_trt.network.export._check", lambda *_: None)
    path = tmp_path / "a.safetensors"
    save_model(path, DBNet(ModelConfig("mobilenetv2", 16)).eval(), CARD)
    exact = read_network(path)
    half = lower(read_network(path, half=True), half=True)
    assert element_types(half) == (TensorProto.FLOAT16, TensorProto.FLOAT16)
    batch = rng.random((1, 3, 64, 64), np.float32)
    np.testing.assert_allclose(run(half, batch), run(exact, batch), atol=0.05)


def test_checkpoint_without_pytorch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "dbnet_trt.network.export", None)
    with pytest.raises(BuildError, match=r"needs PyTorch.*dbnet-trt\[train\]"):
        read_network(tmp_path / "a.safetensors")


def test_file_without_a_card(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no model card"):
        read_network(make_model(tmp_path / "a.onnx", None))


def test_weights_stored_in_half_compute_in_half(tmp_path: Path, rng: np.random.Generator) -> None:
    """As the shipped models have them; TensorRT would compute in fp32."""
    original = read_network(make_model(tmp_path / "a.onnx"))
    graph = original.model.graph
    for tensor in list(graph.initializer):
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32:
            stored = numpy_helper.from_array(values.astype(np.float16), f"{tensor.name}_stored")
            cast = helper.make_node("Cast", [stored.name], [tensor.name], to=TensorProto.FLOAT)
            graph.initializer.remove(tensor)
            graph.initializer.append(stored)
            graph.node.insert(0, cast)
    lowered = lower(original, half=True)
    assert element_types(lowered) == (TensorProto.FLOAT16, TensorProto.FLOAT16)
    assert not [node for node in lowered.model.graph.node if node.op_type == "Cast"]
    assert TensorProto.FLOAT not in {each.data_type for each in lowered.model.graph.initializer}
    onnx.checker.check_model(lowered.model)
    batch = rng.random((1, 3, 32, 64), np.float32)
    np.testing.assert_allclose(run(lowered, batch), run(original, batch), atol=0.02)


@pytest.mark.parametrize("way", ["initializer", "Constant", "Identity"])
def test_variances_beyond_half(way: str, tmp_path: Path, rng: np.random.Generator) -> None:
    """PP-OCRv4 has variances of 10^8."""
    parameters = {"gain": 2e4, "offset": 0.5, "center": 3000.0, "variance": 1e8}
    names = [f"{name}_given" if way == "Identity" else name for name in parameters]
    nodes = [helper.make_node("Mul", ["inner", "large"], ["more"])]
    tensors = [
        numpy_helper.from_array(np.full(1, value, np.float32), name)
        for name, value in zip(names, parameters.values(), strict=True)
    ]
    if way == "Constant":
        nodes += [helper.make_node("Constant", [], [each.name], value=each) for each in tensors]
        tensors = []
    elif way == "Identity":
        nodes += [
            helper.make_node("Identity", [given], [name])
            for given, name in zip(names, parameters, strict=True)
        ]
    nodes.append(helper.make_node("BatchNormalization", ["more", *parameters], ["map"]))
    path = with_end(tmp_path / "a.onnx", *nodes)
    model = onnx.load(path)
    large = numpy_helper.from_array(np.full(1, 100, np.float32), "large")
    model.graph.initializer.extend([*tensors, large])
    onnx.save(model, path)
    original = read_network(path)
    lowered = lower(original, half=True)
    onnx.checker.check_model(lowered.model)
    batch = rng.random((1, 3, 32, 64), np.float32)
    expected = run(original, batch)
    np.testing.assert_allclose(run(lowered, batch), expected, rtol=2e-3, atol=2)


@pytest.mark.parametrize("shape", [(2, 4), (2, 4, 5), (4, 4, 5), (2, 4, 5, 6), (2, 4, 3, 5, 6)])
def test_statistics_of_any_rank(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    names = ["gain", "offset", "center", "variance"]
    node = helper.make_node("BatchNormalization", ["hidden", *names], ["out"])
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Relu", ["in"], ["hidden"]), node],
        "normalization",
        [info("in", TensorProto.FLOAT, shape)],
        [info("out", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(rng.random(4, np.float32) + 0.5, name) for name in names],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    batch = {"in": rng.random(shape, np.float32)}
    results = []
    for _ in range(2):
        session = onnxruntime.InferenceSession(model.SerializeToString())
        results.append(session.run(None, batch)[0])
        _combine_statistics(model)
    assert "BatchNormalization" not in {each.op_type for each in model.graph.node}
    before, after = results
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dbnet-lines", "dbnet-words"])
def test_shipped_models_compute_in_half(name: str) -> None:
    path, card = resolve_model(name, (".onnx",))
    original = read_network(path, card, half=True)
    lowered = lower(original, half=True)
    assert element_types(lowered) == (TensorProto.FLOAT16, TensorProto.FLOAT16)
    types = {each.data_type for each in lowered.model.graph.initializer if len(each.dims) == 4}
    assert types == {TensorProto.FLOAT16}  # of the convolutions' weights
    compared = compare(
        lowered.on_cpu(), original.on_cpu(), draw_samples()[:1], SizePolicy(320, 640)
    )
    assert compared.passes(MIN_AGREEMENT["fp16"], MAX_DIFFERENCE["fp16"])
