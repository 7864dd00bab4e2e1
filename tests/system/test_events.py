"""A training job's server-sent events, while it runs and after its end."""

import http.client
import json

from test_training import iris, training_suite  # noqa: F401


class Events:
    """A stream of them: (name, id, data), one after the other, and the end of the stream."""

    def __init__(self, suite, path, last=None):
        self.connection = http.client.HTTPConnection("127.0.0.1", suite.port, timeout=60)
        self.connection.request("GET", path + "/events", headers={"Last-Event-ID": last} if last else {})
        self.answer = self.connection.getresponse()

    def __iter__(self):
        name, number, data = None, None, None
        while line := self.answer.readline():
            key, _, value = line.decode().rstrip("\n").partition(": ")
            if key == "event":
                name = value
            elif key == "id":
                number = value
            elif key == "data":
                data = json.loads(value)
            elif not key and name:
                yield name, number, data
                name, number, data = None, None, None

    def close(self):
        self.answer.close()
        self.connection.close()


def submit(suite, epochs, rows=150, **params):
    suite.api.call("PUT", "/api/datasets/iris/files/iris.csv", iris(rows))
    job = suite.api.call(
        "POST",
        "/api/training",
        {"model": "m", "dataset": "iris", "target": "species",
         "params": {"epochs": epochs, "patience": 0, "hidden": [16], **params}},
    )  # fmt: skip
    return f"/api/training/{job['id']}"


def test_events_of_a_job_from_the_queue_to_its_end(training_suite):  # noqa: F811
    suite = training_suite
    path = submit(suite, 200, rows=1500)
    stream = Events(suite, path)
    assert stream.answer.status == 200
    assert stream.answer.headers["Content-Type"] == "text/event-stream"
    heard = list(stream)
    assert heard[-1][0] == "end" and heard[-1][2]["state"] == "done"
    epochs = [(number, data["epoch"]) for name, number, data in heard if name == "epoch"]
    assert epochs == [(str(i), i) for i in range(1, 201)]
    progress = [data for name, _, data in heard if name == "progress"]
    assert [p["progress"] for p in progress] == sorted(p["progress"] for p in progress)
    # Afterwards the same again, or what is behind the last one that was heard.
    again = list(Events(suite, path))
    assert [e for e in again if e[0] == "epoch"] == [e for e in heard if e[0] == "epoch"]
    assert [e[1] for e in Events(suite, path, last="198")] == ["199", "200", None]
    assert again[-1][2] == suite.api.get(path)
    status, _, answer = suite.api.request("GET", "/api/training/t99/events")
    assert status == 404 and "t99" in answer["error"]
    assert suite.api.request("HEAD", path + "/events")[0] == 200


def test_cancel_is_heard_within_a_second(training_suite):  # noqa: F811
    suite = training_suite
    path = submit(suite, 100000, rows=3000, hidden=[256, 256])
    stream = Events(suite, path)
    events = iter(stream)
    next(e for e in events if e[0] == "epoch")
    suite.api.call("DELETE", path)
    record = next(data for name, _, data in events if name == "end")
    assert record["state"] == "cancelled"


def test_streams_are_bounded_and_end_with_their_clients(suite):
    path = submit(suite, 1)  # there is no trainer
    streams = [Events(suite, path) for _ in range(128)]
    assert {s.answer.status for s in streams} == {200}
    assert Events(suite, path).answer.status == 503
    streams.pop().close()
    suite.eventually(lambda: Events(suite, path).answer.status == 200, 10, "no room")
    suite.api.call("DELETE", path)
    assert [list(s)[-1][0] for s in streams] == ["end"] * len(streams)


def test_streams_outlive_the_registry_and_end_with_the_gateway(suite):
    path = submit(suite, 1)
    stream = Events(suite, path)
    events = iter(stream)
    assert next(events)[2]["state"] == "queued"
    suite.processes["registry"].kill()
    suite.processes["registry"].start()
    suite.eventually(lambda: suite.api.request("DELETE", path)[0] in (200, 409), 20, "no registry")
    assert next(events)[0] == "end"
    waiting = Events(suite, submit(suite, 1))
    assert suite.processes["gateway"].stop(10) == 0
    assert [e[0] for e in waiting] == ["progress"]
