# SPDX-License-Identifier: Apache-2.0
"""A whole ONNX graph in PyTorch gives the same map, trains, and goes back into the same graph."""

import importlib.util
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from dbnet_trt import EngineError
from dbnet_trt.network.config import ModelConfig
from dbnet_trt.network.onnx_dbnet import OnnxDBNet
from dbnet_trt.network.onnx_graph import OnnxGraph
from dbnet_trt.zoo import find_model
from onnx import TensorProto, helper, numpy_helper

from .graphs import make_detector, make_graph, quantize, run_onnx


def images(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", ["ppocrv6-small", "ppocrv4-mobile"])
def test_the_map_of_a_published_model(name: str) -> None:
    package = {"ppocrv6-small": "rapidocr", "ppocrv4-mobile": "rapidocr_onnxruntime"}[name]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    model = onnx.load(find_model(name)[0])
    network = OnnxDBNet(model).eval()
    x = images(1, 3, 192, 256)
    with torch.inference_mode():
        found = network(x).sigmoid()
    assert network.ends_in_sigmoid
    np.testing.assert_allclose(found.numpy(), run_onnx(model, x.numpy())[:, 0], rtol=0, atol=1e-5)


def test_a_graph_in_half_precision_is_computed_in_single() -> None:
    weight = np.full((1, 3, 1, 1), 0.1, np.float16)
    model = make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"])],
        {"w": weight},
        "y",
        float_type=TensorProto.FLOAT16,
    )
    graph = OnnxGraph(model, ("y",))
    (found,) = graph(torch.ones(1, 3, 2, 2))
    assert found.dtype == torch.float32
    torch.testing.assert_close(
        found, torch.full((1, 1, 2, 2), float(weight.astype(np.float32).sum()))
    )
    assert graph.to_onnx() == model


def test_what_trains_and_what_stays() -> None:
    network = OnnxDBNet(make_detector(), ModelConfig(db=False))
    trained = {name.removeprefix("graph.") for name, _ in network.named_parameters()}
    assert {"stem/w", "stem/b", "deep/b", "norm/scale", "norm/bias", "up2/b"} <= trained
    assert trained.isdisjoint({"three", "six", "scales", "norm/mean", "norm/var"})
    assert {name for name, _ in network.named_buffers()} == {"graph.norm/mean", "graph.norm/var"}


def test_statistics_stay_in_training() -> None:
    network = OnnxDBNet(make_detector(), ModelConfig(db=False))
    x = images(2, 3, 64, 64)
    evaluated = network.eval()(x)
    torch.testing.assert_close(network.train()(x).prob_logits, evaluated, rtol=0, atol=0)


def test_new_weights_in_the_same_graph() -> None:
    model = make_detector()
    graph = OnnxGraph(model, ("map",))
    assert graph.to_onnx() == model
    with torch.no_grad():
        for parameter in graph.parameters():
            parameter.mul_(1.1)
    changed = graph.to_onnx()
    assert changed.graph.node == model.graph.node
    assert [t.name for t in changed.graph.initializer] == [t.name for t in model.graph.initializer]
    x = images(1, 3, 64, 96)
    (expected,) = graph(x)
    np.testing.assert_allclose(run_onnx(changed, x.numpy()), expected.detach(), rtol=0, atol=1e-5)
    assert np.abs(run_onnx(model, x.numpy()) - run_onnx(changed, x.numpy())).max() > 0.01


def test_a_structure_makes_the_same_module() -> None:
    graph = OnnxGraph(make_detector(), ("map",))
    assert len(graph.structure.SerializeToString()) < 3000
    again = OnnxGraph(graph.structure, ("map",))
    assert list(again.state_dict()) == list(graph.state_dict())
    again.load_state_dict(graph.state_dict())
    assert again.to_onnx() == graph.to_onnx()


