#!/usr/bin/env python3
"""Writes the first inputs of the fuzzers (but codec's: seed_codec.py) into tests/fuzz/corpus.

    python3 tests/fuzz/seeds.py
"""

import gzip
import pathlib
import struct
import zlib

CORPUS = pathlib.Path(__file__).parent / "corpus"


def framed(*frames):
    """A message as common/net/framing.h describes it."""
    head = struct.pack(f"<I{len(frames)}Q", len(frames), *(len(f) for f in frames))
    return head + b"".join(frames)


def framing():
    """The first byte: is there a frame before those of the stream."""
    one = framed(b"hello")
    three = framed(b"", b"envelope", bytes(range(256)) * 3)
    return {
        "one": b"\0" + one,
        "behind-route": b"\1" + three + one,
        "empty-frames": b"\0" + framed(b"", b"") + framed(b""),
        "most-frames": b"\1" + framed(*[b"x"] * 65) + one,
        "too-many-frames": b"\1" + framed(*[b""] * 66),
        "no-frames": b"\0" + framed() + one,
        "large": b"\0" + framed(b"y" * 70000, b"z"),
        "too-large": b"\0" + struct.pack("<IQ", 1, (1 << 20) + 1),
        "cut-off": b"\0" + three[:-1],
    }


def encoding():
    """The first byte: which limit, how to pack."""
    text = b'{"inputs": [[1, 2, 3]]}' * 40
    bomb = zlib.compress(bytes(1 << 20), 9)
    return {
        "gzip": b"\3" + gzip.compress(text, mtime=0),
        "deflate": b"\3" + zlib.compress(text),
        "stored": b"\3" + zlib.compress(text, 0),
        "raw-deflate": b"\3" + zlib.compress(text)[2:-4],
        "bomb": b"\3" + bomb,
        "bomb-allowed": b"\4" + bomb,
        "two-members": b"\3" + gzip.compress(b"one", mtime=0) + gzip.compress(b"two", mtime=0),
        "cut-off": b"\3" + gzip.compress(text, mtime=0)[:-3],
        "wrong-sum": b"\3" + zlib.compress(text)[:-1] + b"!",
        "plain": b"\x83" + text,
        "plain-gzip": b"\xc3" + text,
        "accept": b"\3br;q=1.0, gzip;q=0, x-gzip ;q=0.5,deflate; q=0.1, *",
    }


def post(path, body, *fields, version="1.1"):
    lines = [f"POST {path} HTTP/{version}", "Host: x", *fields, f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def chunked(path, *pieces, trailer=b""):
    head = f"PUT {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    return head + b"".join(b"%x;a=b\r\n%s\r\n" % (len(p), p) for p in pieces) + b"0\r\n" + trailer + b"\r\n"


def http():
    """The first byte: 1, every body streams; 2, answers are late.  The path's first letter: s
    streams, p pauses, e is answered before its body."""
    get = b"GET /g HTTP/1.1\r\nHost: x\r\n\r\n"
    fields = ("X-Request-Id: id-1", "Content-Encoding: gzip", "Accept-Encoding: gzip, deflate",
              "Inference-Header-Content-Length: 3", "X-Request-Timeout-Ms: 20")  # fmt: skip
    mixed = post("/a?b=c", b"hello", *fields) + get + chunked("/c", b"abc", b"de", trailer=b"T: t\r\n") + get
    return {
        "pipelined": b"\2" + mixed,
        "at-once": b"\0" + mixed + mixed,
        "streamed": b"\3" + mixed + mixed,
        "stream-and-pause": b"\3" + post("/p", b"x" * 500) + chunked("/p", b"y" * 700) + post("/s", b"") + get,
        "early": b"\2" + post("/e", b"x" * 100) + get,
        "early-without-body": b"\2" + get.replace(b"/g", b"/e") + get,
        "expect": b"\2" + post("/", b"body", "Expect: 100-continue") + get,
        "expectation": b"\0" + post("/", b"body", "Expect: the moon"),
        "too-large": b"\0" + post("/", b"x" * 601),
        "too-large-chunked": b"\0" + chunked("/", b"x" * 400, b"y" * 400) + get,
        "length-and-chunked": b"\0" + post("/", b"0\r\n\r\n", "Transfer-Encoding: chunked"),
        "two-lengths": b"\0" + post("/", b"abc", "Content-Length: 4"),
        "obsolete-fold": b"\0GET / HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n",
        "version-1.0": b"\2GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + post("/", b"a", version="1.0"),
        "version-2": b"\0PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "close": b"\2" + post("/", b"a", "Connection: close") + get,
        "upgrade": b"\2" + post("/", b"a", "Connection: upgrade", "Upgrade: h2c") + get,
        "connect": b"\0CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\nabc",
        "head-options": b"\2" + get.replace(b"GET", b"HEAD") + b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n" + get,
        "absolute": b"\0GET http://x/a?b HTTP/1.1\r\nHost: x\r\n\r\n",
        "no-host": b"\0GET / HTTP/1.1\r\n\r\n",
        "many-fields": b"\0GET / HTTP/1.1\r\nHost: x\r\n" + b"a:b\r\n" * 101 + b"\r\n",
        "long-id": b"\0GET / HTTP/1.1\r\nHost: x\r\nX-Request-Id: " + b"i" * 129 + b"\r\n\r\n" + get,
        "id-cut-off": b"\0" + get[:-2] + b"X-Request-Id: " + b"i" * 129 + b"\rT\r\n" + get,
        "long-value": b"\0" + post("/", b"a", "Content-Encoding: " + "z" * 20 + "\t ") + get,
        "line-feeds": b"\0GET / HTTP/1.1\nHost: x\n\n" + get,
        "blank-lines": b"\2\r\n\r\n" + get + b"\r\n" + get,
        "unfinished": b"\2" + post("/", b"abcdef")[:-2],
    }


def main():
    for make in (framing, encoding, http):
        folder = CORPUS / make.__name__
        folder.mkdir(exist_ok=True)
        for name, data in make().items():
            (folder / name).write_bytes(data)


if __name__ == "__main__":
    main()
