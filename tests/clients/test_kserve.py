"""KServe's InferenceRESTClient, protocols v1 and v2, as it comes from its registry."""

import asyncio

import numpy as np
import pytest
from onnx import TensorProto

import networks
from needed import needs

kserve = needs("kserve", "kserve")
RequestedOutput = needs("kserve", "kserve.protocol.infer_type").RequestedOutput
HTTPStatusError = needs("kserve", "httpx").HTTPStatusError

TYPES = {
    "BOOL": (TensorProto.BOOL, [[True, False]], bool),
    "UINT8": (TensorProto.UINT8, [[0, 255]], np.uint8),
    "INT64": (TensorProto.INT64, [[-(2**63), 2**63 - 1]], np.int64),
    "FP16": (TensorProto.FLOAT16, [[0.5, -2]], np.float16),
    "FP32": (TensorProto.FLOAT, [[0.1, 3e38]], np.float32),
    "FP64": (TensorProto.DOUBLE, [[0.1, 1e308]], np.float64),
    "BYTES": (TensorProto.STRING, [["", "\u00e4\u20ac"]], object),
}


@pytest.fixture
def two(suite):
    suite.upload("two", networks.times(2))
    suite.deploy("two", 1)
    return suite


@pytest.fixture
def ask():
    """ask(suite, protocol, method, ...): what the client's method returns."""

    def run(suite, protocol, method, *args, **more):
        async def one():
            async with kserve.InferenceRESTClient(kserve.RESTConfig(protocol=protocol)) as client:
                return await getattr(client, method)(suite.url, *args, **more)

        return asyncio.run(one())

    return run


def request(model, array, binary, name="x", **more):
    datatype = next(n for n, t in TYPES.items() if np.dtype(t[2]) == array.dtype)
    made = kserve.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array, binary_data=binary)
    return kserve.InferRequest(model, [made], **more)


def test_health(two, ask):
    two.upload("idle", networks.times(3))
    for protocol in ("v1", "v2"):
        assert ask(two, protocol, "is_server_live") is True
        assert ask(two, protocol, "is_model_ready", "two") is True
        assert ask(two, protocol, "is_model_ready", "idle") is False
    assert ask(two, "v2", "is_server_ready") is True
    assert ask(two, "v2", "is_model_ready", "none") is False
    with pytest.raises(HTTPStatusError, match="none.*404"):
        ask(two, "v1", "is_model_ready", "none")


def test_v1(two, ask):
    rows = {"instances": [[1, 2], [3, 4]]}
    assert ask(two, "v1", "infer", rows, "two")["predictions"] == [[2, 4], [6, 8]]
    for data, model, says in ((rows, "none", "none"), ({"instances": 5}, "two", "instances"), ({}, "two", "")):
        with pytest.raises(HTTPStatusError, match=f"{says}.*40[04]"):
            ask(two, "v1", "infer", data, model)
    with pytest.raises(HTTPStatusError, match="405"):
        ask(two, "v1", "explain", "two", rows)


@pytest.mark.parametrize("binary_out", [False, True])
def test_v2_datatypes(suite, ask, binary_out):
    for name, (kind, values, dtype) in TYPES.items():
        suite.upload(name, networks.identity(kind))
        suite.deploy(name, 1)
        x = np.array(values, dtype)
        for binary in (True,) if name == "FP16" else (False, True):
            if name == "FP16" and not binary_out:
                continue
            data = request(name, x, binary, request_id="7", parameters={"binary_data_output": binary_out})
            got = ask(suite, "v2", "infer", data, name)
            assert (got.model_name, got.id) == (name, "7")
            y = got.get_output_by_name("y").as_numpy()
            text = [e.decode() if isinstance(e, bytes) else e for e in y.ravel()]
            assert y.shape == x.shape and text == x.ravel().tolist(), (name, binary)


def test_v2_no_rows(two, ask):
    x = np.empty((0, 2), np.float32)
    for binary in (False, True):
        y = ask(two, "v2", "infer", request("two", x, binary), "two").outputs[0].as_numpy()
        assert y.shape == x.shape


def test_v2_outputs(suite, ask):
    suite.upload("pair", networks.add_and_sub())
    suite.deploy("pair", 1)
    inputs = [
        kserve.InferInput("a", [1, 2], "FP32", [3, 4]),
        kserve.InferInput("b", [1, 2], "FP32", np.array([[1, 2]], np.float32)),
    ]
    wanted = [RequestedOutput("difference", {"binary_data": True}), RequestedOutput("sum")]
    got = ask(suite, "v2", "infer", kserve.InferRequest("pair", inputs, request_outputs=wanted), "pair")
    assert [o.name for o in got.outputs] == ["difference", "sum"]
    assert [o.as_numpy().tolist() for o in got.outputs] == [[[2, 2]], [[4, 6]]]


def test_v2_refusals(two, ask):
    x = np.array([[1, 2]], np.float32)
    for data, model, says in (
        (request("none", x, True), "none", "none.*404"),
        (request("two", np.array([[1, 2]], np.int64), True), "two", "INT64.*400"),
        (request("two", x, True, name="z"), "two", "x.*400"),
        ({"inputs": []}, "two", "inputs.*400"),
    ):
        with pytest.raises(HTTPStatusError, match=says):
            ask(two, "v2", "infer", data, model)
