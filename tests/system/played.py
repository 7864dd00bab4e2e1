"""A registry that a test plays: what each request is answered, and what is told, it says itself."""

import os
import re
import shutil
import tempfile
import threading

import zmq

from api import Api
from peer import BIN, decode, encode, eventually
from registry_rig import SANITIZED, Process

PATIENCE = 60
SILENCE = "silence"


class PlayedRegistry(threading.Thread):
    """Calls answer(kind, body), which returns (kind, body, attachments...) or SILENCE, for each request."""

    def __init__(self, home):
        super().__init__(daemon=True)
        self.rpc, self.events = f"ipc://{home}/rpc.sock", f"ipc://{home}/events.sock"
        self.over = threading.Event()

    def tell(self):
        """Bodies of CATALOG, to be published now; asked some fifty times a second."""
        return []

    def run(self):
        publisher = zmq.Context.instance().socket(zmq.PUB)
        publisher.linger = 0
        publisher.bind(self.events)
        router = zmq.Context.instance().socket(zmq.ROUTER)
        router.linger = 0
        router.bind(self.rpc)
        while not self.over.is_set():
            for body in self.tell():
                publisher.send(encode("CATALOG", 0, body))
            if router.poll(20):
                route, envelope, *_ = router.recv_multipart()
                kind, number, body = decode(envelope)
                answer = self.answer(kind, body)
                if answer != SILENCE:
                    kind, body, *data = answer
                    router.send_multipart([route, encode(kind, number, body), *data])
        router.close()
        publisher.close()

    def finish(self):
        self.over.set()
        self.join()


class GatewayRig:
    """A gateway, and the registry of that class."""

    def __init__(self, registry):
        self.home = tempfile.mkdtemp(prefix="maas-")
        self.registry = registry(self.home)
        argv = [os.path.join(BIN, "maas-gateway"), "--http", "127.0.0.1:0"]
        argv += ["--jobs", f"ipc://{self.home}/jobs.sock", "--registry", self.registry.rpc]
        self.gateway = Process(self.home, "gateway", [*argv, "--events", self.registry.events])
        self.gateway.start()
        port = eventually(self.port, PATIENCE, "the gateway does not listen")
        self.address = ("127.0.0.1", int(port))
        self.api = Api(*self.address)

    def port(self):
        found = re.search(r"event=listening .*?address=[^\s]*?:(\d+)", self.gateway.log())
        return found and found.group(1)

    def finish(self):
        self.api.close()
        if SANITIZED and self.gateway.alive():
            assert self.gateway.stop() == 0, self.gateway.log()
        self.gateway.kill()
        self.registry.finish()
        shutil.rmtree(self.home, ignore_errors=True)
