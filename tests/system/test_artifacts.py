"""Artifacts in the registry: who keeps what, what is let go, pieces of uploads, chunks as files."""

import glob
import hashlib
import os
import random

import pytest

from peer import CHUNK_BYTES, Failure, eventually
from registry_rig import Store, artifact, commit, put, refused, total

SHORT_MS = 300  # the life of what nobody keeps, in tests that wait for its end


@pytest.fixture(params=["redis", "file"])
def kind(request):
    return request.param


class Rig:
    """A store of one kind, whose chunks are let go at once or never."""

    def __init__(self, kind, ttl_ms=SHORT_MS, registries=1):
        self.kind, self.store = kind, Store()
        self.options = ["--artifact-ttl-ms", str(ttl_ms), "--artifact-sweep-ms", "50"]
        if kind == "file":
            self.options += ["--artifact-store", "file:chunks"]
        self.store.redis.start()
        for _ in range(registries):
            self.store.add_registry(*self.options)
        for n in range(registries):
            self.store.ready(n)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.store.check_sanitizers()
        finally:
            self.store.finish()

    def chunks(self):
        """How many are stored."""
        if self.kind == "file":
            return len(glob.glob(os.path.join(self.store.home, "chunks", "??", "*")))
        return self.store.cli("--raw", "KEYS", "maas:chunk:*").count(b"maas:chunk:")

    def gone(self, count=0):
        eventually(lambda: self.chunks() == count, 20, f"{self.chunks()} chunks are there")


def blob(seed, size=CHUNK_BYTES + 1000):
    return random.Random(seed).randbytes(size)


def read(peer, digest):
    chunks = peer.call("MANIFEST_GET", digest=digest)["chunks"]
    return b"".join(
        peer.call("CHUNK_GET", digest=chunks[i : i + 32]) for i in range(0, len(chunks), 32)
    )


def replace(peer, data, file="f.csv"):
    return peer.call("FILE_COMMIT", dataset="d", file=file, **put(peer, data))


# ---- keeping and letting go


def test_a_file_that_is_replaced_lets_its_chunks_go(kind):
    with Rig(kind) as rig:
        peer = rig.store.peer()
        replace(peer, blob(1))
        replace(peer, blob(1))  # the same once more: nothing changes
        assert read(peer, hashlib.sha256(blob(1)).digest()) == blob(1)
        replace(peer, blob(2))
        refused("NOT_FOUND", peer.call, "MANIFEST_GET", digest=hashlib.sha256(blob(1)).digest())
        rig.gone(2)
        assert read(peer, hashlib.sha256(blob(2)).digest()) == blob(2)
        assert rig.store.cli("HLEN", "maas:kept") == b"2"


def test_what_another_holds_stays(kind):
    with Rig(kind) as rig:
        peer = rig.store.peer()
        same, tail = blob(1, CHUNK_BYTES), b"end"
        commit(peer, data=same + tail)
        replace(peer, same + tail)  # the same artifact
        replace(peer, same + b"other", file="g.csv")  # shares a chunk
        replace(peer, b"x")
        replace(peer, b"x", file="g.csv")
        rig.gone(3)
        assert read(peer, hashlib.sha256(same + tail).digest()) == same + tail


def test_what_nobody_commits_goes(kind):
    with Rig(kind) as rig:
        put(rig.store.peer(), blob(1))
        assert rig.chunks() == 2
        rig.gone()


def test_a_chunk_that_is_let_go_while_it_is_uploaded_stays(kind):
    """Every order of: another's last version goes, the chunk is put, it is committed."""
    with Rig(kind, ttl_ms=3600 * 1000) as rig:
        peer = rig.store.peer()
        for order in range(3):
            data = blob(100 + order)
            replace(peer, data)
            if order == 0:  # put while it is kept, let go, committed
                fields = put(peer, data)
                replace(peer, b"x")
            elif order == 1:  # let go, put, collected, committed
                replace(peer, b"x")
                fields = put(peer, data)
            else:  # let go and collected, found again by the commit alone
                replace(peer, b"x")
                fields = artifact(data)
            empty = lambda: rig.store.cli("LLEN", "maas:released") == b"0"  # noqa: E731
            eventually(empty, 10, "not collected")
            version = peer.call("VERSION_COMMIT", model="m", format="fake", **fields)
            assert read(peer, version["digest"]) == data


def test_files_are_not_swept_from_under_an_upload():
    """Sweeps run all the time, and so does the hostile client: what was acknowledged can be read."""
    with Rig("file", ttl_ms=20, registries=2) as rig:
        peers = [rig.store.peer(0), rig.store.peer(1)]
        committed, lost = [], 0
        for i in range(120):
            data = blob(i % 3, 5000)  # three chunks that come, expire, are swept and come again
            try:
                replace(peers[i % 2], data)
                committed.append(data)
                assert read(peers[1 - i % 2], hashlib.sha256(data).digest()) == data
            except Failure as failure:  # nothing was changed, and the client is told
                lost += 1
                words = str(failure)
                assert "upload it again" in words or "is being removed; try again" in words
        assert len(committed) > lost
        assert read(peers[0], hashlib.sha256(committed[-1]).digest()) == committed[-1]
        for registry in rig.store.registries:
            assert "cannot be moved" not in registry.log()


