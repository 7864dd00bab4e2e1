"""From data to a served model."""

import gzip
import hashlib
import json
import os
import signal
import struct
import subprocess

import numpy as np
import pytest

DATASET = "/usr/share/datasets/fashion-mnist"
FULL = bool(os.environ.get("MAAS_FULL"))
TRAIN_ROWS = 60000 if FULL else 3000
TEST_ROWS = 10000 if FULL else 500


def iris(rows=150, seed=3):
    """Three clouds in four dimensions, as CSV text."""
    rng = np.random.default_rng(seed)
    lines = ["length,width,height,depth,species"]
    for i in range(rows):
        kind = i % 3
        x = rng.standard_normal(4) * 0.3 + np.array([kind * 2, -kind, kind % 2, 1])
        lines.append(",".join(f"{v:.3f}" for v in x) + "," + ["setosa", "virginica", "versicolor"][kind])
    return "\n".join(lines).encode() + b"\n"


def train(suite, body):
    status, headers, job = suite.api.request("POST", "/api/training", body)
    assert status == 202 and headers["location"] == f"/api/training/{job['id']}", job
    return suite.eventually(
        lambda: (j := suite.api.get(f"/api/training/{job['id']}"))["state"]
        not in ("queued", "running")
        and j,
        280,
        "the training does not end",
    )


@pytest.fixture
def training_suite(make_suite):
    return make_suite(trainers=1)


def test_table_to_served_model(training_suite):
    suite = training_suite
    suite.api.call("PUT", "/api/datasets/iris/files/iris.csv.gz", gzip.compress(iris()))
    job = train(
        suite,
        {"model": "iris", "dataset": "iris", "target": "species", "seed": 1, "deploy": True,
         "params": {"hidden": [16], "epochs": 40, "batch": 16}},
    )  # fmt: skip
    assert job["state"] == "done", job
    assert job["metrics"]["accuracy"] >= 0.9
    assert len(job["history"]) == job["epoch"] >= 1
    suite.eventually(lambda: suite.serving("iris") == "1", 60, "not serving")
    version = suite.api.get("/api/models/iris/versions/1")
    lineage = version["lineage"]
    assert lineage["dataset"] == "iris" and version["source"] == "training"
    assert (lineage["learner"], lineage["target"], lineage["seed"]) == ("mlp", "species", 1)
    assert lineage["rows"] == {"train": 108, "validation": 12, "test": 30}
    assert lineage["params"]["epochs"] == 40 and lineage["params"]["lr"] == 0.05  # the default
    made = ["warmup.json", "statistics.json", "model_card.json", "model_card.md"]
    assert [f["name"] for f in version["files"]] == ["model.onnx", *made]
    card = json.loads(suite.api.get("/api/models/iris/versions/1/files/model_card.json"))
    assert card["metrics"] == version["metrics"] and card["limits"]
    assert {c["column"] for c in card["importance"]} <= {"length", "width", "height", "depth"}
    samples = suite.api.get("/api/models/iris/versions/1/files/warmup.json")
    assert len(json.loads(samples)["samples"]) == 30  # each row that was held out
    rows = [[0, 0, 0, 1], [2, -1, 1, 1], [4, -2, 0, 1]]
    names = ["length", "width", "height", "depth"]  # raw columns
    columns = {name: [[row[i]] for row in rows] for i, name in enumerate(names)}
    got = suite.api.call("POST", "/predict", {"inputs": columns})["outputs"]
    # Classes are sorted: setosa, versicolor, virginica.
    assert [int(np.argmax(p)) for p in got] == [0, 2, 1]
    assert all(abs(sum(p) - 1) < 1e-5 for p in got)


def mixed(rows=400, seed=5):
    """Numbers, words and booleans, some missing; with a row that is bad."""
    rng = np.random.default_rng(seed)
    lines = ["age;city;member;bought"]
    for i in range(rows):
        age, city, member = int(rng.integers(18, 80)), "Köln Paris Rome".split()[i % 3], i % 7 < 3
        bought = "yes" if (age > 45) != (city == "Rome") else "no"
        lines.append(f"{age if i % 11 else ''};{city if i % 13 else ''};{str(member).lower()};{bought}")
    return "\n".join([*lines, "oops;Rome;true;no"]).encode() + b"\n"


