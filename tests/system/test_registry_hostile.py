"""What a hostile peer, an operator and a signal may do to maas-registry."""

import os
import random
import socket
import subprocess

import msgpack
import zmq

from peer import BIN, CHUNK_BYTES, encode, eventually, schema
from registry_rig import SANITIZED, artifact, put, store, total


# ---- hostile peers


def raw(store):
    s = zmq.Context.instance().socket(zmq.DEALER)
    s.linger = 1000
    s.connect(store.rpc())
    store.open.append(s)
    return s


def garbage():
    """Frames that are no request, each for another reason."""
    rng = random.Random(5)
    yield [b""]
    for size in (1, 2, 3, 10, 100, 1000, 100_000):
        yield [rng.randbytes(size)]
    for head in (b"\xdd", b"\xdf", b"\xdb", b"\xc6", b"\xc9"):
        yield [b"\x93\x14\x01" + head + b"\xff\xff\xff\xff"]  # 4 Gi elements or bytes declared
    yield [b"\x93\x16\x01\x81\x01\xc6\xff\xff\xff\xff" + bytes(64)]
    yield [b"\x91" * 100_000]  # nested 100,000 deep
    yield [b"\x93\x14\x01" + b"\x81\x01" * 5000 + b"\xc0"]
    yield [msgpack.packb([20])]
    yield [msgpack.packb({"kind": 20})]
    yield [msgpack.packb([20, -1, {}])]
    yield [msgpack.packb(["PING", 1, {}])]
    yield [msgpack.packb([20, 1, []])]
    yield [msgpack.packb([20, 1, {}]) + b"more"]
    for kind in (0, 1, 2, 12, 19, 60, 62, 68, 80, 127, 128, 1 << 20, 1 << 60):
        yield [msgpack.packb([kind, 1, {}])]
    yield [encode("PING", 1, {})] + [b"x"] * 2
    yield [encode("PING", 1, {})] + [b"x"] * 64
    yield [encode("PING", 1, {})] + [b"x"] * 500
    yield [msgpack.packb([28, 1, {1: "m" * 129, 2: 1}])]  # a name that is too long
    yield [msgpack.packb([28, 1, {1: "m" * 900_000, 2: 1}])]
    yield [msgpack.packb([28, 1, {1: "a\0b", 2: 1}])]
    yield [msgpack.packb([28, 1, {1: 7, 2: 1}])]
    yield [msgpack.packb([28, 1, {1: "m", 2: -1}])]
    yield [msgpack.packb([28, 1, {1: "m", 2: 1 << 40}])]
    yield [msgpack.packb([28, 1, {1: "m", 2: 1.5}])]
    yield [msgpack.packb([28, 1, {1: b"m", 2: 1}])]
    yield [b"\x93\x1c\x01\x82\x01\xa1m\x01\xa1n"]  # a tag twice
    yield [msgpack.packb([28, 1, {"model": "m"}])]
    yield [msgpack.packb([38, 1, {1: [{1: 2, 2: "a"}] * 2}])]
    yield [msgpack.packb([38, 1, {1: [{1: 2, 2: "a", 6: [{}] * 1025}]}])]
    yield [msgpack.packb([38, 1, {1: [{1: 2, 2: "a", 6: "no list"}]}])]
    yield [msgpack.packb([22, 1, {1: bytes(33)}]), b"data"]
    yield [msgpack.packb([25, 1, {6: bytes(16384 * 32 + 1)}])]


def test_garbage_is_refused_and_counted(store):
    peer, bad = store.peer(), raw(store)
    before = total(peer, "maas_rpc_bad_requests_total") + total(peer, "maas_net_bad_messages_total")
    sent = 0
    for frames in garbage():
        bad.send_multipart(frames)
        sent += 1
        peer.call("PING")
        assert store.registry.alive()

    def counted():
        now = total(peer, "maas_rpc_bad_requests_total")
        return now + total(peer, "maas_net_bad_messages_total") - before >= sent

    eventually(counted, 5, f"{sent} bad messages are not all counted")
    if not SANITIZED:
        eventually(lambda: store.registry.rss_kib() < 24 * 1024, 5, "garbage has cost memory")


