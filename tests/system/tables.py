"""A table with every kind of column, made by a seeded rule; a tenth of its cells are missing."""

import numpy as np

MISSING = 0.1
CITIES = [f"{name} {part}" for name in "Köln Paris Rome Oslo Łódź".split() for part in "north south east".split()]
PLANS = ["free", "basic", "plus", 'the "whole", all of it']
FEATURES = ["age", "income", "visits", "score", "city", "plan", "member", "newsletter"]
ORDER, CLASS, VALUE = "at", "bought", "spent"


def rule(c, rng):
    """What is between -3 and 3, and depends on words, on booleans, and on several columns at once."""
    city = np.array([(i * 7 % 5 - 2) / 2 for i in range(len(CITIES))])[c["city"]]
    plan = np.array([-1.0, -0.3, 0.4, 1.1])[c["plan"]]
    age = np.tanh((c["age"] - 45) / 12)
    rich = np.log(c["income"] / 30000)
    return (
        0.9 * age * np.where(c["member"], 1, -0.6) + 0.8 * rich + 0.7 * city + plan
        + 0.5 * np.sin(c["score"]) - 0.4 * (c["visits"] > 6) * c["newsletter"]
        + 0.5 * rng.standard_normal(len(age))
    )  # fmt: skip


def drawn(rows, rng):
    return {
        "age": rng.integers(18, 90, rows),
        "income": np.round(np.exp(rng.normal(np.log(30000), 0.6, rows)), 2),
        "visits": rng.poisson(5, rows),
        "score": np.round(rng.uniform(-3, 3, rows), 4),
        "city": rng.choice(len(CITIES), rows, p=np.arange(len(CITIES), 0, -1) / 120),
        "plan": rng.integers(0, len(PLANS), rows),
        "member": rng.random(rows) < 0.4,
        "newsletter": rng.random(rows) < 0.5,
    }


def mixed(rows, seed=1):
    """Columns of text as a client has them; "" is missing.  Rows are numbered by the column "at"."""
    rng = np.random.default_rng(seed)
    c = drawn(rows, rng)
    y = rule(c, rng)
    cells = {name: [str(v) for v in c[name].tolist()] for name in FEATURES[:4]}
    cells |= {"city": [CITIES[i] for i in c["city"]], "plan": [PLANS[i] for i in c["plan"]]}
    cells |= {name: ["true" if v else "false" for v in c[name]] for name in FEATURES[6:]}
    for name in FEATURES:
        gone = rng.random(rows) < MISSING
        cells[name] = ["" if g else cell for g, cell in zip(gone, cells[name])]
    return {
        ORDER: [str(i) for i in range(rows)],
        **cells,
        CLASS: ["yes" if v > 0 else "no" for v in y],
        VALUE: [f"{v:.4f}" for v in y],
    }


def quoted(cell):
    return '"' + cell.replace('"', '""') + '"' if set(cell) & set('",\n') else cell


def csv(cells):
    lines = [",".join(cells), *(",".join(quoted(c) for c in row) for row in zip(*cells.values()))]
    return ("\n".join(lines) + "\n").encode()


def images(rows, side, seed=1):
    """Square images with a bright bar that lies or stands, and which of both: float32, int64."""
    rng = np.random.default_rng(seed)
    x = rng.random((rows, side, side), dtype=np.float32)
    y = rng.integers(0, 2, rows)
    at = rng.integers(0, side, rows)
    for i in range(rows):
        (x[i, at[i]] if y[i] else x[i, :, at[i]])[:] += 1
    return x, y