@pytest.mark.parametrize("copies", ["Identity", "Cast"])
def test_constants_under_other_names(copies: str) -> None:
    """Constants may be nodes, and be handed on by nodes that copy them."""
    options: dict[str, Any] = {"to": TensorProto.FLOAT} if copies == "Cast" else {}
    weight = np.full((1, 3, 1, 1), 2, np.float32)
    nodes = [
        helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(weight)),
        helper.make_node(copies, ["w"], ["w1"], **options),
        helper.make_node(copies, ["w1"], ["w2"], **options),
        helper.make_node("Conv", ["x", "w2"], ["y"]),
        helper.make_node("Conv", ["x", "w"], ["z"]),
        helper.make_node("Add", ["y", "z"], ["sum"]),
        helper.make_node("Constant", [], ["half"], value_float=0.5),
        helper.make_node("Mul", ["sum", "half"], ["out"]),
    ]
    graph = OnnxGraph(make_graph(nodes, {}, "out"), ("out",))
    assert [name for name, _ in graph.named_parameters()] == ["w"]
    with torch.no_grad():
        graph.get_parameter("w").fill_(3)
    x = images(1, 3, 4, 4)
    (expected,) = graph(x)
    np.testing.assert_allclose(
        run_onnx(graph.to_onnx(), x.numpy()), expected.detach(), rtol=0, atol=1e-5
    )


def test_an_unknown_operation_is_named() -> None:
    node = helper.make_node("CumSum", ["x", "axis"], ["y"], name="sums")
    model = make_graph([node], {"axis": np.array(1)}, "y")
    with pytest.raises(EngineError, match=r'operation CumSum \(node "sums".*onnxslim.*onnx_ops'):
        OnnxGraph(model, ("y",))


def test_an_unknown_use_is_named() -> None:
    node = helper.make_node(
        "Resize", ["x", "", "scales"], ["y"], "larger", mode="cubic",
        coordinate_transformation_mode="half_pixel",
    )  # fmt: skip
    model = make_graph([node], {"scales": np.array([1, 1, 2, 2], np.float32)}, "y")
    with pytest.raises(EngineError, match=r'node Resize "larger" .*\(cubic, half_pixel'):
        OnnxGraph(model, ("y",))(torch.zeros(1, 3, 4, 4))


def test_a_graph_without_a_place_for_the_threshold_branch() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["logits"], kernel_shape=[1, 1]),
        helper.make_node("Sigmoid", ["logits"], ["map"]),
    ]
    model = make_graph(nodes, {"w": np.ones((1, 3, 1, 1), np.float32)}, "map")
    with pytest.raises(EngineError, match="no Concat.*--model.no-db"):
        OnnxDBNet(model)
    assert OnnxDBNet(model, ModelConfig(db=False)).thresh_head is None


def test_features_of_another_size() -> None:
    nodes = [
        helper.make_node("Concat", ["x", "x"], ["features"], axis=1),
        helper.make_node("Conv", ["features", "w"], ["map"], kernel_shape=[1, 1]),
    ]
    model = make_graph(nodes, {"w": np.ones((1, 6, 1, 1), np.float32)}, "map")
    with pytest.raises(EngineError, match=r"quarter .* these are \(64, 96\) and \(64, 96\)"):
        OnnxDBNet(model)


def test_a_graph_for_one_size() -> None:
    model = make_detector()
    (resize,) = (node for node in model.graph.node if node.op_type == "Resize")
    resize.input[2] = ""
    resize.input.append("sizes")
    sizes = numpy_helper.from_array(np.array([1, 8, 128, 192]), "sizes")
    model.graph.initializer.append(sizes)
    with pytest.raises(EngineError, match=r"fails on an image of 96x64 .*free height and width"):
        OnnxDBNet(model)


def test_a_map_of_another_size() -> None:
    node = helper.make_node("Conv", ["x", "w"], ["map"], kernel_shape=[1, 1], strides=[2, 2])
    model = make_graph([node], {"w": np.ones((1, 3, 1, 1), np.float32)}, "map")
    with pytest.raises(EngineError, match=r"map of the input's size; .* it is \(32, 48\)"):
        OnnxDBNet(model, ModelConfig(db=False))