def test_raw_rows_are_served(training_suite):
    suite = training_suite
    suite.api.call("PUT", "/api/datasets/shop/files/shop.csv", mixed())
    body = {"model": "shop", "dataset": "shop", "target": "bought", "seed": 1, "deploy": True}
    job = train(suite, body)
    assert job["state"] == "failed" and "row 402, column 'age': 'oops'" in job["error"], job
    job = train(suite, {**body, "params": {"on_bad_row": "drop"}})
    assert job["state"] == "done", job
    assert job["metrics"]["accuracy"] >= 0.85, job["metrics"]
    suite.eventually(lambda: suite.serving("shop") == "1", 60, "not serving")
    columns = {
        "age": [[70], [70], [20], [None]],
        "city": [["Köln"], ["Rome"], ["Rome"], ["Atlantis"]],
        "member": [["true"], ["TRUE"], ["no"], [""]],
    }
    got = suite.api.call("POST", "/predict", {"inputs": columns})["outputs"]
    assert [int(np.argmax(p)) for p in got[:3]] == [1, 0, 1]  # no, yes
    assert abs(sum(got[3]) - 1) < 1e-5


@pytest.mark.parametrize(
    "text, target, says",
    [
        (b"a,b\n1,x\n2\n", "b", "row 3 has 1 columns"),
        (b"a,b\n1,x\n2,\n", "b", "row 3, column 'b': the label is missing"),
        (b"a,b\n" + b"1,x\n2,y\n" * 5 + b"red,y\n", "b", "row 12, column 'a': 'red' is not a number"),
        (b"a,b\n" + b"1,x\n2,y\n" * 5 + b"inf,y\n", "b", "'inf' is not a number"),
        (b"a,b\n1,x\n2,y\n", "c", "no column 'c'"),
        (b"a,a\n1,x\n2,y\n", "a", "twice"),
        (b"a,b\n1,x\n2,x\n", "b", "only one class"),
        (b"a,b\n", "b", "no rows"),
    ],
    ids=["ragged", "missing", "text", "infinite", "target", "twice", "one class", "empty"],
)
def test_bad_tables_are_named(training_suite, text, target, says):
    suite = training_suite
    suite.api.call("PUT", "/api/datasets/bad/files/bad.csv", text)
    job = train(suite, {"model": "m", "dataset": "bad", "target": target})
    assert job["state"] == "failed" and says in job["error"], job["error"]
    assert suite.api.get("/api/models")["models"] == []


@pytest.mark.parametrize(
    "body, status, says",
    [
        ({"dataset": "d"}, 400, '"model" is missing'),
        ({"model": "m"}, 400, '"dataset" is missing'),
        ({"model": "m", "dataset": "nowhere"}, 404, "no dataset 'nowhere'"),
        ({"model": "m/", "dataset": "d"}, 400, "character"),
        ({"model": "m", "dataset": "d", "learner": "magic"}, 400, "linear, logistic, mlp, cnn, tree, forest"),
        ({"model": "m", "dataset": "d", "max_seconds": 0}, 400, "max_seconds"),
        ({"model": "m", "dataset": "d", "task": "x", "params": {"task": "y"}}, 400, '"task" is there twice'),
        ({"model": "m", "dataset": "d", "params": 3}, 400, "params"),
    ],
)
def test_bad_jobs_are_refused(suite, body, status, says):
    got, _, answer = suite.api.request("POST", "/api/training", body)
    assert got == status and says in answer["error"]


def test_cancel(training_suite):
    suite = training_suite
    suite.api.call("PUT", "/api/datasets/iris/files/iris.csv", iris(3000))
    job = suite.api.call(
        "POST",
        "/api/training",
        {"model": "m", "dataset": "iris", "target": "species",
         "params": {"epochs": 100000, "patience": 0, "hidden": [256, 256]}},
    )  # fmt: skip
    path = f"/api/training/{job['id']}"
    suite.eventually(lambda: suite.api.get(path)["epoch"] >= 1, 60, "does not run")
    suite.api.call("DELETE", path)
    suite.eventually(lambda: suite.api.get(path)["state"] == "cancelled", 60, "not cancelled")


