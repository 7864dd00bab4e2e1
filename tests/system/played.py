"""A registry that a test plays: what each request is answered, it says itself."""

import threading

import zmq

from peer import decode, encode

SILENCE = "silence"


class PlayedRegistry(threading.Thread):
    """Calls answer(kind, body), which returns (kind, body, attachments...) or SILENCE, for each request."""

    def __init__(self, home):
        super().__init__(daemon=True)
        self.rpc, self.events = f"ipc://{home}/rpc.sock", f"ipc://{home}/events.sock"
        self.over = threading.Event()

    def run(self):
        router = zmq.Context.instance().socket(zmq.ROUTER)
        router.linger = 0
        router.bind(self.rpc)
        while not self.over.is_set():
            if router.poll(20):
                route, envelope, *_ = router.recv_multipart()
                kind, number, body = decode(envelope)
                answer = self.answer(kind, body)
                if answer != SILENCE:
                    kind, body, *data = answer
                    router.send_multipart([route, encode(kind, number, body), *data])
        router.close()

    def finish(self):
        self.over.set()
        self.join()
