"""What goes wrong: faults that begin, last for a while and end.

A fault names what it does to whom, and `pairs`: the (gateway, model) pairs whose next correct
answer shows that it is overcome.  begin() does it, end() takes back what can be taken back: a
process that was ended is started again, one that was stopped goes on, a link passes again.

KINDS lists (what, whom); Bag gives them out in random order, each once before any comes again.
Two faults may overlap.  Those that leave a request in suspicion of having crashed its engine
(ACCUSING) never do: the second crash would rightly condemn it, see queue.h.
"""

import random
import signal
import threading
import time

from cluster import GATEWAYS, HOSTS, is_stopped, send_signal
from models import NAMES, ask

PROCESSES = ("engine", "host", "gateway", "registry", "redis")
LINKS = ("jobs", "host link", "gateway link", "redis link")
KINDS = [(what, whom) for what in ("kill", "stop", "term") for whom in PROCESSES]
KINDS += [(what, whom) for what in ("slow", "cut", "hole") for whom in LINKS]
KINDS += [("poison", "engine")]
ACCUSING = {("kill", "engine"), ("cut", "jobs"), ("poison", "engine"), ("hole", "jobs")}
SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "term": signal.SIGTERM}
LASTS = (0.1, 0.5, 1.0, 2.0, 3.0, 6.5)  # seconds; 6.5: longer than any timeout of a heartbeat
SHARES = (1.0, 0.5, 0.2)  # of a link's connections
DRAIN_SECONDS = 40
VICTIM = "gateway-2"  # is killed and ended; the other one survives
ALL_PAIRS = [(gateway, model) for gateway in GATEWAYS for model in NAMES]


class Bag:
    def __init__(self, seed):
        self.random = random.Random(f"{seed} faults")
        self.kinds = []

    def next(self):
        if not self.kinds:
            self.kinds = list(KINDS)
            self.random.shuffle(self.kinds)
        return self.kinds.pop()

    def next_beside(self, other):
        """One that may overlap with the other; None: there is none in the bag."""
        for kind in reversed(self.kinds):
            if kind[1] != other[1] and not {kind, other} <= ACCUSING:
                self.kinds.remove(kind)
                return kind
        return None


class Fault:
    """The common part: a line about itself, how long it lasts, whom it concerns."""

    def __init__(self, kind, world):
        self.kind = kind
        self.world = world
        self.random = world.bag.random
        self.seconds = self.random.choice(LASTS)
        self.target = ""
        self.pairs = ALL_PAIRS

    def name(self):
        return f"{self.kind[0]} {self.kind[1]}"

    def begin(self):
        raise AssertionError

    def end(self):
        pass


class ProcessFault(Fault):
    """SIGKILL, SIGSTOP or SIGTERM for a process that we have started."""

    def __init__(self, kind, world):
        super().__init__(kind, world)
        whom = kind[1]
        names = {"host": HOSTS, "registry": ("registry",), "redis": ("redis",)}.get(whom)
        if whom == "gateway":
            names = GATEWAYS if kind[0] == "stop" else (VICTIM,)
        self.target = self.random.choice(names)
        self.process = world.cluster.processes[self.target]
        if whom == "gateway":
            self.pairs = [(self.target, model) for model in NAMES]

    def begin(self):
        self.world.busy.add(self.target)
        if self.kind[1] == "gateway" and self.kind[0] != "stop":
            killed = self.kind[0] == "kill"
            self.world.gateways[self.target].ends.append((time.monotonic(), killed))
        self.process.signal(SIGNALS[self.kind[0]])

    def end(self):
        if self.kind[0] == "stop":
            self.process.signal(signal.SIGCONT)
        else:
            status = self.process.finish(DRAIN_SECONDS)
            if self.kind[0] == "term" and status != 0:
                self.world.failed("drains", f"{self.target} ended with status {status}")
            self.process.start()
        self.world.busy.discard(self.target)


class EngineFault(Fault):
    """The same for an engine, which its host starts again."""

    def __init__(self, kind, world):
        super().__init__(kind, world)
        host = self.random.choice(HOSTS)
        engines = world.cluster.engines_of(host)
        model = self.random.choice(NAMES)
        ours = [pid for pid, name in engines.items() if name == model]
        self.pid = ours[0] if ours else None
        self.target = f"{model} on {host}"
        self.pairs = [(gateway, model) for gateway in GATEWAYS]

    def begin(self):
        if self.pid:
            send_signal(self.pid, SIGNALS[self.kind[0]])

    def end(self):
        if self.pid and self.kind[0] == "stop" and is_stopped(self.pid):
            send_signal(self.pid, signal.SIGCONT)


class PoisonFault(Fault):
    """A client whose request crashes its model: 422 for it, and nobody else notices."""

    def __init__(self, kind, world):
        super().__init__(kind, world)
        self.gateway = GATEWAYS[0]
        self.target = f"fake at {self.gateway}"
        self.pairs = [(gateway, "fake") for gateway in GATEWAYS]
        self.thread = threading.Thread(target=self._ask)

    def _ask(self):
        body = {"model": "fake", "inputs": [[2, 0]]}
        port = self.world.cluster.http[self.gateway]
        status, value = ask(port, "POST", "/predict", body, 60)
        if status != 422:
            self.world.failed("poison", f"the poisonous request was answered {status} {value}")

    def begin(self):
        self.thread.start()

    def end(self):
        self.thread.join()


class LinkFault(Fault):
    """slow, cut or hole for links, or for a share of their connections."""

    def __init__(self, kind, world):
        super().__init__(kind, world)
        names, self.pairs = self._choose(kind[1])
        self.links = [world.cluster.links[name] for name in names]
        self.share = self.random.choice(SHARES) if kind[1] == "jobs" else 1.0
        self.target = " ".join(names) + (f" {self.share:.0%}" if self.share < 1 else "")

    def _choose(self, whom):
        """(names of links, pairs)"""
        if whom == "redis link":
            return ["redis"], ALL_PAIRS
        if whom == "jobs":
            gateway = self.random.choice(GATEWAYS)
            return [f"jobs:{gateway}"], [(gateway, model) for model in NAMES]
        process = self.random.choice(HOSTS if whom == "host link" else GATEWAYS)
        kinds = self.random.choice((("rpc", "events"), ("rpc",), ("events",)))
        pairs = ALL_PAIRS
        if whom == "gateway link":
            pairs = [(process, model) for model in NAMES]
        return [f"{kind}:{process}" for kind in kinds], pairs

    def _set(self, mode, share=1.0):
        for link in self.links:
            self.world.background.call(link.set_mode(mode, share))

    def begin(self):
        self._set(self.kind[0], self.share)

    def end(self):
        self._set("pass")


def make(kind, world):
    what, whom = kind
    if what == "poison":
        return PoisonFault(kind, world)
    if whom in LINKS:
        return LinkFault(kind, world)
    return EngineFault(kind, world) if whom == "engine" else ProcessFault(kind, world)
