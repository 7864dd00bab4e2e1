"""tritonclient[http], its sync and its asyncio form, as it comes from its registry."""

import asyncio
import concurrent.futures

import numpy as np
import pytest
from onnx import TensorProto

import networks
from needed import needs

http = needs("tritonclient", "tritonclient.http")
aio = needs("tritonclient", "tritonclient.http.aio")
bfloat16 = needs("tritonclient", "ml_dtypes").bfloat16
InferenceServerException = needs("tritonclient", "tritonclient.utils").InferenceServerException

TYPES = {
    "BOOL": (TensorProto.BOOL, [[True, False, True]], bool),
    "UINT8": (TensorProto.UINT8, [[0, 1, 255]], np.uint8),
    "UINT16": (TensorProto.UINT16, [[0, 1, 2**16 - 1]], np.uint16),
    "UINT32": (TensorProto.UINT32, [[0, 1, 2**32 - 1]], np.uint32),
    "UINT64": (TensorProto.UINT64, [[0, 1, 2**64 - 1]], np.uint64),
    "INT8": (TensorProto.INT8, [[-128, 0, 127]], np.int8),
    "INT16": (TensorProto.INT16, [[-(2**15), 0, 2**15 - 1]], np.int16),
    "INT32": (TensorProto.INT32, [[-(2**31), 0, 2**31 - 1]], np.int32),
    "INT64": (TensorProto.INT64, [[-(2**63), 0, 2**63 - 1]], np.int64),
    "FP16": (TensorProto.FLOAT16, [[0.5, -2, 65504]], np.float16),
    "BF16": (TensorProto.BFLOAT16, [[0.5, -2, 3e38]], bfloat16),
    "FP32": (TensorProto.FLOAT, [[0.1, -2, 3e38]], np.float32),
    "FP64": (TensorProto.DOUBLE, [[0.1, -2, 1e308]], np.float64),
    "BYTES": (TensorProto.STRING, [["", "plain", "\u00e4\u20ac\U0001f600"]], object),
}
BINARY_ONLY = ("FP16", "BF16")


class Blocking:
    """The asyncio client with the face of the other one."""

    def __init__(self, url):
        self.runner = asyncio.Runner()

        async def make():
            return aio.InferenceServerClient(url)

        self.client = self.runner.run(make())

    def __getattr__(self, name):
        return lambda *a, **k: self.runner.run(getattr(self.client, name)(*a, **k))

    def close(self):
        self.runner.run(self.client.close())
        self.runner.close()


@pytest.fixture(params=["sync", "asyncio"])
def connect(request):
    """A function from a suite to a client of it."""
    clients = []

    def make(suite):
        url = f"127.0.0.1:{suite.port}"
        clients.append(Blocking(url) if request.param == "asyncio" else http.InferenceServerClient(url))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def serve(suite, name, data):
    assert suite.upload(name, data)["check"] == "passed"
    suite.deploy(name, 1)


def tensor(array, name="x", datatype="FP32", binary=True):
    made = http.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array, binary_data=binary)
    return made


def f32(*rows):
    return np.array(rows, np.float32)


def texts(array):
    return [e.decode() if isinstance(e, bytes) else e for e in array.ravel()]


