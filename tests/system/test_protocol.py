"""The Open Inference Protocol v2 beyond JSON tensors, and KServe v1, over plain HTTP."""

import concurrent.futures
import gzip
import json
import socket
import struct
import zlib

import numpy as np
import pytest
from onnx import TensorProto

import networks

HEADER = "Inference-Header-Content-Length"


def infer(suite, model, head, tail=b"", headers=None, path="infer"):
    """(status, headers, JSON part, binary part)"""
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    sent = {HEADER: str(len(text)), "Content-Type": "application/octet-stream", **(headers or {})}
    status, got, value = suite.api.request("POST", f"/v2/models/{model}/{path}", text + tail, sent)
    if not isinstance(value, bytes):
        return status, got, value, b""
    length = int(got[HEADER])
    return status, got, json.loads(value[:length]), value[length:]


def binary(name, datatype, shape, content, **more):
    return {"name": name, "datatype": datatype, "shape": shape, **more,
            "parameters": {"binary_data_size": len(content)}}  # fmt: skip


@pytest.fixture
def pair(suite):
    suite.upload("pair", networks.add_and_sub())
    suite.deploy("pair", 1)
    return suite


@pytest.fixture
def two(suite):
    suite.upload("two", networks.times(2))
    suite.deploy("two", 1)
    return suite


def f32(*values):
    return np.array(values, "<f4").tobytes()


def test_binary_both_ways(pair):
    a, b = f32(3, 4, 5, 6), f32(1, 2, 3, 4)
    head = {"id": "x", "parameters": {"binary_data_output": True},
            "inputs": [binary("b", "FP32", [2, 2], b), binary("a", "FP32", [2, 2], a)]}  # fmt: skip
    status, headers, answer, data = infer(pair, "pair", head, b + a)
    assert status == 200 and headers["Content-Type"] == "application/octet-stream"
    assert answer["id"] == "x" and answer["model_version"] == "1"
    assert [o["name"] for o in answer["outputs"]] == ["sum", "difference"]
    assert [o["parameters"]["binary_data_size"] for o in answer["outputs"]] == [16, 16]
    assert data == f32(4, 6, 8, 10) + f32(2, 2, 2, 2)
    assert int(headers["x-compute-time-us"]) >= 0 and int(headers["x-queue-time-us"]) >= 0


def test_binary_mixed_with_json(pair):
    b = f32(1, 2)
    head = {"inputs": [{"name": "a", "datatype": "FP32", "shape": [1, 2], "data": [3, 4]},
                       binary("b", "FP32", [1, 2], b)],
            "outputs": [{"name": "difference"},
                        {"name": "sum", "parameters": {"binary_data": True}}]}  # fmt: skip
    status, _, answer, data = infer(pair, "pair", head, b)
    assert status == 200
    assert answer["outputs"][0] == {"name": "difference", "datatype": "FP32", "shape": [1, 2], "data": [2, 2]}
    assert answer["outputs"][1]["parameters"] == {"binary_data_size": 8} and data == f32(4, 6)


def test_large_tensors_come_back_whole(suite):
    suite.upload("same", networks.identity(TensorProto.FLOAT, ("N", 1000)))
    suite.deploy("same", 1)
    x = np.random.default_rng(1).standard_normal((5000, 1000)).astype("<f4")
    head = {"parameters": {"binary_data_output": True}, "inputs": [binary("x", "FP32", [5000, 1000], x.tobytes())]}
    status, _, _, data = infer(suite, "same", head, x.tobytes())
    assert status == 200
    np.testing.assert_array_equal(np.frombuffer(data, "<f4"), x.ravel())


