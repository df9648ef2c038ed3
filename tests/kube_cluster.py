"""A control plane of Kubernetes on this machine (etcd, API server, controllers, scheduler), with kubelet stand-ins.

``python -m tests.kube_cluster build`` makes the one binary that they are all in, from Go modules: some minutes of CPU,
once for each version of control_plane/. It is kept in the user's cache folder.
"""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

SOURCE = Path(__file__).parent / "engine" / "control_plane"
KUBELET = Path(__file__).parent / "kube_kubelet.py"
VERSION = "v1.37.2"
BUILD_TIMEOUT_S = 3600.0
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 15.0
CONTROLLERS = "*,-kube-apiserver-serving-clustertrustbundle-publisher-controller"


def cached_binary():
    """Where the binary is, or would be, by what it is made of; None where there is no Go."""
    go = shutil.which("go")
    if go is None:
        return None
    version = subprocess.run([go, "version"], capture_output=True, text=True, check=True, timeout=60).stdout
    made_of = hashlib.sha256(version.encode())
    for name in ("main.go", "go.mod", "go.sum"):
        made_of.update((SOURCE / name).read_bytes())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "hydra-scaletest" / "kube-lab" / made_of.hexdigest()[:16] / "kube-lab"


def build():
    """Build the binary unless it is there. Its cache, some gigabytes, is kept only if it was interrupted."""
    binary = cached_binary()
    if binary is None:
        return "no Go here: the tests on a real control plane are left out"
    if binary.exists():
        return f"the control plane is there: {binary}"
    binary.parent.mkdir(parents=True, exist_ok=True)
    made, cache = binary.with_suffix(".new"), binary.parent / "cache"
    flags = f"-s -w -X k8s.io/component-base/version.gitVersion={VERSION}"
    environment = {**os.environ, "CGO_ENABLED": "0", "GOCACHE": str(cache)}
    command = [
        "nice",
        "-n",
        "10",
        "go",
        "build",
        "-trimpath",
        "-buildvcs=false",
        "-ldflags",
        flags,
        "-o",
        str(made),
        ".",
    ]
    subprocess.run(command, cwd=SOURCE, env=environment, check=True, timeout=BUILD_TIMEOUT_S)
    made.rename(binary)
    shutil.rmtree(cache)
    return f"built {binary}"


def free_ports(count):
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


