#!/usr/bin/env python3
"""Writes the first inputs of the fuzzers (but codec's: seed_codec.py) into tests/fuzz/corpus.

    python3 tests/fuzz/seeds.py
"""

import gzip
import io
import pathlib
import struct
import tarfile
import zipfile
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
              "Inference-Header-Content-Length: 3", "X-Request-Timeout-Ms: 20", "Idempotency-Key: k")  # fmt: skip
    mixed = post("/a?b=c", b"hello", *fields) + get + chunked("/c", b"abc", b"de", trailer=b"T: t\r\n") + get
    return {
        "pipelined": b"\2" + mixed,
        "at-once": b"\0" + mixed + mixed,
        "streamed": b"\3" + mixed + mixed,
        "again": b"\2" + b"".join(post("/a", bytes([c]) * 5, *fields) for c in b"xyz") + 3 * get,
        "again-and-others": b"\0" + 2 * (2 * get + 2 * post("/s", b"12345") + 2 * get.replace(b"GET", b"HEAD")),
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


def byte_range():
    size = (1000).to_bytes(8, "little")
    return {
        "part": size + b"bytes=1-20",
        "open": size + b"bytes=999-",
        "last": size + b"bytes=-5",
        "several": size + b"bytes=1-2,3-4",
        "outside": size + b"bytes=1000-",
        "large": b"\xff" * 8 + b"bytes=18446744073709551615-99999999999999999999",
        "tags": size + b'"other", W/"tag"',
        "any": size + b"*",
    }


def tar():
    def packed(fmt, *names):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=fmt) as archive:
            for name in names:
                info = tarfile.TarInfo(name)
                info.size = len(name)
                if name.endswith("/"):
                    info.type, info.size = tarfile.DIRTYPE, 0
                archive.addfile(info, io.BytesIO(name.encode()))
        return out.getvalue()[: 512 * (2 * len(names) + 2)]

    def extended(kind, records):
        info = tarfile.TarInfo("a")
        info.size = 1
        if kind == "g":
            return tarfile.TarInfo.create_pax_global_header(records) + packed(tarfile.USTAR_FORMAT, "a")
        info.pax_headers = records
        return info.create_pax_header(info.get_info(), "utf-8") + b"a" + bytes(511 + 1024)

    two = packed(tarfile.USTAR_FORMAT, "maas-backup", "records/1")
    return {
        "ustar": two,
        "split-name": packed(tarfile.USTAR_FORMAT, "folder/" + "x" * 98),
        "pax": extended("x", {"path": "./another", "size": "1", "mtime": "1.5"}),
        "pax-sparse": extended("x", {"GNU.sparse.major": "1"}),
        "pax-global": extended("g", {"comment": "a word"}),
        "gnu": packed(tarfile.GNU_FORMAT, "./a", "./folder/", "./folder/b"),
        "long-name": packed(tarfile.GNU_FORMAT, "x" * 120),
        "empty": bytes(1024),
        "cut": two[:700],
    }


def target():
    return {
        "infer": b"/v2/models/a%2Fb%20c/versions/12/infer",
        "predict": b"/predict?model=m%20x&model=y",
        "absolute": b"http://host:80/v1/models/m:predict",
        "absolute-bare": b"http://host",
        "slash": b"/v2/",
        "query-only": b"?model=",
        "asterisk": b"*",
        "colon": b"/v1/models/m:n:predict",
        "empty-name": b"/v2/models//infer",
        "nul": b"/v2/models/%00/infer",
        "percent": b"/v2/models/%/%4/%zz",
        "number": b"4294967295",
        "key": b'"key-1"',
    }


