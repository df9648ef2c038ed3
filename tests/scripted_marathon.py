"""A server that speaks as much of Marathon's API as the launcher asks for, and misbehaves when it is told to."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

VERSION = "2020-01-01T00:00:00.000Z"


class Handler(BaseHTTPRequestHandler):
    """One connection; what it answers stands in the server."""

    protocol_version = "HTTP/1.1"
    timeout = 30

    def _serve(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        path, _mark, query = self.path.partition("?")
        # Marathon drops repeated slashes; all that tests ask for is below one
        answer = self.server.owner.answer(self.command, path.replace("//", "/"), query, body, self)
        if answer is not None:
            self.reply(*answer)

    do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815  # the names that http.server looks for

    def reply(self, status, document, *, content_type="application/json", headers=()):
        content = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_arguments):
        return


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def finish_request(self, request, client_address):
        self.owner.connections.append(request)
        super().finish_request(request, client_address)

    def handle_error(self, request, client_address):
        return  # a client that hung up is part of the play


class Misbehaviour:
    """How the next requests are (not) answered; says afterwards that it happened."""

    def __init__(self, play, times):
        self.play = play
        self.left = times
        self.happened = 0


class ScriptedMarathon:
    """Apps in memory behind a real socket."""

    def __init__(self, host="127.0.0.1", tls=None):
        self.apps = {}
        self.tasks = {}
        self.deployments = []
        self.queue = []
        self.creations = Counter()
        self.requests = []
        self.headers = []
        self.pages = {}
        """Other documents by their path, such as those of Mesos."""
        self.sent = {}
        self.ending = threading.Event()
        self.connections = []
        self._misbehaviours = []
        self._lock = threading.Lock()
        self._server = Server((host, 0), Handler)
        self._server.owner = self
        scheme = "http"
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
            scheme = "https"
        self.url = f"{scheme}://{host}:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self):
        self.ending.set()
        self._server.shutdown()
        self._thread.join(timeout=10)
        self._server.server_close()
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def misbehave(self, play, times=1):
        """Have ``play(handler)`` in place of so many answers."""
        planned = Misbehaviour(play, times)
        self._misbehaviours.append(planned)
        return planned

    def answer(self, method, path, query, body, handler):
        with self._lock:
            self.requests.append((method, path, query))
            self.headers.append(dict(handler.headers))
            planned = next((each for each in self._misbehaviours if each.left), None)
            if planned is not None:
                planned.left -= 1
                planned.happened += 1
        if planned is not None:
            return planned.play(lambda: self.regular(method, path, query, body), handler)
        return self.regular(method, path, query, body)

    def regular(self, method, path, query, body):
        with self._lock:
            if path in self.pages:
                return 200, self.pages[path]
            if path.startswith("/v2/groups"):
                return self._delete_group(path.removeprefix("/v2/groups"))
            if path == "/v2/info":
                return 200, {"name": "marathon", "version": "1.11.24", "leader": "a:1", "a_newer_key": {"x": [1]}}
            if path == "/v2/deployments":
                return 200, self.deployments
            if path == "/v2/queue":
                return 200, {"queue": self.queue}
            if path == "/v2/apps" and method == "POST":
                return self._create(body)
            if path == "/v2/apps":
                return 200, {"apps": list(self.apps.values())}
            return self._one_app(method, path.removeprefix("/v2/apps"), query, body)

    def _create(self, body):
        app_id = body["id"]
        if app_id in self.apps:
            return 409, {"message": f"An app with id [{app_id}] already exists."}
        self.creations[app_id] += 1
        self.sent[app_id] = body
        self.apps[app_id] = {**body, "version": VERSION, "tasksRunning": 0, "tty": None, "executorResources": {}}
        return 201, {**self.apps[app_id], "deployments": [self._deploy(app_id)]}

    def _delete_group(self, group_id):
        below = [app_id for app_id in self.apps if app_id.startswith(f"{group_id}/")]
        for app_id in below:
            del self.apps[app_id]
        deployment = self._deploy(below[0])["id"]
        self.deployments[-1]["affectedApps"] = below
        return 200, {"version": VERSION, "deploymentId": deployment}

    def _deploy(self, app_id):
        deployment = {"id": f"deployment-{len(self.requests)}", "affectedApps": [app_id], "version": VERSION}
        self.deployments.append(deployment)
        return {"id": deployment["id"]}

    def _one_app(self, method, path, query, body):
        app_id = path.removesuffix("/tasks")
        if app_id not in self.apps:
            return 404, {"message": f"App '{app_id}' does not exist"}
        if path.endswith("/tasks"):
            return 200, {"tasks": self.tasks.get(app_id, [])}
        if method == "GET":
            return 200, {"app": {**self.apps[app_id], "check": {}}}
        locks = [item for item in self.deployments if app_id in item["affectedApps"]]
        if locks and "force=true" not in query:
            text = f"App is locked by one or more deployments. View details at '/v2/deployments/{locks[0]['id']}'."
            return 409, {"message": text, "deployments": [{"id": locks[0]["id"]}]}
        self.deployments = [item for item in self.deployments if item not in locks]
        if method == "DELETE":
            del self.apps[app_id]
        else:
            kept = {} if "partialUpdate=false" in query else self.apps[app_id]
            self.apps[app_id] = {**kept, **body}
        return 200, {"version": VERSION, "deploymentId": self._deploy(app_id)["id"]}


def refuse(status, document=b"", **options):
    """A play: this answer in place of the regular one."""
    return lambda _regular, handler: handler.reply(status, document, **options)


def hang(_regular, handler):
    """A play: never answer."""
    handler.server.owner.ending.wait(60)
    handler.close_connection = True


def lose(regular, handler):
    """A play: do as asked, and hang up in place of an answer."""
    regular()
    handler.close_connection = True


def drip_head(regular, handler):
    """A play: an answer whose head comes by the drop, for some seconds."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    with contextlib.suppress(OSError):
        for _drop in range(100):
            if handler.server.owner.ending.wait(0.05):
                break
            handler.wfile.write(b".")
            handler.wfile.flush()
        handler.wfile.write(b"\r\n\r\n")
        regular()
    handler.close_connection = True


def drip(_regular, handler):
    """A play: an answer that comes by the drop."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    try:
        while not handler.server.owner.ending.wait(0.05):
            handler.wfile.write(b" ")
            handler.wfile.flush()
    except OSError:
        pass
    handler.close_connection = True