@pytest.mark.parametrize(
    "kind, name, data",
    [
        (TensorProto.FLOAT16, "FP16", np.array([0.5, -2], "<f2").tobytes()),
        (TensorProto.BFLOAT16, "BF16", struct.pack("<HH", 0x3F80, 0xC000)),
        (TensorProto.BOOL, "BOOL", b"\x01\x00"),
        (TensorProto.INT64, "INT64", struct.pack("<qq", -(2**63), 2**63 - 1)),
        (TensorProto.STRING, "BYTES", b"\x03\x00\x00\x00a\xff\x00\x00\x00\x00\x00"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_types_without_json(suite, kind, name, data):
    suite.upload("same", networks.identity(kind))
    suite.deploy("same", 1)
    head = {"parameters": {"binary_data_output": True}, "inputs": [binary("x", name, [1, 2], data)]}
    status, _, answer, back = infer(suite, "same", head, data)
    assert status == 200, answer
    assert answer["outputs"][0]["datatype"] == name and back == data
    if name in ("FP16", "BF16"):
        status, _, answer, _ = infer(suite, "same", {"inputs": head["inputs"]}, data)
        assert status == 400 and "binary" in answer["error"]


def test_no_rows(two):
    """Binary, as JSON, and as KServe's client has it: no bytes, no header, and data that is null."""
    x = {"name": "x", "datatype": "FP32", "shape": [0, 2]}
    empty = {"name": "y", "datatype": "FP32", "shape": [0, 2]}
    status, _, answer, _ = infer(two, "two", {"inputs": [binary("x", "FP32", [0, 2], b"")]})
    assert status == 200 and answer["outputs"] == [{**empty, "data": []}]
    head = {"inputs": [binary("x", "FP32", [0, 2], b"")], "parameters": {"binary_data_output": True}}
    status, _, answer, data = infer(two, "two", head)
    assert status == 200 and data == b""
    assert answer["outputs"] == [{**empty, "parameters": {"binary_data_size": 0}}]
    for more in ({"data": []}, {"data": None, "parameters": {"binary_data_size": 0}}):
        answer = two.api.call("POST", "/v2/models/two/infer", {"inputs": [{**x, **more}]})
        assert answer["outputs"] == [{**empty, "data": []}]
    for more in ({"data": None}, {"parameters": {"binary_data_size": 8}}):
        status, _, answer = two.api.request("POST", "/v2/models/two/infer", {"inputs": [{**x, **more}]})
        assert status == 400, answer
    bad = {"inputs": [{**x, "shape": [1, 2], "parameters": {"binary_data_size": 0}}]}
    status, _, answer = two.api.request("POST", "/v2/models/two/infer", bad)
    assert status == 400 and "0" in answer["error"]


def test_raw_form(two):
    status, _, answer, data = infer(two, "two", b"", f32(1, 2))
    assert status == 200 and data == f32(2, 4)
    status, _, answer, _ = infer(two, "two", b"", b"123")
    assert status == 400 and "the body" in answer["error"]


X = {"name": "x", "datatype": "FP32", "shape": [1, 2]}


@pytest.mark.parametrize(
    "head, tail, says",
    [
        ({"inputs": [binary("x", "FP32", [1, 2], b"1234567")]}, b"1234567", "7"),
        ({"inputs": [binary("x", "FP32", [1, 2], b"12345678")]}, b"1234", "only 4 bytes are left"),
        ({"inputs": [binary("x", "FP32", [1, 2], b"12345678")]}, b"123456789", "1 bytes are left behind"),
        ({"inputs": [binary("x", "FP32", [1, 2], b"12345678", data=[1, 2])]}, b"12345678", "both"),
        ({"inputs": [{**X, "parameters": {"binary_data_size": -8}}]}, b"12345678", "whole number"),
        ({"inputs": [{**X, "parameters": {"binary_data_size": 2**63}}]}, b"12345678", "left"),
        ({"inputs": [{**X, "parameters": 5}]}, b"", "must be an object"),
        ({"inputs": [{**X, "data": [1, 2]}], "parameters": {"priority": -1}}, b"", "priority"),
        ({"inputs": [{**X, "data": [1, 2]}], "parameters": {"timeout": "soon"}}, b"", "timeout"),
        ({"inputs": [{**X, "data": [1, 2]}], "outputs": [{"name": "y"}, {"name": "y"}]}, b"", "twice"),
    ],
)
def test_binary_requests_that_make_no_sense(two, head, tail, says):
    status, _, answer, _ = infer(two, "two", head, tail)
    assert status == 400 and says in answer["error"], answer


@pytest.mark.parametrize("length", ["-1", "99", "99999999999", "x", "1 2", "99999999999999999999999999"])
def test_header_length_out_of_range(two, length):
    status, _, answer, _ = infer(two, "two", b"{}", headers={HEADER: length})
    assert status == 400 and "Inference-Header-Content-Length" in answer["error"]


def test_classification(suite):
    suite.upload("same", networks.identity(TensorProto.FLOAT, ("N", 4)))
    suite.deploy("same", 1)
    head = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 4], "data": [1, 3, 2, 3, 9, 8, 7, 6]}],
            "outputs": [{"name": "y", "parameters": {"classification": 2}}]}  # fmt: skip
    status, _, answer, _ = infer(suite, "same", head)
    assert status == 200
    assert answer["outputs"] == [
        {"name": "y", "datatype": "BYTES", "shape": [2, 2], "data": ["3:1", "3:3", "9:0", "8:1"]}
    ]


