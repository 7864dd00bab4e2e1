"""Versions of several files: an ONNX model whose weights are beside it."""

import glob
import hashlib
import os
import random
import subprocess

import numpy as np
import onnx
import pytest
from onnx import TensorProto, external_data_helper, helper, numpy_helper

from api import ApiError

CHANGE = """local digest = ARGV[1]:gsub('..', function(hex) return string.char(tonumber(hex, 16)) end)
return redis.call('SETRANGE', 'maas:chunk:' .. digest, ARGV[2], string.char(ARGV[3]))"""
SIZE = 700  # numbers in a row: the weights are larger than a chunk


def sha(data):
    return hashlib.sha256(data).hexdigest()


def external(tmp_path, seed=1, location="weights.bin"):
    """y = x W + b with W and b in another file: (model, that file, function of rows)."""
    rng = np.random.default_rng(seed)
    w = rng.standard_normal((SIZE, SIZE)).astype("f")
    b = rng.standard_normal(SIZE).astype("f")
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w", "b"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", SIZE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", SIZE])],
        [numpy_helper.from_array(w, "w"), numpy_helper.from_array(b, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    external_data_helper.convert_model_to_external_data(model, location=location, size_threshold=0)
    folder = tmp_path / str(seed)
    folder.mkdir()
    onnx.save(model, str(folder / "model.onnx"))
    main, weights = (folder / "model.onnx").read_bytes(), (folder / location).read_bytes()
    assert len(main) < 2000 and len(weights) >= 4 * SIZE * (SIZE + 1)
    return main, weights, lambda rows: np.asarray(rows, dtype="f") @ w + b


def put(api, data):
    upload = api.call("POST", "/api/uploads", {"size": len(data)})["id"]
    api.call("PUT", f"/api/uploads/{upload}?offset=0", data)
    return upload


def commit(api, model, main, files, **more):
    """files: name -> data, beside the main one."""
    body = {
        "model": model,
        "sha256": sha(main),
        "files": [
            {"name": name, "upload": put(api, data), "sha256": sha(data)} for name, data in files.items()
        ],
        **more,
    }
    return api.call("POST", f"/api/uploads/{put(api, main)}/commit", body)


def checked(suite, model, version):
    path = f"/api/models/{model}/versions/{version}"
    return suite.eventually(lambda: (v := suite.api.get(path))["check"] != "pending" and v, 60, "no check")


def test_a_model_with_external_data_is_served(suite, tmp_path):
    main, weights, answer = external(tmp_path)
    done = commit(suite.api, "m", main, {"weights.bin": weights, "labels.txt": b"a\nb\n"},
                  tags={"team": "blue"}, description="two files")  # fmt: skip
    assert (done["version"], done["digest"], done["size"]) == ("1", sha(main), len(main))
    shown = checked(suite, "m", 1)
    assert shown["check"] == "passed", shown.get("reason")
    assert (shown["tags"], shown["description"]) == ({"team": "blue"}, "two files")
    files = {"model.onnx": main, "weights.bin": weights, "labels.txt": b"a\nb\n"}
    assert {f["name"]: f["digest"] for f in shown["files"]} == {n: sha(d) for n, d in files.items()}
    suite.deploy("m", "1")
    rows = np.random.default_rng(2).standard_normal((2, SIZE)).astype("f")
    got = suite.api.call("POST", "/predict", {"model": "m", "inputs": rows.tolist()})
    assert np.allclose(got["outputs"], answer(rows), atol=1e-2)
    for name, data in files.items():
        suite.api.connection.request("GET", f"/api/models/m/versions/1/files/{name}")
        assert suite.api.connection.getresponse().read() == data
    suite.api.connection.request("GET", "/api/models/m/versions/1/artifact")
    assert suite.api.connection.getresponse().read() == main


def test_equal_files_are_stored_once_and_other_ones_told_apart(suite, tmp_path):
    main, weights, answer = external(tmp_path)
    commit(suite.api, "m", main, {"weights.bin": weights})
    _, other, changed = external(tmp_path, seed=2)
    commit(suite.api, "m", main, {"weights.bin": other})  # the main file is the same
    assert checked(suite, "m", 1)["check"] == checked(suite, "m", 2)["check"] == "passed"
    rows = [[1.0] * SIZE]
    for version, right in (("1", answer), ("2", changed)):
        suite.deploy("m", version)
        got = suite.api.call("POST", "/predict", {"model": "m", "inputs": rows})
        assert np.allclose(got["outputs"], right(rows), atol=1e-2)
    folders = [f for f in glob.glob(os.path.join(suite.data, "cache/worker-1/*")) if os.path.isdir(f)]
    assert len(folders) == 2
    mains = {os.stat(os.path.join(f, "model.onnx")).st_ino for f in folders}
    assert len(mains) == 1  # hard links to one file


def test_a_damaged_file_is_fetched_again(suite, tmp_path):
    main, weights, answer = external(tmp_path)
    commit(suite.api, "m", main, {"weights.bin": weights})
    checked(suite, "m", 1)
    suite.deploy("m", "1")
    (path,) = glob.glob(os.path.join(suite.data, "cache/worker-1/*/weights.bin"))
    pid = suite.eventually(lambda: len(p := suite.engine_pids()) == 1 and p[0], 20, "no engine")
    with open(path, "r+b") as file:
        file.write(b"rotten")
    os.kill(pid, 9)
    suite.eventually(lambda: suite.engine_pids() not in ([], [pid]) and suite.serving("m"), 60, "not back")
    got = suite.api.call("POST", "/predict", {"model": "m", "inputs": [[1.0] * SIZE]})
    assert np.allclose(got["outputs"], answer([[1.0] * SIZE]), atol=1e-2)
    assert "damaged" in suite.processes["worker-1"].log()


def test_a_chunk_that_redis_has_lost_is_never_loaded(make_suite):
    """A worker takes chunks as they come; its engine does not."""
    suite = make_suite(workers=1, options={"worker": ["--allow-fake"]})
    suite.processes["worker-1"].stop()
    data = b"fake add=1\n" + random.Random(3).randbytes(100)
    suite.api.call("POST", "/api/models/m/versions?format=fake", data)
    done = subprocess.run(["redis-cli", "-s", os.path.join(suite.data, "run/redis.sock"), "eval", CHANGE, "0",
                           sha(data), "50", str(data[50] ^ 1)], check=True, capture_output=True)  # fmt: skip
    assert int(done.stdout) == len(data)
    suite.processes["worker-1"].start()
    suite.eventually(lambda: "corrupt" in suite.processes["registry"].log(), 60, "nobody has noticed")
    assert "damaged" in suite.processes["worker-1"].log()
    assert suite.api.get("/api/models/m/versions/1")["check"] == "pending"


@pytest.mark.parametrize("location", ["secret.bin", "../secret.bin", "/etc/hostname"])
def test_files_that_are_not_the_versions_are_not_read(suite, tmp_path, location):
    main, weights, _ = external(tmp_path)
    model = onnx.load_model_from_string(main)
    for tensor in model.graph.initializer:
        next(e for e in tensor.external_data if e.key == "location").value = location
    commit(suite.api, "m", model.SerializeToString(), {"weights.bin": weights})
    shown = checked(suite, "m", 1)
    assert shown["check"] == "failed" and "none of the version" in shown["reason"]


def test_data_behind_the_end_of_a_file_is_not_read(suite, tmp_path):
    main, weights, _ = external(tmp_path)
    commit(suite.api, "m", main, {"weights.bin": weights[:-1]})
    shown = checked(suite, "m", 1)
    assert shown["check"] == "failed" and "weights.bin" in shown["reason"]


def test_files_that_are_refused(suite):
    main = random.Random(1).randbytes(100)

    def fails(status, files, **more):
        with pytest.raises(ApiError) as caught:
            commit(suite.api, "m", main, files, format="fake", **more)
        assert caught.value.status == status, caught.value

    fails(400, {"../x": b"1"})
    fails(400, {".files": b"1"})
    fails(400, {"model.onnx": b"1"})
    fails(400, {"a": b"1"}, name="a")
    fails(400, {f"f{i}": b"1" for i in range(64)})
    fails(400, {}, description=3)
    fails(400, {}, description="x" * 5000)
    assert suite.api.request("GET", "/api/models/m")[0] == 404
