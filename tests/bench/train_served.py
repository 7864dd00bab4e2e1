"""6 and 7: what is served is what was computed, for raw rows and all that is held out, of every learner."""

import gzip
import os

import numpy as np

import tables
from served import PYTHON, SERVED, compare, described, held_out, jobs_of_tables, raw
from tools import WAIT_SECONDS
from train_tools import FASHION, FILES, Training, record

ROWS = 20000
TABLES = {"auto": {"budget_s": 20}}
IMAGES = {"mlp": {"epochs": 3}, "cnn": {"epochs": 1}, "boosted": {"rounds": 10}}  # whole runs are in train_fashion.py


def fashion_rows():
    with gzip.open(os.path.join(FASHION, FILES[2])) as file:
        return np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 784).tolist()


def served(bin_dir):
    with Training(bin_dir, workers=1) as b:
        b.upload_fashion()
        cells = tables.mixed(ROWS)
        b.api.call("PUT", "/api/datasets/mixed/files/mixed.csv", tables.csv(cells))
        jobs = jobs_of_tables("mixed", TABLES)
        rows, images, found = held_out(cells), fashion_rows(), {}
        for learner, params in IMAGES.items():
            jobs[f"{learner}-images"] = {"learner": learner, "dataset": "fashion", "params": params}
        for model, job in jobs.items():
            done, _ = b.train(**{**job, "model": model, "deploy": True})
            b.suite.eventually(lambda model=model: described(b.api, model), WAIT_SECONDS, "not serving")
            inputs = images if job["dataset"] == "fashion" else raw(b.api, model, rows)
            trained = np.fromfile(b.predictions(done["id"]), dtype=np.float32)
            found[model] = compare(b.api, model, inputs, trained)
    for number, what, key, most in ((6, "served less the trainer's own, at most", "served", SERVED),
                                    (6, "rows that are served another class", "classes", 0),
                                    (7, "Python's ONNX Runtime less served, at most", "python", PYTHON)):  # fmt: skip
        worst = max(found, key=lambda model, key=key: found[model][key])
        value = float(f"{found[worst][key]:.2g}")
        note = f"{len(found)} models" + (f", most of {worst}" if value else "")
        yield record(number, what, value, "", most, "<=", note=note)


CASES = {"served": served}