def test_server_and_models(suite, connect):
    client = connect(suite)
    assert client.is_server_live() and client.is_server_ready()
    about = client.get_server_metadata()
    assert about["name"] and about["version"] and "binary_tensor_data" in about["extensions"]
    assert not client.is_model_ready("two")
    serve(suite, "two", networks.times(2))
    assert client.is_model_ready("two") and client.is_model_ready("two", "1")
    assert not client.is_model_ready("two", "2")
    told = client.get_model_metadata("two")
    assert told["name"] == "two" and told["versions"] == ["1"]
    assert told["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]
    assert client.get_model_metadata("two", "1") == told
    config = client.get_model_config("two")
    assert config["max_batch_size"] > 0
    assert config["input"][0]["dims"] == [2] and config["output"][0]["name"] == "y"
    with pytest.raises(InferenceServerException, match="none") as caught:
        client.get_model_metadata("none")
    assert "404" in str(caught.value.status())


@pytest.mark.parametrize("names", [list(TYPES)[:7], list(TYPES)[7:]], ids=["small", "large"])
def test_datatypes(suite, connect, names):
    client = connect(suite)
    for name in names:
        kind, values, dtype = TYPES[name]
        serve(suite, name, networks.identity(kind, ("N", 3)))
        x = np.array(values, dtype)
        ways = [(True, True)] if name in BINARY_ONLY else [(True, True), (False, False), (True, False)]
        for binary_in, binary_out in ways:
            wanted = [http.InferRequestedOutput("y", binary_data=binary_out)]
            y = client.infer(name, [tensor(x, datatype=name, binary=binary_in)], outputs=wanted).as_numpy("y")
            assert y.shape == x.shape
            assert texts(y) == texts(x) if name == "BYTES" else (y == x).all(), (name, binary_in, binary_out)
        y = client.infer(name, [tensor(x, datatype=name)]).as_numpy("y")
        assert texts(y) == texts(x) if name == "BYTES" else (y == x).all(), name
        if name in BINARY_ONLY:
            with pytest.raises(InferenceServerException, match="binary"):
                client.infer(name, [tensor(x, datatype=name)],
                             outputs=[http.InferRequestedOutput("y", binary_data=False)])  # fmt: skip


def test_bytes_that_are_no_text(suite, connect):
    client = connect(suite)
    serve(suite, "same", networks.identity(TensorProto.STRING))
    x = np.array([[b"\x00\xff\xfe", b""]], object)
    assert client.infer("same", [tensor(x, datatype="BYTES")]).as_numpy("y").tolist() == x.tolist()
    with pytest.raises(InferenceServerException, match="UTF-8"):
        client.infer("same", [tensor(x, datatype="BYTES")],
                     outputs=[http.InferRequestedOutput("y", binary_data=False)])  # fmt: skip


def test_shapes(suite, connect):
    """No rows, one, and a tensor that takes many packets."""
    client = connect(suite)
    serve(suite, "same", networks.identity(TensorProto.FLOAT, ("N", 1000)))
    for rows in (0, 1, 5000):
        x = np.random.default_rng(rows).standard_normal((rows, 1000)).astype(np.float32)
        for binary in (True, False) if rows < 2 else (True,):
            y = client.infer("same", [tensor(x, binary=binary)]).as_numpy("y")
            np.testing.assert_array_equal(y, x)


@pytest.mark.parametrize("there", [None, "gzip", "deflate"])
@pytest.mark.parametrize("back", [None, "gzip", "deflate"])
def test_compression(suite, connect, there, back):
    client = connect(suite)
    serve(suite, "two", networks.times(2))
    for rows in (1, 5000):
        x = np.arange(2 * rows, dtype=np.float32).reshape(rows, 2)
        for binary in (True, False):
            result = client.infer("two", [tensor(x, binary=binary)], request_compression_algorithm=there,
                                  response_compression_algorithm=back)  # fmt: skip
            np.testing.assert_array_equal(result.as_numpy("y"), 2 * x)


def test_outputs_and_parameters(suite, connect):
    client = connect(suite)
    serve(suite, "pair", networks.add_and_sub())
    inputs = [tensor(f32([1, 2]), "b"), tensor(f32([3, 4]), "a", binary=False)]
    wanted = [
        http.InferRequestedOutput("difference", binary_data=False),
        http.InferRequestedOutput("sum", binary_data=True),
    ]
    result = client.infer(
        "pair", inputs, model_version="1", outputs=wanted, request_id="a \u00e4 \"b\"", priority=1,
        timeout=5_000_000, headers={"X-Something": "else"}, query_params={"a": ["b", 1]},
        parameters={"mine": "own", "number": 3, "flag": True},
    )  # fmt: skip
    answer = result.get_response()
    assert answer["id"] == "a \u00e4 \"b\""
    assert (answer["model_name"], answer["model_version"]) == ("pair", "1")
    assert [o["name"] for o in answer["outputs"]] == ["difference", "sum"]
    assert result.as_numpy("difference").tolist() == [[2, 2]]
    assert result.as_numpy("sum").tolist() == [[4, 6]]
    assert result.as_numpy("other") is None
    only = client.infer("pair", inputs, outputs=wanted[1:])
    assert only.as_numpy("difference") is None and only.as_numpy("sum").tolist() == [[4, 6]]


def test_classification(suite, connect):
    client = connect(suite)
    serve(suite, "same", networks.identity(TensorProto.FLOAT, ("N", 4)))
    x = f32([1, 3, 2, 0], [9, 8, 7, 6])
    for binary in (True, False):
        wanted = [http.InferRequestedOutput("y", binary_data=binary, class_count=2)]
        y = client.infer("same", [tensor(x)], outputs=wanted).as_numpy("y")
        assert y.shape == (2, 2) and texts(y) == ["3:1", "2:2", "9:0", "8:1"]


def refusals(client):
    """What the server refuses, and a word of its reason."""
    x = tensor(f32([1, 2]))
    yield lambda: client.infer("none", [x]), "none"
    yield lambda: client.infer("two", [x], model_version="7"), "7"
    yield lambda: client.infer("two", [tensor(f32([1, 2, 3]))]), "x"
    yield lambda: client.infer("two", [tensor(f32([1, 2]), "other")]), "x"
    yield lambda: client.infer("two", [tensor(np.array([[1, 2]], np.int32), datatype="INT32")]), "INT32"
    yield lambda: client.infer("two", [x], outputs=[http.InferRequestedOutput("z")]), "z"
    yield lambda: client.infer("two", [x, tensor(f32([1, 2]), "more")]), "2 inputs"
    yield lambda: client.get_model_config("none"), "none"
    yield lambda: client.get_inference_statistics("none"), "none"
    yield lambda: client.load_model("none"), "none"
    yield lambda: client.unload_model("none"), "none"
    yield lambda: client.load_model("two", config="{}"), "not loaded from a request"
    yield client.get_trace_settings, ""
    yield client.get_log_settings, ""
    yield client.get_system_shared_memory_status, ""


def test_refusals(suite, connect):
    client = connect(suite)
    serve(suite, "two", networks.times(2))
    for ask, says in refusals(client):
        with pytest.raises(InferenceServerException) as caught:
            ask()
        assert says in caught.value.message() and caught.value.status().startswith("4")
    assert client.infer("two", [tensor(f32([1, 2]))]).as_numpy("y").tolist() == [[2, 4]]


def test_timeout(fake_suite, connect):
    client = connect(fake_suite)
    fake_suite.upload("slow", b"fake\n", "fake")
    fake_suite.deploy("slow", 1)
    with pytest.raises(InferenceServerException) as caught:
        client.infer("slow", [tensor(f32([1, 5000]))], timeout=200_000)
    assert caught.value.status() == "504"


def test_statistics(suite, connect):
    client = connect(suite)
    serve(suite, "two", networks.times(2))
    for rows in (1, 1, 3):
        client.infer("two", [tensor(np.ones((rows, 2), np.float32))])
    for told in (
        client.get_inference_statistics(),
        client.get_inference_statistics("two"),
        client.get_inference_statistics("two", "1"),
    ):
        (stats,) = told["model_stats"]
        assert (stats["inference_count"], stats["execution_count"]) == (5, 3)
        assert stats["inference_stats"]["success"]["count"] == 3


def test_repository(suite, connect):
    client = connect(suite)
    serve(suite, "two", networks.times(2))
    assert client.get_model_repository_index() == [
        {"name": "two", "version": "1", "state": "READY", "reason": ""}
    ]
    client.unload_model("two")
    assert client.get_model_repository_index()[0]["state"] in ("UNLOADING", "UNAVAILABLE")
    assert not client.is_model_ready("two")
    suite.eventually(
        lambda: client.get_model_repository_index()[0]["state"] == "UNAVAILABLE", 20, "still there"
    )
    with pytest.raises(InferenceServerException):
        client.infer("two", [tensor(f32([1, 2]))])
    client.load_model("two")
    assert client.infer("two", [tensor(f32([1, 2]))]).as_numpy("y").tolist() == [[2, 4]]
    assert client.is_model_ready("two")


def test_async_infer(suite):
    serve(suite, "two", networks.times(2))
    with http.InferenceServerClient(f"127.0.0.1:{suite.port}", concurrency=8) as client:
        out = [client.async_infer("two", [tensor(f32([i, 1]))], request_id=str(i)) for i in range(100)]
        for i, pending in enumerate(out):
            result = pending.get_result(timeout=30)
            assert result.as_numpy("y").tolist() == [[2 * i, 2]]
            assert result.get_response()["id"] == str(i)


def test_gathered(suite):
    serve(suite, "two", networks.times(2))

    async def ask():
        async with aio.InferenceServerClient(f"127.0.0.1:{suite.port}") as client:
            return await asyncio.gather(*(client.infer("two", [tensor(f32([i, 1]))]) for i in range(100)))

    for i, result in enumerate(asyncio.run(ask())):
        assert result.as_numpy("y").tolist() == [[2 * i, 2]]


def test_threads(suite):
    """A client per thread, all at once: the rows of a batch find their way back."""
    serve(suite, "two", networks.times(2))

    def ask(number):
        with http.InferenceServerClient(f"127.0.0.1:{suite.port}") as client:
            for i in range(20):
                x = f32(*[[number, i]] * (i % 3 + 1))
                np.testing.assert_array_equal(client.infer("two", [tensor(x)]).as_numpy("y"), 2 * x)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(8)))


def test_body_made_by_hand(suite):
    """The client's static forms: a body to send by other means, an answer from elsewhere."""
    serve(suite, "two", networks.times(2))
    body, length = http.InferenceServerClient.generate_request_body([tensor(f32([1, 2]))])
    status, headers, answer = suite.api.request(
        "POST", "/v2/models/two/infer", body, {"Inference-Header-Content-Length": str(length)}
    )
    assert status == 200
    length = int(headers["Inference-Header-Content-Length"])
    result = http.InferenceServerClient.parse_response_body(answer, header_length=length)
    assert result.as_numpy("y").tolist() == [[2, 4]]
