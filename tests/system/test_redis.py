"""Redis as people run it: passwords, users, TLS, Valkey, newer functions, two registries."""

import hashlib
import os
import random
import socket
import subprocess
import threading
import time

import redis_rig
from peer import BIN, CHUNK_BYTES, eventually
from registry_rig import Store, check, commit, refused, store

USER_RULES = "on >s3cret ~maas:* resetchannels +@all -@dangerous +info"


class OneStore(Store):
    """A store whose registry is not started yet."""

    def __enter__(self):
        self.redis.start()
        return self

    def __exit__(self, *exc):
        try:
            if exc[0] is None:
                self.check_sanitizers()
        finally:
            self.finish()

    def file(self, name, text):
        path = os.path.join(self.home, name)
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
        return path

    def says(self, text, n=0):
        log = self.registries[n].log
        eventually(lambda: text in log(), 20, f"the log does not say {text!r}")


def works(s, n=0):
    """Everything that goes to Redis: chunks, a commit, a deployment, its event."""
    s.ready(n)
    peer, events = s.peer(n), s.subscriber(n)
    data = random.Random(7).randbytes(3 * CHUNK_BYTES + 5)
    version = commit(peer, data=data)
    check(peer, "m", version["number"])
    peer.call("DEPLOY", model="m", version=version["number"])
    eventually(lambda: events.next_change()["deployments"], 10, "no event")
    for i in range(0, len(data), CHUNK_BYTES):
        chunk = data[i : i + CHUNK_BYTES]
        assert peer.call("CHUNK_GET", digest=hashlib.sha256(chunk).digest()) == chunk


def test_acl_user_and_a_password_that_changes():
    options = ["--user", "default", "off", "--user", "maas", *USER_RULES.split()]
    with OneStore(options=options) as s:
        password = s.file("password", "wrong\n")
        s.add_registry("--redis-user", "maas", "--redis-password-file", password)
        s.says("WRONGPASS")
        s.file("password", "s3cret\n")  # is read anew for each connection
        works(s)
        s.says("redis is back")
        with open(f"/proc/{s.registry.popen.pid}/cmdline", encoding="ascii") as line:
            assert "s3cret" not in line.read()
        assert "s3cret" not in s.registry.log()


def test_url_with_user_over_tcp():
    (port,) = redis_rig.free_ports(1)
    options = ["--port", str(port), "--bind", "127.0.0.1", "--user", "maas", *USER_RULES.split()]
    with OneStore(options=options, address=f"redis://maas@127.0.0.1:{port}") as s:
        s.add_registry("--redis-password-file", s.file("password", "s3cret"))
        works(s)


def test_passwords_that_are_wanted_or_missing():
    with OneStore(options=["--requirepass", "s3cret"]) as s:
        s.add_registry()
        s.says("NOAUTH")
        argv = [os.path.join(BIN, "maas-registry"), "--redis", "redis://u:s3cret@h"]
        done = subprocess.run(argv, capture_output=True, timeout=20, check=False)
        assert done.returncode == 2 and b"--redis-password-file" in done.stderr
        assert b"s3cret" not in done.stderr + done.stdout
        argv[2:] = ["unix:x", "--redis-password-file", os.path.join(s.home, "none")]
        done = subprocess.run(argv, capture_output=True, timeout=20, check=False)
        assert done.returncode == 2 and b"none cannot be read" in done.stderr


def test_valkey():
    with OneStore(server="valkey-server") as s:
        s.add_registry()
        works(s)


# ---- TLS


def tls_store(authority, names):
    crt, key = authority.sign("server", names)
    (port,) = redis_rig.free_ports(1)
    options = ["--tls-port", str(port), "--bind", "127.0.0.1", "--tls-cert-file", crt,
               "--tls-key-file", key, "--tls-ca-cert-file", authority.ca]  # fmt: skip
    return OneStore(options=options, address=f"rediss://localhost:{port}")


def maps(registry):
    with open(f"/proc/{registry.popen.pid}/maps", encoding="ascii") as file:
        return file.read()


def test_tls_with_certificates_of_both_sides(tmp_path):
    authority = redis_rig.Certificates(str(tmp_path), "authority")
    crt, key = authority.sign("client", "DNS:client")
    with tls_store(authority, "DNS:localhost,IP:127.0.0.1") as s:
        s.add_registry("--redis-tls-ca", authority.ca)  # shows no certificate
        s.says("redis is away")
        s.add_registry("--redis-tls-ca", authority.ca, "--redis-tls-cert", crt, "--redis-tls-key", key)
        works(s, 1)
        assert "libssl" in maps(s.registries[1])
        port = s.address.rsplit(":", 1)[1]
        s.address = f"tcp:127.0.0.1:{port}"  # by its address, which the certificate has too
        s.add_registry("--redis-tls", "--redis-tls-ca", authority.ca, "--redis-tls-cert", crt,
                       "--redis-tls-key", key)  # fmt: skip
        s.ready(2)
        assert "redis is back" not in s.registries[0].log()


