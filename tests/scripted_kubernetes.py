"""A server that speaks as much of Kubernetes' API as the launcher asks for, and misbehaves when it is told to.

A Job's pods are made at once, in the state that ``pod_status`` is; with a folder they are processes of this machine.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

CREATED = "2026-01-01T00:00:00Z"
JOBS = "/apis/batch/v1/namespaces/lab/jobs"
CORE = "/api/v1/namespaces/lab"


def running(address):
    conditions = [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "True"}]
    state = {"running": {"startedAt": CREATED}}
    return {
        "phase": "Running",
        "podIP": address,
        "conditions": conditions,
        "containerStatuses": [{"name": "task", "state": state}],
    }


def waiting(reason, message):
    return {
        "phase": "Pending",
        "containerStatuses": [{"name": "task", "state": {"waiting": {"reason": reason, "message": message}}}],
    }


def selected(thing, query):
    """By ``label=value`` and ``label in (value,value)``, all of them."""
    terms = re.findall(r"([^\s,=]+)(?:=([^,]*)| in \(([^)]*)\))", query["labelSelector"][0])
    labels = thing["metadata"].get("labels", {})
    return all(labels.get(label) in (value or values).split(",") for label, value, values in terms)


def unschedulable(message):
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return {"phase": "Pending", "conditions": [condition]}


def terminated(code, reason="Error", **fields):
    state = {"terminated": {"exitCode": code, "reason": reason, "finishedAt": CREATED}}
    return {"phase": "Failed", "containerStatuses": [{"name": "task", "state": state}], **fields}


class ScriptedKubernetes:
    """Serves until ``close``. What it holds may be changed by a test at any time."""

    def __init__(self, folder=None, net=30):
        self.folder, self.net = folder, net
        self.processes = {}
        self.mounts = {}
        self.config_maps = {}
        self.quotas, self.limit_ranges = [], []
        self.denied = set()
        """(verb, resource)"""
        """By the name of a pod."""
        self.lock = threading.RLock()
        self.jobs, self.pods, self.events, self.secrets, self.logs = {}, {}, [], {}, {}
        self.pod_status = running
        self.variables = {}
        """What each process is told in place of what its pod says."""
        self.makes_pods = True
        self.collects_garbage = True
        """Whether what an object owns goes with it: not for some time when the real API server was away."""
        self.version = {"major": "1", "minor": "37", "gitVersion": "v1.37.2"}
        self.requests = []
        self.faults = []
        """(method, part of a path, answer) that the next such request gets, once: status, document, headers."""
        self.cuts = 0
        """So many answers break off in the middle."""
        self.numbers = itertools.count(1)
        self.page = None
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    def close(self):
        for name in list(self.processes):
            self.end_process(name)
        self.server.shutdown()
        self.thread.join(5)
        self.server.server_close()

    def kubeconfig(self, file):
        """Write one that leads here. Returns the environment with it."""
        context = {"cluster": "lab", "user": "me", "namespace": "lab"}
        config = {
            "current-context": "lab",
            "clusters": [{"name": "lab", "cluster": {"server": self.url}}],
            "users": [{"name": "me", "user": {"token": "secret"}}],
            "contexts": [{"name": "lab", "context": context}],
        }
        file.write_text(json.dumps(config))
        return {"KUBECONFIG": str(file)}

    def fail(self, method, part, status, message="", *, reason="", times=1, **headers):
        answer = (status, {"kind": "Status", "message": message, "reason": reason}, headers)
        self.faults += [(method, part, answer)] * times

    def answer(self, method, path, query, body):
        for fault in self.faults:
            if fault[0] == method and fault[1] in path:
                self.faults.remove(fault)
                return fault[2]
        if path == "/version":
            return 200, self.version, {}
        if path.startswith(JOBS):
            return self.answer_jobs(method, path[len(JOBS) + 1 :], body, query)
        if path.endswith("/selfsubjectaccessreviews"):
            asked = body["spec"]["resourceAttributes"]
            return 201, {"status": {"allowed": (asked["verb"], asked["resource"]) not in self.denied}}, {}
        return self.answer_core(method, path, query, body)

    def answer_core(self, method, path, query, body):
        if path == f"{CORE}/pods":
            return self.list_pods(query) if method == "GET" else self.delete_pods(query)
        if path.endswith("/log"):
            name = path.split("/")[-2]
            if name in self.processes:
                self.logs[name] = (self.folder / name / "log").read_text()
            lines = self.logs.get(name, "").splitlines(keepends=True)[-int(query.get("tailLines", ["10000"])[0]) :]
            return (200, "".join(lines).encode(), {}) if name in self.logs else self.missing(name)
        if path == f"{CORE}/limitranges":
            return 200, {"items": self.limit_ranges}, {}
        if path == f"{CORE}/resourcequotas":
            return 200, {"items": self.quotas}, {}
        if path.startswith(f"{CORE}/configmaps"):
            return self.answer_config_maps(method, path.rpartition("/")[2], body)
        if path.startswith(f"{CORE}/secrets/"):
            name = path.rpartition("/")[2]
            return (200, {"kind": "Status"}, {}) if self.secrets.pop(name, None) else self.missing(name)
        if path == f"{CORE}/secrets":
            self.secrets[body["metadata"]["name"]] = body
            if body["metadata"]["name"] in self.mounts:
                self.when_there(body["metadata"]["name"], self.mounts[body["metadata"]["name"]])
            return 201, body, {}
        if path == f"{CORE}/events":
            uid = query["fieldSelector"][0].partition("=")[2]
            return 200, {"items": [event for event in self.events if event["involvedObject"]["uid"] == uid]}, {}
        return self.missing(path)

    def answer_config_maps(self, method, name, body):
        if method == "GET":
            return (200, self.config_maps[name], {}) if name in self.config_maps else self.missing(name)
        name = body["metadata"]["name"]
        if name in self.config_maps:
            return 409, {"message": f'configmaps "{name}" already exists'}, {}
        self.config_maps[name] = body
        return 201, body, {}

    def answer_jobs(self, method, name, body, query=None):
        if method == "POST":
            name = body["metadata"]["name"]
            if name in self.jobs:
                return 409, {"message": f'jobs.batch "{name}" already exists'}, {}
            number = next(self.numbers)
            times = {"creationTimestamp": CREATED, "uid": f"uid-{number}"}
            self.jobs[name] = {**body, "metadata": {**body["metadata"], **times}, "status": {"startTime": CREATED}}
            self.follow(name)
            return 201, self.jobs[name], {}
        if method == "GET" and not name:
            return 200, {"items": [job for job in self.jobs.values() if selected(job, query)]}, {}
        if name not in self.jobs:
            return self.missing(name)
        job = self.jobs[name]
        if method == "DELETE":
            if body["preconditions"]["uid"] != job["metadata"]["uid"]:
                return 409, {"message": "the UID in the precondition does not match"}, {}
            if self.collects_garbage:
                self.remove(name)
            elif body["propagationPolicy"] == "Foreground":
                job["metadata"]["deletionTimestamp"] = CREATED
            else:
                del self.jobs[name]
            return 200, {"kind": "Status", "status": "Success"}, {}
        if method == "PATCH":
            uid = body.get("metadata", {}).get("uid", job["metadata"]["uid"])
            if uid != job["metadata"]["uid"]:
                return 422, {"message": "metadata.uid: Invalid value: field is immutable", "reason": "Invalid"}, {}
            job["spec"].update(body["spec"])
            if body["spec"].get("activeDeadlineSeconds") == 1:
                self.end_job(job)
            else:
                self.follow(name)
        return 200, job, {}

    def follow(self, name):
        """Have as many pods as the job is to have."""
        job = self.jobs[name]
        own = [
            pod for pod in self.pods.values() if pod["metadata"]["ownerReferences"][0]["uid"] == job["metadata"]["uid"]
        ]
        wanted = job["spec"].get("parallelism", 1) if self.makes_pods else 0
        for pod in own[wanted:]:
            self.remove_pod(pod["metadata"]["name"])
        for index in range(len(own), wanted):
            number = next(self.numbers)
            metadata = {
                "name": f"{name}-{index}-{number:05}", "uid": f"uid-{number}", "creationTimestamp": CREATED,
                "labels": {
                    **job["spec"]["template"]["metadata"]["labels"],
                    "batch.kubernetes.io/job-name": name,
                    "batch.kubernetes.io/controller-uid": job["metadata"]["uid"],
                },
                "ownerReferences": [{"name": name, "uid": job["metadata"]["uid"]}],
            }  # fmt: skip
            status = self.pod_status
            status = status(f"127.0.0.{number}") if callable(status) else status
            if self.folder is not None:
                uid = job["metadata"]["uid"]
                status = self.start_process(metadata["name"], job["spec"]["template"]["spec"], number, uid)
            self.pods[metadata["name"]] = {"metadata": metadata, "spec": {"nodeName": "node-0"}, "status": status}

    def start_process(self, name, spec, number, uid):
        address = f"127.{self.net}.{number // 250}.{number % 250 + 1}"
        known = {
            "metadata.name": name,
            "status.podIP": address,
            "spec.nodeName": "node-0",
            "metadata.labels['batch.kubernetes.io/controller-uid']": uid,
        }
        folder = self.folder / name
        folder.mkdir()
        (container,) = spec["containers"]
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        places = {
            mount["mountPath"]: folder if "emptyDir" in volumes[mount["name"]] else folder / mount["name"]
            for mount in container["volumeMounts"]
        }
        environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        if spec["automountServiceAccountToken"]:
            environment |= self.kubeconfig(folder / "kubeconfig")
        for each in container["env"]:
            source = each.get("valueFrom", {})
            if "fieldRef" in source:
                value = known[source["fieldRef"]["fieldPath"]]
            elif "secretKeyRef" in source:
                reference = source["secretKeyRef"]
                value = self.secrets[reference["name"]]["stringData"][reference["key"]]
            else:
                value = each["value"]
                for path, place in places.items():
                    value = value.replace(path, str(place))
            environment[each["name"]] = value
        environment |= self.variables
        for volume in spec["volumes"]:
            if "secret" in volume:
                self.when_there(volume["secret"]["secretName"], folder / volume["name"])
        command = container["command"]
        if len(places) > 1:  # as a kubelet does: the process starts when what is mounted is there
            command = ["/bin/sh", "-c", f"until [ -d {folder}/order ]; do sleep 0.05; done; {command[-1]}"]
        with (folder / "log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                command, env=environment, cwd=folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        return running(address)

    def when_there(self, secret, folder):
        """Have the files of a Secret in a folder as soon as it is made."""
        self.mounts[secret] = folder
        if secret in self.secrets:
            draft = folder.with_suffix(".new")
            draft.mkdir()
            for name, content in self.secrets[secret]["data"].items():
                (draft / name).write_bytes(base64.b64decode(content))
            draft.rename(folder)

    def end_job(self, job):
        """Its deadline has passed: its pods are deleted, which their processes are told."""
        job["status"]["conditions"] = [{"type": "Failed", "status": "True", "message": "past its deadline"}]
        for name, pod in self.pods.items():
            if pod["metadata"]["labels"]["batch.kubernetes.io/controller-uid"] == job["metadata"]["uid"]:
                pod["metadata"]["deletionTimestamp"] = CREATED
                if name in self.processes:
                    self.processes[name].terminate()

    def end_process(self, name):
        """End a pod's process; the pod is left."""
        process = self.processes.pop(name, None)
        if process is not None:
            process.kill()
            process.wait(10)

    def look_at_processes(self):
        for name, process in list(self.processes.items()):
            if process.poll() is not None and name in self.pods:
                code = process.returncode if process.returncode >= 0 else 128 - process.returncode
                self.pods[name]["status"] = terminated(code) | ({} if code else {"phase": "Succeeded"})
                self.logs[name] = (self.folder / name / "log").read_text()

    def remove_pod(self, name):
        self.end_process(name)
        del self.pods[name]

    def remove(self, name):
        """A job with all that it owns."""
        uid = self.jobs.pop(name)["metadata"]["uid"]
        for things in (self.jobs, self.pods, self.secrets, self.config_maps):
            for each in list(things.values()):
                if any(owner["uid"] == uid for owner in each["metadata"].get("ownerReferences", ())):
                    if things is self.jobs:
                        self.remove(each["metadata"]["name"])
                    elif things is self.pods:
                        self.remove_pod(each["metadata"]["name"])
                    else:
                        del things[each["metadata"]["name"]]

    def list_pods(self, query):
        self.look_at_processes()
        found = [pod for pod in self.pods.values() if selected(pod, query)]
        first = int(query.get("continue", ["0"])[0])
        page = self.page or len(found) or 1
        onward = str(first + page) if first + page < len(found) else ""
        return 200, {"metadata": {"continue": onward}, "items": found[first : first + page]}, {}

    def delete_pods(self, query):
        for name in [name for name, pod in self.pods.items() if selected(pod, query)]:
            self.remove_pod(name)
        return 200, {"kind": "PodList", "items": []}, {}

    def missing(self, name):
        return 404, {"message": f'"{name}" not found', "reason": "NotFound"}, {}


def _handler(owner):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30
        disable_nagle_algorithm = True

        def serve(self):
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            parts = urlsplit(self.path)
            owner.requests.append((self.command, parts.path, dict(self.headers)))
            with owner.lock:
                status, document, headers = owner.answer(self.command, unquote(parts.path), parse_qs(parts.query), body)
            content = document if isinstance(document, bytes) else json.dumps(document).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(content[: len(content) // 2] if owner.cuts else content)
            if owner.cuts:
                owner.cuts -= 1
                self.close_connection = True

        do_GET = do_POST = do_PATCH = do_DELETE = serve  # noqa: N815  # the names that http.server looks for

        def log_message(self, *_arguments):
            return

    return Handler


@contextlib.contextmanager
def playing_kubernetes() -> Iterator[ScriptedKubernetes]:
    """A server for one test; neither it nor what it was tested with leaves a thread behind."""
    before = set(threading.enumerate())
    server = ScriptedKubernetes()
    yield server
    server.close()
    assert {each for each in threading.enumerate() if not each.daemon} <= before
