"""A small client of the gateway's HTTP API, on Python's standard library alone."""

import http.client
import json
import os
import time

REST = 30  # seconds after which a connection is not used again: the gateway may be about to close it


class ApiError(Exception):
    def __init__(self, status, message, headers=None):
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message
        self.headers = headers or {}


class Api:
    """One keep-alive connection; not for use by two threads at once."""

    def __init__(self, host, port, timeout=60):
        self.connection = http.client.HTTPConnection(host, port, timeout=timeout)
        self.used = time.monotonic()

    def close(self):
        self.connection.close()

    def request(self, method, path, body=None, headers=None):
        """(status, headers, parsed body); body: bytes, a file, or something for JSON."""
        headers = dict(headers or {})
        if body is not None and not isinstance(body, bytes) and not hasattr(body, "read"):
            body = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        if hasattr(body, "read"):
            headers.setdefault("Content-Length", str(os.fstat(body.fileno()).st_size))
        if time.monotonic() - self.used > REST:
            self.connection.close()
        try:
            self.connection.request(method, path, body=body, headers=headers)
            answer = self.connection.getresponse()
            text = answer.read()
            self.used = time.monotonic()
        except (http.client.HTTPException, OSError):
            self.connection.close()
            raise
        kind = answer.headers.get("Content-Type", "")
        value = json.loads(text) if text and kind.startswith("application/json") else text
        return answer.status, answer.headers, value

    def call(self, method, path, body=None, headers=None):
        """The parsed body of a 2xx answer; ApiError for any other."""
        status, answered, value = self.request(method, path, body, headers)
        if status // 100 != 2:
            message = value.get("error", value) if isinstance(value, dict) else value
            raise ApiError(status, message, answered)
        return value

    def get(self, path):
        return self.call("GET", path)

    def upload(self, path, file_name, method="PUT"):
        with open(file_name, "rb") as file:
            return self.call(method, path, file)