def start_long_job(suite):
    suite.api.call("PUT", "/api/datasets/iris/files/iris.csv", iris(1500))
    job = suite.api.call(
        "POST",
        "/api/training",
        {"model": "m", "dataset": "iris", "target": "species",
         "params": {"epochs": 100000, "patience": 0, "hidden": [64]}},
    )  # fmt: skip
    path = f"/api/training/{job['id']}"
    suite.eventually(lambda: suite.api.get(path)["epoch"] >= 1, 60, "does not run")
    return path


def test_stopped_trainer_gives_its_job_back(training_suite):
    path = start_long_job(training_suite)
    assert training_suite.processes["trainer-1"].stop() == 0
    job = training_suite.api.get(path)
    assert (job["state"], job["attempts"]) == ("queued", 0)


def test_trainer_stops_though_the_registry_is_away(training_suite):
    start_long_job(training_suite)
    training_suite.processes["registry"].kill()
    assert training_suite.processes["trainer-1"].stop(20) == 0


def test_verdict_is_said_until_it_is_heard(training_suite):
    """The registry is away when the training fails; the job is not trained a second time."""
    suite = training_suite
    table = b"a,b,c,kind\n" + b"1.5,2.5,3.5,x\n1.25,2.25,3.25,y\n" * 300000 + b"1,2,oops,x\n"
    suite.api.call("PUT", "/api/datasets/long/files/long.csv", table)
    job = suite.api.call(
        "POST", "/api/training", {"model": "m", "dataset": "long", "target": "kind"}
    )
    path, log = f"/api/training/{job['id']}", suite.processes["trainer-1"].log_path
    suite.eventually(lambda: suite.api.get(path)["state"] == "running", 20, "does not run")
    cache = os.path.join(suite.data, "cache/trainer-1")
    suite.eventually(
        lambda: any(len(name) == 64 for name in os.listdir(cache)), 20, "is not fetched"
    )
    suite.processes["registry"].kill()
    suite.eventually(lambda: b"job given up" in open(log, "rb").read(), 30, "does not fail")
    suite.processes["registry"].start()
    suite.eventually(lambda: suite.api.request("GET", path)[0] == 200, 30, "no registry")
    ended = suite.eventually(
        lambda: (j := suite.api.get(path))["state"] == "failed" and j, 30, "is not heard"
    )
    assert ended["attempts"] == 1 and "row 600002, column 'c'" in ended["error"]


def test_profiles_limits_and_deletion(training_suite):
    suite = training_suite
    suite.api.call("PUT", "/api/datasets/d/files/iris.csv", iris(3000))
    suite.api.call("PUT", "/api/datasets/d/files/notes.csv", b"a,b\n1,x\n2,y\n")
    first = suite.api.request("GET", "/api/datasets/d/profile?file=iris.csv&target=species")
    assert first[0] == 202 and first[2]["state"] == "queued"
    seen = suite.eventually(
        lambda: (p := suite.api.get("/api/datasets/d/profile?file=iris.csv&target=species")).get("profile"),
        30,
        "no profile",
    )
    assert seen["rows"] == 3000 and len(seen["columns"]) == 5
    assert suite.api.request("GET", "/api/datasets/d/profile?file=none")[0] == 404
    assert suite.api.request("GET", "/api/datasets/none/profile")[0] == 404
    suite.api.call("PUT", "/api/datasets/bad/files/bad.csv", b"a,a\n1,2\n")
    suite.eventually(
        lambda: suite.api.request("GET", "/api/datasets/bad/profile")[0] == 422, 30, "no error"
    )
    # A job that is under way needs its files; one that takes too long ends.
    suite.api.call("DELETE", "/api/datasets/d/files/notes.csv")
    body = {"model": "m", "dataset": "d", "target": "species", "max_seconds": 1,
            "params": {"epochs": 100000, "patience": 0, "hidden": [256]}}  # fmt: skip
    path = f"/api/training/{suite.api.call('POST', '/api/training', body)['id']}"
    for each in ("/api/datasets/d", "/api/datasets/d/files/iris.csv"):
        status, _, answer = suite.api.request("DELETE", each)
        assert status == 409 and path.split("/")[-1] in answer["error"]
    ended = suite.eventually(
        lambda: (j := suite.api.get(path))["state"] not in ("queued", "running") and j, 30, "no end"
    )
    assert ended["state"] == "failed" and "max_seconds" in ended["error"], ended
    shown = suite.api.get("/api/datasets/d")
    line = f"{shown['files'][0]['digest']}  iris.csv\n"
    assert shown["digest"] == hashlib.sha256(line.encode()).hexdigest()
    assert suite.api.call("DELETE", "/api/datasets/d/files/iris.csv") == {"deleted": True}
    assert suite.api.request("GET", "/api/datasets/d")[0] == 404
    assert suite.api.request("DELETE", "/api/datasets/d")[0] == 404
    assert suite.api.request("POST", "/api/training", body)[0] == 404


