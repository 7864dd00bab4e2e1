"""Datasets, training jobs with their leases, and presence: maas-registry with a real Redis."""

import hashlib
import os
import subprocess

from peer import BIN, ROLES, Failure, eventually
from registry_rig import (
    BROKEN,
    CANCELLED,
    DONE,
    QUEUED,
    RUNNING,
    add_dataset,
    artifact,
    commit,
    counters,
    refused,
    store,
    submit,
)


# ---- datasets


def test_datasets(store):
    peer = store.peer()
    assert peer.call("DATASET_LIST")["datasets"] == []
    refused("NOT_FOUND", peer.call, "DATASET_GET", name="d")
    answer = add_dataset(peer, data=b"one")
    assert [f["name"] for f in answer["datasets"][0]["files"]] == ["a.csv"]
    add_dataset(peer, data=b"other")
    shown = peer.call("DATASET_GET", name="d")["datasets"][0]
    assert len(shown["files"]) == 1
    assert shown["files"][0]["digest"] == hashlib.sha256(b"other").digest()
    for i in range(15):
        add_dataset(peer, file=f"f{i}")
    assert "16" in refused("INVALID", add_dataset, peer, file="one-more")
    refused("INVALID", add_dataset, peer, file="a/b")
    add_dataset(peer, name="c")
    assert [d["name"] for d in peer.call("DATASET_LIST")["datasets"]] == ["c", "d"]
    refused("CONFLICT", peer.call, "FILE_COMMIT", dataset="e", file="f", **artifact(b"not there"))
    refused("NOT_FOUND", peer.call, "DATASET_GET", name="e")


def test_profiles_are_made_once_for_the_files_as_they_are(store):
    peer = store.peer()
    add_dataset(peer, data=b"one")
    want = {"dataset": "d", "target": "x"}
    asked = peer.call("PROFILE_GET", **want)
    assert (asked["file"], asked["state"]) == ("a.csv", QUEUED)
    mine = peer.call("PROFILE_CLAIM", name="t1")
    assert (mine["dataset"], mine["file"], mine["target"], mine["state"]) == ("d", "a.csv", "x", RUNNING)
    assert mine["files"][0]["digest"] == hashlib.sha256(b"one").digest()
    refused("NOT_FOUND", peer.call, "PROFILE_CLAIM", name="t2")
    word = {"dataset": "d", "lease": mine["lease"]}
    peer.call("PROFILE_UPDATE", **word, state=RUNNING)
    refused("INVALID", peer.call, "PROFILE_UPDATE", **word, state=DONE, json="[")
    refused("INVALID", peer.call, "PROFILE_UPDATE", **word, state=9)
    peer.call("PROFILE_UPDATE", **word, state=DONE, json='{"rows":1}')
    refused("CONFLICT", peer.call, "PROFILE_UPDATE", **word, state=RUNNING)
    done = peer.call("PROFILE_GET", **want)
    assert (done["state"], done["json"]) == (DONE, '{"rows":1}')
    add_dataset(peer, data=b"two")  # other files: another profile
    assert peer.call("PROFILE_GET", **want)["state"] == QUEUED
    for _ in range(3):
        mine = peer.call("PROFILE_CLAIM", name="t1")
        store.cli("ZADD", "maas:profiles:running", "1", "d")  # as if the lease were over
    refused("NOT_FOUND", peer.call, "PROFILE_CLAIM", name="t1")
    assert "died 3 times" in peer.call("PROFILE_GET", **want)["error"]
    assert peer.call("DATASET_DELETE", dataset="d")["datasets"] == []
    refused("NOT_FOUND", peer.call, "PROFILE_GET", **want)
    refused("NOT_FOUND", peer.call, "DATASET_DELETE", dataset="d")