class Cluster:
    """Started by ``with``. Each process is ended by its id."""

    def __init__(self, folder, nodes=2, *, net=40, kubelet_path=None):
        self.folder, self.node_count, self.net = Path(folder), nodes, net
        self.binary = cached_binary()
        self.token = os.urandom(16).hex()
        self.processes = {}
        self.commands = {}
        self.kubelet_path = kubelet_path or f"{Path(sys.executable).parent}:{os.environ['PATH']}"

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.stop_all()
            raise
        return self

    def __exit__(self, *_error):
        self.stop_all()

    def start(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        self.make_keys()
        clients, peers, api = free_ports(3)
        self.server, self.ca = f"https://127.0.0.1:{api}", self.folder / "pki" / "apiserver.crt"
        at = self.folder
        self.launch("etcd", "--data-dir", at / "etcd", "--clients", f"http://127.0.0.1:{clients}",
                    "--peers", f"http://127.0.0.1:{peers}")  # fmt: skip
        self.launch(
            "kube-apiserver", f"--etcd-servers=http://127.0.0.1:{clients}", "--bind-address=127.0.0.1",
            f"--secure-port={api}", "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none",
            f"--cert-dir={at}/pki", "--service-cluster-ip-range=10.0.0.0/24", f"--token-auth-file={at}/tokens.csv",
            "--authorization-mode=RBAC", "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={at}/sa.pub", f"--service-account-signing-key-file={at}/sa.key",
            "--shutdown-delay-duration=0s",
        )  # fmt: skip
        self.write_kubeconfig("admin", self.token)
        self.wait_ready()
        config = f"--kubeconfig={at}/admin.kubeconfig"
        self.launch(
            "kube-controller-manager", config, "--leader-elect=false", "--secure-port=0",
            f"--service-account-private-key-file={at}/sa.key", f"--root-ca-file={self.ca}",
            f"--flex-volume-plugin-dir={at}/flex", f"--controllers={CONTROLLERS}",
            "--node-monitor-grace-period=8s", "--node-monitor-period=1s",
        )  # fmt: skip
        self.launch("kube-scheduler", config, "--leader-elect=false", "--secure-port=0")
        for number in range(self.node_count):
            self.start_node(number)

    def start_node(self, number, *arguments):
        command = [
            sys.executable, KUBELET, "--server", self.server, "--token", self.token, "--ca", self.ca,
            "--cert", self.folder / "kubelet.crt", "--key", self.folder / "kubelet.key",
            "--folder", self.folder / "pods", "--node", f"node-{number}", "--net", self.net + number,
            "--port", free_ports(1)[0], *arguments,
        ]  # fmt: skip
        self.spawn(f"node-{number}", [str(word) for word in command], {**os.environ, "PATH": self.kubelet_path})

    def launch(self, name, *arguments):
        self.spawn(name, [str(self.binary), name, *map(str, arguments)], None)

    def spawn(self, name, command, environment):
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment, cwd=self.folder,
                start_new_session=True,
            )  # fmt: skip
        self.commands[name] = (command, environment)

    def kill(self, name):
        self.processes[name].kill()
        self.processes[name].wait(STOP_TIMEOUT_S)

    def restart(self, name):
        self.spawn(name, *self.commands[name])

    def stop_all(self):
        for name in reversed(self.processes):
            process = self.processes[name]
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait(STOP_TIMEOUT_S)

    def make_keys(self):
        at = self.folder

        def openssl(*arguments):
            subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=60)

        openssl("genrsa", "-out", at / "sa.key", "2048")
        openssl("rsa", "-in", at / "sa.key", "-pubout", "-out", at / "sa.pub")
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=kubelet", "-keyout",
                at / "kubelet.key", "-out", at / "kubelet.crt")  # fmt: skip
        (at / "tokens.csv").write_text(f'{self.token},admin,admin,"system:masters"\n')

    def write_kubeconfig(self, name, token, namespace="default"):
        """Returns its path."""
        file = self.folder / f"{name}.kubeconfig"
        cluster = {"name": "lab", "cluster": {"server": self.server, "certificate-authority": str(self.ca)}}
        context = {"cluster": "lab", "user": name, "namespace": namespace}
        config = {
            "apiVersion": "v1", "kind": "Config", "current-context": "lab", "clusters": [cluster],
            "users": [{"name": name, "user": {"token": token}}], "contexts": [{"name": "lab", "context": context}],
        }  # fmt: skip
        file.write_text(json.dumps(config))
        return file

    def wait_ready(self):
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                if self.call("GET", "/readyz", raw=True) == b"ok":
                    return
            except OSError:
                pass
            if time.monotonic() > deadline or self.processes["kube-apiserver"].poll() is not None:
                raise AssertionError((self.folder / "kube-apiserver.log").read_text()[-2000:])
            time.sleep(0.1)

    def call(self, method, path, body=None, *, raw=False, kind="application/json"):
        """What the API server answers an administrator; an error of urllib where it refuses."""
        context = ssl.create_default_context(cafile=self.ca)
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": kind}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.server + path, data=data, headers=headers, method=method)
        with urllib.request.urlopen(request, context=context, timeout=10) as response:
            content = response.read()
        return content if raw else json.loads(content)

    def pods(self, namespace="default"):
        return self.call("GET", f"/api/v1/namespaces/{namespace}/pods")["items"]

    def quota_used(self, namespace, name):
        """What of a quota is in use; empty as long as nobody has counted."""
        quota = self.call("GET", f"/api/v1/namespaces/{namespace}/resourcequotas/{name}")
        return quota.get("status", {}).get("used", {})

    def left_in(self, namespace):
        """What is there of Hydra's: kind/name."""
        found = []
        for path in (f"/apis/batch/v1/namespaces/{namespace}/jobs", f"/api/v1/namespaces/{namespace}/pods",
                     f"/api/v1/namespaces/{namespace}/secrets",
                     f"/api/v1/namespaces/{namespace}/configmaps"):  # fmt: skip
            names = [each["metadata"]["name"] for each in self.call("GET", path)["items"]]
            found += [f"{path.rpartition('/')[2]}/{name}" for name in names if name != "kube-root-ca.crt"]
        return sorted(found)

    def new_namespace(self, name, role_text=None):
        """A namespace; with a Role, the kubeconfig of a service account that has it and nothing else."""
        self.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        if role_text is None:
            return self.write_kubeconfig(f"admin-{name}", self.token, name)
        import yaml

        role, *others = yaml.safe_load_all(role_text)
        self.call("POST", f"/apis/rbac.authorization.k8s.io/v1/namespaces/{name}/roles", role)
        self.call("POST", f"/api/v1/namespaces/{name}/serviceaccounts", {"metadata": {"name": "hydra"}})
        group = "rbac.authorization.k8s.io"
        binding = {
            "metadata": {"name": "hydra"},
            "roleRef": {"apiGroup": group, "kind": "Role", "name": role["metadata"]["name"]},
            "subjects": [{"kind": "ServiceAccount", "name": "hydra", "namespace": name}],
        }
        self.call("POST", f"/apis/{group}/v1/namespaces/{name}/rolebindings", binding)
        for other in others:
            api = "/api/v1" if other["apiVersion"] == "v1" else f"/apis/{other['apiVersion']}"
            self.call("POST", f"{api}/namespaces/{name}/{other['kind'].lower()}s", other)
        path = f"/api/v1/namespaces/{name}/serviceaccounts/hydra/token"
        token = self.call("POST", path, {"spec": {"expirationSeconds": 7200}})["status"]["token"]
        return self.write_kubeconfig(f"hydra-{name}", token, name)


if __name__ == "__main__":
    print(build())