TYPES = {"BOOL": (2, "?", "true"), "UINT8": (1, "B", "255"), "UINT16": (2, "H", "65535"),
         "UINT32": (4, "I", "4294967295"), "UINT64": (8, "Q", "18446744073709551615"),
         "INT8": (1, "b", "-128"), "INT16": (2, "h", "-32768"), "INT32": (4, "i", "-2147483648"),
         "INT64": (8, "q", "-9223372036854775808"), "FP16": (2, "e", "0.5"), "FP32": (4, "f", "-0.1"),
         "FP64": (8, "d", "1e300"), "BF16": (2, "H", "1"), "BYTES": (0, "", '"a\\u0000\\u00e9"')}  # fmt: skip
MODELS = ["table", "two", "fixed", "scalar", "text", "image", *TYPES]  # as in infer_rig.h
PREDICT, OIP, KSERVE = range(3)
TWICE = 16


def tensor(datatype, shape, data, name="x", **more):
    fields = {"name": f'"{name}"', "datatype": f'"{datatype}"', "shape": shape, "data": data, **more}
    return "{" + ",".join(f'"{k}":{v}' for k, v in fields.items() if v is not None) + "}"


def oip(*inputs, **more):
    extra = "".join(f',"{k}":{v}' for k, v in more.items())
    return f'{{"inputs":[{",".join(inputs)}]{extra}}}'


def json():
    """Two bytes, the protocol and the model, then the body."""
    all_types = {
        f"oip-{name.lower()}": (OIP, name, oip(tensor(name, "[1,2]", f"[[{value},{value}]]")))
        for name, (_, _, value) in TYPES.items()
    }
    wants = '[{"name":"y","parameters":{"classification":2,"binary_data":true}}]'
    two = oip(tensor("INT64", "[2]", "[1,2]", "a"), tensor("BYTES", "[2,1]", '["q","r"]', "b"))
    inputs = {
        **all_types,
        "predict": (PREDICT, "table", '{"inputs":[[1,2,3],[4,5.5,-6e-7]]}'),
        "predict-twice": (PREDICT + TWICE, "table", '{"inputs":[[1,2,3],[4,5,6]]}'),
        "predict-two": (PREDICT, "two", '{"inputs":{"a":[1,2],"b":[["x"],["y"]]}}'),
        "predict-model": (PREDICT, "table", '{"model":"text","inputs":["one","two"]}'),
        "predict-ragged": (PREDICT, "table", '{"inputs":[[1,2,3],[4,5]]}'),
        "predict-range": (PREDICT, "table", '{"inputs":[[1e39,2,3]]}'),
        "predict-zeros": (PREDICT, "table", '{"inputs":[[0,-0,-0.0]]}'),
        "predict-null": (PREDICT, "table", '{"inputs":[[null,2,3]]}'),
        "predict-image": (PREDICT, "image", '{"inputs":[[[[1],[2]],[[3],[4]]]]}'),
        "predict-scalar": (PREDICT, "scalar", '{"inputs":[]}'),
        "predict-no-rows": (PREDICT, "table", '{"inputs":[]}'),
        "oip-no-rows": (OIP, "table", oip(tensor("FP32", "[0,3]", "[]"))),
        "oip-no-bytes": (OIP, "table", oip(tensor("FP32", "[0,3]", "null", parameters='{"binary_data_size":0}'))),
        "kserve-no-rows": (KSERVE, "table", '{"instances":[]}'),
        "deep": (PREDICT, "table", '{"inputs":' + "[" * 17 + "]" * 17 + "}"),
        "no-json": (PREDICT, "table", '{"inputs":[1,'),
        "oip-classes": (OIP, "table", oip(tensor("FP32", "[1,3]", "[1,2,3]"), outputs=wants, id='"7"')),
        "oip-binary-output": (
            OIP + TWICE,
            "table",
            oip(tensor("FP32", "[1,3]", "[1,2,3]"), parameters='{"binary_data_output":true,"priority":1}'),
        ),
        "oip-two": (OIP + TWICE, "two", two),
        "oip-scalar": (OIP, "scalar", oip(tensor("INT64", "[]", "[7]"))),
        "oip-fixed": (OIP, "fixed", oip(tensor("FP32", "[2,2]", "[[1,2],[3,4]]"))),
        "oip-timeout": (OIP, "table", oip(tensor("FP32", "[1,3]", "[1,2,3]"), parameters='{"timeout":1}')),
        "oip-huge-shape": (OIP, "FP64", oip(tensor("FP64", "[1,536870912]", "[[1]]"))),
        "kserve-rows": (KSERVE + TWICE, "table", '{"instances":[[1,2,3],[4,5,6]]}'),
        "kserve-columns": (KSERVE, "two", '{"inputs":{"a":[1],"b":[["x","y"]]}}'),
        "kserve-objects": (KSERVE, "two", '{"instances":[{"a":1,"b":["x"]},{"a":2,"b":["y"]}]}'),
        "kserve-ragged": (KSERVE, "two", '{"instances":[{"a":1,"b":["x"]},{"a":2,"b":["y","z"]}]}'),
        "kserve-bytes": (KSERVE, "text", '{"instances":["a","b"]}'),
    }
    return {
        name: bytes([protocol, MODELS.index(model)]) + text.encode()
        for name, (protocol, model, text) in inputs.items()
    }


