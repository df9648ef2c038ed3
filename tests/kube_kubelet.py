"""A stand-in for a kubelet: runs the pods of one node as local processes, each with an address in 127.0.0.0/8.

It knows what Hydra's pods need: one container, environment from fields and Secrets, an emptyDir, SIGTERM, grace and
SIGKILL, logs, port-forward. An image is there unless its name begins with ``missing``. A file system of its own it
cannot give: the path at which an emptyDir is mounted is replaced by that of a folder, wherever it stands in command and
environment. Nor a network: an address stands for each pod's own 127.0.0.1, also in a variable that says so. A
port-forward leads there, and not to the pod's address, as in a real pod.
"""

import argparse
import asyncio
import base64
import contextlib
import json
import os
import signal
import ssl
import sys
from datetime import datetime, timezone
from pathlib import Path

import aiohttp
from aiohttp import web
from kube_port_forward import serve_port_forward  # beside this script

STRATEGIC = {"Content-Type": "application/strategic-merge-patch+json"}
MERGE = {"Content-Type": "application/merge-patch+json"}
RETRY_S = 0.2


def now():
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


class Kubelet:
    def __init__(self, arguments):
        self.arguments = arguments
        self.node = arguments.node
        self.pods = {}
        """By uid: the pod as it was last seen."""
        self.changed = {}
        self.tasks = {}
        self.logs = {}
        self.loopbacks = {}
        """By namespace and name, of pods that run: what stands for their own 127.0.0.1."""
        self.addresses = 0
        self.processes = set()

    async def run(self):
        context = ssl.create_default_context(cafile=self.arguments.ca)
        context.check_hostname = False
        headers = {"Authorization": f"Bearer {self.arguments.token}"}
        connector = aiohttp.TCPConnector(ssl=context, limit=0)
        async with aiohttp.ClientSession(self.arguments.server, headers=headers, connector=connector) as self.http:
            await self.serve_api_server()
            await self.register()
            beat = asyncio.create_task(self.beat())
            try:
                await self.follow()
            finally:
                beat.cancel()

    async def call(self, method, path, body=None, headers=None):
        """(status, answer); repeated while the API server is away."""
        while True:
            try:
                async with self.http.request(method, path, json=body, headers=headers) as response:
                    return response.status, await response.json(content_type=None)
            except (aiohttp.ClientError, OSError, ValueError):
                await asyncio.sleep(RETRY_S)

    async def register(self):
        labels = {"kubernetes.io/hostname": self.node, **dict(each.split("=") for each in self.arguments.label)}
        await self.call("POST", "/api/v1/nodes", {"metadata": {"name": self.node, "labels": labels}})
        await self.call("POST", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases", self.lease())
        await self.tell_ready()

    async def tell_ready(self):
        """Again and again: a node that was taken for lost is back only when it says so."""
        room = {"cpu": self.arguments.cpus, "memory": "64Gi", "pods": "500"}
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "lastHeartbeatTime": now()}
        status = {
            "capacity": room,
            "allocatable": room,
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self.arguments.port}},
            "conditions": [{**ready, "lastTransitionTime": now()}],
        }
        await self.call("PATCH", f"/api/v1/nodes/{self.node}/status", {"status": status}, STRATEGIC)

    def lease(self):
        renewed = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return {
            "metadata": {"name": self.node, "namespace": "kube-node-lease"},
            "spec": {"holderIdentity": self.node, "leaseDurationSeconds": 40, "renewTime": renewed},
        }

    async def beat(self):
        path = f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{self.node}"
        while True:
            await asyncio.sleep(2)
            await self.call("PATCH", path, self.lease(), MERGE)
            await self.tell_ready()

    async def follow(self):
        """List the pods of this node and follow their changes, for ever."""
        path = f"/api/v1/pods?fieldSelector=spec.nodeName%3D{self.node}"
        while True:
            _status, listed = await self.call("GET", path)
            there = {pod["metadata"]["uid"] for pod in listed.get("items", ())}
            for pod in listed.get("items", ()):
                self.see(pod)
            for uid in [uid for uid in self.pods if uid not in there]:
                self.forget(uid)
            version = listed.get("metadata", {}).get("resourceVersion", "0")
            with contextlib.suppress(aiohttp.ClientError, OSError, ValueError, asyncio.TimeoutError):
                await self.watch(f"{path}&watch=1&timeoutSeconds=300&resourceVersion={version}")
            await asyncio.sleep(0.05)

    async def watch(self, path):
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
        async with self.http.get(path, timeout=timeout) as response:
            buffer = b""
            async for piece in response.content.iter_any():
                *lines, buffer = (buffer + piece).split(b"\n")
                for line in lines:
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        return
                    if event["type"] == "DELETED":
                        self.forget(event["object"]["metadata"]["uid"])
                    else:
                        self.see(event["object"])

    def see(self, pod):
        uid = pod["metadata"]["uid"]
        self.pods[uid] = pod
        if uid in self.changed:
            self.changed[uid].set()
        else:
            self.changed[uid] = asyncio.Event()
            self.tasks[uid] = asyncio.create_task(self.be(uid))

    def forget(self, uid):
        """A pod was removed by force: its process goes at once."""
        if uid in self.pods:
            self.pods[uid] = None
            self.changed[uid].set()

    async def be(self, uid):
        """One pod, from its start until it is gone."""
        try:
            await Pod(self, uid).run()
        except Exception as error:  # noqa: BLE001  # told, and the others go on
            print(f"{self.node}: {error!r}", file=sys.stderr, flush=True)
        finally:
            self.pods.pop(uid, None)
            self.changed.pop(uid, None)
            self.tasks.pop(uid, None)

    def address(self):
        """Of a pod, and what stands for its 127.0.0.1."""
        self.addresses += 1
        nets = int(self.arguments.net), int(self.arguments.net) + 100
        return [f"127.{net}.{self.addresses // 250}.{self.addresses % 250 + 1}" for net in nets]

    async def serve_api_server(self):
        """What it asks for: the logs and the ports of pods."""

        async def log(request):
            file = self.logs.get((request.match_info["namespace"], request.match_info["pod"]))
            if file is None:
                return web.Response(status=404)
            lines = file.read_bytes().splitlines(keepends=True)
            return web.Response(body=b"".join(lines[-int(request.query.get("tailLines", 100000)) :]))

        async def port_forward(request):
            pod = request.match_info["namespace"], request.match_info["pod"]
            if pod not in self.loopbacks:
                return web.Response(status=404, text="pod does not exist")
            ports = [int(port) for port in request.query.getall("port", ())]
            address = (self.loopbacks[pod], *ports[:1])
            return await serve_port_forward(request, ports, "_".join(pod), address)

        app = web.Application()
        app.router.add_get("/containerLogs/{namespace}/{pod}/{container}", log)
        app.router.add_get("/portForward/{namespace}/{pod}", port_forward)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.arguments.cert, self.arguments.key)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.arguments.port, ssl_context=context)
        await site.start()

    def kill_all(self):
        for pid in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)