def test_artifacts_of_before_are_never_let_go():
    """What a registry that did not count has left, is counted as kept."""
    with Rig("redis") as rig:
        peer = rig.store.peer()
        version = commit(peer, data=blob(1))
        old = "redis.call('DEL', 'maas:kept') " \
            "redis.call('HDEL', redis.call('KEYS', 'maas:manifest:*')[1], 'refs') " \
            "redis.call('DEL', 'maas:counted')"  # fmt: skip
        rig.store.cli("EVAL", old, "0")
        eventually(lambda: rig.store.cli("EXISTS", "maas:counted") == b"1", 10, "not counted")
        replace(peer, blob(1))
        replace(peer, b"x")
        rig.gone(3)
        assert read(peer, version["digest"]) == blob(1)


def test_chunks_of_before_are_read_from_redis():
    """A registry that gets a folder for new chunks still serves the old ones."""
    with Rig("redis", ttl_ms=3600 * 1000) as rig:
        peer = rig.store.peer()
        commit(peer, data=blob(1))
        rig.store.add_registry(*rig.options, "--artifact-store", "file:chunks")
        rig.store.ready(1)
        other = rig.store.peer(1)
        assert read(other, hashlib.sha256(blob(1)).digest()) == blob(1)
        commit(other, data=blob(2), model="n")
        assert read(other, hashlib.sha256(blob(2)).digest()) == blob(2)


def test_a_file_that_has_rotted_is_seen_never_served_and_repaired():
    with Rig("file", ttl_ms=3600 * 1000) as rig:
        peer = rig.store.peer()
        commit(peer, data=b"precious" * 100)
        digest = hashlib.sha256(b"precious" * 100).digest()
        path = os.path.join(rig.store.home, "chunks", digest.hex()[:2], digest.hex())
        with open(path, "r+b") as file:
            file.seek(5)
            file.write(b"X")
        refused("CORRUPT", peer.call, "CHUNK_GET", digest=digest)
        eventually(
            lambda: total(peer, "maas_registry_corrupt_chunks_total", "store") == 1, 5, "not counted"
        )
        put(peer, b"precious" * 100)
        assert peer.call("CHUNK_GET", digest=digest) == b"precious" * 100
        os.truncate(path, 3)
        refused("CORRUPT", peer.call, "CHUNK_GET", digest=digest)
        os.remove(path)
        refused("NOT_FOUND", peer.call, "CHUNK_GET", digest=digest)
        put(peer, b"precious" * 100)
        assert peer.call("CHUNK_GET", digest=digest) == b"precious" * 100


def test_nothing_is_let_go_while_a_backup_reads(kind):
    with Rig(kind) as rig:
        peer = rig.store.peer()
        replace(peer, blob(1))
        peer.call("BACKUP_BEGIN", id="b1")
        peer.call("BACKUP_BEGIN", id="b1")  # the same request, sent again
        refused("BUSY", peer.call, "BACKUP_BEGIN", id="b2")
        replace(peer, b"x")
        put(peer, b"nobody commits this")
        rig.gone(3)  # it has gone, which takes as long as the others would have lived
        pages = peer.call("BACKUP_CHUNKS", id="b1")
        digests = [pages["chunks"][i : i + 32] for i in range(0, len(pages["chunks"]), 32)]
        assert pages["done"] and sorted(map(len, [peer.call("CHUNK_GET", digest=d) for d in digests])) == [
            1000, CHUNK_BYTES]  # fmt: skip
        peer.call("BACKUP_END", id="b1")
        refused("CONFLICT", peer.call, "BACKUP_READ", id="b1")
        rig.gone(1)
        eventually(lambda: rig.store.cli("--raw", "KEYS", "maas:backup*") == b"", 10, "copies stay")


# ---- uploads in pieces


def piece(peer, upload, offset, data):
    digest = hashlib.sha256(data).digest()
    peer.call("CHUNK_PUT", digest=digest, upload=upload, offset=offset, attachment=data)


def pieces(peer, upload, first=0):
    m = peer.call("UPLOAD_GET", id=upload, first=first)
    return [(p["offset"], p["length"]) for p in m["pieces"]]


