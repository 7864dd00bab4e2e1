"""Redis as people run it: ports, certificates, and a primary with replicas and sentinels."""

import os
import socket
import subprocess

from peer import eventually
from registry_rig import Process

SECRET, WATCHWORD = "s3cret", "w4tchword"  # of Redis, of the sentinels
DOWN_AFTER_MS = 1000
PRIMARY = "the-primary"


def free_ports(count):
    """Ports that nobody listens on now, each another one."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def cli(*argv, check=True):
    """redis-cli; what it prints, or None when check is False and it fails."""
    done = subprocess.run(["redis-cli", *argv], check=check, capture_output=True, timeout=10)
    return done.stdout.decode("utf-8", "replace").strip() if done.returncode == 0 else None


class Certificates:
    """An authority in a folder of its own, and what it signs."""

    def __init__(self, folder, name):
        self.folder = folder
        self.ca = os.path.join(folder, name + ".crt")
        self.ca_key = os.path.join(folder, name + ".key")
        self._openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                      "-nodes", "-days", "2", "-subj", f"/CN={name}", "-keyout", self.ca_key,
                      "-out", self.ca)  # fmt: skip

    @staticmethod
    def _openssl(*argv):
        subprocess.run(["openssl", *argv], check=True, capture_output=True, timeout=30)

    def sign(self, name, names):
        """(certificate, key) for these names: "DNS:localhost,IP:127.0.0.1"."""
        crt, key = (os.path.join(self.folder, f"{name}.{end}") for end in ("crt", "key"))
        self._openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                      "-nodes", "-days", "2", "-subj", f"/CN={name}", "-addext",
                      f"subjectAltName={names}", "-addext", "basicConstraints=critical,CA:FALSE",
                      "-CA", self.ca, "-CAkey", self.ca_key, "-keyout", key, "-out", crt)  # fmt: skip
        return crt, key


class Sentinels:
    """A primary, two replicas and three sentinels, all with passwords, in the folder `home`."""

    def __init__(self, home):
        self.home = home
        ports = free_ports(6)
        self.ports, self.sentinel_ports = ports[:3], ports[3:]
        self.servers = {port: self._server(port) for port in self.ports}
        self.watchers = {port: self._sentinel(port) for port in self.sentinel_ports}

    def _folder(self, name):
        path = os.path.join(self.home, name)
        os.makedirs(path)
        return path

    def _server(self, port):
        folder = self._folder(f"redis-{port}")
        argv = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", folder,
                "--appendonly", "yes", "--appendfsync", "always", "--save", "",
                "--maxmemory-policy", "noeviction", "--requirepass", SECRET, "--masterauth", SECRET,
                "--repl-diskless-sync-delay", "0"]  # fmt: skip
        if port != self.ports[0]:
            argv += ["--replicaof", "127.0.0.1", str(self.ports[0])]
        return Process(folder, "redis", argv)

    def _sentinel(self, port):
        folder = self._folder(f"sentinel-{port}")
        path = os.path.join(folder, "sentinel.conf")
        with open(path, "w", encoding="ascii") as file:
            file.write(
                f"port {port}\nbind 127.0.0.1\ndir {folder}\n"
                f"requirepass {WATCHWORD}\nsentinel sentinel-pass {WATCHWORD}\n"
                f"sentinel monitor {PRIMARY} 127.0.0.1 {self.ports[0]} 2\n"
                f"sentinel auth-pass {PRIMARY} {SECRET}\n"
                f"sentinel down-after-milliseconds {PRIMARY} {DOWN_AFTER_MS}\n"
                f"sentinel failover-timeout {PRIMARY} 1500\n"
            )
        return Process(folder, "sentinel", ["redis-server", path, "--sentinel"])

    @property
    def options(self):
        """What the registry is told."""
        files = {}
        for name, text in (("redis", SECRET), ("sentinel", WATCHWORD)):
            files[name] = os.path.join(self.home, name + ".password")
            with open(files[name], "w", encoding="ascii") as file:
                file.write(text + "\n")
        places = ",".join(f"127.0.0.1:{port}" for port in self.sentinel_ports)
        return ["--redis", f"sentinel:{places}/{PRIMARY}", "--redis-password-file", files["redis"],
                "--redis-sentinel-password-file", files["sentinel"]]  # fmt: skip

    def start(self):
        for process in self.servers.values():
            process.start()
        eventually(self._replicas_follow, 30, "the replicas do not follow")
        for process in self.watchers.values():
            process.start()
        eventually(self._sentinels_know_all, 30, "the sentinels do not know all")
        return self

    def ask(self, port, *argv):
        return cli("-p", str(port), "-a", SECRET, "--no-auth-warning", *argv, check=False)

    def _replicas_follow(self):
        info = self.ask(self.ports[0], "INFO", "replication") or ""
        return info.count("state=online") == 2

    def _sentinels_know_all(self):
        def knows(port):
            text = cli("-p", str(port), "-a", WATCHWORD, "--no-auth-warning", "SENTINEL", "MASTER",
                       PRIMARY, check=False)  # fmt: skip
            words = (text or "").split()
            return words and all(
                words[words.index(f"num-{what}") + 1] == "2" for what in ("slaves", "other-sentinels")
            )

        return all(knows(port) for port in self.sentinel_ports)

    def primaries(self, but=()):
        """Ports of those that say that they are the primary."""
        others = [port for port in self.ports if port not in but]
        return [p for p in others if "role:master" in (self.ask(p, "INFO", "replication") or "")]

    def finish(self):
        for process in [*self.watchers.values(), *self.servers.values()]:
            process.kill()
