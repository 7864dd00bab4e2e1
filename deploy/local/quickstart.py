"""The quickstart: Fashion-MNIST from images on disk to answers over HTTP."""

import gzip
import json
import os
import sys
import threading

from api import Api

DATASET = "/usr/share/datasets/fashion-mnist"
FILES = [
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
]
CLASSES = [
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
]  # fmt: skip
PIXELS = 28 * 28
POLL_SECONDS = 0.2
SHOWN = 10


class QuickstartError(Exception):
    """Something that a person can read and act upon."""


def say(text=""):
    print(text, flush=True)


def bar(text, fraction, width=28):
    """A progress bar, on a terminal only."""
    if sys.stdout.isatty():
        full = int(fraction * width)
        line = f"\r  {text} [{'#' * full}{'.' * (width - full)}] {100 * fraction:3.0f} %"
        print(line, end="", flush=True)


def clear_bar():
    if sys.stdout.isatty():
        print("\r\033[K", end="", flush=True)


def upload(api):
    say("Uploading the Fashion-MNIST data set ...")
    for name in FILES:
        path = os.path.join(DATASET, name)
        if not os.path.exists(path):
            raise QuickstartError(f"{path} is missing: install the package dataset-fashion-mnist")
        done = api.upload(f"/api/datasets/fashion-mnist/files/{name}", path)
        say(f"  {name:28} {done['size']:>10,} bytes")


def show_epoch(epoch):
    say(
        f"  epoch {epoch['epoch']:>2}   loss {epoch['train_loss']:.4f}   "
        f"validation loss {epoch['validation_loss']:.4f}   "
        f"accuracy {epoch['validation_accuracy']:.4f}"
    )


def train(api):
    say("\nTraining a network on 60,000 images ...")
    job = api.call(
        "POST",
        "/api/training",
        {"model": "fashion-mnist", "dataset": "fashion-mnist", "seed": 1, "deploy": True},
    )
    shown = 0
    pause = threading.Event()
    while True:
        job = api.get(f"/api/training/{job['id']}")
        clear_bar()
        for epoch in job.get("history", [])[shown:]:
            show_epoch(epoch)
            shown += 1
        if job["state"] not in ("queued", "running"):
            break
        bar(job["state"], job.get("progress", 0.0))
        pause.wait(POLL_SECONDS)
    if job["state"] != "done":
        raise QuickstartError(f"the training job is {job['state']}: {job.get('error', '')}")
    say(
        f"  registered as fashion-mnist version {job['version']}, "
        f"accuracy on the held-out test set {job['metrics']['accuracy']:.4f}"
    )
    return job


def wait_ready(api):
    pause = threading.Event()
    for _ in range(int(60 / POLL_SECONDS)):
        status, _, answer = api.request("GET", "/readyz?model=fashion-mnist")
        if status == 200:
            return
        pause.wait(POLL_SECONDS)
    raise QuickstartError(f"fashion-mnist does not become ready: {answer}")


def read_test_images(count):
    with gzip.open(os.path.join(DATASET, FILES[2])) as file:
        pixels = file.read(16 + count * PIXELS)[16:]
    with gzip.open(os.path.join(DATASET, FILES[3])) as file:
        labels = file.read(8 + count)[8:]
    rows = [list(pixels[i * PIXELS : (i + 1) * PIXELS]) for i in range(count)]
    return rows, list(labels)


def classify(api):
    rows, labels = read_test_images(SHOWN)
    answer = api.call("POST", "/predict", {"model": "fashion-mnist", "inputs": rows})
    say(f"\nThe first {SHOWN} images of the test set, classified over HTTP:\n")
    say(f"  {'image':>5}  {'predicted':12}  {'true':12}  probability")
    for i, (probabilities, label) in enumerate(zip(answer["outputs"], labels)):
        best = max(range(len(probabilities)), key=probabilities.__getitem__)
        mark = "" if best == label else "   (wrong)"
        say(
            f"  {i:>5}  {CLASSES[best]:12}  {CLASSES[label]:12}  {probabilities[best]:.4f}{mark}"
        )
    return rows


def write_sample(data, rows):
    """A request body that the printed curl line can send."""
    path = os.path.join(data, "quickstart", "image.json")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="ascii") as file:
        json.dump({"model": "fashion-mnist", "inputs": rows[:1]}, file)
    return path


def finished(data):
    return os.path.exists(os.path.join(data, "quickstart", "done"))


def run(host, port, data):
    api = Api(host, port)
    upload(api)
    train(api)
    wait_ready(api)
    sample = write_sample(data, classify(api))
    with open(os.path.join(data, "quickstart", "done"), "w", encoding="ascii"):
        pass
    api.close()
    url = f"http://{host}:{port}"
    say("\nTry it from another terminal:\n")
    say(f"  curl -s {url}/predict -d @{sample}")
    say(f"  curl -s {url}/api/models/fashion-mnist")
    say(f"  curl -s {url}/api/training")
    say(f"  curl -s {url}/api/workers")
    say(f"  curl -s {url}/metrics")