def test_timeout_of_the_request(fake_suite):
    fake_suite.upload("slow", b"fake\n", "fake")
    fake_suite.deploy("slow", 1)
    tensor = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 5000]}]}  # sleep
    status, _, answer = fake_suite.api.request(
        "POST", "/v2/models/slow/infer", {**tensor, "parameters": {"timeout": 200000}}
    )
    assert status == 504, answer
    status, _, answer = fake_suite.api.request(
        "POST", "/v2/models/slow/infer", tensor, {"X-Request-Timeout-Ms": "200"}
    )
    assert status == 504, answer
    status, _, answer = fake_suite.api.request(
        "POST", "/v2/models/slow/infer", tensor, {"X-Request-Timeout-Ms": "soon"}
    )
    assert status == 400 and "X-Request-Timeout-Ms" in answer["error"]


def test_statistics_count_what_was(two):
    for rows in (1, 1, 3):
        two.api.call("POST", "/predict", {"inputs": [[1, 2]] * rows})
    status, _, answer = two.api.request("POST", "/predict", {"inputs": [[1]]})
    assert status == 400
    for path in ("/v2/models/stats", "/v2/models/two/stats", "/v2/models/two/versions/1/stats"):
        stats = two.api.get(path)["model_stats"][0]
        assert (stats["name"], stats["version"]) == ("two", "1")
        assert (stats["inference_count"], stats["execution_count"]) == (5, 3)
        assert stats["inference_stats"]["success"]["count"] == 3
        assert stats["inference_stats"]["compute_infer"]["ns"] > 0
        sizes = {b["batch_size"]: b["compute_infer"]["count"] for b in stats["batch_stats"]}
        assert sizes == {1: 2, 3: 1}
        assert stats["batch_ends"] == {"drained": 3, "full": 0, "shape": 0, "alone": 0}


def test_configuration(pair):
    config = pair.api.get("/v2/models/pair/config")
    assert config["max_batch_size"] == 64
    assert config["input"] == [{"name": "a", "data_type": "TYPE_FP32", "dims": [2]},
                               {"name": "b", "data_type": "TYPE_FP32", "dims": [2]}]  # fmt: skip
    assert pair.api.get("/v2/models/pair/versions/1/config") == config
    assert "statistics" in pair.api.get("/v2")["extensions"]


def test_repository(two):
    index = two.api.call("POST", "/v2/repository/index")
    assert index == [{"name": "two", "version": "1", "state": "READY", "reason": ""}]
    two.api.call("POST", "/v2/repository/models/two/unload", {})
    two.eventually(
        lambda: two.api.call("POST", "/v2/repository/index", {"ready": True}) == [], 20, "still ready"
    )
    assert two.api.request("GET", "/v2/models/two/ready")[0] == 503
    status, _, answer = two.api.request("POST", "/predict?model=two", {"inputs": [[1, 2]]})
    assert status == 409 and "deployed" in answer["error"]
    two.api.call("POST", "/v2/repository/models/two/load")
    assert two.api.call("POST", "/predict", {"inputs": [[1, 2]]})["outputs"] == [[2, 4]]
    status, _, answer = two.api.request(
        "POST", "/v2/repository/models/two/load", {"parameters": {"config": "{}"}}
    )
    assert status == 400
    assert two.api.request("POST", "/v2/repository/models/none/load", {})[0] == 404


