"""A broker that is scripted, on real sockets: it does what a real one does too rarely to wait for."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time

from hydra.endpoints import Endpoint

FETCH, LIST_OFFSETS, METADATA, API_VERSIONS = 1, 2, 3, 18


def text(name):
    return struct.pack(">h", len(name)) + name.encode()


def silence(_socket, _frame):
    """In place of a send: no answer at all."""


def hang_up(socket_, _frame):
    """In place of a send: an end of the connection."""
    socket_.shutdown(socket.SHUT_RDWR)


class ScriptedBroker:
    """Speaks enough of the protocol for one topic; ``fetch`` may be replaced to misbehave.

    A replacement gets (asked: {partition: offset}, version) and returns the response's bytes behind the correlation id,
    or a callable that is given the socket and the whole frame and sends what it likes.
    """

    def __init__(self, host="127.0.0.1", port=0):
        self.logs = {}
        self.starts = {}
        self.leaders = {}
        self.fetch_versions = (4, 17)
        self.fetch = self.good_fetch
        self.asked = []
        self.brokers = []
        """Those that lead nothing."""
        self.closest = {}
        """Partition -> replica that it sends clients to: its number among all brokers, in the order of their names."""
        self.rack = b""
        self.throttle_ms = 0
        self.heard_from = {}
        """Client id -> the requests that it sent."""
        self.connections = 0
        self.metadata_asked = self.versions_asked = 0
        self._stopping = threading.Event()
        self._sockets = []
        self.turns_away = False
        """Whether it closes what it has just accepted, as beyond max.connections.per.ip."""
        self._threads = []
        self._listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((host, port))
        self._listener.listen()
        self.endpoint = Endpoint(host, self._listener.getsockname()[1])
        self._run(self._accept)

    def _run(self, target, *arguments):
        thread = threading.Thread(target=target, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _accept(self):
        while not self._stopping.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            if self.turns_away:
                connection.close()
                continue
            self._sockets.append(connection)
            self._run(self._serve, connection)

    def _serve(self, connection):
        with contextlib.suppress(OSError, struct.error), connection:
            while head := connection.recv(4, socket.MSG_WAITALL):
                body = connection.recv(struct.unpack(">i", head)[0], socket.MSG_WAITALL)
                key, version, correlation, name_size = struct.unpack_from(">hhih", body)
                self.heard_from.setdefault(body[10 : 10 + name_size].decode(), set()).add(key)
                answer = self._answer(key, version, body[10 + name_size :])
                send, content = answer if isinstance(answer, tuple) else (socket.socket.sendall, answer)
                content = struct.pack(">i", correlation) + content
                send(connection, struct.pack(">i", len(content)) + content)

    def _answer(self, key, version, body):
        if key == API_VERSIONS:
            self.versions_asked += 1
            known = self.apis()
            return struct.pack(">hi", 0, len(known)) + b"".join(struct.pack(">hhh", *each) for each in known)
        if key == METADATA:
            self.metadata_asked += 1
            return self._metadata(body)
        if key == LIST_OFFSETS:
            name_size = struct.unpack_from(">h", body, 8)[0]
            partition, timestamp = struct.unpack_from(">iq", body, 14 + name_size)
            end = sum(rows for _, rows, _ in self.logs.get(partition, []))
            offset = self.starts.get(partition, 0) if timestamp == -2 else end
            name = body[8 : 10 + name_size]
            return struct.pack(">i", 1) + name + struct.pack(">iihqq", 1, partition, 0, -1, offset)
        at = 17 + (8 if version >= 7 else 0) + 4
        size = struct.unpack_from(">h", body, at)[0]
        self.topic = body[at + 2 : at + 2 + size].decode()
        at += 2 + size
        asked = {}
        for number in range(struct.unpack_from(">i", body, at)[0]):
            place = at + 4 + number * (28 if version >= 9 else 24 if version >= 5 else 16)
            partition = struct.unpack_from(">i", body, place)[0]
            asked[partition] = struct.unpack_from(">q", body, place + (8 if version >= 9 else 4))[0]
        self.asked.append((time.monotonic(), asked, version))
        self.rack = body[at + 4 + 28 * len(asked) + 4 + 2 :] if version >= 11 else b""
        return self.fetch(asked, version)

    def apis(self):
        """(key, lowest version, highest version) of what a client may have to choose a version of."""
        return [(FETCH, *self.fetch_versions)]

    def _metadata(self, body):
        nodes = sorted({*self.leaders.values(), *self.brokers}, key=str)
        out = struct.pack(">ii", 0, len(nodes))
        for number, node in enumerate(nodes):
            out += struct.pack(">i", number) + text(node.host) + struct.pack(">ih", node.port, -1)
        out += struct.pack(">hii", -1, 0, 1) + struct.pack(">h", 0) + body[4:-1] + b"\x00"
        out += struct.pack(">i", len(self.leaders))
        for partition, leader in self.leaders.items():
            out += struct.pack(">hii", 0, partition, nodes.index(leader)) + struct.pack(">ii", 0, 0)
        return out

    def good_fetch(self, asked, version):
        """Whole batches from the one that holds the offset; nothing after a short while when there is none."""
        found = {}
        for partition, offset in asked.items():
            error = 1 if offset < self.starts.get(partition, 0) else 0
            log = [] if partition in self.closest else self.logs.get(partition, [])
            rows = [data for base, count, data in log if base + count > offset]
            found[partition] = (error, b"" if error else b"".join(rows))
        if not any(error or data for error, data in found.values()):
            self._stopping.wait(0.005)
        return self.response(found, version)

    def response(self, found, version=11):
        out = struct.pack(">i", self.throttle_ms) + (struct.pack(">hi", 0, 0) if version >= 7 else b"")
        out += struct.pack(">i", 1) + text(self.topic) + struct.pack(">i", len(found))
        for partition, (error, data) in found.items():
            out += struct.pack(">ihqq", partition, error, -1, -1)
            out += (struct.pack(">q", -1) if version >= 5 else b"") + struct.pack(">i", -1)
            out += struct.pack(">i", self.closest.get(partition, -1)) if version >= 11 else b""
            out += struct.pack(">i", len(data)) + data
        return out

    def append(self, data, partition=0):
        log = self.logs.setdefault(partition, [])
        base = sum(rows for _, rows, _ in log)
        count = struct.unpack_from(">i", data, 57)[0]
        log.append((base, count, struct.pack(">q", base) + data[8:]))

    def close(self):
        self._stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
            assert not thread.is_alive()
