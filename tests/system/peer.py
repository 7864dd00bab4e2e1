"""A process of the suite, played by a test: envelopes by the schema that the C code has.

The schema comes as JSON from build/<variant>/tools/schema_dump, so nothing about a message is
written here a second time.  MAAS_BIN names the folder of the binaries under test.
"""

import functools
import json
import os
import re
import subprocess
import threading
import time

import msgpack
import zmq

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.path.abspath(os.environ.get("MAAS_BIN", os.path.join(ROOT, "build", "gcc", "bin")))
ROLES = {"registry": 1, "gateway": 2, "worker": 3, "trainer": 4}
CHUNK_BYTES = 1 << 20


def eventually(condition, seconds, what):
    """Waits until condition() is true and returns its value; fails after the deadline."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"{what} (waited {seconds} s)"
        pause.wait(0.02)


@functools.cache
def schema():
    tool = os.path.join(os.path.dirname(BIN), "tools", "schema_dump")
    return json.loads(subprocess.run([tool], check=True, capture_output=True).stdout)


@functools.cache
def kinds():
    return {m["kind"]: name for name, m in schema()["messages"].items()}


@functools.cache
def statuses():
    with open(os.path.join(ROOT, "common", "base", "status.h"), encoding="utf-8") as header:
        found = re.findall(r"X\(([A-Z_]+), (\d+), \d{3},", header.read())
    return {int(number): name for name, number in found}


def pack(struct, values):
    """The body that the C codec would make of a dict."""
    fields = {f["name"]: f for f in schema()["structs"][struct]}
    body = {}
    for name, value in values.items():
        f = fields[name]
        body[f["tag"]] = [pack(f["of"], v) for v in value] if f["type"] == "list" else value
    return body


ZERO = {"str": "", "bin": b"", "boolean": False, "f64": 0.0, "list": (), "i64s": ()}


def unpack(struct, body):
    """The dict of a body; absent fields are zero, as in C."""
    out = {}
    for f in schema()["structs"][struct]:
        value = body.get(f["tag"], ZERO.get(f["type"], 0))
        if f["type"] == "list":
            value = [unpack(f["of"], v) for v in value]
        out[f["name"]] = value
    return out


def encode(kind, number, values):
    message = schema()["messages"][kind]
    return msgpack.packb([message["kind"], number, pack(message["body"], values)], unicode_errors="surrogateescape")


def decode(frame):
    """(kind, number, dict)"""
    kind, number, body = msgpack.unpackb(frame, strict_map_key=False)
    name = kinds()[kind]
    return name, number, unpack(schema()["messages"][name]["body"], body)


class Failure(Exception):
    """The answer FAILURE: .status is the name, .text the sentence."""

    def __init__(self, status, text):
        super().__init__(f"{status}: {text}")
        self.status = status
        self.text = text


class NoAnswer(Exception):
    """Nothing came before the deadline."""


class Peer:
    """A DEALER to a registry; one thread."""

    def __init__(self, endpoint):
        self.socket = zmq.Context.instance().socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.connect(endpoint)
        self.number = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, kind, attachment=None, **values):
        self.number += 1
        frames = [encode(kind, self.number, values)]
        if attachment is not None:
            frames.append(attachment)
        self.socket.send_multipart(frames)
        return self.number

    def receive(self, seconds=10):
        """(kind, number, dict, attachment or None) of the next answer, whatever it is."""
        if not self.socket.poll(seconds * 1000):
            raise NoAnswer(f"nothing within {seconds} s")
        frames = self.socket.recv_multipart()
        return (*decode(frames[0]), frames[1] if len(frames) > 1 else None)

    def answer(self, number, seconds=10):
        """The body of the answer with this number; a chunk's data for CHUNK."""
        deadline = time.monotonic() + seconds
        while True:
            kind, got, body, data = self.receive(max(0, deadline - time.monotonic()))
            if got != number:
                continue
            if kind == "FAILURE":
                raise Failure(statuses()[body["status"]], body["text"])
            return data if kind == "CHUNK" else body

    def call(self, kind, attachment=None, seconds=10, **values):
        return self.answer(self.send(kind, attachment, **values), seconds)


class Subscriber:
    """A SUB to a registry's events."""

    def __init__(self, endpoint):
        self.socket = zmq.Context.instance().socket(zmq.SUB)
        self.socket.linger = 0
        self.socket.subscribe(b"")
        self.socket.connect(endpoint)

    def close(self):
        self.socket.close()

    def next(self, seconds=10):
        """The next CATALOG, ticks too."""
        if not self.socket.poll(seconds * 1000):
            raise NoAnswer(f"no event within {seconds} s")
        kind, _, body = decode(self.socket.recv())
        assert kind == "CATALOG"
        return body

    def next_change(self, seconds=10):
        """The next CATALOG that is no tick."""
        deadline = time.monotonic() + seconds
        while True:
            event = self.next(max(0, deadline - time.monotonic()))
            if event["versions"] or event["deployments"] or event["aliases"]:
                return event
