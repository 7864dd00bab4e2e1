"""An engine without a host, for tests and benchmarks of that process alone."""

import hashlib
import os
import socket
import subprocess

PIPE_FD = 3  # of an engine, to its host


def lone_engine(bin_dir, path, *options, **popen):
    """The process, which checks the version in that file, and the host's end of its pipe: closed, it ends."""
    with open(path, "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    ours, its = socket.socketpair()
    argv = [os.path.join(bin_dir, "maas-worker"), "engine", "--check", "--path", str(path), "--digest", digest, *options]
    process = subprocess.Popen(argv, close_fds=False, preexec_fn=lambda: os.dup2(its.fileno(), PIPE_FD), **popen)
    its.close()
    return process, ours