def binary():
    """Flags, the model, the length of the JSON (or 23 bytes of text), the JSON, the tensors."""

    def request(model, text, data, flags=0, length=None):
        length = struct.pack("<H", len(text) if length is None else length)
        return bytes([flags, MODELS.index(model)]) + length + text.encode() + data

    def sized(datatype, shape, size, name="x"):
        return tensor(datatype, shape, None, name, parameters=f'{{"binary_data_size":{size}}}')

    words = struct.pack("<I", 3) + b"abc" + struct.pack("<I", 0)
    row = struct.pack("<3f", 1, float("nan"), float("-inf"))
    two = oip(sized("INT64", "[2]", 16, "a"), sized("BYTES", "[2,1]", len(words), "b"))
    mixed = oip(sized("BYTES", "[2,1]", len(words), "b"), tensor("INT64", "[2]", "[1,2]", "a"))
    one = oip(sized("FP32", "[1,3]", 12))
    wants = oip(sized("FP32", "[1,3]", 12), outputs='[{"name":"y","parameters":{"classification":3}}]')
    inputs = {
        f"type-{name.lower()}": request(
            name,
            oip(sized(name, "[1,2]", len(data))),
            data,
        )
        for name, (_, code, _) in TYPES.items()
        for data in [struct.pack(f"<2{code}", 1, 0) if code else words]
    }
    return {
        **inputs,
        "two": request("two", two, bytes(16) + words, 1),
        "mixed": request("two", mixed, words),
        "nan": request("table", one, row, 1),
        "classes": request("table", wants, row),
        "raw": request("table", "", row),
        "raw-text": request("text", "", b"any text"),
        "raw-fixed": request("fixed", "", bytes(16)),
        "raw-empty": request("table", "", b""),
        "too-short": request("table", one, row[:-1]),
        "left-over": request("table", one, row + b"!"),
        "size-too-large": request("table", oip(sized("FP32", "[1,3]", 1 << 63)), row),
        "beyond-body": request("table", one, row, length=5000),
        "data-and-size": request(
            "table", oip(tensor("FP32", "[1,3]", "[1,2,3]", parameters='{"binary_data_size":12}')), row
        ),
        "lying-element": request("text", oip(sized("BYTES", "[1]", 8)), struct.pack("<II", 1 << 31, 0)),
        "header-text": bytes([2, 0]) + b"%-23d" % len(one) + one.encode() + row,
        "header-number": bytes([2, 0]) + (b"%d" % len(one)).ljust(23, b"\0") + one.encode() + row,
    }


