"""Kubeconfigs, plugins that fetch credentials, and the service account of a pod."""

import base64
import errno
import json
import os
import stat
import subprocess
import sys
import tempfile
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import trustme

from hydra.engine import kube_access
from hydra.engine.kube_access import kubernetes_access
from hydra.engine.kube_connection import KubernetesConnection
from hydra.errors import HydraError, KubernetesError, UsageError
from hydra.files.folders import orphans, reap_orphans
from hydra.run.clock import MonotonicClock


def write(file, user, *, cluster=None, name="lab", current="lab", namespace="team"):
    context = {"cluster": name, "user": name, "namespace": namespace}
    config = {
        "current-context": current,
        "clusters": [{"name": name, "cluster": {"server": "https://10.0.0.1:6443/", **(cluster or {})}}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": context}],
    }
    file.write_text(json.dumps(config))
    return {"KUBECONFIG": str(file)}


def plugin(folder, body, version="client.authentication.k8s.io/v1", **fields):
    script = folder / "get-token"
    script.write_text(f"#!/bin/sh\n{body}\n")
    script.chmod(0o755)
    return {"exec": {"apiVersion": version, "command": str(script), **fields}}


def credential(**status):
    return json.dumps({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status})


def test_a_context_names_server_namespace_and_token(tmp_path):
    access = kubernetes_access(None, None, write(tmp_path / "config", {"token": "secret"}))
    assert (access.server, access.namespace, access.context) == ("https://10.0.0.1:6443", "team", "lab")
    assert access.authorization() == "Bearer secret"
    assert kubernetes_access("lab", "other", {"KUBECONFIG": str(tmp_path / "config")}).namespace == "other"


def test_several_files_are_one_of_which_the_first_counts(tmp_path):
    write(tmp_path / "a", {"token": "a"}, name="one", current="")
    write(tmp_path / "b", {"token": "b"}, name="two", current="two")
    both = {"KUBECONFIG": f"{tmp_path / 'a'}:{tmp_path / 'missing'}:{tmp_path / 'b'}"}
    assert kubernetes_access(None, None, both).authorization() == "Bearer b"
    assert kubernetes_access("one", None, both).authorization() == "Bearer a"


def test_certificates_in_the_file_become_private_files_that_go(tmp_path):
    data = base64.b64encode(b"CERTIFICATE").decode()
    user = {"client-certificate-data": data, "client-key-data": data}
    access = kubernetes_access(
        None, None, write(tmp_path / "config", user, cluster={"certificate-authority-data": data})
    )
    assert access.certificate is not None
    files = [Path(str(access.verify)), *map(Path, access.certificate)]
    assert all(file.read_bytes() == b"CERTIFICATE" for file in files)
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)
    access.close()
    assert not any(file.exists() for file in files)


def test_paths_are_relative_to_the_file(tmp_path):
    user = {"tokenFile": "token"}
    (tmp_path / "token").write_text("from-file\n")
    access = kubernetes_access(None, None, write(tmp_path / "config", user, cluster={"certificate-authority": "ca"}))
    assert access.authorization() == "Bearer from-file"
    assert access.verify == str(tmp_path / "ca")
    (tmp_path / "token").write_text("renewed\n")
    assert access.authorization() == "Bearer renewed"


@pytest.mark.parametrize("version", ["client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"])
def test_a_plugin_is_asked_once_and_again_when_its_token_is_refused(tmp_path, version):
    calls = tmp_path / "calls"
    body = f"echo \"$1 $WHO\" >> {calls}; echo '{credential(token='from-plugin')}'"
    user = plugin(tmp_path, body, version, args=["token"], env=[{"name": "WHO", "value": "me"}])
    access = kubernetes_access(None, None, write(tmp_path / "config", user))
    assert [access.authorization() for _ in range(3)] == ["Bearer from-plugin"] * 3
    assert calls.read_text() == "token me\n"
    access.authorization(renew=True)
    assert calls.read_text() == "token me\n" * 2


