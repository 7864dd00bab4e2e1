"""The suite on one machine: starts, watches and ends its processes.

Used by `make run` (run.py) and by the system tests.  Every process runs with the data
directory as its working directory, so sockets have short relative paths; each leads its
own session, so that Ctrl-C reaches only the one who asked, and dies with its parent.
"""

import ctypes
import fcntl
import os
import re
import signal
import subprocess
import threading
import time

STOP_SECONDS = 40  # a drain may take this long before SIGKILL
BACKOFF_FIRST_SECONDS = 0.1
BACKOFF_LAST_SECONDS = 5.0
HEALTHY_SECONDS = 10.0  # a process that ran this long is started again at once
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


class SuiteError(Exception):
    """Something that a person can read and act upon."""


def _die_with_parent():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Process:
    """One process of the suite; its log is appended to DATA/log/NAME.log."""

    def __init__(self, suite, name, argv, env=None):
        self.suite = suite
        self.name = name
        self.argv = argv
        self.env = env or {}
        self.log_path = os.path.join(suite.data, "log", name + ".log")
        self.popen = None
        self.started = 0.0
        self.backoff = BACKOFF_FIRST_SECONDS
        self.log_start = 0

    @property
    def pid(self):
        return self.popen.pid if self.popen else None

    def alive(self):
        return self.popen is not None and self.popen.poll() is None

    def start(self):
        assert not self.alive()
        with open(self.log_path, "ab") as log:
            self.log_start = log.tell()
            self.popen = subprocess.Popen(
                self.argv,
                cwd=self.suite.data,
                env={**os.environ, **self.suite.env, **self.env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        self.started = time.monotonic()
        return self

    def signal(self, number):
        if self.alive():
            self.popen.send_signal(number)

    def kill(self):
        """SIGKILL, and wait until the process is gone."""
        self.signal(signal.SIGKILL)
        self.wait(10)

    def wait(self, seconds):
        if self.popen is None:
            return None
        try:
            return self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def stop(self, seconds=STOP_SECONDS):
        """SIGTERM and finish().  The exit status."""
        self.signal(signal.SIGTERM)
        return self.finish(seconds)

    def finish(self, seconds):
        """Waits for the end of a process that was told to end; SIGKILL when it takes too long."""
        status = self.wait(seconds)
        if status is None and self.alive():
            self.kill()
            return -signal.SIGKILL
        return status

    def log(self):
        """What this start of the process has logged."""
        with open(self.log_path, "rb") as log:
            log.seek(self.log_start)
            return log.read().decode("utf-8", "replace")

    def last_words(self, lines=8):
        return "\n".join(self.log().splitlines()[-lines:])


class Suite:
    """redis, registry, gateway, trainer and workers, with the data directory as their home."""

    def __init__(self, bin_dir, data, port=0, workers=2, trainers=1, env=None, options=None):
        self.bin = os.path.abspath(bin_dir)
        self.data = os.path.abspath(data)
        self.port = port
        self.env = env or {}
        self.options = options or {}  # process name without its number -> more arguments
        self.processes = {}
        self.stopping = threading.Event()
        self.on_restart = None
        self._supervisor = None
        self._lock = None
        self._make_directories()
        self._plan(workers, trainers)

    # ---- set-up

    def _make_directories(self):
        for name in ("", "run", "log", "cache"):
            os.makedirs(os.path.join(self.data, name), mode=0o700, exist_ok=True)
        self._lock = open(os.path.join(self.data, "run", "lock"), "w", encoding="ascii")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SuiteError(
                f"another suite is running on {self.data}; stop it, or choose DATA=another-directory"
            ) from None

    def _add(self, name, argv, env=None):
        kind = re.sub(r"-\d+$", "", name)
        self.processes[name] = Process(self, name, argv + self.options.get(kind, []), env)

    def _binary(self, name):
        return os.path.join(self.bin, "maas-" + name)

    def _plan(self, workers, trainers):
        registry = ["--registry", "ipc://run/rpc.sock"]
        events = ["--events", "ipc://run/events.sock"]
        self._add(
            "redis",
            ["redis-server", "--port", "0", "--unixsocket", "run/redis.sock", "--unixsocketperm",
             "700", "--dir", ".", "--appendonly", "yes", "--appendfsync", "always",
             "--appenddirname", "redis", "--maxmemory-policy", "noeviction", "--save", "",
             "--rdbcompression", "no", "--loglevel", "warning"],
        )  # fmt: skip
        self._add(
            "registry",
            [self._binary("registry"), "--redis", "unix:run/redis.sock", "--rpc",
             "ipc://run/rpc.sock"] + events,
        )  # fmt: skip
        self._add(
            "gateway",
            [self._binary("gateway"), "--http", f"127.0.0.1:{self.port}", "--jobs",
             "ipc://run/jobs.sock"] + registry + events,
        )  # fmt: skip
        for i in range(1, trainers + 1):
            self._add(f"trainer-{i}", [self._binary("trainer"), "--cache", f"cache/trainer-{i}"] + registry)
        for i in range(1, workers + 1):
            self._add(
                f"worker-{i}", [self._binary("worker"), "--cache", f"cache/worker-{i}"] + registry + events
            )

    def fresh(self):
        """True when this data directory has never held a suite."""
        return not os.path.exists(os.path.join(self.data, "redis"))

    # ---- life

    def start(self):
        for process in self.processes.values():
            process.start()
        self._learn_port()
        return self

    def _learn_port(self):
        gateway = self.processes["gateway"]
        if self.port == 0:
            self.port = self.eventually(
                lambda: self._logged_port(gateway), 20, "the gateway did not say where it listens"
            )
            place = gateway.argv.index("--http") + 1
            gateway.argv[place] = f"127.0.0.1:{self.port}"

    @staticmethod
    def _logged_port(gateway):
        if not gateway.alive():
            raise SuiteError("the gateway ended:\n" + gateway.last_words())
        found = re.search(r"event=listening .*?address=[^\s]*?:(\d+)", gateway.log())
        return int(found.group(1)) if found else None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @staticmethod
    def eventually(condition, seconds, what):
        """Waits until condition() is true and returns its value; SuiteError after the deadline."""
        deadline = time.monotonic() + seconds
        pause = threading.Event()
        while True:
            value = condition()
            if value:
                return value
            if time.monotonic() > deadline:
                raise SuiteError(f"{what} (waited {seconds} s)")
            pause.wait(0.02)

    def supervise(self):
        """Starts again, with back-off, what ends by itself; in a thread, until stop()."""
        self._supervisor = threading.Thread(target=self._watch, daemon=True)
        self._supervisor.start()

    def _watch(self):
        due = {}
        while not self.stopping.wait(0.05):
            now = time.monotonic()
            for name, process in self.processes.items():
                if process.alive():
                    if now - process.started > HEALTHY_SECONDS:
                        process.backoff = BACKOFF_FIRST_SECONDS
                    continue
                if name not in due:
                    due[name] = now + process.backoff
                    process.backoff = min(2 * process.backoff, BACKOFF_LAST_SECONDS)
                    if self.on_restart:
                        self.on_restart(process)
                elif now >= due[name]:
                    del due[name]
                    process.start()

    def stop(self, seconds=STOP_SECONDS):
        """Drains from the outside in: HTTP first, Redis last.  Exit statuses by name."""
        self.stopping.set()
        if self._supervisor:
            self._supervisor.join()
        statuses = {}
        for kinds in (("gateway",), ("worker", "trainer"), ("registry",), ("redis",)):
            group = [p for n, p in self.processes.items() if n.split("-")[0] in kinds]
            for process in group:
                process.signal(signal.SIGTERM)
            for process in group:
                statuses[process.name] = process.finish(seconds)
        if self._lock:
            self._lock.close()
        return statuses