def test_index_while_a_model_is_unloaded(fake_suite):
    """Its engine finishes what it has; until then it is neither ready nor gone."""
    fake_suite.upload("slow", b"fake\n", "fake")
    fake_suite.deploy("slow", 1)

    def index():
        return fake_suite.api.call("POST", "/v2/repository/index")[0]["state"]

    open_requests = "maas_gateway_open_requests"
    before = fake_suite.metric(open_requests)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        client = fake_suite.client()
        answer = pool.submit(client.call, "POST", "/predict", {"inputs": [[1, 2000]]})  # sleep
        fake_suite.eventually(lambda: fake_suite.metric(open_requests) > before, 20, "not begun")
        fake_suite.api.call("POST", "/v2/repository/models/slow/unload")
        assert index() == "UNLOADING"
        assert fake_suite.api.call("POST", "/v2/repository/index", {"ready": True}) == []
        assert answer.result()["outputs"] == [[1, 2000]]
    fake_suite.eventually(lambda: index() == "UNAVAILABLE", 20, "not unloaded")


PACK = {"gzip": gzip.compress, "deflate": zlib.compress}
UNPACK = {"gzip": gzip.decompress, "deflate": zlib.decompress}


@pytest.mark.parametrize("how", ["gzip", "deflate"])
@pytest.mark.parametrize("rows", [1, 100000], ids=["small", "large"])
def test_compression_both_ways(two, how, rows):
    x = np.arange(2 * rows, dtype="<f4").tobytes()
    head = {"parameters": {"binary_data_output": True}, "inputs": [binary("x", "FP32", [rows, 2], x)]}
    text = json.dumps(head).encode()
    status, headers, body = two.api.request(
        "POST", "/v2/models/two/infer", PACK[how](text + x),
        {HEADER: str(len(text)), "Content-Encoding": how, "Accept-Encoding": f"br, {how};q=0.5"},
    )  # fmt: skip
    assert status == 200, body
    assert headers.get("Content-Encoding") == (how if rows > 1 else None)
    body = UNPACK[how](body) if rows > 1 else body
    data = body[int(headers[HEADER]):]
    np.testing.assert_array_equal(np.frombuffer(data, "<f4"), 2 * np.arange(2 * rows, dtype="<f4"))


@pytest.mark.parametrize(
    "body, encoding, expected, says",
    [
        (gzip.compress(b"x" * 1000)[:-9], "gzip", 400, "damaged, or cut off"),
        (gzip.compress(b"{}") + b"more", "gzip", 400, "follows"),
        (b"plain", "deflate", 400, "damaged"),
        (gzip.compress(b"x" * (80 << 20)), "gzip", 413, "more than"),
        (b"{}", "br", 415, "br"),
    ],
    ids=["cut off", "more", "plain", "bomb", "unknown"],
)
def test_bodies_that_cannot_be_unpacked(two, body, encoding, expected, says):
    status, _, answer = two.api.request("POST", "/predict", body, {"Content-Encoding": encoding})
    assert status == expected and says in answer["error"], answer
    assert two.api.call("POST", "/predict", {"inputs": [[1, 2]]})["outputs"] == [[2, 4]]


