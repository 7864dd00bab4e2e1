"""Backup of everything as one tar, and its restore into an empty suite."""

import hashlib
import http.client
import io
import random
import tarfile

import numpy as np
import pytest

import networks
from api import ApiError

MIB = 1 << 20


def sha(data):
    return hashlib.sha256(data).hexdigest()


def backup(suite):
    connection = http.client.HTTPConnection("127.0.0.1", suite.port, timeout=60)
    connection.request("GET", "/api/backup")
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    assert answer.status == 200, data
    return data


def restore(suite, archive):
    return suite.api.call("POST", "/api/restore", archive)


def state(suite):
    """What a person can see that must be the same."""
    models = suite.api.get("/api/models")["models"]
    for m in models:
        for v in m["versions"]:
            for name in ("state", "engines", "reason"):
                v.pop(name, None)
        if m["deployment"]:
            m["deployment"].pop("serving")
            for target in m["deployment"]["traffic"]:
                for name in ("state", "engines", "wanted", "requests", "share"):
                    target.pop(name)
    jobs = suite.api.get("/api/training")
    rollout = suite.api.get("/api/models/net/rollout")["rollout"]
    for name in ("held_s", "measured", "waits_for_engine"):
        rollout.pop(name, None)
    return models, suite.api.get("/api/datasets"), jobs, rollout


def artifact(suite, model, version):
    suite.api.connection.request("GET", f"/api/models/{model}/versions/{version}/artifact")
    return suite.api.connection.getresponse().read()


def fill(suite):
    """Some of everything; the artifacts by model and version."""
    big = b"fake\n" + random.Random(1).randbytes(3 * MIB)
    sent = {("net", 1): networks.times(2), ("net", 2): networks.times(3), ("big", 1): big}
    for (model, _), data in sent.items():
        fmt = "fake" if model == "big" else "onnx"
        suite.upload(model, data, fmt)
    suite.deploy("net", "1")
    suite.deploy("net", "2")
    limits = {"steps": [0.01, 100], "hold_s": 3600, "abort_if": {"error_rate": 0.5}}
    suite.api.call("POST", "/api/models/net/rollout", {"version": "1", **limits})
    suite.api.call("PUT", "/api/datasets/d/files/a.csv", b"x,y\n1,2\n" * 200000)
    for n in range(6):  # entries of the history that are as large as they can be
        suite.api.call("PATCH", "/api/models/big/versions/1", {"tags": {"t": f"{n}" + "x" * 65000}})
    upload = suite.api.call("POST", "/api/uploads")["id"]
    suite.api.call("PUT", f"/api/uploads/{upload}?offset=5", b"half an upload")
    return sent, upload


def test_a_restored_suite_is_the_same(make_suite):
    first = make_suite()
    sent, upload = fill(first)
    before = state(first)
    archive = backup(first)
    second = make_suite()
    done = restore(second, archive)
    assert done["restored"] and done["chunks"] >= 7
    second.eventually(lambda: len(second.api.get("/api/models")["models"]) == 2, 20, "not there")
    second.eventually(lambda: second.serving("net") == "2", 60, "the restored model is not served")
    assert state(second) == before
    for (model, version), data in sent.items():
        assert artifact(second, model, version) == data
    got = second.api.call("POST", "/predict", {"model": "net", "inputs": [[1, 2]]})
    assert np.allclose(got["outputs"], [[3, 6]])
    second.api.call("PUT", f"/api/uploads/{upload}?offset=0", b"12345")  # goes on there
    body = {"model": "new", "format": "fake", "sha256": sha(b"12345half an upload")}
    assert second.api.call("POST", f"/api/uploads/{upload}/commit", body)["version"] == "1"
    assert second.upload("net", networks.times(4))["version"] == "3"  # numbers go on
    assert first.upload("net", networks.times(5))["version"] == "3"  # the first is as it was
    rollout = lambda: second.api.get("/api/models/net/rollout")["rollout"]
    held = second.eventually(lambda: rollout()["held_s"], 20, "the rollout stands still")
    second.eventually(lambda: rollout()["held_s"] > held, 20, "the rollout stands still")
    with pytest.raises(ApiError) as caught:
        restore(second, archive)
    assert caught.value.status == 409 and "not empty" in caught.value.message


