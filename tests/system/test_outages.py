"""A trainer whose registry cannot bring a file for a while: the registry is played."""

import hashlib
import os
import shutil
import tempfile

import pytest

from peer import BIN, eventually, statuses
from played import PlayedRegistry
from registry_rig import SANITIZED, Process

PATIENCE = 60
NUMBER = {name: number for number, name in statuses().items()}
TABLE = b"a,b\n1,x\n2,y\n"
QUEUED, RUNNING, DONE = 0, 1, 2
OUTAGES = 1  # each takes as long as a download tries by itself


class Registry(PlayedRegistry):
    """Has one profile to be made, whose file is not to be had at first."""

    def __init__(self, home):
        super().__init__(home)
        self.said = []  # (state, error) of each word on the profile but that it goes on
        self.start()

    def answer(self, kind, body):
        digest = hashlib.sha256(TABLE).digest()
        made = any(state != QUEUED for state, _ in self.said)
        if kind == "REPORT":
            return "SUITE", {"processes": []}
        if kind == "PROFILE_CLAIM" and not made:
            return "PROFILE", {"dataset": "d", "file": "t.csv", "lease": len(self.said) + 1,
                               "files": [{"name": "t.csv", "digest": digest, "size_bytes": len(TABLE)}]}  # fmt: skip
        if kind == "PROFILE_UPDATE":
            if body["state"] != RUNNING:
                self.said.append((body["state"], body["error"]))
            return "PROFILE", {"dataset": "d", "file": "t.csv"}
        if kind == "MANIFEST_GET" and len(self.said) < OUTAGES:
            return "FAILURE", {"status": NUMBER["UNAVAILABLE"], "text": "the store is away"}
        if kind == "MANIFEST_GET":
            return "MANIFEST", {"digest": digest, "size_bytes": len(TABLE), "chunks": digest}
        if kind == "CHUNK_GET":
            return "CHUNK", {"digest": digest}, TABLE
        return "FAILURE", {"status": NUMBER["NOT_FOUND"], "text": "there is nothing to do"}


@pytest.fixture
def rig():
    home = tempfile.mkdtemp(prefix="maas-")
    registry = Registry(home)
    argv = [os.path.join(BIN, "maas-trainer"), "--registry", registry.rpc, "--poll-ms", "20"]
    trainer = Process(home, "trainer", [*argv, "--cache", os.path.join(home, "cache")])
    trainer.start()
    yield registry
    if SANITIZED and trainer.alive():
        assert trainer.stop() == 0, trainer.log()
    trainer.kill()
    registry.finish()
    shutil.rmtree(home, ignore_errors=True)


@pytest.mark.skipif(not os.environ.get("MAAS_FULL"), reason="a download tries for a minute: MAAS_FULL=1")
def test_outage_gives_a_profile_back(rig):
    eventually(lambda: len(rig.said) > OUTAGES, PATIENCE, "the profile is not made")
    assert rig.said == [(QUEUED, "")] * OUTAGES + [(DONE, "")]