def test_data_files_have_a_bound(make_suite):
    suite = make_suite(trainers=1, options={"trainer": ["--cache-bytes", "100000"]})
    cache = os.path.join(suite.data, "cache/trainer-1")
    sizes = []
    for seed in range(3):  # 60 KB each
        suite.api.call("PUT", f"/api/datasets/d{seed}/files/iris.csv", iris(1500, seed))
        body = {"model": "m", "dataset": f"d{seed}", "target": "species", "params": {"epochs": 1}}
        assert train(suite, body)["state"] == "done"
        suite.eventually(lambda: len(os.listdir(cache)) == 1, 10, "the cache is not trimmed")
        sizes.append(os.listdir(cache)[0])
    assert len(set(sizes)) == 3  # it is the last one's that stays


def test_model_larger_than_the_store_takes_fails_its_job(make_suite):
    suite = make_suite(trainers=1, options={"trainer": ["--max-artifact-bytes", "1MiB"]})
    suite.api.call("PUT", "/api/datasets/iris/files/iris.csv", iris())
    body = {"model": "m", "dataset": "iris", "target": "species"}
    large = train(suite, {**body, "params": {"epochs": 1, "hidden": [512, 1024]}})
    assert large["state"] == "failed" and "1048576 bytes" in large["error"], large
    assert train(suite, {**body, "params": {"epochs": 1}})["state"] == "done"
    assert suite.processes["trainer-1"].alive()


def until_checkpoint(suite, body):
    """A job that has left a checkpoint and goes on; longer ones where the machine is that fast."""
    redis = ["redis-cli", "-s", os.path.join(suite.data, "run/redis.sock"), "--raw", "HGET"]
    for number, epochs in enumerate((1500, 6000, 24000, 96000), 1):
        body["params"]["epochs"] = epochs
        path = f"/api/training/{suite.api.call('POST', '/api/training', body)['id']}"
        key = ["maas:training:" + os.path.basename(path), "checkpoint_history"]

        def seen():
            job = suite.api.get(path)
            ended = job["state"] not in ("queued", "running")
            left = subprocess.run([*redis, *key], stdout=subprocess.PIPE).stdout.strip()
            return (ended or (left and job["epoch"] >= 1)) and job

        job = suite.eventually(seen, 120, "no checkpoint")
        if job["state"] == "running" and job["progress"] < 0.5:
            return path, job, number
        last = suite.eventually(
            lambda p=path: (j := suite.api.get(p))["state"] != "running" and j, 120, "no end"
        )
        assert last["state"] == "done", last
    raise AssertionError("no job was long enough for a checkpoint")


def finished_by_the_other(suite, path, running, version):
    """The job at its end, when its trainer was killed and the other one has gone on from its checkpoint."""
    pid = int(running["trainer"].split("-")[-2])  # HOST-PID-RANDOM
    first, second = [f"trainer-{i}" for i in (1, 2)]
    if suite.processes[second].pid == pid:
        first, second = second, first
    suite.processes[first].kill()
    done = suite.eventually(
        lambda: (j := suite.api.get(path))["state"] in ("done", "failed") and j, 200, "nobody finishes it"
    )
    assert (done["state"], done["attempts"], done["version"]) == ("done", 2, str(version)), done
    log = suite.processes[second].log()
    assert "goes on from a checkpoint" in log and "began anew" not in log
    return done


