"""PyTorch's side of the training benchmarks: torch_peer.py epoch THREADS FOLDER | steps.

The whole set is in memory as tensors, standardised, and batches are slices of a permutation: no
data loader stands in the way.  Prints a JSON line like bench_descent.
"""

import gzip
import json
import os
import statistics
import sys
import time

import numpy as np
import torch

EPOCHS = 4
STEPS = 3000


def network(*sizes):
    layers = []
    for before, after in zip(sizes, sizes[1:]):
        layers += [torch.nn.Linear(before, after), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def trainer(model, lr):
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=1e-4)
    loss_of = torch.nn.CrossEntropyLoss()

    def step(x, y):
        optimizer.zero_grad()
        loss = loss_of(model(x), y)
        loss.backward()
        optimizer.step()

    return step


def read(folder, name, offset):
    with gzip.open(os.path.join(folder, name + ".gz")) as file:
        return np.frombuffer(file.read(), np.uint8, offset=offset)


def epoch(threads, folder):
    torch.set_num_threads(threads)
    x = torch.from_numpy(read(folder, "train-images-idx3-ubyte", 16).reshape(-1, 784).astype(np.float32))
    y = torch.from_numpy(read(folder, "train-labels-idx1-ubyte", 8).astype(np.int64))
    x = (x - x.mean()) / x.std()
    step = trainer(network(784, 256, 128, 10), 0.05)
    took = []
    for _ in range(EPOCHS):
        begin = time.perf_counter()
        order = torch.randperm(len(x))
        for at in range(0, len(x), 128):
            rows = order[at : at + 128]
            step(x[rows], y[rows])
        took.append(time.perf_counter() - begin)
    return {"what": "epoch", "threads": threads, "seconds": round(statistics.median(took[1:]), 4)}


def steps():
    torch.set_num_threads(1)
    step = trainer(network(10, 50, 10), 0.05)
    x, y = torch.randn(10, 10), torch.randint(0, 10, (10,))
    rates = []
    for _ in range(4):
        begin = time.perf_counter()
        for _ in range(STEPS):
            step(x, y)
        rates.append(STEPS / (time.perf_counter() - begin))
    return {"what": "steps", "per_second": round(statistics.median(rates[1:]))}


if __name__ == "__main__":
    print(json.dumps(steps() if sys.argv[1] == "steps" else epoch(int(sys.argv[2]), sys.argv[3])))
