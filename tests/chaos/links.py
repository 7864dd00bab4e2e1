"""Links that can go bad: TCP ports in front of the Unix sockets that the processes bind.

Every connection between two processes of the suite goes over a Link, which passes bytes both
ways.  A link has a mode, and a share of its connections that the mode holds for:

    pass   bytes go through as they come
    slow   every piece waits for a while first
    cut    connections are reset, and so is each new one
    hole   nothing goes through in either direction, not even an end; what was sent on the way
           comes out when the hole is gone, as TCP would have it

All of it runs on the event loop of Background, which is a thread of its own; the load generator
(load.py) lives there too.  The main thread speaks to it through Background.call.
"""

import asyncio
import contextlib
import random
import socket
import struct
import threading

PIECE_BYTES = 1 << 16
SLOW_SECONDS = (0.02, 0.2)


class Background:
    """An event loop in a thread."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def call(self, coroutine, seconds=60):
        """Runs it there and waits for its value."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(seconds)

    def stop(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()


class Connection:
    """One connection through a link: two pumps, and a gate that both pass."""

    def __init__(self, link, mode, writer):
        self.link = link
        self.mode = mode
        self.changed = asyncio.Event()
        self.writers = [writer]

    def set_mode(self, mode):
        self.mode = mode
        self.changed.set()
        self.changed = asyncio.Event()
        if mode == "cut":
            self.reset()

    def reset(self):
        for writer in self.writers:
            plug = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async def _wait(self, seconds=None):
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.changed.wait(), seconds)

    async def _gate(self):
        if self.mode == "slow":
            await self._wait(self.link.random.uniform(*SLOW_SECONDS))
        while self.mode == "hole":
            await self._wait()

    async def pump(self, reader, writer):
        with contextlib.suppress(OSError):
            while data := await reader.read(PIECE_BYTES):
                await self._gate()
                writer.write(data)
                await writer.drain()
        await self._gate()
        for each in self.writers:
            each.transport.abort()


class Link:
    def __init__(self, name, target, seed):
        self.name = name
        self.target = target  # path of a Unix socket
        self.port = None
        self.mode = "pass"
        self.share = 1.0
        self.random = random.Random(seed)
        self.connections = set()
        self.server = None

    async def listen(self):
        self.server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]

    async def set_mode(self, mode, share=1.0):
        self.mode = mode
        self.share = share
        for connection in list(self.connections):
            connection.set_mode(self._choose())

    def _choose(self):
        return self.mode if self.random.random() < self.share else "pass"

    async def _accept(self, reader, writer):
        connection = Connection(self, self._choose(), writer)
        self.connections.add(connection)
        try:
            if connection.mode == "cut":
                raise ConnectionResetError
            to_reader, to_writer = await asyncio.open_unix_connection(self.target)
            connection.writers.append(to_writer)
            if connection.mode == "cut":
                raise ConnectionResetError
            await asyncio.gather(connection.pump(reader, to_writer), connection.pump(to_reader, writer))
        except OSError:
            connection.reset()
        finally:
            self.connections.discard(connection)
