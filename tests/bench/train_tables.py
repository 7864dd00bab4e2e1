"""4 and 5: small tables beside scikit-learn, a mixed one beside XGBoost.

FOLDS, SETS (names with commas) and BUDGET_S (environment) make 4 shorter.
"""

import os
import tempfile

import tables
from tools import mean
from train_tools import Training, installed, peer, record

BUDGET_S = float(os.environ.get("BUDGET_S", "30"))
FOLDS = int(os.environ.get("FOLDS", "5"))  # of five
ALL_SETS = "iris,wine,breast_cancer,digits,diabetes"
SETS = os.environ.get("SETS", ALL_SETS)
ROWS, HELD = 20000, 0.25
NEAR = 0.01


def shortened():
    if (FOLDS, BUDGET_S, SETS) == (5, 30, ALL_SETS):
        return ""
    return f"; SHORTENED: {FOLDS} of 5 folds of {SETS}, {BUDGET_S:g} of 30 s"


def best(scores):
    """(name, score) of the model with the best mean over its folds."""
    return max(((name, mean(each)) for name, each in scores.items()), key=lambda pair: pair[1])


def fold_score(b, fold, task, learner="auto"):
    """Of a file whose last rows are held out."""
    data = os.path.basename(fold["path"]).partition(".")[0]
    b.api.upload(f"/api/datasets/{data}/files/table.csv", fold["path"])
    params = {"task": task, "order": "at", "test": fold["held"] / fold["rows"], "budget_s": BUDGET_S}
    job, _ = b.train(dataset=data, target="target", learner=learner, params=params)
    assert job["metrics"]["rows"] == fold["held"], job["metrics"]
    return job["metrics"]["r2" if task == "regression" else "accuracy"]


def small_sets(bin_dir):
    """4: five folds of five data sets, the same folds on both sides."""
    if not installed("sklearn"):
        return
    above = []
    with tempfile.TemporaryDirectory(prefix="maas-folds-") as folder, Training(bin_dir) as b:
        for name in SETS.split(","):
            their = peer("sklearn_peer.py", name, folder, str(FOLDS))
            our = mean(fold_score(b, fold, their["task"]) for fold in their["folds"])
            who, score = best(their["plain"])
            scaled, better = best(their["scaled"])
            above.append(our - score)
            yield record(4, f"{name}: auto's score less scikit-learn's best", round(our - score, 4), "", -NEAR,
                         note=f"auto {our:.4f}, {who} {score:.4f}, of scaled columns {scaled} {better:.4f}"
                         + shortened())  # fmt: skip
    yield record(4, "the same on average", round(mean(above), 4), "", 0, note=shortened().lstrip("; "))


def mixed(bin_dir):
    """5: AUC on a table of words, numbers and booleans, a tenth missing."""
    with tempfile.TemporaryDirectory(prefix="maas-mixed-") as folder, Training(bin_dir) as b:
        path = os.path.join(folder, "mixed.csv")
        with open(path, "wb") as file:
            file.write(tables.csv(tables.mixed(ROWS)))
        b.api.upload("/api/datasets/mixed/files/mixed.csv", path)
        their = peer("xgboost_peer.py", path, str(HELD)) if installed("xgboost") else None
        for learner, more in (("boosted", {}), ("auto", {"budget_s": BUDGET_S})):
            params = {"order": tables.ORDER, "test": HELD, "drop": tables.VALUE, **more}
            job, _ = b.train(dataset="mixed", target=tables.CLASS, learner=learner, params=params)
            auc = job["metrics"]["roc_auc"]
            yield record(5, f"mixed table, {learner}, AUC", auc, "")
            if their:
                yield record(5, "the same less XGBoost's on features made by hand", round(auc - their["auc"], 4), "",
                             -NEAR, note=f"XGBoost {their['auc']:.4f}")  # fmt: skip


CASES = {"small": small_sets, "mixed": mixed}