def test_an_archive_is_a_tar_that_others_can_pack_again(make_suite):
    first = make_suite()
    fill(first)
    before = state(first)
    with tarfile.open(fileobj=io.BytesIO(backup(first))) as tar:
        files = {m.name: tar.extractfile(m).read() for m in tar.getmembers()}
    names = list(files)
    assert names[0] == "maas-backup" and names[-1] == "end"
    for name, data in files.items():
        if name.startswith("chunks/"):
            assert sha(data) == name[7:] and len(data) <= MIB
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name in names:
            if name == "chunks/" + names[-2][7:]:
                folder = tarfile.TarInfo("./chunks")
                folder.type = tarfile.DIRTYPE
                tar.addfile(folder)
            info = tarfile.TarInfo("./" + name)
            info.size = len(files[name])
            tar.addfile(info, io.BytesIO(files[name]))
    second = make_suite()
    restore(second, packed.getvalue())
    second.eventually(lambda: state(second) == before, 20, "not the same")


def test_what_is_no_whole_backup_changes_nothing(make_suite):
    suite = make_suite()
    fill(suite)
    archive = backup(suite)
    empty = make_suite()
    damaged = bytearray(archive)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        chunk = next(m for m in tar.getmembers() if m.name.startswith("chunks/") and m.size == MIB)
        damaged[chunk.offset_data + 1000] ^= 1
        end = chunk.offset_data + (chunk.size + 511) // 512 * 512
    cases = {  # the first has to be the first: later its chunk is there, of the others
        "a chunk is missing": archive[: chunk.offset] + archive[end:],
        "cut": archive[: len(archive) // 2 // 512 * 512],
        "cut within": archive[: len(archive) // 2],
        "cut at the end": archive[:-1024],
        "damaged": bytes(damaged),
        "a page is missing": archive[:1024] + archive[archive.index(b"chunks/") :],
        "no tar": random.Random(1).randbytes(5000),
        "empty": b"",
        "zeros": bytes(10240),
    }
    for name, data in cases.items():

        def attempt():  # 429: what the one before has left is still being removed
            answer = empty.client().request("POST", "/api/restore", data)
            return answer[0] != 429 and answer

        status, _, body = empty.eventually(attempt, 20, "the attempt before stays")
        assert status in (400, 409), (name, status, body)
        assert empty.api.get("/api/models")["models"] == [], name
    empty.eventually(lambda: empty.client().request("POST", "/api/restore", archive)[0] == 200, 20, "not restored")
    empty.eventually(lambda: len(empty.api.get("/api/models")["models"]) == 2, 20, "not there")


def test_a_backup_does_not_see_what_comes_while_it_is_read(make_suite):
    """The client reads slowly; meanwhile a file is replaced, and its chunks let go, all but at once."""
    suite = make_suite(options={"registry": ["--artifact-ttl-ms", "3000"]})
    old, new = random.Random(1).randbytes(12 * MIB), random.Random(2).randbytes(MIB)
    suite.api.call("PUT", "/api/datasets/d/files/a", old)
    connection = http.client.HTTPConnection("127.0.0.1", suite.port, timeout=60)
    connection.request("GET", "/api/backup")
    answer = connection.getresponse()
    archive = answer.read(4096)
    for data in (new, new[:-1]):
        suite.api.call("PUT", "/api/datasets/d/files/a", data)
    archive += answer.read()
    connection.close()
    other = make_suite()
    restore(other, archive)
    (shown,) = other.api.get("/api/datasets/d")["files"]
    assert shown["digest"] == sha(old)
    memory = suite.api.get("/api/datasets/d")["files"][0]
    assert memory["digest"] == sha(new[:-1])


def test_a_redis_that_is_away_for_a_moment_ends_neither(make_suite):
    def meanwhile(suite, *request):
        """Asks while Redis is away, and gets the answer when it is back."""
        suite.processes["redis"].kill()
        connection = http.client.HTTPConnection("127.0.0.1", suite.port, timeout=60)
        connection.request(*request)
        suite.processes["redis"].start()
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        assert answer.status == 200, data
        return data

    first = make_suite()
    first.upload("net", networks.times(2), "onnx")
    archive = meanwhile(first, "GET", "/api/backup")
    second = make_suite()
    meanwhile(second, "POST", "/api/restore", archive)
    second.eventually(lambda: second.api.get("/api/models")["models"], 20, "not there")
    assert sha(artifact(second, "net", 1)) == sha(networks.times(2))