def test_a_plugin_has_the_environment_but_for_the_controllers_secrets(tmp_path, monkeypatch):
    monkeypatch.setenv("HYDRA_KAFKA_PASSWORD", "hunter2")
    monkeypatch.setenv("HYDRA_MARATHON_PASSWORD", "hunter2")
    monkeypatch.setenv("AWS_PROFILE", "lab")
    body = f"env > {tmp_path / 'told'}; echo '{credential(token='t')}'"
    given = [{"name": "HYDRA_KAFKA_USER", "value": "of-the-kubeconfig"}]
    access = kubernetes_access(None, None, write(tmp_path / "config", plugin(tmp_path, body, env=given)))
    access.authorization()
    told = (tmp_path / "told").read_text()
    assert ("hunter2" in told, "AWS_PROFILE=lab" in told, "of-the-kubeconfig" in told) == (False, True, True)


def test_a_token_that_is_about_to_expire_is_renewed(tmp_path):
    calls = tmp_path / "calls"
    status = {"token": "t", "expirationTimestamp": "2020-01-01T00:00:00Z"}
    user = plugin(tmp_path, f"echo x >> {calls}; echo '{credential(**status)}'")
    access = kubernetes_access(None, None, write(tmp_path / "config", user))
    access.authorization()
    access.authorization()
    assert calls.read_text() == "x\nx\n"


def test_a_plugin_is_told_of_the_cluster_and_may_answer_with_a_certificate(tmp_path):
    told = tmp_path / "told"
    status = {"clientCertificateData": "CERTIFICATE", "clientKeyData": "KEY"}
    body = f"printf %s \"$KUBERNETES_EXEC_INFO\" > {told}; echo '{credential(**status)}'"
    user = plugin(tmp_path, body, provideClusterInfo=True)
    access = kubernetes_access(None, None, write(tmp_path / "config", user))
    assert access.authorization() == ""
    assert [Path(file).read_text() for file in access.certificate] == ["CERTIFICATE", "KEY"]
    assert json.loads(told.read_text())["spec"]["cluster"]["server"] == "https://10.0.0.1:6443"
    access.close()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("echo 'please log in' >&2; exit 3", r"ended with code 3 \(please log in\)"),
        ("echo nonsense", "printed no ExecCredential"),
    ],
)
def test_a_plugin_that_fails_is_quoted(tmp_path, body, words):
    access = kubernetes_access(None, None, write(tmp_path / "config", plugin(tmp_path, body)))
    with pytest.raises(KubernetesError, match=words):
        access.authorization()


def test_a_plugin_that_hangs_with_what_it_has_started_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(kube_access, "PLUGIN_TIMEOUT_S", 0.3)
    access = kubernetes_access(None, None, write(tmp_path / "config", plugin(tmp_path, "sleep 61 | cat")))
    with pytest.raises(KubernetesError, match=r"gave no answer within 0\.3 s"):
        access.authorization()


def test_a_plugin_that_is_not_installed_is_told_with_its_own_hint(tmp_path):
    user = {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1beta1",
            "command": "no-such-plugin",
            "installHint": "install it\nso",
        }
    }
    access = kubernetes_access(None, None, write(tmp_path / "config", user))
    with pytest.raises(KubernetesError, match="no-such-plugin does not start") as caught:
        access.authorization()
    assert caught.value.hint == "install it so"


def test_a_plugin_of_another_version_is_refused(tmp_path):
    user = plugin(tmp_path, "exit 0", "client.authentication.k8s.io/v1alpha1")
    access = kubernetes_access(None, None, write(tmp_path / "config", user))
    with pytest.raises(KubernetesError, match="v1alpha1"):
        access.authorization()


