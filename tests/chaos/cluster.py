"""The suite under test: Redis, a registry, two gateways, three hosts; and what /proc says of it.

Each process reaches the others over a Link of its own (links.py), named "kind" or "kind:process":

    jobs:gateway-1      all engines -> the gateway's jobs port
    rpc:worker-1        one process -> the registry's requests
    events:worker-1     one process -> the registry's events
    redis               the registry -> Redis

Engines are found in /proc: the children of a host, and everything whose working directory is the
data directory of this suite.
"""

import os
import signal
import socket
import statistics
import time

from links import Link
from models import NAMES, ask
from suite import Suite

GATEWAYS = ("gateway-1", "gateway-2")
HOSTS = ("worker-1", "worker-2", "worker-3")
SETTLED_SECONDS = 8  # an engine's memory is compared with what it had at this age
JUDGED_SECONDS = 20  # engines that did not get this old are not judged
GROWTH_MAX = 6 << 20
PAGE = os.sysconf("SC_PAGESIZE")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def make_links(data, seed):
    def at(name):
        return os.path.join(data, "run", name)

    links = {"redis": Link("redis", at("redis.sock"), seed)}
    for gateway in GATEWAYS:
        name = f"jobs:{gateway}"
        links[name] = Link(name, at(f"{gateway}.sock"), f"{seed} {name}")
    for process in (*GATEWAYS, *HOSTS):
        for kind in ("rpc", "events"):
            name = f"{kind}:{process}"
            links[name] = Link(name, at(f"{kind}.sock"), f"{seed} {name}")
    return links


class Cluster(Suite):
    """A Suite with more processes, which reach each other over links that listen already."""

    def __init__(self, bin_dir, data, links):
        self.links = links
        self.http = {name: free_port() for name in GATEWAYS}
        super().__init__(bin_dir, data, workers=len(HOSTS), trainers=0)

    def _plan(self, workers, trainers):
        def tcp(name):
            return f"tcp://127.0.0.1:{self.links[name].port}"

        super()._plan(workers, trainers)
        del self.processes["gateway"]
        self.processes["registry"].argv = [
            self._binary("registry"), "--redis", f"tcp:127.0.0.1:{self.links['redis'].port}",
            "--rpc", "ipc://run/rpc.sock", "--events", "ipc://run/events.sock",
        ]  # fmt: skip
        for name in GATEWAYS:
            self._add(name, [
                self._binary("gateway"), "--http", f"127.0.0.1:{self.http[name]}",
                "--jobs", f"ipc://run/{name}.sock", "--jobs-advertise", tcp(f"jobs:{name}"),
                "--registry", tcp(f"rpc:{name}"), "--events", tcp(f"events:{name}"),
            ])  # fmt: skip
        for name in HOSTS:
            self._add(name, [
                self._binary("worker"), "--cache", f"cache/{name}", "--allow-fake",
                "--registry", tcp(f"rpc:{name}"), "--events", tcp(f"events:{name}"),
            ])  # fmt: skip

    def _learn_port(self):
        pass

    def ask(self, gateway, path, seconds=5):
        """The value of a 200 answer, else None."""
        status, value = ask(self.http[gateway], "GET", path, seconds=seconds)
        return value if status == 200 else None

    # ---- is everything as it should be?

    def why_not_whole(self):
        """'' when every process is up, every gateway ready, the registry at work, and an engine
        of every model on every host."""
        for name, process in self.processes.items():
            if not process.alive():
                return f"{name} is not up"
        for name in GATEWAYS:
            if not self.ask(name, "/readyz"):
                return f"{name} is not ready"
            if not self.ask(name, "/api/datasets"):
                return f"{name} does not reach the registry"
            missing = self._missing_engines(name)
            if missing:
                return f"{name} sees no {missing}"
        return ""

    def _missing_engines(self, gateway):
        view = self.ask(gateway, "/api/workers") or {"workers": []}
        ready = {w["pid"]: {e["model"] for e in w["engines"] if e["state"] == "ready"}
                 for w in view["workers"]}  # fmt: skip
        for host in HOSTS:
            for model in NAMES:
                if model not in ready.get(self.processes[host].pid, ()):
                    return f"engine of {model} on {host}"
        return ""

    def eventually_whole(self, seconds):
        """(seconds it took, what is still missing)"""
        begin = time.monotonic()
        while True:
            missing = self.why_not_whole()
            took = time.monotonic() - begin
            if not missing or took > seconds:
                return took, missing
            self.stopping.wait(0.05)

    # ---- engines

    def engines_of(self, host):
        """pid -> model of the engines that serve."""
        found = {}
        for pid in children(self.processes[host].pid):
            words = command_line(pid)
            if "engine" in words[1:2] and "--check" not in words:
                found[pid] = words[words.index("--model") + 1]
        return found

    def everybody(self):
        """The pids of all processes of this suite, also of engines whose host has died."""
        found = []
        for name in os.listdir("/proc"):
            try:
                if name.isdigit() and os.readlink(f"/proc/{name}/cwd") == self.data:
                    found.append(int(name))
            except OSError:
                pass
        return found


def read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def children(pid):
    return [int(word) for word in read(f"/proc/{pid}/task/{pid}/children").split()]


def command_line(pid):
    return read(f"/proc/{pid}/cmdline").split("\0")


class Memory:
    """Resident memory of every engine and every lasting process, from look to look."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.samples = {}  # (name, pid, moment of its start) -> [(moment, bytes)]

    def look(self):
        now = time.monotonic()
        for pid in self.cluster.everybody():
            words = command_line(pid)
            if "--check" in words or not words[0]:
                continue
            stat = read(f"/proc/{pid}/stat").rpartition(")")[2].split()
            size = read(f"/proc/{pid}/statm").split()
            if len(stat) > 19 and len(size) > 1:
                key = (self._name(pid, words), pid, stat[19])
                self.samples.setdefault(key, []).append((now, int(size[1]) * PAGE))

    def _name(self, pid, words):
        if "engine" in words[1:2]:
            return f"engine {words[words.index('--model') + 1]}"
        for name, process in self.cluster.processes.items():
            if process.pid == pid:
                return name
        return "other"

    def growth(self):
        """name -> [bytes that each process grew by, after it had settled]"""
        found = {}
        for (name, _, _), samples in self.samples.items():
            born, end = samples[0][0], samples[-1][0]
            settled = [b for t, b in samples if born + SETTLED_SECONDS <= t]
            if end - born >= JUDGED_SECONDS and len(settled) >= 4:
                half = min(5, len(settled) // 2)
                grown = statistics.median(settled[-half:]) - statistics.median(settled[:half])
                found.setdefault(name, []).append(int(grown))
        return found


def is_stopped(pid):
    return " T " in read(f"/proc/{pid}/stat")[:200]


def send_signal(pid, number):
    try:
        os.kill(pid, number)
        return True
    except ProcessLookupError:
        return False


def end_all(cluster):
    """Whatever is still there, stopped or not."""
    for pid in cluster.everybody():
        send_signal(pid, signal.SIGKILL)


