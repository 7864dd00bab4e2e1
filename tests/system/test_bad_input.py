"""Bad input: a clear error with the right status, a counter, and the process lives."""

import json
import os
import random
import re
import socket

import msgpack
import pytest
import zmq

import networks

SMALL_BODY = 1 << 20


@pytest.fixture
def served(make_suite):
    suite = make_suite(options={"gateway": ["--max-body-bytes", str(SMALL_BODY),
                                            "--max-artifact-bytes", "3MiB"]})  # fmt: skip
    suite.upload("two", networks.times(2))
    suite.deploy("two", 1)
    suite.gateway_pid = suite.processes["gateway"].pid
    yield suite
    # Whatever came before: the same process serves, and correctly.
    assert suite.processes["gateway"].pid == suite.gateway_pid
    assert suite.api.call("POST", "/predict", {"inputs": [[1, 2]]})["outputs"] == [[2, 4]]


def raw(suite, data, shut=False):
    """Sends bytes; the status of the first answer and everything that came, or (None, b"")."""
    with socket.create_connection(("127.0.0.1", suite.port), timeout=30) as connection:
        connection.sendall(data)
        if shut:
            connection.shutdown(socket.SHUT_WR)
        text = b""
        try:
            while piece := connection.recv(65536):
                text += piece
        except ConnectionResetError:
            pass
    found = re.match(rb"HTTP/1.1 (\d+) ", text)
    return (int(found.group(1)) if found else None), text