def test_in_a_pod_it_is_the_service_account(tmp_path, monkeypatch):
    monkeypatch.setattr(kube_access, "SERVICE_ACCOUNT", tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    for name, text in {"token": "of-the-pod", "namespace": "hydra", "ca.crt": "CA"}.items():
        (tmp_path / name).write_text(text)
    environment = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    access = kubernetes_access(None, None, environment)
    assert (access.server, access.namespace) == ("https://[fd00::1]:443", "hydra")
    assert access.authorization() == "Bearer of-the-pod"


def test_a_pods_user_without_a_home_folder_has_the_service_account(tmp_path, monkeypatch):
    def nobodys():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(kube_access.Path, "home", nobodys)
    monkeypatch.setattr(kube_access, "SERVICE_ACCOUNT", tmp_path)
    with pytest.raises(UsageError, match=r"there is no kubeconfig \(user \d+ has no home folder\): set KUBECONFIG"):
        kubernetes_access(None, None, {})
    for name, text in {"token": "of-the-pod", "namespace": "hydra", "ca.crt": "CA"}.items():
        (tmp_path / name).write_text(text)
    environment = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    assert kubernetes_access(None, None, environment).namespace == "hydra"


@pytest.mark.parametrize(
    ("content", "context", "words"),
    [
        (None, None, "there is no kubeconfig"),
        ("{", None, "cannot be read"),
        ("clusters: 3", None, "cannot be read"),
        ("current-context: ''", None, "has no current-context"),
        ("current-context: lab", None, "has no context lab"),
        ("contexts: [{name: lab, context: {cluster: gone}}]", "lab", "names the cluster 'gone', which is not there"),
    ],
)
def test_what_cannot_be_used_is_one_clear_line(tmp_path, monkeypatch, content, context, words):
    monkeypatch.setattr(kube_access, "SERVICE_ACCOUNT", tmp_path / "none")
    file = tmp_path / "config"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UsageError, match=words) as caught:
        kubernetes_access(context, None, {"KUBECONFIG": str(file), "PATH": os.environ["PATH"]})
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("cluster", [{"tls-server-name": "x"}, {"server": "10.0.0.1:6443"}])
def test_what_is_not_supported_is_refused(tmp_path, cluster):
    with pytest.raises(UsageError):
        kubernetes_access(None, None, write(tmp_path / "config", {"token": "t"}, cluster=cluster))


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


NOW = datetime.now(timezone.utc)


def encoded(blob):
    return base64.b64encode(blob if isinstance(blob, bytes) else blob.bytes()).decode()


def issued(authority, **times):
    made = authority.issue_cert("me", **times)
    return encoded(made.cert_chain_pems[0]), encoded(made.private_key_pem)


def private_folders():
    return set(Path(tempfile.gettempdir()).glob("hydra-kube-*"))


def test_paths_are_relative_to_the_file_that_names_them_also_of_several(tmp_path, monkeypatch):
    for place, user, cluster in (
        ("a", {"tokenFile": "token"}, {}),
        ("b", {"token": "no"}, {"certificate-authority": "ca"}),
    ):
        (tmp_path / place).mkdir()
        write(tmp_path / place / "config", user, cluster=cluster)
        (tmp_path / place / "token").write_text(f"of-{place}")
    of_a = json.loads((tmp_path / "a" / "config").read_text())
    (tmp_path / "a" / "config").write_text(json.dumps({**of_a, "clusters": None}))
    monkeypatch.chdir(tmp_path)
    access = kubernetes_access(None, None, {"KUBECONFIG": "a/config:b/config:a/config"})
    monkeypatch.chdir("/")
    assert access.authorization() == "Bearer of-a"
    assert access.verify == str(tmp_path / "b" / "ca")


def test_nulls_are_left_out_as_kubectl_has_it(tmp_path):
    environment = write(tmp_path / "config", {"token": "t", "exec": None}, cluster={"certificate-authority": None})
    config = json.loads((tmp_path / "config").read_text())
    config["contexts"][0]["context"]["namespace"] = None
    (tmp_path / "config").write_text(json.dumps(config))
    assert kubernetes_access(None, None, environment).namespace == "default"