def test_dataset_is_kept_while_a_job_needs_it(store):
    peer = store.peer()
    add_dataset(peer, data=b"one")
    add_dataset(peer, file="b.csv", data=b"other")
    files = manifest_count(store)
    job = submit(peer)
    assert job["id"] in refused("CONFLICT", peer.call, "DATASET_DELETE", dataset="d")
    mine = peer.call("TRAINING_CLAIM", name="t1")
    refused("CONFLICT", peer.call, "DATASET_DELETE", dataset="d", file="b.csv")
    peer.call("TRAINING_UPDATE", id=mine["id"], lease=mine["lease"], state=CANCELLED)
    refused("NOT_FOUND", peer.call, "DATASET_DELETE", dataset="d", file="c.csv")
    left = peer.call("DATASET_DELETE", dataset="d", file="b.csv")["datasets"][0]
    assert [f["name"] for f in left["files"]] == ["a.csv"]
    assert peer.call("DATASET_DELETE", dataset="d", file="a.csv")["datasets"] == []
    assert manifest_count(store) == files - 2
    refused("NOT_FOUND", submit, peer)


# ---- training


def test_training_from_submit_to_version(store):
    peer = store.peer()
    refused("NOT_FOUND", submit, peer)
    add_dataset(peer)
    refused("INVALID", submit, peer, params="{")
    job = submit(peer, key="k", seed=7, deploy=True)
    assert submit(peer, key="k", seed=7, deploy=True)["id"] == job["id"]
    refused("CONFLICT", submit, peer, key="k", seed=8, deploy=True)
    assert (job["state"], job["seed"], job["deploy"]) == (QUEUED, 7, True)
    mine = peer.call("TRAINING_CLAIM", name="t1")
    assert (mine["id"], mine["state"], mine["attempts"]) == (job["id"], RUNNING, 1)
    refused("NOT_FOUND", peer.call, "TRAINING_CLAIM", name="t2")
    word = {"id": mine["id"], "lease": mine["lease"]}
    progress = {"state": RUNNING, "epoch": 3, "epochs": 9, "train_loss": 0.5, "history": "[{}]"}
    peer.call("TRAINING_UPDATE", **word, **progress)
    shown = peer.call("TRAINING_GET", name=job["id"])
    assert (shown["epoch"], shown["train_loss"], shown["history"]) == (3, 0.5, "[{}]")
    listed = peer.call("TRAINING_LIST")["trainings"]
    assert [t["id"] for t in listed] == [job["id"]] and listed[0]["history"] == ""
    done = {"training": mine["id"], "lease": mine["lease"], "metrics": '{"accuracy":1}'}
    refused("CONFLICT", commit, peer, **{**done, "lease": mine["lease"] + 1})
    version = commit(peer, **done, deploy=True, key="c")
    assert commit(peer, **done, deploy=True, key="c") == version  # the answer was lost
    ended = peer.call("TRAINING_GET", name=job["id"])
    assert (ended["state"], ended["version"], ended["progress"]) == (DONE, version["number"], 1.0)
    assert ended["metrics"] == '{"accuracy":1}'
    refused("CONFLICT", peer.call, "TRAINING_UPDATE", **word, state=RUNNING)
    refused("CONFLICT", peer.call, "TRAINING_CANCEL", name=job["id"])


def test_training_ends_as_the_trainer_says(store):
    peer = store.peer()
    add_dataset(peer)
    for state, error in ((BROKEN, "column 'x' is missing"), (CANCELLED, "")):
        job = submit(peer)
        mine = peer.call("TRAINING_CLAIM", name="t1")
        word = {"id": mine["id"], "lease": mine["lease"]}
        refused("INVALID", peer.call, "TRAINING_UPDATE", **word, state=DONE)
        refused("INVALID", peer.call, "TRAINING_UPDATE", **word, state=RUNNING, history="{}")
        peer.call("TRAINING_UPDATE", **word, state=state, error=error)
        shown = peer.call("TRAINING_GET", name=job["id"])
        assert (shown["state"], shown["error"]) == (state, error)


