"""Samples that a version brings: they are run before it is ready, and their outputs compared."""

import json

import numpy as np
import onnx
from onnx import TensorProto, helper

from test_files import checked, commit

PATIENCE = 60


def fp32(name, rows):
    rows = np.asarray(rows, dtype="f")
    return {"name": name, "datatype": "FP32", "shape": list(rows.shape), "data": rows.tolist()}


def samples(*pairs, **more):
    """pairs: (rows of x, rows of y or None)."""
    return json.dumps(
        {"samples": [{"inputs": [fp32("x", x)], **({"outputs": [fp32("y", y)]} if y else {})} for x, y in pairs],
         **more}
    ).encode()  # fmt: skip


def doubled():
    """y = 2 x."""
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model.SerializeToString()


def publish(suite, warmup, model="m", main=b"fake", **more):
    """Commits a version with these samples; as the API shows it when it was checked."""
    more.setdefault("format", "fake")
    done = commit(suite.api, model, main, {"warmup.json": warmup}, **more)
    return checked(suite, model, done["version"])


def test_a_version_whose_samples_fail_never_takes_a_request(fake_suite):
    suite = fake_suite
    assert publish(suite, samples(([[0, 1]], [[0, 1]])))["check"] == "passed"
    suite.deploy("m", "1")
    bad = publish(suite, samples(([[0, 1]], [[0, 1]]), ([[0, 2]], [[0, 3]])))
    assert bad["check"] == "failed"
    assert bad["reason"] == "samples[1]: output 'y'[0][1] is 2; 3 was expected"
    status, _, answer = suite.api.request("PUT", "/api/models/m/deployment", {"version": "2"})
    assert status == 409 and "3 was expected" in answer["error"]
    for path in ("/v2/models/m/infer", "/v2/models/m/versions/1/infer"):
        got = suite.api.call("POST", path, {"inputs": [fp32("x", [[0, 4]])]})
        assert got["model_version"] == "1" and got["outputs"][0]["data"] == [0, 4]
    status, _, answer = suite.api.request(
        "POST", "/v2/models/m/versions/2/infer", {"inputs": [fp32("x", [[0, 4]])]}
    )
    assert status >= 400, answer


def test_a_deployed_version_that_fails_leaves_the_old_one_serving(make_suite):
    """Deployed before anybody has checked it: the engine that would serve it finds out."""
    suite = make_suite(options={"worker": ["--allow-fake"]})
    publish(suite, samples(([[0, 1]], [[0, 1]])))
    suite.deploy("m", "1")
    suite.processes["worker-1"].signal(19)  # SIGSTOP: nobody checks meanwhile
    commit(suite.api, "m", b"fake 2", {"warmup.json": samples(([[4, 0]], None))}, format="fake")
    suite.api.call("PUT", "/api/models/m/deployment", {"version": "2"})
    suite.processes["worker-1"].signal(18)
    shown = checked(suite, "m", 2)
    assert shown["check"] == "failed" and "told to fail" in shown["reason"]
    for _ in range(20):
        got = suite.api.call("POST", "/v2/models/m/infer", {"inputs": [fp32("x", [[0, 4]])]})
        assert got["model_version"] == "1"


def test_onnx_models_are_compared_too(suite):
    main = doubled()
    good = publish(suite, samples(([[1, 2], [3, 4]], [[2, 4], [6, 8]])), main=main, format="onnx")
    assert good["check"] == "passed", good
    near = publish(suite, samples(([[1, 2]], [[2, 4.1]]), rtol=0.1), main=main, format="onnx")
    assert near["check"] == "passed", near
    bad = publish(suite, samples(([[1, 2]], [[2, 5]])), main=main, format="onnx")
    assert bad["check"] == "failed" and "'y'[0][1] is 4; 5 was expected" in bad["reason"]
    suite.deploy("m", "2")
    assert suite.api.call("POST", "/predict", {"inputs": [[1, 2]]})["outputs"] == [[2, 4]]


def test_files_that_are_no_samples(fake_suite):
    suite = fake_suite
    shown = publish(suite, b"{")
    assert shown["check"] == "failed" and "warmup.json is no JSON" in shown["reason"]
    shown = publish(suite, b'{"samples":[{"inputs":[],"ouputs":[]}]}')
    assert shown["check"] == "failed" and '"ouputs"' in shown["reason"]