def test_a_certificate_that_is_valid_is_taken(tmp_path, authority):
    certificate, key = issued(authority)
    user = {"client-certificate-data": certificate, "client-key-data": key}
    cluster = {"certificate-authority-data": encoded(authority.cert_pem)}
    access = kubernetes_access(None, None, write(tmp_path / "config", user, cluster=cluster))
    access.check()
    access.check()
    access.close()


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("expired", r"the client certificate of the kubeconfig expired at \d+-\d+-\d+ \d+:\d+ UTC: get a new"),
        ("not yet", "the client certificate of the kubeconfig begins at"),
        ("no certificate", r"the client certificate .* cannot be used \(client-certificate-data: not PEM\)"),
        ("no base64", "the client-certificate-data in the kubeconfig cannot be used"),
        ("another key", r"the client key .* cannot be used \(client-key-data: key values mismatch\)"),
        ("encrypted", r"the client key .* cannot be used \(client-key-data: it is encrypted\)"),
        ("no authority", r"the certificate authority .* cannot be used \(certificate-authority-data: "),
        ("no file", r"the certificate authority .* cannot be used \(/none/ca.crt: No such file or directory\)"),
        ("no end", r"the certificate authority .* cannot be used \(/dev/zero: not a regular file\)"),
    ],
)
def test_a_certificate_that_cannot_be_used_is_one_clear_line_and_leaves_no_file(tmp_path, authority, fault, words):
    before, cluster = private_folders(), {}
    times = {"not yet": {"not_before": NOW + timedelta(days=1), "not_after": NOW + timedelta(days=2)}}
    times["expired"] = {"not_before": NOW - timedelta(days=2), "not_after": NOW - timedelta(hours=1)}
    certificate, key = issued(authority, **times.get(fault, {}))
    if fault == "another key":
        _other, key = issued(authority)
    elif fault == "encrypted":
        key = encoded(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIE\n-----END ENCRYPTED PRIVATE KEY-----\n")
    elif fault in {"no certificate", "no base64"}:
        certificate = encoded(b"nonsense") if fault == "no certificate" else "%%%"
    elif fault == "no authority":
        cluster = {"certificate-authority-data": encoded(b"nonsense")}
    elif fault == "no file":
        cluster = {"certificate-authority": "/none/ca.crt"}
    elif fault == "no end":
        cluster = {"certificate-authority": "/dev/zero"}
    user = {"client-certificate-data": certificate, "client-key-data": key}
    environment = write(tmp_path / "config", user, cluster=cluster)
    with pytest.raises(UsageError, match=words) as caught:
        KubernetesConnection(kubernetes_access(None, None, environment), MonotonicClock())
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    assert private_folders() == before


def test_an_expired_certificate_beside_a_token_is_the_servers_to_judge(tmp_path, authority):
    certificate, key = issued(authority, not_before=NOW - timedelta(days=2), not_after=NOW - timedelta(hours=1))
    user = {"client-certificate-data": certificate, "client-key-data": key, "token": "t"}
    access = kubernetes_access(None, None, write(tmp_path / "config", user))
    access.check()
    access.close()


def test_files_of_certificates_go_at_the_latest_with_the_process(tmp_path):
    data = base64.b64encode(b"CERTIFICATE").decode()
    environment = write(tmp_path / "config", {"token": "t"}, cluster={"certificate-authority-data": data})
    code = "from hydra.engine.kube_access import kubernetes_access; print(kubernetes_access(None, None).verify)"
    command = [sys.executable, "-c", code]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60).stdout
    assert told.startswith(tempfile.gettempdir())
    assert not Path(told.strip()).parent.exists()