def test_tls_refuses_wrong_names_and_unknown_authorities(tmp_path):
    authority = redis_rig.Certificates(str(tmp_path), "authority")
    stranger = redis_rig.Certificates(str(tmp_path), "stranger")
    crt, key = authority.sign("client", "DNS:client")
    mine = ["--redis-tls-cert", crt, "--redis-tls-key", key]
    with tls_store(authority, "DNS:redis.example") as s:
        s.add_registry("--redis-tls-ca", authority.ca, *mine)
        s.says("certificate verify failed: hostname mismatch")
        s.add_registry("--redis-tls-ca", stranger.ca, *mine)
        s.says("certificate verify failed", 1)
        s.add_registry(*mine)  # the system's authorities do not know it either
        s.says("certificate verify failed", 2)
        s.add_registry("--redis-tls-ca", authority.ca, "--redis-tls-name", "redis.example", *mine)
        works(s, 3)
        assert not any("redis is back" in r.log() for r in s.registries[:3])


def test_without_tls_its_libraries_are_not_loaded(store):
    works(store)
    assert "libssl" not in maps(store.registry) and "hiredis_ssl" not in maps(store.registry)


# ---- functions of another registry


def health(s):
    argv = [os.path.join(BIN, "maas-health"), "--registry", s.rpc(), "--timeout-ms", "5000"]
    return subprocess.run(argv, capture_output=True, timeout=20, check=False)


def test_functions_of_a_newer_registry_are_left_alone(store):
    peer, events = store.peer(), store.subscriber()
    version = commit(peer)
    mine = store.cli("GET", "maas:library")
    newer = "#!lua name=maas\nredis.register_function('maas_deploy_999', function() return 1 end)"
    script = "redis.call('SET', 'maas:library', '999 x')"
    # As a newer registry does it, while this one serves.
    store.cli("FUNCTION", "LOAD", "REPLACE", newer)
    store.cli("EVAL", script, "0")
    eventually(lambda: "newer registry (999" in store.registry.log(), 20, "it says nothing")
    text = refused("UNAVAILABLE", peer.call, "DEPLOY", model="m", version=version["number"])
    assert "newer registry" in text
    refused("UNAVAILABLE", peer.call, "CHUNK_PUT", digest=hashlib.sha256(b"x").digest(), attachment=b"x")
    sick = health(store)
    assert sick.returncode == 1 and b"newer registry" in sick.stderr
    eventually(lambda: events.next()["history"] == 0, 10, "it claims to know the catalog")
    assert store.cli("FUNCTION", "LIST").count(b"maas_deploy") == 1  # the newer ones are still there
    store.add_registry()  # one that begins now does no better
    eventually(lambda: "newer registry (999" in store.registries[1].log(), 20, "it says nothing")
    assert store.cli("GET", "maas:library") == b"999 x"
    store.cli("SET", "maas:library", mine.decode())  # somebody went back to this version
    store.ready()
    peer.call("DEPLOY", model="m", version=version["number"])
    assert health(store).returncode == 0


def test_functions_are_loaded_once(store):
    commit(store.peer())
    store.cli("CONFIG", "RESETSTAT")
    store.add_registry()
    store.ready(1)
    assert b"cmdstat_function|load" not in store.cli("INFO", "commandstats")


# ---- two registries


def test_two_registries_tell_of_each_others_changes(store):
    store.add_registry()
    store.ready(1)
    peers, events = [store.peer(n) for n in (0, 1)], [store.subscriber(n) for n in (0, 1)]
    lags = []
    for turn in range(10):
        commit(peers[turn % 2], data=b"%d" % turn)
        told = time.monotonic()
        seen = [e.next_change() for e in (events[turn % 2 - 1], events[turn % 2])]
        lags.append(time.monotonic() - told)
        assert seen[0] == seen[1] and seen[0]["seq"] == turn + 1 and seen[0]["history"]
    assert peers[0].call("SNAPSHOT") == peers[1].call("SNAPSHOT")
    print(f"seen through the other after {1000 * max(lags):.1f} ms at most")
    assert sorted(lags)[len(lags) // 2] < 0.1  # half of them, however busy the machine is


def test_redis_that_comes_back_has_another_history(store):
    peer, events = store.peer(), store.subscriber()
    commit(peer)
    before = events.next_change()["history"]
    store.redis.kill()
    eventually(lambda: events.next()["history"] == 0, 10, "the tick claims to know")
    store.redis.start()
    after = eventually(lambda: events.next()["history"], 20, "no tick with a history")
    assert after != before
    store.ready()
    assert store.peer().call("SNAPSHOT")["history"] == after


def test_a_redis_that_still_loads_is_away_and_no_more():
    """First it ends the connection, then it has data to read: that is one thing to say, not two."""
    greeted = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            while True:
                try:
                    connection = server.accept()[0]
                except OSError:
                    return
                with connection:
                    if greeted:
                        connection.sendall(b"-LOADING Redis is loading the dataset in memory\r\n" * 8)
                        connection.recv(65536)
                greeted.append(1)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with OneStore(address=f"redis://127.0.0.1:{server.getsockname()[1]}") as s:
            s.add_registry()
            eventually(lambda: len(greeted) > 20, 20, "it does not try again")
            away = [line for line in s.registry.log().splitlines() if "redis is away" in line]
            s.registry.kill()
        server.shutdown(socket.SHUT_RDWR)
    thread.join()
    assert len(away) == 1, away