def test_training_is_given_back_and_cancelled(store):
    peer = store.peer()
    add_dataset(peer)
    job = submit(peer)
    mine = peer.call("TRAINING_CLAIM", name="t1")
    back = {"id": mine["id"], "lease": mine["lease"], "state": QUEUED}
    assert peer.call("TRAINING_UPDATE", **back)["state"] == QUEUED
    mine = peer.call("TRAINING_CLAIM", name="t2")
    assert (mine["attempts"], mine["trainer"]) == (1, "t2")
    assert peer.call("TRAINING_CANCEL", name=job["id"])["cancel"]
    back = {"id": mine["id"], "lease": mine["lease"], "state": QUEUED}
    assert peer.call("TRAINING_UPDATE", **back)["state"] == CANCELLED
    waiting = submit(peer)
    assert peer.call("TRAINING_CANCEL", name=waiting["id"])["state"] == CANCELLED
    refused("NOT_FOUND", peer.call, "TRAINING_CLAIM", name="t3")
    refused("NOT_FOUND", peer.call, "TRAINING_CANCEL", name="t999")
    refused("NOT_FOUND", peer.call, "TRAINING_GET", name="queue")


def test_claim_that_is_sent_again_gets_the_same_job(store):
    peer = store.peer()
    add_dataset(peer)
    jobs = [submit(peer)["id"] for _ in range(2)]
    mine = peer.call("TRAINING_CLAIM", name="t1")
    store.cli("ZADD", "maas:trainings:running", "XX", str(2**52), mine["id"])
    again = peer.call("TRAINING_CLAIM", name="t1")  # the answer was lost
    assert mine["id"] == jobs[0]
    assert (again["id"], again["lease"], again["attempts"]) == (mine["id"], mine["lease"], 1)
    assert float(store.cli("ZSCORE", "maas:trainings:running", mine["id"])) < 2**52  # renewed
    assert peer.call("TRAINING_GET", name=jobs[1])["state"] == QUEUED
    assert peer.call("TRAINING_CLAIM", name="t2")["id"] == jobs[1]


def test_claim_after_the_end_of_a_job_gets_another(store):
    peer = store.peer()
    add_dataset(peer)
    for state in (BROKEN, CANCELLED, QUEUED, DONE, "late", "late and cancelled"):
        job = submit(peer)
        mine = peer.call("TRAINING_CLAIM", name="t1")
        assert mine["id"] == job["id"]
        word = {"id": mine["id"], "lease": mine["lease"]}
        if state == DONE:
            commit(peer, training=mine["id"], lease=mine["lease"])
        elif state in (BROKEN, CANCELLED, QUEUED):
            peer.call("TRAINING_UPDATE", **word, state=state)
        else:
            if state != "late":
                peer.call("TRAINING_CANCEL", name=job["id"])
            store.cli("ZADD", "maas:trainings:running", "1", job["id"])
        if state in (QUEUED, "late"):
            next_one = peer.call("TRAINING_CLAIM", name="t2")
            assert (next_one["id"], next_one["lease"]) == (job["id"], mine["lease"] + 1)
            refused("NOT_FOUND", peer.call, "TRAINING_CLAIM", name="t1")
            word = {"id": job["id"], "lease": next_one["lease"]}
            peer.call("TRAINING_UPDATE", **word, state=CANCELLED)
        refused("NOT_FOUND", peer.call, "TRAINING_CLAIM", name="t1")
        assert store.cli("KEYS", "maas:trainer:*") == b""


def test_job_of_a_dead_trainer_goes_to_the_next(store):
    """The lease of 15 s for real: the trainer is killed, so its updates end."""
    peer, trainer = store.peer(), store.peer()
    add_dataset(peer)
    job = submit(peer)
    first = trainer.call("TRAINING_CLAIM", name="t1")
    trainer.close()

    def claimed():
        try:
            return peer.call("TRAINING_CLAIM", name="t2")
        except Failure:
            return None

    second = eventually(claimed, 25, "the lease does not end")
    assert (second["id"], second["attempts"], second["trainer"]) == (job["id"], 2, "t2")
    stale = {"id": job["id"], "lease": first["lease"], "state": RUNNING}
    refused("CONFLICT", peer.call, "TRAINING_UPDATE", **stale)
    refused("CONFLICT", commit, peer, training=job["id"], lease=first["lease"])