def test_files_of_a_command_that_was_killed_are_known_as_what_it_left(tmp_path):
    data = base64.b64encode(b"CERTIFICATE").decode()
    environment = write(tmp_path / "config", {"token": "t"}, cluster={"certificate-authority-data": data})
    code = (
        "import os, signal; from hydra.engine.kube_access import kubernetes_access\n"
        "kept = kubernetes_access(None, None); print(kept.verify, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    environment["TMPDIR"] = str(tmp_path)
    ended = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    left = Path(ended.stdout.strip()).parent
    assert (left / "ca.crt").read_bytes() == b"CERTIFICATE"
    assert stat.S_IMODE(left.stat().st_mode) == 0o700
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path))
        mine = kubernetes_access(None, None, environment)
        assert list(orphans()) == [left]
        reap_orphans()
        assert not left.exists()
        assert Path(str(mine.verify)).exists(), "its owner lives"
        mine.close()


@pytest.mark.parametrize("owner", [True, False], ids=["its owner's mark", "the folder"])
def test_a_folder_of_certificates_that_cannot_be_made_is_one_clear_line(tmp_path, monkeypatch, owner):
    def refuse(*_arguments, **_options):
        raise OSError(errno.ENOSPC, "No space left on device")

    data = base64.b64encode(b"CERTIFICATE").decode()
    environment = write(tmp_path / "config", {"token": "t"}, cluster={"certificate-authority-data": data})
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(os, "open" if owner else "mkdir", refuse)
    with pytest.raises(HydraError, match="No space left on device"):
        kubernetes_access(None, None, environment)
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["config"]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"users": []}, "the context lab names the user 'lab', which is not there"),
        ({"users": [{"name": "lab", "user": {"client-certificate": "x"}}]}, "client-certificate and client-key one is"),
        ({"clusters": [{"name": "lab", "cluster": {"server": "https://k", "proxy-url": "socks5://p"}}]}, "of socks5"),
        (
            {"clusters": [{"name": "lab", "cluster": {"server": "https://k", "proxy-url": "http://me:of-mine@p:x"}}]},
            "config: the cluster's proxy-url is not a URL: give it as http://HOST:PORT$",
        ),
        ({"clusters": [{"name": "lab", "cluster": {"server": "https://k:x"}}]}, "server is 'https://k:x', not a URL"),
        ({"users": [{"name": "lab", "user": {"token": 5}}]}, "Expected `str`, got `int`"),
        ({"current-context": ""}, "has no current-context: give --kube_context"),
        ({"current-context": "old"}, "has no context old: it has lab"),
    ],
)
def test_a_kubeconfig_that_says_less_than_it_should_is_one_clear_line(tmp_path, changed, words):
    environment = write(tmp_path / "config", {"token": "t"})
    config = json.loads((tmp_path / "config").read_text())
    (tmp_path / "config").write_text(json.dumps(config | changed))
    with pytest.raises(UsageError, match=words) as caught:
        kubernetes_access(None, None, environment)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "has no current-context"),
        (b"just words", "cannot be read"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"[" * 20_000, "cannot be read"),
        (b"a: [\n b: }", "cannot be read"),
        (b'current-context: !!int ""', "cannot be read .a value in it is not what its tag says"),
        (None, "cannot be read .Is a directory"),
    ],
)
def test_a_file_that_is_no_kubeconfig_is_one_clear_line(tmp_path, content, words):
    file = tmp_path / "config"
    file.mkdir() if content is None else file.write_bytes(content)
    with pytest.raises(UsageError, match=words) as caught:
        kubernetes_access(None, None, {"KUBECONFIG": str(file)})
    assert "\n" not in str(caught.value)


def test_a_kubeconfig_in_a_folder_of_others_is_told(tmp_path, monkeypatch):
    def refuse(_path, **_options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(kube_access.Path, "exists", refuse)
    with pytest.raises(UsageError, match="cannot be read"):
        kubernetes_access(None, None, {"KUBECONFIG": str(tmp_path / "config")})