def test_kserve_v1(pair):
    pair.upload("two", networks.times(2))
    pair.deploy("two", 1)
    call = pair.api.call
    assert call("POST", "/v1/models/two:predict", {"instances": [[1, 2], [3, 4]]})["predictions"] == [[2, 4], [6, 8]]
    assert call("POST", "/v1/models/two/versions/1:predict", {"inputs": [[1, 2]]}) == {"outputs": [[2, 4]]}
    rows = [{"a": [3, 4], "b": [1, 2]}, {"a": [5, 6], "b": [1, 1]}]
    assert call("POST", "/v1/models/pair:predict", {"instances": rows})["predictions"] == [
        {"sum": [4, 6], "difference": [2, 2]},
        {"sum": [6, 7], "difference": [4, 5]},
    ]
    columns = {"a": [[3, 4], [5, 6]], "b": [[1, 2], [1, 1]]}
    both = {"sum": [[4, 6], [6, 7]], "difference": [[2, 2], [4, 5]]}
    assert call("POST", "/v1/models/pair:predict", {"instances": columns})["predictions"] == both
    assert call("POST", "/v1/models/pair:predict", {"inputs": columns}) == {"outputs": both}
    assert call("GET", "/v1/models") == {"models": ["pair", "two"]}
    assert call("GET", "/v1/models/two")["ready"] is True
    assert call("GET", "/") == {"status": "alive"}
    pair.upload("idle", networks.times(3))
    status, _, answer = pair.api.request("GET", "/v1/models/idle")
    assert status == 503 and answer["ready"] is False
    assert pair.api.request("GET", "/v1/models/idle/versions/1")[0] == 503
    assert pair.api.request("GET", "/v1/models/idle/versions/2")[0] == 404
    assert pair.api.request("GET", "/v1/models/none")[0] == 404
    for bad, says in (
        ({}, '"instances" is missing'),
        ({"instances": [{"a": [3, 4]}]}, "instances[0].b is missing"),
        ({"instances": [rows[0], {"a": [1], "b": [1, 2]}]}, "instances[1].a has another shape"),
        ({"instances": [[1, 2]]}, "2 inputs"),
    ):
        status, _, answer = pair.api.request("POST", "/v1/models/pair:predict", bad)
        assert status == 400 and says in answer["error"], answer
    assert pair.api.request("POST", "/v1/models/none:predict", {"instances": []})[0] == 404


# ---- large bodies: read and written on a pool thread ---------------------------------------------


LARGE = 60000   # rows of two numbers: some megabytes of text


@pytest.fixture
def large(suite):
    suite.upload("twice", networks.times(2))
    suite.deploy("twice", 1)
    rows = [[i, -i] for i in range(LARGE)]
    return suite, rows, [[2 * i, -2 * i] for i in range(LARGE)]


def test_large_requests_and_answers(large):
    suite, rows, twice = large
    flat = [n for row in rows for n in row]
    tensor = {"name": "x", "datatype": "FP32", "shape": [LARGE, 2], "data": flat}
    status, _, answer = suite.api.request("POST", "/predict", {"inputs": rows})
    assert status == 200 and answer["outputs"] == twice
    status, _, answer = suite.api.request("POST", "/v2/models/twice/infer", {"inputs": [tensor]})
    assert status == 200 and answer["outputs"][0]["data"] == [2 * n for n in flat]
    for key, answered in (("instances", "predictions"), ("inputs", "outputs")):
        status, _, answer = suite.api.request("POST", "/v1/models/twice:predict", {key: rows})
        assert status == 200 and answer[answered] == twice
    status, _, answer = suite.api.request("POST", "/predict", {"inputs": [*rows, [1, "two"]]})
    assert status == 400 and f"inputs[{LARGE}][1]" in answer["error"], answer
    body = json.dumps({"inputs": rows}).encode()
    status, _, answer = suite.api.request("POST", "/predict", body[:-1])
    assert status == 400 and "not JSON" in answer["error"]
    status, _, answer = suite.api.request("POST", "/predict?model=none", body)
    assert status == 404 and "none" in answer["error"]


def test_large_request_whose_client_leaves(large):
    suite, rows, _ = large
    body = json.dumps({"inputs": rows}).encode()
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    for _ in range(10):
        with socket.create_connection(("127.0.0.1", suite.port)) as client:
            client.sendall(head + body)
    suite.eventually(lambda: suite.metric("maas_gateway_open_requests") == 1, 60, "left open")  # its own
    status, _, answer = suite.api.request("POST", "/predict", {"inputs": [[1, 2]]})
    assert (status, answer["outputs"]) == (200, [[2, 4]])
