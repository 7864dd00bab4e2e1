"""Uploads in ranges and downloads of ranges, through the gateway."""

import hashlib
import http.client
import random
import socket
import threading

import pytest

from api import ApiError
from registry_rig import SANITIZED

MIB = 1 << 20


def sha(data):
    return hashlib.sha256(data).hexdigest()


def blob(size, seed=1):
    return random.Random(seed).randbytes(size)


def begin(api, **fields):
    return api.call("POST", "/api/uploads", fields or None)["id"]


def send(api, upload, data, offset):
    done = api.call("PUT", f"/api/uploads/{upload}?offset={offset}", data)
    assert done["length"] == len(data)


def commit(api, upload, data, model="m", **more):
    body = {"model": model, "format": "fake", "sha256": sha(data), **more}
    return api.call("POST", f"/api/uploads/{upload}/commit", body)


def fails(status, call, *args, **kwargs):
    with pytest.raises(ApiError) as caught:
        call(*args, **kwargs)
    assert caught.value.status == status, caught.value
    return caught.value.message


def download(suite, path, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", suite.port, timeout=60)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    return answer.status, answer.headers, data


def missing(api, upload):
    shown = api.get(f"/api/uploads/{upload}")
    return [(gap["offset"], gap["length"]) for gap in shown["missing"]]


# ---- uploads


def test_ranges_in_any_order_and_repeated(suite):
    data = blob(3 * MIB + 5000)
    upload = begin(suite.api, size=len(data))
    cuts = sorted({0, len(data), MIB, 2 * MIB + 1, 7, *random.Random(2).sample(range(len(data)), 12)})
    ranges = list(zip(cuts, cuts[1:]))
    random.Random(3).shuffle(ranges)
    for a, b in ranges[: len(ranges) // 2]:
        send(suite.api, upload, data[a:b], a)
    shown = suite.api.get(f"/api/uploads/{upload}")
    assert shown["received"] == sum(b - a for a, b in ranges[: len(ranges) // 2])
    assert shown["size"] == len(data) and shown["state"] == "open"
    text = fails(409, commit, suite.api, upload, data)
    assert "missing" in text and str(missing(suite.api, upload)[0][0]) in text
    for a, b in [*ranges, *ranges[:3]]:  # all of them, some for the third time
        send(suite.api, upload, data[a:b], a)
    assert missing(suite.api, upload) == []
    done = commit(suite.api, upload, data)
    assert done == {"model": "m", "version": "1", "digest": sha(data), "size": len(data)}
    assert commit(suite.api, upload, data) == done  # the answer was lost: the same again
    shown = suite.api.get(f"/api/uploads/{upload}")
    assert (shown["state"], shown["model"], shown["version"]) == ("committed", "m", "1")
    fails(409, send, suite.api, upload, b"more", 0)
    assert download(suite, "/api/models/m/versions/1/artifact")[2] == data


def test_a_wrong_digest_is_said_and_mended(suite):
    data = blob(2 * MIB + 10)
    upload = begin(suite.api)
    wrong = bytearray(data)
    wrong[MIB + 5] ^= 1
    send(suite.api, upload, bytes(wrong), 0)
    text = fails(409, commit, suite.api, upload, data)
    assert sha(data) in text and sha(wrong) in text
    assert suite.api.request("GET", "/api/models/m")[0] == 404
    send(suite.api, upload, data[MIB : MIB + 10], MIB)  # what came last counts
    assert commit(suite.api, upload, data)["version"] == "1"
    assert download(suite, "/api/models/m/versions/1/artifact")[2] == data


def test_a_client_dies_and_another_goes_on_through_another_gateway(suite):
    data = blob(5 * MIB + 99)
    upload = begin(suite.api, size=len(data))
    s = socket.create_connection(("127.0.0.1", suite.port))
    head = f"PUT /api/uploads/{upload}?offset=0 HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n"
    s.sendall(head.encode() + data[: 3 * MIB + 1000])
    suite.eventually(lambda: missing(suite.api, upload)[0][0] == 3 * MIB, 20, "it did not come")
    s.close()
    other = suite.second_gateway()
    for offset, length in missing(other, upload):
        send(other, upload, data[offset : offset + length], offset)
    assert commit(other, upload, data)["version"] == "1"
    suite.eventually(lambda: suite.api.request("GET", "/api/models/m")[0] == 200, 20, "not told of it")
    assert download(suite, "/api/models/m/versions/1/artifact")[2] == data


def test_what_is_refused(suite):
    data = b"fake\n"
    upload = begin(suite.api, size=len(data))
    fails(400, send, suite.api, upload, data, 1)  # beyond its size
    fails(413, send, suite.api, upload, data, 1 << 60)
    fails(400, send, suite.api, upload, data, "x")
    fails(404, send, suite.api, "nobody", data, 0)
    fails(404, suite.api.get, "/api/uploads/nobody")
    fails(400, begin, suite.api, size=-1)
    fails(400, begin, suite.api, color="red")
    fails(413, begin, suite.api, size=1 << 60)
    fails(409, commit, suite.api, upload, data)  # nothing is there
    send(suite.api, upload, data, 0)
    fails(409, commit, suite.api, upload, data, size=6)
    fails(400, commit, suite.api, upload, data, model="no spaces")
    fails(400, commit, suite.api, upload, data, color="red")
    fails(400, commit, suite.api, upload, data, sha256="abc")
    fails(400, commit, suite.api, upload, data, sha256=None)
    fails(415, commit, suite.api, upload, data, format="zip")
    suite.api.call("DELETE", f"/api/uploads/{upload}")
    fails(404, commit, suite.api, upload, data)


def test_continue_is_said_before_a_range_comes(suite):
    upload = begin(suite.api)
    s = socket.create_connection(("127.0.0.1", suite.port), timeout=20)
    s.sendall(f"PUT /api/uploads/{upload} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
              "Content-Length: 5\r\n\r\n".encode())  # fmt: skip
    assert s.recv(100).startswith(b"HTTP/1.1 100 ")
    s.sendall(b"hello")
    assert s.recv(1000).startswith(b"HTTP/1.1 200 ")
    s.close()


# ---- downloads


@pytest.fixture
def stored(suite):
    data = blob(2 * MIB + 777)
    suite.api.call("POST", "/api/models/m/versions?format=fake", data)
    return data


def test_ranges_of_a_file(suite, stored):
    path, n = "/api/models/m/versions/1/artifact", len(stored)
    status, headers, data = download(suite, path)
    etag = headers["etag"]
    assert (status, data, etag) == (200, stored, f'"{sha(stored)}"')
    assert headers["accept-ranges"] == "bytes"

    def part(text, first, last):
        status, headers, data = download(suite, path, Range=text)
        assert (status, data) == (206, stored[first : last + 1]), text
        assert headers["content-range"] == f"bytes {first}-{last}/{n}"

    part("bytes=0-0", 0, 0)
    part(f"bytes={MIB - 1}-{MIB}", MIB - 1, MIB)
    part(f"bytes={MIB}-{2 * MIB - 1}", MIB, 2 * MIB - 1)
    part("bytes=5-", 5, n - 1)
    part("bytes=-5", n - 5, n - 1)
    part(f"bytes=-{10 * n}", 0, n - 1)
    part(f"bytes={n - 1}-99999999999999999999999999", n - 1, n - 1)
    for whole in ("bytes=0-1,5-6", "lines=1-2", "bytes=5-2", "bytes=-", "bytes=x", "x" * 100):
        assert download(suite, path, Range=whole)[::2] == (200, stored), whole
    for outside in (f"bytes={n}-", "bytes=-0"):
        status, headers, _ = download(suite, path, Range=outside)
        assert (status, headers["content-range"]) == (416, f"bytes */{n}")
    status, headers, data = download(suite, path, **{"If-None-Match": f'"other", {etag}'})
    assert (status, data, headers["etag"]) == (304, b"", etag)
    assert download(suite, path, **{"If-None-Match": '"other"'})[0] == 200
    assert download(suite, path, Range="bytes=1-2", **{"If-Range": etag})[0] == 206
    assert download(suite, path, Range="bytes=1-2", **{"If-Range": '"other"'})[0] == 200


def test_head_and_what_follows_on_the_same_connection(suite, stored):
    path = "/api/models/m/versions/1/artifact"
    c = http.client.HTTPConnection("127.0.0.1", suite.port, timeout=60)
    for _ in range(2):
        c.request("HEAD", path)
        answer = c.getresponse()
        assert (answer.status, answer.read()) == (200, b"")
        assert answer.headers["content-length"] == str(len(stored))
        c.request("GET", path)
        assert c.getresponse().read() == stored
    c.close()
    assert suite.api.request("GET", "/api/models/m/versions/2/artifact")[0] == 404
    assert download(suite, "/api/models/m/versions/1/files/model.onnx")[2] == stored
    assert suite.api.request("GET", "/api/models/m/versions/1/files/other")[0] == 404


def test_readers_that_are_slow_or_leave_hold_no_memory(suite):
    data = blob(24 * MIB)
    suite.api.call("POST", "/api/models/m/versions?format=fake", data)
    rss = lambda: int(open(f"/proc/{suite.processes['gateway'].pid}/statm").read().split()[1]) * 4  # noqa: E731, SIM115
    request = b"GET /api/models/m/versions/1/artifact HTTP/1.1\r\nHost: x\r\n\r\n"
    before = rss()
    sockets = [socket.create_connection(("127.0.0.1", suite.port), timeout=60) for _ in range(3)]
    for s in sockets:
        s.sendall(request)
        assert s.recv(1000, socket.MSG_WAITALL).startswith(b"HTTP/1.1 200")
    sockets[0].close()  # goes away in the middle
    got = bytearray()
    while len(got) < len(data) - 1000:  # others read on
        got += sockets[1].recv(1 << 20)
    assert SANITIZED or rss() - before < 40 * 1024
    sockets[2].close()
    sockets[1].close()
    assert download(suite, "/api/models/m/versions/1/artifact")[2] == data


def test_many_downloads_at_once(suite, stored):
    path, results = "/api/models/m/versions/1/artifact", []

    def one():
        for _ in range(3):
            results.append(download(suite, path)[2] == stored)

    threads = [threading.Thread(target=one) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert results == [True] * 24