def test_trainer_dies_and_another_goes_on_to_the_same_model(make_suite):
    suite = make_suite(trainers=2, options={"trainer": ["--checkpoint-ms", "100"]})
    suite.api.call("PUT", "/api/datasets/iris/files/iris.csv", iris(1500))
    body = {"model": "m", "dataset": "iris", "target": "species", "seed": 5,
            "params": {"patience": 0, "hidden": [64]}}  # fmt: skip
    path, running, version = until_checkpoint(suite, body)
    done = finished_by_the_other(suite, path, running, version)
    assert [e["epoch"] for e in done["history"]] == list(range(1, 401))
    undisturbed = train(suite, body)
    assert undisturbed["history"] == done["history"]
    assert undisturbed["metrics"] == done["metrics"]
    assert artifact(suite, version) == artifact(suite, version + 1)


@pytest.mark.skipif(not FULL, reason="a unit test has it, too, but for the registry: MAAS_FULL=1")
def test_trainer_dies_and_another_goes_on_with_the_search(make_suite):
    suite = make_suite(trainers=2, options={"trainer": ["--checkpoint-ms", "100"]})
    suite.api.call("PUT", "/api/datasets/iris/files/iris.csv", iris(1500))
    body = {"model": "m", "dataset": "iris", "target": "species", "seed": 5, "learner": "auto",
            "params": {"trials": 16, "folds": 3}}  # fmt: skip
    path = f"/api/training/{suite.api.call('POST', '/api/training', body)['id']}"
    job = suite.eventually(lambda: (j := suite.api.get(path))["epoch"] >= 3 and j, 120, "no trials")
    done = finished_by_the_other(suite, path, job, 1)
    undisturbed = train(suite, body)
    assert undisturbed["history"] == done["history"]
    assert artifact(suite, 1) == artifact(suite, 2)


def artifact(suite, version):
    """The digests of the model and of what goes with it."""
    shown = suite.api.get(f"/api/models/m/versions/{version}")
    return shown["digest"], [(f["name"], f["digest"]) for f in shown["files"]]


def idx(name, rows, header):
    with gzip.open(os.path.join(DATASET, name)) as file:
        data = file.read()
    size = (len(data) - header) // struct.unpack(">I", data[4:8])[0]
    return data[:4] + struct.pack(">I", rows) + data[8:header] + data[header : header + rows * size]


def test_fashion_mnist_served_equals_trained(make_suite, tmp_path):
    suite = make_suite(
        trainers=1, workers=2, options={"trainer": ["--predictions", str(tmp_path)]}
    )
    for name, rows, header in (
        ("train-images-idx3-ubyte", TRAIN_ROWS, 16),
        ("train-labels-idx1-ubyte", TRAIN_ROWS, 8),
        ("t10k-images-idx3-ubyte", TEST_ROWS, 16),
        ("t10k-labels-idx1-ubyte", TEST_ROWS, 8),
    ):
        suite.api.call("PUT", f"/api/datasets/fm/files/{name}", idx(name + ".gz", rows, header))
    body = {"model": "fm", "dataset": "fm", "seed": 1, "deploy": True}
    if not FULL:
        body["params"] = {"epochs": 3, "hidden": [64]}
    job = train(suite, body)
    assert job["state"] == "done", job
    assert job["metrics"]["accuracy"] >= (0.88 if FULL else 0.7)
    suite.eventually(lambda: suite.serving("fm") == "1", 60, "not serving")
    trained = np.fromfile(tmp_path / f"{job['id']}.f32", dtype="f").reshape(TEST_ROWS, 10)
    images = np.frombuffer(idx("t10k-images-idx3-ubyte.gz", TEST_ROWS, 16)[16:], dtype="u1")
    images = images.reshape(TEST_ROWS, 784)
    for at in range(0, TEST_ROWS, 250):
        got = suite.api.call("POST", "/predict", {"inputs": images[at : at + 250].tolist()})
        served = np.array(got["outputs"], dtype="f")
        np.testing.assert_allclose(served, trained[at : at + 250], rtol=0, atol=1e-5)
        assert (served.argmax(1) == trained[at : at + 250].argmax(1)).all()