@pytest.mark.parametrize(
    "data, status",
    [
        (b"\x00\x01\x02\x03 garbage\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 20000 + b"\r\n\r\n", 431),
        (b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
        (b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n", 413),
        (b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n", 400),
        (b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    ],
    ids=["garbage", "version", "target", "headers", "negative", "two lengths", "large", "overflow", "chunk"],
)  # fmt: skip
def test_malformed_http(served, data, status):
    got, text = raw(served, data)
    assert got == status, text[:300]
    assert b'{"error":"' in text and b"connection: close" in text


def test_chunked_body_beyond_the_limit(served):
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    piece = b"10000\r\n" + b" " * 65536 + b"\r\n"
    status, _ = raw(served, head + piece * (SMALL_BODY // 65536 + 1), shut=True)
    assert status == 413


def test_pipelined_requests_are_answered_in_order(served):
    def request(i):
        body = json.dumps({"inputs": [[i, 0]]}).encode()
        return b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body

    last = b"GET /v2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    _, text = raw(served, b"".join(request(i) for i in range(20)) + last)
    assert [int(n) for n in re.findall(rb'"outputs":\[\[(\d+),0\]\]', text)] == [
        2 * i for i in range(20)
    ]


def test_request_in_single_bytes(served):
    body = b'{"inputs":[[1,2]]}'
    data = b"POST /predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for i in range(len(data)):
            connection.sendall(data[i : i + 1])
        text = b""
        while piece := connection.recv(65536):
            text += piece
    assert b'"outputs":[[2,4]]' in text


@pytest.mark.parametrize(
    "body, says",
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[1]", "must be a JSON object"),
        (b'{"inputs": [[NaN, 1]]}', "not JSON"),
        (b'{"inputs": [[1, 2]], }', "not JSON"),
        (b'{"inputs": 3}', "inputs"),
        (b'{"inputs": []}', "shape"),
        (b'{"inputs": [[1, 2, 3]]}', "shape is [1,3]"),
        (b'{"inputs": [[1, 2], [3]]}', "dimension 1 has 1 elements"),
        (b'{"inputs": [[1, "x"]]}', "expected a number, found string"),
        (b'{"inputs": [[1, 1e39]]}', "out of the range of FP32"),
        (b'{"inputs": [[1, [2]]]}', "expected a number"),
        (b'{"inputs": ' + b"[" * 5000 + b"]" * 5000 + b"}", "nested deeper"),
        (b'{"model": 3, "inputs": [[1, 2]]}', '"model" must be a string'),
    ],
)
def test_bad_predict(served, body, says):
    status, _, answer = served.api.request("POST", "/predict", body)
    assert status == 400 and says in answer["error"], answer


@pytest.mark.parametrize(
    "change, says",
    [
        ({"datatype": "FP64"}, "takes FP32"),
        ({"datatype": "FLOAT"}, "unknown"),
        ({"shape": [1, 3]}, "shape is [1,3]"),
        ({"shape": [2, 2]}, "needs"),
        ({"shape": [-1, 2]}, "not a dimension"),
        ({"shape": [2**62, 2]}, "shape"),
        ({"shape": [1] * 20}, "at most 16"),
        ({"shape": "x"}, "shape"),
        ({"name": "z"}, "'x' is missing"),
        ({"data": None}, "data"),
        ({"data": [1, 2, 3]}, "3 elements"),
        ({"data": [True, 2]}, "expected a number"),
    ],
)
def test_bad_tensor(served, change, says):
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2], **change}
    status, _, answer = served.api.request("POST", "/v2/models/two/infer", {"inputs": [tensor]})
    assert status == 400 and says in answer["error"], answer


def test_unknown_things(served):
    request = served.api.request
    assert request("POST", "/predict", {"model": "no", "inputs": [[1, 2]]})[0] == 404
    assert request("GET", "/api/models/no")[0] == 404
    assert request("GET", "/api/models/two/versions/7")[0] == 404
    assert request("GET", "/api/models/two/versions/x")[0] == 404  # no alias either
    assert request("GET", "/api/models/two/versions/x%20y")[0] == 400
    assert request("PUT", "/api/models/two/deployment", {"version": "7"})[0] == 400
    assert request("PUT", "/api/models/two/deployment", {"version": []})[0] == 400
    assert request("GET", "/api/training/no")[0] == 404
    assert request("GET", "/nowhere")[0] == 404
    status, headers, _ = request("DELETE", "/predict")
    assert status == 405 and headers["allow"] == "POST"
    assert request("POST", "/api/models/bad%20name/versions", b"x")[0] == 400


def test_truncated_and_oversized_uploads_leave_nothing(served):
    path = "/api/models/cut/versions"
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n".encode()
    assert raw(served, head + b"x" * 1500000, shut=True)[0] is None
    status, _, answer = served.api.request("POST", path, b"x" * (3 << 20) + b"y")
    assert status == 413 and "at most" in answer["error"]
    assert served.api.request("GET", "/api/models/cut")[0] == 404
    assert [m["name"] for m in served.api.get("/api/models")["models"]] == ["two"]


def hostile_frames(seed):
    rng = random.Random(seed)
    yield [b""]
    yield [b"\xdd\xff\x00\x00\x00"]
    yield [b"\x91" * 200]
    yield [msgpack.packb([60, 0, {1: "e" * 200}])]
    yield [msgpack.packb([60, 0, {1: "e", 3: "m", 4: 1, 7: 1, 8: 4000000000}])]
    yield [msgpack.packb([63, 0, {1: 1, 2: 1, 3: 0}]), b"x" * 100]
    yield [msgpack.packb([64, 0, {1: "nobody"}])]
    yield [msgpack.packb([65, 0, {}])]
    yield [msgpack.packb([99, 0, {}])]
    yield [b"frame"] * 200
    for _ in range(100):
        yield [rng.randbytes(rng.randrange(1, 300)) for _ in range(rng.randrange(1, 4))]


def test_garbage_on_the_jobs_port(served):
    endpoint = "ipc://" + os.path.join(served.data, "run", "jobs.sock")
    context = zmq.Context()
    peer = context.socket(zmq.DEALER)
    peer.setsockopt(zmq.LINGER, 5000)
    peer.connect(endpoint)
    for frames in hostile_frames(1):
        peer.send_multipart(frames)
    # Proof that everything before was read: a beat is answered, and no engine has that name.
    peer.send(msgpack.packb([64, 0, {1: "the-last"}]))
    while True:
        assert peer.poll(20000), "the gateway does not answer"
        kind, _, body = msgpack.unpackb(peer.recv_multipart()[0], strict_map_key=False)
        if kind == 64 and body.get(1) == "the-last":
            break
    peer.close()
    context.term()
    text = served.api.get("/metrics").decode()
    found = re.search(r"^maas_gateway_bad_job_messages_total (\d+)$", text, re.M)
    assert int(found.group(1)) >= 100
