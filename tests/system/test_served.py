"""Every learner's served output is the trainer's own, for raw rows and the whole test split."""

import io
import os

import numpy as np

import tables
from served import compare, equal, raw

FULL = bool(os.environ.get("MAAS_FULL"))
ROWS = 20000 if FULL else 300
HELD = ROWS // 5
IMAGES, SIDE = (4000, 28) if FULL else (150, 6)
PATIENCE = 280

# Both tasks, where a learner has both; so little of each that the whole takes seconds.
SMALL = {
    "linear": {"epochs": 5},
    "logistic": {"epochs": 5},
    "mlp": {"epochs": 5, "hidden": [8]},
    "tree": {},
    "forest": {"trees": 10},
    "boosted": {"rounds": 10},
    "auto": {"trials": 5, "folds": 2},
}
FULL_SIZE = {"auto": {"budget_s": 20}}
TASKS = [("classification", tables.CLASS, tables.VALUE), ("regression", tables.VALUE, tables.CLASS)]
ONE_TASK = {"linear": "regression", "logistic": "classification"}


def npy(array):
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def jobs():
    """Of the table: (model, job)."""
    for learner, small in SMALL.items():
        params = FULL_SIZE.get(learner, {}) if FULL else small
        for task, target, other in TASKS:
            if ONE_TASK.get(learner, task) == task:
                given = {"task": task, "order": tables.ORDER, "test": 0.2, "drop": other, **params}
                yield f"{learner}-{task}", {"learner": learner, "dataset": "mixed", "target": target, "params": given}


def described(api, model):
    """It can be asked, and the gateway has heard what it takes."""
    return (
        api.request("GET", f"/readyz?model={model}")[0] == 200
        and api.get(f"/api/models/{model}/versions/1")["check"] == "passed"
    )


def test_every_learner_serves_what_it_has_learnt(make_suite, tmp_path):
    trainer = ["--predictions", str(tmp_path), "--poll-ms", "20", "--threads", "1"]
    suite = make_suite(trainers=2, options={"trainer": trainer})
    cells = tables.mixed(ROWS)
    x, y = tables.images(IMAGES, SIDE)
    suite.api.call("PUT", "/api/datasets/mixed/files/mixed.csv", tables.csv(cells))
    split = IMAGES * 4 // 5
    for name, array in (("x_train", x[:split]), ("y_train", y[:split]), ("x_test", x[split:]), ("y_test", y[split:])):
        suite.api.call("PUT", f"/api/datasets/bars/files/{name}.npy", npy(array))
    wanted = dict(jobs())
    wanted["cnn"] = {"learner": "cnn", "dataset": "bars", "params": {"epochs": 2, "filters": [4], "hidden": [8]}}
    ids = {
        model: suite.api.call("POST", "/api/training", {"model": model, "seed": 1, "deploy": True, **job})["id"]
        for model, job in wanted.items()
    }
    rows = {name: column[-HELD:] for name, column in cells.items()}
    found = {}
    for model, id in ids.items():
        job = suite.eventually(
            lambda id=id: (j := suite.api.get(f"/api/training/{id}"))["state"] not in ("queued", "running") and j,
            PATIENCE, "the training does not end",
        )  # fmt: skip
        assert job["state"] == "done", job
        suite.eventually(lambda model=model: described(suite.api, model), PATIENCE, "not serving")
        inputs = x[split:].reshape(IMAGES - split, -1).tolist() if model == "cnn" else raw(suite.api, model, rows)
        trained = np.fromfile(tmp_path / f"{id}.f32", dtype=np.float32)
        found[model] = compare(suite.api, model, inputs, trained)
    assert len(found) == 13
    assert {model: f for model, f in found.items() if not equal(f)} == {}