def csv():
    table = "a,b,y\n1,2.5,no\n-3e2,.5,yes\n"
    mixed = b"n,w,b,d,y\n" + b"".join(
        b"%s,%s,%s,2024-01-%02d,%d.5\n" % (b"" if i % 5 == 0 else b"%d" % i, b"uvw"[i % 3 :][:1], (b"true", b"No", b"NA")[i % 3], i + 1, i)
        for i in range(25)
    )
    tables = {
        "mixed": mixed,
        "semicolons": table.replace(",", ";").encode(),
        "plain": table.encode(),
        "crlf-mark": b"\xef\xbb\xbf" + table.replace("\n", "\r\n").encode(),
        "quoted": b'"a","b ""x""",y\n"1",2,"n,o"\n3,"4","y\nes"\n',
        "numbers": b"a,y\n1,10\n2,2\n3,1e1\n",
        "gzip": gzip.compress(table.encode(), mtime=0),
        "gzip-cut-off": gzip.compress(table.encode(), mtime=0)[:-9],
        "ragged": b"a,y\n1,2\n3\n",
        "no-target": b"a,b\n1,2\n",
        "one-class": b"a,y\n1,2\n2,2\n",
        "not-finite": b"a,y\nnan,1\ninf,2\n",
        "open-quote": b'a,y\n"1,2\n',
        "twice": b"a,a,y\n1,2,3\n",
        "long-cell": b"a,y\n" + b"1" * 5000 + b",2\n",
        "empty": b"",
    }
    return {name: b"\0" + data for name, data in tables.items()} | {
        "dropped": b"\1a,y\n1,2\n3\nx,4\n,\n",
        "dropped-last": b"\1a,y\n1,2\n2,3\nx,4,5\n",
        "values": b"\4" + mixed,
        "clipped": b"\x14" + mixed,
    }


def idx():
    """The length of the images' file, the images, the labels."""

    def pair(count, rows, columns, labels, less=0, magic=0x803):
        images = struct.pack(">4I", magic, count, rows, columns) + bytes(range(count * rows * columns))
        images = images[: len(images) - less]
        return struct.pack(">I", len(images)) + images + struct.pack(">2I", 0x801, len(labels)) + labels

    return {
        "whole": pair(3, 2, 2, b"\0\1\2"),
        "cut-off": pair(3, 2, 2, b"\0\1\2", less=1),
        "fewer-labels": pair(3, 2, 2, b"\0\1"),
        "too-long": pair(2, 1, 3, b"\7\xff") + b"!",
        "magic": pair(1, 1, 1, b"\0", magic=0x802),
        "none": pair(0, 1, 1, b""),
    }


def npy():
    """The first byte: 1 for an archive."""

    def array(descr, shape, data, order="False", version=1):
        head = f"{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}".ljust(117) + "\n"
        size = struct.pack("<H" if version == 1 else "<I", len(head))
        return b"\x93NUMPY" + bytes([version, 0]) + size + head.encode() + data

    floats = array("<f4", "(2, 2)", struct.pack("<4f", 1, -2.5, 3e38, 0))

    def archive(compression):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", compression) as z:
            z.writestr(zipfile.ZipInfo("x.npy"), floats, compression)
        return b"\1" + out.getvalue()

    return {
        "floats": b"\0" + floats,
        "bytes": b"\0" + array("|u1", "(3,)", b"abc", version=2),
        "long": b"\0" + array("<i8", "(1, 1)", struct.pack("<q", -5), version=3),
        "columns-first": b"\0" + array("<f8", "(1, 2)", bytes(16), order="True"),
        "text": b"\0" + array("<U1", "(2,)", bytes(8)),
        "cut-off": b"\0" + floats[:-1],
        "too-long": b"\0" + floats + b"!",
        "stored": archive(zipfile.ZIP_STORED),
        "deflated": archive(zipfile.ZIP_DEFLATED),
    }


def main():
    for make in (framing, encoding, http, target, byte_range, tar, json, binary, csv, idx, npy):
        folder = CORPUS / make.__name__
        folder.mkdir(exist_ok=True)
        for name, data in make().items():
            (folder / name).write_bytes(data)


if __name__ == "__main__":
    main()