def test_nodes_in_any_order() -> None:
    """As in files that a converter to fp16 wrote, which puts its casts last."""
    model = make_detector()
    expected = OnnxDBNet(model)
    nodes = list(model.graph.node)[::-1]
    mixed = onnx.ModelProto()
    mixed.CopyFrom(model)
    del mixed.graph.node[:]
    mixed.graph.node.extend(nodes)
    found = OnnxDBNet(mixed)
    x = images(1, 3, 64, 96)
    torch.testing.assert_close(found.eval()(x), expected.eval()(x), rtol=0, atol=0)
    onnx.checker.check_model(found.to_onnx())


def test_a_value_that_no_node_gives() -> None:
    model = make_graph([helper.make_node("Relu", ["z"], ["y"], name="first")], {}, "y")
    with pytest.raises(EngineError, match='no node before Relu "first" gives "z"'):
        OnnxGraph(model, ("y",))


def test_a_graph_of_two_inputs() -> None:
    model = make_graph([helper.make_node("Mul", ["x", "z"], ["y"])], {}, "y")
    second = helper.make_tensor_value_info("z", TensorProto.FLOAT, None)
    model.graph.input.append(second)
    with pytest.raises(EngineError, match="depends on x, z"):
        OnnxGraph(model, ("y",))


def test_a_graph_in_int8_comes_back_as_it_was() -> None:
    model = quantize(make_detector())
    graph = OnnxGraph(model, ("map",))
    assert graph.to_onnx() == model
    x = images(1, 3, 64, 96)
    (found,) = graph(x)
    np.testing.assert_allclose(run_onnx(model, x.numpy()), found.detach(), rtol=0, atol=1e-3)


def test_int8_weights_are_rounded_within_their_range() -> None:
    """7 bits stay 7 bits; the weight itself is in real units."""
    graph = OnnxGraph(quantize(make_detector()), ("map",))
    weight = graph.get_parameter("head/q")
    with torch.no_grad():
        weight.mul_(1.5)
    changed = graph.to_onnx()
    (levels,) = (numpy_helper.to_array(t) for t in changed.graph.initializer if t.name == "head.q")
    assert levels.dtype == np.int8
    assert np.abs(levels).max() == 63
    x = images(1, 3, 64, 96)
    (found,) = graph(x)
    np.testing.assert_allclose(run_onnx(changed, x.numpy()), found.detach(), rtol=0, atol=1e-3)
    found.sum().backward()
    assert weight.grad is not None
    assert bool((weight.grad != 0).any())
    scale = numpy_helper.to_array(
        next(t for t in changed.graph.initializer if t.name == "head.scale")
    )
    too_large = np.abs(weight.detach().numpy()) > 63.001 * scale[:, None, None, None]
    assert too_large.any()
    assert bool((weight.grad[torch.from_numpy(too_large)] == 0).all())


def test_the_structure_of_a_graph_in_int8_makes_the_same_module() -> None:
    graph = OnnxGraph(quantize(make_detector()), ("map",))
    again = OnnxGraph(graph.structure, ("map",))
    again.load_state_dict(graph.state_dict())
    assert again.to_onnx() == graph.to_onnx()


@pytest.mark.parametrize("change", ["uint8", "zero point"])
def test_weights_quantized_otherwise_are_refused(change: str) -> None:
    model = quantize(make_detector())
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    new = {
        "uint8": numpy_helper.from_array(np.zeros((4, 16, 3, 3), np.uint8), "head.q"),
        "zero point": numpy_helper.from_array(np.full(4, 3, np.int8), "head.zero"),
    }[change]
    tensors[new.name].CopyFrom(new)
    with pytest.raises(EngineError, match=r"weight head\.q is quantized .* with zero"):
        OnnxGraph(model, ("map",))
