"""3 and 8: whole runs on Fashion-MNIST, their accuracy and their memory."""

from train_tools import Training, record

FASHION_BYTES = 60000 * 784 * 4  # of the training images as float32
ALL_BYTES = 70000 * 784 * 4  # the test images, too


def whole_run(bin_dir, name, goal, most_seconds, **job):
    with Training(bin_dir) as b:
        b.upload_fashion()
        done, seconds = b.train(dataset="fashion", **job)
        used = b.most_bytes()
        note = f"{used / 1e6:.0f} MB; {used / ALL_BYTES:.2f} of the training and the test images"
        yield record(3, f"Fashion-MNIST, {name}, test accuracy", done["metrics"]["accuracy"], "", goal)
        yield record(3, "the same, from the job to the version", round(seconds, 1), "s", most_seconds, "<=")
        yield record(8, "its memory over the data as float32", round(used / FASHION_BYTES, 2), "", 1.5, "<=", note=note)


def perceptron(bin_dir):
    yield from whole_run(bin_dir, "perceptron", 0.89, 60, learner="mlp")


def convolutional(bin_dir):
    yield from whole_run(bin_dir, "convolutional", 0.915, 600, learner="cnn")


def boosted(bin_dir):
    yield from whole_run(bin_dir, "boosted trees", 0.89, None, learner="boosted")


def forest(bin_dir):
    yield from whole_run(bin_dir, "forest", None, None, learner="forest")


CASES = {"perceptron": perceptron, "convolutional": convolutional, "boosted": boosted, "forest": forest}