def test_every_request_with_every_field_of_the_wrong_kind(store):
    """Each field of each request gets values of other types, zero, and the largest ones."""
    peer, bad = store.peer(), raw(store)
    values = [None, True, -1, 0, 1 << 63, 1.5, "", "x" * 200, b"", bytes(40), [], {}, [[]], [{}]]
    for name, message in schema()["messages"].items():
        if not 20 <= message["kind"] < 60:
            continue
        for field in schema()["structs"][message["body"]]:
            for value in values:
                bad.send(msgpack.packb([message["kind"], 1, {field["tag"]: value}]))
        bad.send(msgpack.packb([message["kind"], 1, {}]))
        peer.call("PING")
    assert store.registry.alive()
    assert peer.call("SNAPSHOT")["versions"] == []


def test_truncated_and_mangled_requests(store):
    peer, bad = store.peer(), raw(store)
    rng = random.Random(6)
    fields = {"model": "m", "format": "fake", "metrics": '{"a":1}', **artifact(b"abc")}
    whole = encode("VERSION_COMMIT", 1, fields)
    for i in range(len(whole)):
        bad.send(whole[:i])
    for _ in range(2000):
        mangled = bytearray(whole)
        mangled[rng.randrange(len(whole))] = rng.randrange(256)
        bad.send(bytes(mangled))
    peer.call("PING")
    assert store.registry.alive()
    assert peer.call("SNAPSHOT")["versions"] == []


def test_frame_beyond_the_limit_costs_the_connection(store):
    peer, bad = store.peer(), raw(store)
    bad.send_multipart([encode("CHUNK_PUT", 1, {"digest": bytes(32)}), bytes(8 * CHUNK_BYTES)])
    peer.call("PING")
    assert not bad.poll(200)
    assert store.registry.alive()


def test_bytes_that_are_no_zeromq(store):
    peer = store.peer()
    rng = random.Random(7)
    for size in (0, 1, 10, 64, 1000, 100_000):
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(os.path.join(store.home, "rpc0.sock"))
            try:
                s.sendall(rng.randbytes(size))
            except OSError:
                pass  # it has hung up, as it should
        peer.call("PING")
    assert store.registry.alive()


def test_flood_is_answered_or_refused(store):
    """More requests than may be open: each gets an answer, at worst BUSY."""
    peer = store.peer()
    peer.socket.sndhwm = 0
    numbers = {peer.send("DATASET_LIST") for _ in range(200)}
    while numbers:
        _, number, _, _ = peer.receive()
        numbers.discard(number)


# ---- the process itself


def test_idle_registry_is_small_and_quiet(store):
    said = store.registry.log()
    events = store.subscriber()
    for _ in range(3):  # seconds, by its own ticks
        events.next()
    assert store.registry.log() == said
    if not SANITIZED:
        assert store.registry.rss_kib() <= 12 * 1024


def test_sigterm_finishes_and_exits_0(store):
    peer = store.peer()
    put(peer, b"weights")
    fields = {"model": "m", "format": "fake", **artifact(b"weights")}
    numbers = {peer.send("VERSION_COMMIT", **fields) for _ in range(50)}
    answered = peer.receive()  # the first answer: the others are on their way
    assert store.registry.stop() == 0
    acknowledged = int(answered[0] == "VERSION")
    while peer.socket.poll(200):
        kind, number, _, _ = peer.receive()
        numbers.discard(number)
        acknowledged += kind == "VERSION"
    store.registry.start()
    store.ready()
    assert len(store.peer().call("SNAPSHOT")["versions"]) >= acknowledged


def test_bad_options_are_refused():
    for options, word in (
        (["--redis", "http://x"], "unix:PATH"),
        (["--redis", "tcp:host"], "tcp:HOST:PORT"),
        (["--rpc", "nonsense"], "nonsense"),
    ):
        argv = [os.path.join(BIN, "maas-registry"), *options]
        ended = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
        assert ended.returncode == 2 and word in ended.stderr
