"""XGBoost's side of the mixed table: xgboost_peer.py CSV HELD

Features are made by hand: logarithms of what is skewed, words one-hot, booleans as numbers, and what
is missing left to the trees.  The rounds are chosen on a tenth of the training rows.  Prints a JSON
line with the AUC on the last HELD of the rows.
"""

import csv
import json
import sys

import numpy as np
import xgboost

SETTINGS = {"objective": "binary:logistic", "eval_metric": "auc", "eta": 0.03, "max_depth": 4,
            "subsample": 0.8, "colsample_bytree": 0.8, "min_child_weight": 5, "seed": 1}  # fmt: skip
ROUNDS, PATIENCE = 2000, 50


def numbers(column):
    return np.array([float(cell) if cell else np.nan for cell in column])


def one_hot(column):
    words = sorted(set(column) - {""})
    return [np.array([cell == word for cell in column], dtype=float) for word in words]


def booleans(column):
    return np.array([{"true": 1.0, "false": 0.0, "": np.nan}[cell] for cell in column])


def area(y, p):
    """Under the ROC curve: how often a row of class 1 has the larger score."""
    _, place, counts = np.unique(p, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    ones = y.sum()
    return (ranks[y == 1].sum() - ones * (ones + 1) / 2) / (ones * (len(y) - ones))


def main():
    with open(sys.argv[1], encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    c = {name: [row[name] for row in rows] for name in rows[0]}
    x = np.stack(
        [numbers(c["age"]), np.log(numbers(c["income"])), numbers(c["visits"]), numbers(c["score"]),
         *one_hot(c["city"]), *one_hot(c["plan"]), booleans(c["member"]), booleans(c["newsletter"])], axis=1,
    )  # fmt: skip
    y = np.array([cell == "yes" for cell in c["bought"]], dtype=float)
    held = len(y) - round(float(sys.argv[2]) * len(y))
    watched = held - held // 10
    parts = [xgboost.DMatrix(x[at], y[at]) for at in (slice(watched), slice(watched, held), slice(held, None))]
    model = xgboost.train(SETTINGS, parts[0], ROUNDS, [(parts[1], "watched")], early_stopping_rounds=PATIENCE,
                          verbose_eval=False)  # fmt: skip
    p = model.predict(parts[2], iteration_range=(0, model.best_iteration + 1))
    print(json.dumps({"auc": area(y[held:], p), "rounds": model.best_iteration + 1}))


if __name__ == "__main__":
    main()