def manifest_count(store):
    return int(store.cli("EVAL", "return #redis.call('KEYS', 'maas:manifest:*')", "0"))


def checkpoint(peer, mine, data, epoch):
    peer.call("CHUNK_PUT", attachment=data, digest=hashlib.sha256(data).digest())
    at = {"id": mine["id"], "lease": mine["lease"], "epoch": epoch, "history": f"[{epoch}]"}
    return peer.call("TRAINING_CHECKPOINT", at=[at], **artifact(data))


def test_job_goes_on_from_its_checkpoint(store):
    peer = store.peer()
    add_dataset(peer)
    before = manifest_count(store)
    job = submit(peer)
    mine = peer.call("TRAINING_CLAIM", name="t1")
    assert mine["checkpoint"] == b""
    checkpoint(peer, mine, b"one", 1)
    checkpoint(peer, mine, b"two", 2)
    assert manifest_count(store) == before + 1
    word = {"id": mine["id"], "lease": mine["lease"], "state": RUNNING}
    peer.call("TRAINING_UPDATE", **word, epoch=3, history="[3]")
    store.cli("ZADD", "maas:trainings:running", "1", job["id"])  # as if the lease were over
    second = peer.call("TRAINING_CLAIM", name="t2")
    assert second["checkpoint"] == hashlib.sha256(b"two").digest()
    assert (second["epoch"], second["history"], second["attempts"]) == (2, "[2]", 2)
    refused("CONFLICT", checkpoint, peer, mine, b"late", 4)
    lost = {"id": job["id"], "lease": second["lease"]}
    refused("BUSY", peer.call, "TRAINING_CHECKPOINT", at=[lost], **artifact(b"not there"))
    refused("INVALID", peer.call, "TRAINING_CHECKPOINT", at=[], **artifact(b"two"))
    refused("INVALID", peer.call, "TRAINING_CHECKPOINT", at=[{**lost, "history": "{"}], **artifact(b"two"))
    commit(peer, training=job["id"], lease=second["lease"])
    assert manifest_count(store) == before + 1  # the version's; the checkpoint is gone
    assert peer.call("TRAINING_GET", name=job["id"])["checkpoint"] == b""
    for end in ({"state": BROKEN}, {"state": CANCELLED}):
        submit(peer)
        mine = peer.call("TRAINING_CLAIM", name="t3")
        checkpoint(peer, mine, b"three", 1)
        peer.call("TRAINING_UPDATE", id=mine["id"], lease=mine["lease"], **end)
        assert manifest_count(store) == before + 1


def test_job_that_kills_three_trainers_fails(store):
    peer = store.peer()
    add_dataset(peer)
    job = submit(peer)
    for attempt in (1, 2, 3):
        assert peer.call("TRAINING_CLAIM", name=f"t{attempt}")["attempts"] == attempt
        store.cli("ZADD", "maas:trainings:running", "1", job["id"])  # as if the lease were over

    def failed():  # nobody has to claim: reports look at leases, too
        job_now = peer.call("TRAINING_GET", name=job["id"])
        return job_now if job_now["state"] == BROKEN else None

    ended = eventually(failed, 5, "the job does not fail")
    assert ended["error"] == "its trainer died 3 times"
    refused("NOT_FOUND", peer.call, "TRAINING_CLAIM", name="t4")


