"""scikit-learn's side: sklearn_peer.py SET FOLDER FOLDS

Splits one of the library's data sets into five folds and writes the first FOLDS of them as CSV, the
rows to be held out last (column "at").  Prints a JSON line: these files, and what the models score
on the same rows by their default settings, and with standardised columns.
"""

import json
import os
import sys

import numpy as np
from sklearn import datasets, ensemble, linear_model, neural_network
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

SEED = 0
MODELS = {
    "classification": {
        "logistic regression": linear_model.LogisticRegression,
        "random forest": ensemble.RandomForestClassifier,
        "gradient boosting": ensemble.GradientBoostingClassifier,
        "MLP": neural_network.MLPClassifier,
    },
    "regression": {
        "linear regression": linear_model.LinearRegression,
        "random forest": ensemble.RandomForestRegressor,
        "gradient boosting": ensemble.GradientBoostingRegressor,
        "MLP": neural_network.MLPRegressor,
    },
}


def write(path, x, y, train, held):
    order = np.concatenate([train, held])
    names = [f"c{i}" for i in range(x.shape[1])]
    with open(path, "w", encoding="ascii") as file:
        file.write(",".join(["at", *names, "target"]) + "\n")
        for at, row in enumerate(order):
            file.write(",".join([str(at), *(repr(v) for v in x[row].tolist()), repr(y[row].item())]) + "\n")
    return {"path": path, "rows": len(order), "held": len(held)}


def score(kind, scaled, parts):
    """Accuracy, or R2."""
    x, y, train, held = parts
    model = kind() if kind is linear_model.LinearRegression else kind(random_state=SEED)
    model = make_pipeline(StandardScaler(), model) if scaled else model
    return model.fit(x[train], y[train]).score(x[held], y[held])


def main():
    name, folder, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    x, y = getattr(datasets, "load_" + name)(return_X_y=True)
    task = "regression" if name == "diabetes" else "classification"
    splitter = KFold if task == "regression" else StratifiedKFold
    folds = list(splitter(5, shuffle=True, random_state=SEED).split(x, y))[:count]
    rng = np.random.default_rng(SEED)
    folds = [(rng.permutation(train), held) for train, held in folds]
    files = [write(os.path.join(folder, f"{name}-{i}.csv"), x, y, *fold) for i, fold in enumerate(folds)]
    scores = [
        {model: [score(kind, scaled, (x, y, *fold)) for fold in folds] for model, kind in MODELS[task].items()}
        for scaled in (False, True)
    ]
    print(json.dumps({"task": task, "folds": files, "plain": scores[0], "scaled": scores[1]}))


if __name__ == "__main__":
    main()
