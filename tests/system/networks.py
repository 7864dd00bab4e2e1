"""Small ONNX models for the tests, and what they must answer."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def model(nodes, inputs, outputs, weights=()):
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(weights))
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 8
    onnx.checker.check_model(made)
    return made.SerializeToString()


def perceptron(sizes, seed=1):
    """A network with ReLU between its layers: (bytes, function of rows)."""
    rng = np.random.default_rng(seed)
    layers = [
        (
            rng.standard_normal((a, b)).astype("f") * np.float32(0.3),
            rng.standard_normal(b).astype("f"),
        )
        for a, b in zip(sizes, sizes[1:])
    ]
    nodes, weights, name = [], [], "input"
    for i, (w, b) in enumerate(layers):
        last = i == len(layers) - 1
        weights += [numpy_helper.from_array(w, f"w{i}"), numpy_helper.from_array(b, f"b{i}")]
        out = "output" if last else f"h{i}"
        nodes.append(helper.make_node("Gemm", [name, f"w{i}", f"b{i}"], [out]))
        name = out
        if not last:
            nodes.append(helper.make_node("Relu", [name], [f"r{i}"]))
            name = f"r{i}"
    data = model(
        nodes,
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", sizes[0]])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["N", sizes[-1]])],
        weights,
    )

    def answer(rows):
        x = np.asarray(rows, dtype="f")
        for i, (w, b) in enumerate(layers):
            x = x @ w + b
            if i < len(layers) - 1:
                x = np.maximum(x, 0)
        return x

    return data, answer


def times(factor):
    """y = x * factor for rows of two numbers: a version is recognised by its answers."""
    weight = numpy_helper.from_array(np.array([factor], dtype="f"), "k")
    return model(
        [helper.make_node("Mul", ["x", "k"], ["y"])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2])],
        [weight],
    )


def identity(kind, shape=("N", 2)):
    return model(
        [helper.make_node("Identity", ["x"], ["y"])],
        [helper.make_tensor_value_info("x", kind, list(shape))],
        [helper.make_tensor_value_info("y", kind, list(shape))],
    )


def countdown():
    """y = x, after as many turns of a loop as x[0] says: a run that takes as long as one likes."""
    info = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Identity", ["v"], ["v_out"]),
        ],
        "body",
        [info("i", TensorProto.INT64, []), info("go", TensorProto.BOOL, []), info("v", TensorProto.INT64, [1])],
        [info("go_on", TensorProto.BOOL, []), info("v_out", TensorProto.INT64, [1])],
    )  # fmt: skip
    return model(
        [
            helper.make_node("Squeeze", ["x"], ["turns"]),
            helper.make_node("Loop", ["turns", "", "x"], ["y"], body=body),
        ],
        [info("x", TensorProto.INT64, [1])],
        [info("y", TensorProto.INT64, [1])],
    )


def add_and_sub():
    """Two inputs, two outputs."""
    info = helper.make_tensor_value_info
    return model(
        [
            helper.make_node("Add", ["a", "b"], ["sum"]),
            helper.make_node("Sub", ["a", "b"], ["difference"]),
        ],
        [info("a", TensorProto.FLOAT, ["N", 2]), info("b", TensorProto.FLOAT, ["N", 2])],
        [info("sum", TensorProto.FLOAT, ["N", 2]), info("difference", TensorProto.FLOAT, ["N", 2])],
    )