def test_pieces_are_kept_in_the_order_of_their_coming(kind):
    with Rig(kind, ttl_ms=3600 * 1000) as rig:
        peer = rig.store.peer()
        peer.call("UPLOAD_BEGIN", id="u1", size_bytes=2 * CHUNK_BYTES)
        peer.call("UPLOAD_BEGIN", id="u1", size_bytes=2 * CHUNK_BYTES)  # again: the same
        piece(peer, "u1", CHUNK_BYTES + 10, b"b" * 10)
        piece(peer, "u1", 0, b"a" * 100)
        piece(peer, "u1", 50, b"c" * 100)
        piece(peer, "u1", 0, b"a" * 100)  # again
        assert pieces(peer, "u1") == [(50, 100), (0, 100), (CHUNK_BYTES + 10, 10)]
        piece(peer, "u1", 0, b"w" * CHUNK_BYTES)
        assert pieces(peer, "u1") == [(0, CHUNK_BYTES), (CHUNK_BYTES + 10, 10)]
        assert pieces(peer, "u1", first=1) == [(CHUNK_BYTES + 10, 10)]
        refused("INVALID", piece, peer, "u1", 2 * CHUNK_BYTES - 5, b"123456")
        refused("INVALID", piece, peer, "u1", CHUNK_BYTES - 1, b"12")
        refused("NOT_FOUND", piece, peer, "u2", 0, b"1")
        refused("TOO_LARGE", piece, peer, "u1", 1 << 50, b"1")
        for i in range(63):
            piece(peer, "u1", CHUNK_BYTES + 1000 + i, bytes([i]))
        refused("INVALID", piece, peer, "u1", CHUNK_BYTES + 5000, b"one more")


def test_an_upload_that_is_given_up_is_collected(kind):
    with Rig(kind) as rig:
        peer = rig.store.peer()
        peer.call("UPLOAD_BEGIN", id="u1")
        for i in range(5):
            piece(peer, "u1", i * CHUNK_BYTES, bytes([i]) * 1000)
        rig.gone()
        refused("NOT_FOUND", peer.call, "UPLOAD_GET", id="u1")
        refused("NOT_FOUND", piece, peer, "u1", 0, b"late")
        assert rig.store.cli("--raw", "KEYS", "maas:upload*") == b""
        assert rig.store.cli("EXISTS", "maas:kept") == b"0"


def test_an_upload_keeps_its_chunks_and_ends_with_its_version(kind):
    with Rig(kind) as rig:
        peer = rig.store.peer()
        data = blob(1)
        peer.call("UPLOAD_BEGIN", id="u1")
        piece(peer, "u1", 0, data[:CHUNK_BYTES])
        piece(peer, "u1", CHUNK_BYTES, data[CHUNK_BYTES:])
        version = peer.call("VERSION_COMMIT", model="m", format="fake", file="model.onnx",
                            uploads=[{"name": "u1"}], **artifact(data))  # fmt: skip
        assert [f["name"] for f in version["files"]] == ["model.onnx"]
        refused("CONFLICT", peer.call, "VERSION_COMMIT", model="m", format="fake",
                uploads=[{"name": "u1"}], **artifact(data))  # fmt: skip
        eventually(lambda: rig.store.cli("HLEN", "maas:upload:u1:slots") == b"0", 10, "not ended")
        assert read(peer, version["digest"]) == data


def test_an_upload_that_is_dropped_frees_its_chunks(kind):
    with Rig(kind) as rig:
        peer = rig.store.peer()
        peer.call("UPLOAD_BEGIN", id="u1")
        piece(peer, "u1", 0, b"data")
        peer.call("UPLOAD_DROP", name="u1")
        refused("NOT_FOUND", peer.call, "UPLOAD_DROP", name="u1")
        rig.gone()


# ---- versions of several files


def test_files_of_a_version_are_held_together(kind):
    with Rig(kind) as rig:
        peer = rig.store.peer()
        main, weights = blob(1), blob(2)
        part = {"name": "weights.bin", **put(peer, weights)}
        version = peer.call("VERSION_COMMIT", model="m", format="fake", file="model.onnx",
                            parts=[part], **put(peer, main))  # fmt: skip
        shown = [(f["name"], f["digest"], f["size_bytes"]) for f in version["files"]]
        assert shown == [
            ("model.onnx", hashlib.sha256(main).digest(), len(main)),
            ("weights.bin", hashlib.sha256(weights).digest(), len(weights)),
        ]
        assert peer.call("SNAPSHOT")["versions"][0]["files"] == version["files"]
        assert read(peer, part["digest"]) == weights
        bad = dict(model="m", format="fake", **put(peer, main))
        refused("INVALID", peer.call, "VERSION_COMMIT", parts=[part], **bad)
        refused("INVALID", peer.call, "VERSION_COMMIT", file="weights.bin", parts=[part], **bad)
        refused("INVALID", peer.call, "VERSION_COMMIT", file="../x", **bad)
        missing = {"name": "w", **artifact(b"never put")}
        refused("CONFLICT", peer.call, "VERSION_COMMIT", file="f", parts=[missing], **bad)