def test_training_queue_is_bounded_and_old_jobs_are_forgotten(store):
    peer = store.peer()
    add_dataset(peer)
    fill = """
        for i = 1, 1000 do
            redis.call('HSET', 'maas:training:t' .. i, 'submit', ARGV[1], 'state', '2')
            redis.call('ZADD', 'maas:trainings', i, 't' .. i)
        end
        redis.call('SET', 'maas:trainings:count', 1000)"""
    store.cli("EVAL", fill, "0", "\\x80")
    job = submit(peer)
    assert job["id"] == "t1001"
    refused("NOT_FOUND", peer.call, "TRAINING_GET", name="t1")
    assert int(store.cli("ZCARD", "maas:trainings")) == 1000
    wait = "for i = 1, 499 do redis.call('ZADD', 'maas:trainings:queue', i, 'x' .. i) end"
    store.cli("EVAL", wait, "0")
    assert "500" in refused("BUSY", submit, peer)


# ---- presence and health


def report(peer, role, name, want=0, leaving=False, host="h1"):
    me = {"role": ROLES[role], "id": name, "host": host, "pid": 7, "jobs": "tcp://gw:5570"}
    wanted = sum(1 << ROLES[r] for r in (want or ()))
    return peer.call("REPORT", processes=[me], want=wanted, leaving=leaving)["processes"]


def test_processes_find_each_other(store):
    peer = store.peer()
    assert report(peer, "gateway", "g1") == []
    found = report(peer, "worker", "w1", want=["gateway"])
    assert [(p["id"], p["jobs"]) for p in found] == [("g1", "tcp://gw:5570")]
    assert 0 <= found[0]["age_ms"] < 5000
    everybody = report(peer, "gateway", "g1", want=ROLES)
    assert {p["id"] for p in everybody if p["role"] != ROLES["registry"]} == {"g1", "w1"}
    report(peer, "worker", "w1", leaving=True)
    assert report(peer, "gateway", "g1", want=["worker"]) == []
    refused("INVALID", peer.call, "REPORT", processes=[], want=0)
    refused("INVALID", peer.call, "REPORT", processes=[{"role": 99, "id": "x"}])
    refused("INVALID", peer.call, "REPORT", processes=[{"role": 2, "id": "no spaces"}])


def test_silent_process_is_forgotten(store):
    peer = store.peer()
    report(peer, "worker", "w1")
    peer.call("HEALTH", role=ROLES["worker"], name="h1")

    def gone():
        return report(peer, "gateway", "g1", want=["worker"]) == []

    eventually(gone, 8, "w1 is not forgotten")
    text = refused("UNAVAILABLE", peer.call, "HEALTH", role=ROLES["worker"], name="h1")
    assert "worker" in text and "h1" in text


def test_presence_is_not_written_to_disk(store):
    peer = store.peer()
    folder = os.path.join(store.home, "appendonlydir")

    def size():
        return sum(os.path.getsize(os.path.join(folder, f)) for f in os.listdir(folder))

    report(peer, "worker", "w1")
    before = size()
    for _ in range(200):
        report(peer, "worker", "w1", want=ROLES)
    assert size() == before


def test_registry_reports_itself(store):
    peer = store.peer()
    peer.call("PING")
    label = 'request="PING",status="OK"'
    eventually(
        lambda: counters(peer).get(("maas_registry_requests_total", label), 0) > 0,
        5,
        "the registry's counters are not seen",
    )


def health(store, *options):
    argv = [os.path.join(BIN, "maas-health"), "--registry", store.rpc(), *options]
    return subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)


def test_health_command(store):
    assert health(store, "--role", "registry").returncode == 0
    sick = health(store, "--role", "worker", "--name", "h1")
    assert sick.returncode == 1 and "no worker on host 'h1'" in sick.stderr
    report(store.peer(), "worker", "w1")
    well = health(store, "--role", "worker", "--name", "h1")
    assert well.returncode == 0 and "healthy" in well.stdout
    assert health(store, "--role", "cook").returncode == 2
    store.redis.kill()
    sick = health(store, "--role", "registry")
    assert sick.returncode == 1 and "Redis" in sick.stderr
    store.registry.kill()
    gone = health(store, "--role", "registry", "--timeout-ms", "300")
    assert gone.returncode == 1 and gone.stderr
