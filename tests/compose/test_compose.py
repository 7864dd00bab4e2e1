"""The suite as containers, for real: images, health, privileges, persistence, recovery.

Needs a Docker engine.  Without one the test says that it skips, unless MAAS_REQUIRE_DOCKER=1.
"""

import json
import os
import socket
import subprocess
import sys

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "deploy", "local"))
sys.path.insert(0, os.path.join(ROOT, "tests", "system"))

import networks  # noqa: E402
from api import Api  # noqa: E402
from suite import Suite  # noqa: E402

PROJECT = f"maas-test-{os.getpid()}"
BUILD_SECONDS = 900
PATIENCE = 120
SERVICES = ("redis", "registry", "gateway", "trainer", "worker")


def engine():
    try:
        result = subprocess.run(["docker", "version"], capture_output=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return None if result.returncode == 0 else result.stderr.decode().strip().splitlines()[-1]


class Compose:
    def __init__(self, port):
        self.port = port
        self.env = {**os.environ, "PORT": str(port), "BUILDKIT_PROGRESS": "plain"}

    def run(self, *arguments, seconds=180):
        result = subprocess.run(
            ["docker-compose", "-p", PROJECT, *arguments],
            cwd=ROOT,
            env=self.env,
            capture_output=True,
            timeout=seconds,
            check=False,
        )
        if result.returncode != 0:
            said = "\n".join(o.decode(errors="replace")[-8000:] for o in (result.stdout, result.stderr))
            pytest.fail(f"docker-compose {' '.join(arguments)}: {result.returncode}\n{said}", pytrace=False)
        return result.stdout.decode()

    def containers(self):
        """What `docker inspect` says of each container."""
        ids = self.run("ps", "-aq").split()
        out = subprocess.run(["docker", "inspect", *ids], capture_output=True, check=True).stdout
        return json.loads(out)

    def all_healthy(self):
        states = [c["State"] for c in self.containers()]
        return len(states) == 7 and all(
            s["Running"] and s.get("Health", {}).get("Status") == "healthy" for s in states
        )

    def ask(self, row=(1, 2)):
        """The prediction, or None while the suite is not there."""
        client = Api("127.0.0.1", self.port, timeout=35)
        try:
            status, _, answer = client.request("POST", "/predict", {"inputs": [list(row)]})
            return answer["outputs"] if status == 200 else None
        except OSError:
            return None
        finally:
            client.close()

    def serves(self, expected):
        Suite.eventually(lambda: self.ask() == expected, PATIENCE, f"does not serve {expected}")


@pytest.fixture(scope="module")
def compose():
    why = engine()
    if why and os.environ.get("MAAS_REQUIRE_DOCKER") != "1":
        pytest.skip(f"no Docker engine: {why}")
    assert not why, f"no Docker engine: {why}"
    subprocess.run([os.path.join(ROOT, "docker", "base-image.sh")], check=True, timeout=300)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    compose = Compose(port)
    try:
        compose.run("up", "-d", "--build", "--scale", "worker=3", seconds=BUILD_SECONDS)
        Suite.eventually(compose.all_healthy, PATIENCE, "not all containers become healthy")
        client = Api("127.0.0.1", port)
        client.call("POST", "/api/models/two/versions", networks.times(2))
        path = "/api/models/two/versions/1"
        Suite.eventually(lambda: client.get(path)["check"] == "passed", PATIENCE, "no check")
        client.call("PUT", "/api/models/two/deployment", {"version": "1"})
        client.close()
        compose.serves([[2, 4]])
        yield compose
    finally:
        compose.run("down", "-v", "--rmi", "local", "-t", "20", seconds=300)


def test_least_privilege(compose):
    published = []
    for container in compose.containers():
        name, host = container["Name"], container["HostConfig"]
        assert host["ReadonlyRootfs"], name
        assert host["CapDrop"] == ["ALL"] and not host["Privileged"], name
        assert container["Config"]["User"] not in ("", "0", "root"), name
        for bindings in (host["PortBindings"] or {}).values():
            published += [(name, b["HostIp"], b["HostPort"]) for b in bindings]
    assert len(published) == 1, published
    name, address, port = published[0]
    assert "gateway" in name and address == "127.0.0.1" and port == str(compose.port)


def test_only_the_registry_reaches_redis(compose):
    reach = {}
    for container in compose.containers():
        service = container["Config"]["Labels"]["com.docker.compose.service"]
        for network in container["NetworkSettings"]["Networks"]:
            reach.setdefault(network.removeprefix(f"{PROJECT}_"), set()).add(service)
    assert reach["store"] == {"redis", "registry"}
    assert "redis" not in reach["suite"]


def test_down_and_up_lose_nothing(compose):
    compose.run("down", "-t", "20")
    compose.run("up", "-d", "--scale", "worker=3")
    compose.serves([[2, 4]])


@pytest.mark.parametrize("service", SERVICES)
def test_killed_service_recovers(compose, service):
    compose.run("kill", "-s", "SIGKILL", service)
    compose.run("start", service)
    compose.serves([[2, 4]])
    Suite.eventually(compose.all_healthy, PATIENCE, "not all containers become healthy again")
