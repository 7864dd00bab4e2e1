"""Every learner's served output is the trainer's own, for raw rows and the whole test split."""

import os

import numpy as np

import tables
from served import compare, described, equal, held_out, jobs_of_tables, raw, upload_images

FULL = bool(os.environ.get("MAAS_FULL"))
ROWS = 20000 if FULL else 300
IMAGES, SIDE = (4000, 28) if FULL else (150, 6)
PATIENCE = 280

# So little of each that the whole takes a second.
SMALL = {
    "linear": {"epochs": 5},
    "logistic": {"epochs": 5},
    "mlp": {"epochs": 5, "hidden": [8]},
    "forest": {"trees": 10},
    "boosted": {"rounds": 10},
    "auto": {"trials": 5, "folds": 2},
}
CNN = {"epochs": 2, "filters": [4], "hidden": [8]}


def learners(api):
    """All that there are, as they are named to those who ask for another."""
    _, _, answer = api.request("POST", "/api/training", {"model": "m", "dataset": "d", "learner": "another"})
    return set(answer["error"].partition("there are: ")[2].split(", "))


def test_every_learner_serves_what_it_has_learnt(make_suite, tmp_path):
    trainer = ["--predictions", str(tmp_path), "--poll-ms", "20", "--threads", "1"]
    suite = make_suite(trainers=2, options={"trainer": trainer})
    cells = tables.mixed(ROWS)
    suite.api.call("PUT", "/api/datasets/mixed/files/mixed.csv", tables.csv(cells))
    images = upload_images(suite.api, "bars", *tables.images(IMAGES, SIDE))
    jobs = jobs_of_tables("mixed", {"auto": {"budget_s": 20}} if FULL else SMALL)
    jobs["cnn"] = {"learner": "cnn", "dataset": "bars", "params": CNN}
    assert {job["learner"] for job in jobs.values()} == learners(suite.api)
    ids = {
        model: suite.api.call("POST", "/api/training", {"model": model, "seed": 1, "deploy": True, **job})["id"]
        for model, job in jobs.items()
    }
    rows, found = held_out(cells), {}
    for model, id in ids.items():
        job = suite.eventually(
            lambda id=id: (j := suite.api.get(f"/api/training/{id}"))["state"] not in ("queued", "running") and j,
            PATIENCE, "the training does not end",
        )  # fmt: skip
        assert job["state"] == "done", job
        suite.eventually(lambda model=model: described(suite.api, model), PATIENCE, "not serving")
        inputs = images if model == "cnn" else raw(suite.api, model, rows)
        found[model] = compare(suite.api, model, inputs, np.fromfile(tmp_path / f"{id}.f32", dtype=np.float32))
    assert {model: f for model, f in found.items() if not equal(f)} == {}