class Pod:
    def __init__(self, kubelet, uid):
        self.kubelet, self.uid = kubelet, uid
        pod = kubelet.pods[uid]
        self.spec, self.metadata = pod["spec"], pod["metadata"]
        self.container = self.spec["containers"][0]
        self.path = f"/api/v1/namespaces/{self.metadata['namespace']}/pods/{self.metadata['name']}"
        self.folder = Path(kubelet.arguments.folder) / f"{self.metadata['name']}-{uid[:8]}"
        self.address, self.loopback = kubelet.address()
        self.began = now()
        self.kubeconfig = None

    @property
    def now_seen(self):
        return self.kubelet.pods[self.uid]

    async def run(self):
        if self.now_seen["status"].get("phase") in ("Succeeded", "Failed"):
            await self.end()
            return
        if self.now_seen["status"].get("phase") == "Running":
            # Of a stand-in before this one, as after the restart of a node. It keeps its address: two are refused.
            self.address = self.now_seen["status"].get("podIP", self.address)
            await self.tell("Failed", {"terminated": self.terminated(137, "ContainerStatusUnknown")})
            await self.end()
            return
        image = self.container["image"]
        if image.startswith("missing"):
            await self.without_image(image)
            return
        self.folder.mkdir(parents=True)
        log = self.folder / "log"
        self.kubelet.logs[self.metadata["namespace"], self.metadata["name"]] = log
        try:
            await self.mount()
            environment = await self.environment()
            command = [self.local(word) for word in (*self.container["command"], *self.container.get("args", ()))]
            with log.open("wb") as file:
                process = await asyncio.create_subprocess_exec(
                    *command, env=environment, cwd=self.folder, stdout=file, stderr=file,
                    stdin=asyncio.subprocess.DEVNULL, start_new_session=True,
                )  # fmt: skip
        except (OSError, LookupError) as error:
            await self.tell("Failed", {"terminated": self.terminated(128, "StartError", str(error))})
            await self.end()
            return
        self.kubelet.processes.add(process.pid)
        name = self.metadata["namespace"], self.metadata["name"]
        self.kubelet.loopbacks[name] = self.loopback
        await self.tell("Running", {"running": {"startedAt": self.began}})
        ended = asyncio.create_task(process.wait())
        while not ended.done() and not self.is_deleted():
            await self.wait(ended)
        if not ended.done():
            await self.stop(process, ended)
        self.kubelet.processes.discard(process.pid)
        del self.kubelet.loopbacks[name]
        code = 128 - process.returncode if process.returncode < 0 else process.returncode
        if self.now_seen is not None:
            phase, reason = ("Failed", "Error") if code else ("Succeeded", "Completed")
            await self.tell(phase, {"terminated": self.terminated(code, reason)})
        await self.end()

    async def wait(self, *others):
        changed = asyncio.create_task(self.kubelet.changed[self.uid].wait())
        await asyncio.wait([changed, *others], return_when=asyncio.FIRST_COMPLETED)
        if changed.done():
            self.kubelet.changed[self.uid].clear()
        changed.cancel()

    def is_deleted(self):
        return self.now_seen is None or self.now_seen["metadata"].get("deletionTimestamp") is not None

    async def without_image(self, image):
        for reason in ("ErrImagePull", "ImagePullBackOff"):
            message = f'Back-off pulling image "{image}": not found'
            await self.tell("Pending", {"waiting": {"reason": reason, "message": message}})
            await asyncio.sleep(0.3)
        await self.end()

    async def stop(self, process, ended):
        seen = self.now_seen
        grace_s = 0 if seen is None else seen["metadata"].get("deletionGracePeriodSeconds", 30)
        if grace_s:
            os.killpg(process.pid, signal.SIGTERM)
            await asyncio.wait([ended], timeout=grace_s)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await ended

    async def end(self):
        """Wait until the pod is deleted, and let its object go."""
        while not self.is_deleted():
            await self.wait()
        if self.now_seen is not None:
            options = {"gracePeriodSeconds": 0, "preconditions": {"uid": self.uid}}
            await self.kubelet.call("DELETE", self.path, options)

    async def tell(self, phase, state):
        running = "running" in state
        at = {"lastTransitionTime": now()}
        types = {"Initialized": True, "ContainersReady": running, "Ready": running}
        status = {
            "phase": phase,
            "startTime": self.began,
            "hostIP": "127.0.0.1",
            "podIP": self.address,
            "podIPs": [{"ip": self.address}],
            "conditions": [{"type": name, "status": str(so), **at} for name, so in types.items()],
            "containerStatuses": [
                {"name": self.container["name"], "image": self.container["image"], "imageID": "", "ready": running,
                 "restartCount": 0, "started": running, "state": state}
            ],
        }  # fmt: skip
        if phase == "Pending":
            del status["podIP"], status["podIPs"]
        await self.kubelet.call(
            "PATCH", f"{self.path}/status", {"metadata": {"uid": self.uid}, "status": status}, STRATEGIC
        )

    def terminated(self, code, reason, message=""):
        return {"exitCode": code, "reason": reason, "message": message, "startedAt": self.began, "finishedAt": now()}

    def local(self, text):
        volumes = {volume["name"]: volume for volume in self.spec.get("volumes", ())}
        for mount in self.container.get("volumeMounts", ()):
            place = self.folder if "emptyDir" in volumes[mount["name"]] else self.folder / mount["name"]
            text = text.replace(mount["mountPath"], str(place))
        return text

    async def mount(self):
        """The files of Secrets, and those of the service account, which a process finds by a kubeconfig."""
        for volume in self.spec.get("volumes", ()):
            folder = self.folder / volume["name"]
            if "secret" in volume:
                folder.mkdir()
                for name, content in (await self.secret(volume["secret"]["secretName"])).items():
                    (folder / name).write_bytes(base64.b64decode(content))
            elif "projected" in volume:
                folder.mkdir()
                await self.write_account(folder)

    async def write_account(self, folder):
        path = (
            f"/api/v1/namespaces/{self.metadata['namespace']}/serviceaccounts/{self.spec['serviceAccountName']}/token"
        )
        _status, answer = await self.kubelet.call("POST", path, {"spec": {"expirationSeconds": 7200}})
        (folder / "token").write_text(answer["status"]["token"])
        cluster = {"server": self.kubelet.arguments.server, "certificate-authority": self.kubelet.arguments.ca}
        context = {"cluster": "here", "user": "pod", "namespace": self.metadata["namespace"]}
        config = {
            "current-context": "here",
            "clusters": [{"name": "here", "cluster": cluster}],
            "users": [{"name": "pod", "user": {"tokenFile": "token"}}],
            "contexts": [{"name": "here", "context": context}],
        }
        (folder / "kubeconfig").write_text(json.dumps(config))
        self.kubeconfig = folder / "kubeconfig"

    async def environment(self):
        found = {"PATH": os.environ["PATH"], "HOSTNAME": self.metadata["name"]}
        if self.kubeconfig is not None:
            found["KUBECONFIG"] = str(self.kubeconfig)
        for each in self.container.get("env", ()):
            source = each.get("valueFrom", {})
            if "fieldRef" in source:
                path = source["fieldRef"]["fieldPath"]
                known = {
                    "metadata.name": self.metadata["name"],
                    "status.podIP": self.address,
                    "spec.nodeName": self.kubelet.node,
                }
                kind = path.partition("[")[0].removeprefix("metadata.")
                found[each["name"]] = known[path] if path in known else self.metadata[kind][path.split("'")[1]]
            elif "secretKeyRef" in source:
                reference = source["secretKeyRef"]
                data = await self.secret(reference["name"])
                found[each["name"]] = base64.b64decode(data[reference["key"]]).decode()
            else:
                value = each.get("value", "")
                found[each["name"]] = self.loopback if value == "127.0.0.1" else self.local(value)
        return found

    async def secret(self, name):
        """Its data; a Secret may come after its pod."""
        path = f"/api/v1/namespaces/{self.metadata['namespace']}/secrets/{name}"
        for _ in range(50):
            status, answer = await self.kubelet.call("GET", path)
            if status == 200:
                return answer["data"]
            await asyncio.sleep(RETRY_S)
        raise LookupError(f"secret {name}: {status}")


def main():
    parser = argparse.ArgumentParser()
    for name in ("server", "token", "ca", "cert", "key", "folder", "node", "net"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--cpus", default="64")
    parser.add_argument("--label", action="append", default=[])
    kubelet = Kubelet(parser.parse_args())

    async def until_told():
        running = asyncio.create_task(kubelet.run())
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, running.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await running
        kubelet.kill_all()

    asyncio.run(until_told())


if __name__ == "__main__":
    main()
