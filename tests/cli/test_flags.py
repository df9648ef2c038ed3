"""Every option is a flag, with underscores and with dashes, over hydra.ini, over defaults."""

import codecs
import dataclasses
import os
import re
from pathlib import Path

import pytest

import hydra
from hydra.cli.flags import FIRST_RUN, KAFKA_NAMES
from hydra.cli.help_page import GROUPS, METAVARS
from hydra.options.options import ACCESS_OPTIONS, OPTION_KINDS, Options, parse_option
from hydra.options.thresholds import METRICS
from tests.facts import made_result

ROOT = Path(hydra.__file__).parents[1]

EXAMPLES = {
    "total_sub_apps": ("20", 20),
    "clients_per_app": ("3", 3),
    "test_duration": ("2.5", 2.5),
    "warmup": ("2.5", 2.5),
    "msg_rate": ("1e4", 10_000.0),
    "msg_batch": ("7", 7),
    "msg_size": ("100", 100),
    "compression": ("LZ4", "lz4"),
    "payload": ("/tmp/Records.json", "/tmp/Records.json"),
    "idempotence": ("no", "no"),
    "group": ("shared", "shared"),
    "group_mode": ("Group", "group"),
    "group_protocol": ("Consumer", "consumer"),
    "topic": ("orders.v1", "orders.v1"),
    "partitions": ("12", 12),
    "acks": ("ALL", "all"),
    "linger_ms": ("0", 0),
    "batch_size": ("16384", 16384),
    "consumer_max_buffer_size": ("1048576", 1048576),
    "fetch_min_bytes": ("2", 2),
    "fetch_wait_max_ms": ("100", 100),
    "fetch_pace_ms": ("1.5", 1.5),
    "client_rack": ("use1-az1", "use1-az1"),
    "retention_ms": ("5000", 5000),
    "pub_driver": ("kafka_python", "kafka-python"),
    "sub_driver": ("confluent", "confluent"),
    "bootstrap_servers": ("10.0.0.2:9092, 10.0.0.3:9092", "10.0.0.2:9092,10.0.0.3:9092"),
    "kafka_version": ("4.4.0", "4.4.0"),
    "kafka_config": (os.devnull, os.devnull),
    "security_protocol": ("sasl_ssl", "SASL_SSL"),
    "kafka_ca_file": ("ca.pem", "ca.pem"),
    "sasl_mechanism": ("scram-sha-512", "SCRAM-SHA-512"),
    "sasl_username": ("load test", "load test"),
    "kafka_secrets": ("kafka.secrets", "kafka.secrets"),
    "broker_metrics": ("http://k1:7071/metrics, http://k2:7071", "http://k1:7071/metrics,http://k2:7071"),
    "kafka_security": ("SASL_SSL:scram-sha-512", "sasl_ssl:scram-sha-512"),
    "client_id_prefix": ("team-a-", "team-a-"),
    "group_prefix": ("team-a.", "team-a."),
    "java": ("/usr/bin/java", "/usr/bin/java"),
    "broker_property": ("num.io.threads = 4, a=x,y", ("num.io.threads=4", "a=x,y")),
    "broker_heap_mb": ("512", 512),
    "brokers": ("3", 3),
    "replication_factor": ("1", 1),
    "min_insync_replicas": ("1", 1),
    "engine": ("Kubernetes", "kubernetes"),
    "kube_context": ("lab", "lab"),
    "kube_namespace": ("hydra", "hydra"),
    "kube_forward": ("yes", True),
    "kube_image": ("registry.lab/hydra:1", "registry.lab/hydra:1"),
    "kube_pull_secret": ("registry", "registry"),
    "kube_pub_nodes": ("pool=load, example.com/zone=a", ("pool=load", "example.com/zone=a")),
    "kube_sub_nodes": ("pool=load", ("pool=load",)),
    "kube_pub_resources": ("cpu=2,memory=1Gi", ("cpu=2", "memory=1Gi")),
    "kube_sub_resources": ("cpu=500m", ("cpu=500m",)),
    "kube_tolerations": ("load=yes:NoSchedule, gpu", ("load=yes:NoSchedule", "gpu")),
    "marathon_url": ("http://m.lab:8080/", "http://m.lab:8080"),
    "app_prefix": ("/lab/g2", "lab/g2"),
    "marathon_secrets": ("m.secrets", "m.secrets"),
    "marathon_ca_file": ("ca.pem", "ca.pem"),
    "marathon_timeout": ("3", 3.0),
    "mesos_url": ("http://m.lab:5050", "http://m.lab:5050"),
    "cluster0": ("slave_id.a", "slave_id.a"),
    "cluster1": ("rack.b.c", "rack.b.c"),
    "local_agents": ("127.0.0.1 rack:a, 127.0.0.2 cpus:4", "127.0.0.1 rack:a, 127.0.0.2 cpus:4"),
    "appserver": ("Always", "always"),
    "appserver_address": ("eth0:9800", "eth0:9800"),
    "appserver_bind": ("0.0.0.0", "0.0.0.0"),
    "agent_python": ("/opt/python", "/opt/python"),
    "start_timeout": ("90", 90.0),
    "drain_timeout": ("0", 0.0),
    "audit": ("never", "never"),
    "threshold": ("e2e_p99 < 0.05s, loss==0", ("e2e_p99<50ms", "loss==0")),
    "keep_running": ("yes", True),
    "output": ("r.json", "r.json"),
}


@pytest.fixture
def options_of(call, stand_in):
    """The options that ``hydra kafka`` makes of its arguments."""
    stand_in.result = made_result("indeterminate")

    def options_of(*arguments):
        code, _out, err = call("kafka", *arguments)
        assert code == 3, err
        return stand_in.options

    return options_of


def differing(options):
    return {
        item.name: getattr(options, item.name)
        for item in dataclasses.fields(Options)
        if getattr(options, item.name) != item.default
    }


def test_there_is_an_example_for_every_option():
    assert list(EXAMPLES) == list(OPTION_KINDS)


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("form", ["--{name}={text}", "--{dashes}={text}", "--{name} {text}"])
def test_a_flag_sets_its_option_and_no_other(options_of, name, form):
    text, value = EXAMPLES[name]
    arguments = [form.format(name=name, dashes=name.replace("_", "-"), text="VALUE").replace("VALUE", text)]
    if form.startswith("--{name} "):
        arguments = [f"--{name}", text]
    elsewhere = {"marathon_url", "engine", "topic", "client_rack", "broker_metrics", *ACCESS_OPTIONS}
    needed = {"bootstrap_servers": "k:9092"} if name in elsewhere else {}
    if name == "group_protocol":
        needed = {"group_mode": "group"}
    arguments += [f"--{other}={value}" for other, value in needed.items()]
    assert differing(options_of(*arguments)) == {name: value} | needed


def test_no_flags_are_the_defaults(options_of):
    assert options_of() == Options()


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [(["--keep_running"], True), (["--keep-running"], True), (["--keep_running=no"], False), ([], False)],
)
def test_a_switch_needs_no_value(options_of, arguments, kept):
    assert options_of(*arguments).keep_running is kept


def test_the_last_of_two_equal_flags_wins(options_of):
    assert options_of("--msg_rate=1", "--msg-rate=2").msg_rate == 2.0


def test_flags_win_over_hydra_ini_and_that_over_defaults(options_of, tmp_path):
    (tmp_path / "hydra.ini").write_text("[hydra]\nmsg_rate = 5\nmsg_batch = 6\n")
    assert differing(options_of("--msg_rate=7")) == {"msg_rate": 7.0, "msg_batch": 6}


@pytest.mark.parametrize("encode", [str.encode, lambda text: codecs.BOM_UTF8 + text.replace("\n", "\r\n").encode()])
def test_a_named_file_is_read_whatever_wrote_it(options_of, tmp_path, encode):
    (tmp_path / "mine.ini").write_bytes(encode("[kafka]\nip = 10.0.0.2\nport = 9092\nacks = 0\n"))
    options = options_of("--config_file=mine.ini")
    assert differing(options) == {"bootstrap_servers": "10.0.0.2:9092", "acks": "0"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--total_sub_apps=0"], ["--total_sub_apps = '0' must be a whole number from 1 to 10000"]),
        (["--total-sub-apps=0"], ["--total_sub_apps = '0'"]),
        (["--total_sub_apps=-1"], ["--total_sub_apps = '-1'"]),
        (["--total_sub_apps="], ["--total_sub_apps = ''"]),
        (["--msg_rate=nan"], ["--msg_rate = 'nan' must be a number from 0.1 to 1e+07"]),
        (["--msg_rate=" + "9" * 10_000], ["--msg_rate = '999", "..."]),
        (["--msg_rate=\u0661\u0660"], ["--msg_rate = "]),
        (["--acks=2"], ["--acks = '2' must be 0, 1 or all"]),
        (["--msg_size=13"], ["--msg_size = '13'", "14 bytes"]),
        (["--keep_running=perhaps"], ["--keep_running = 'perhaps' must be yes or no"]),
        (["--output="], ["--output = '' must be a path"]),
        (["--bootstrap_servers=\x1b[31mred"], ["--bootstrap_servers = ", "must be host:port"]),
        (["--marathon_url=http://m:8080"], ["--marathon_url=http://m:8080", "--bootstrap_servers"]),
        (["--clients=15"], ["--clients_per_app=10", "use 10"]),
        (["--clients=ten"], ["--clients = 'ten' must be a whole number from 1 to 100000"]),
        (["--clients=20", "--total-sub-apps=2"], ["--clients and --total_sub_apps are both set: keep one"]),
        (["--broker_property=a=1", "--broker_property=b"], ["--broker_property = 'b' must be NAME=VALUE"]),
        (["--threshold=loss==0", "--threshold=loss"], ["--threshold = 'loss' must be a metric"]),
        (["--broker_property=a=1", "--broker_property=a=2"], ["--broker_property = 'a=1,a=2' "]),
        (["--total_sub_apps=10000", "--clients_per_app=10000"], ["--clients_per_app=10000", "100000 at most"]),
        (["--config_file=missing.ini"], ["--config_file=missing.ini does not exist"]),
        (["--config_file=."], ["'.' cannot be read", "directory"]),
        (["--config_file=a\0b"], ["cannot be read"]),
        (["--no_such_flag=1"], ["--no_such_flag", "see 'hydra kafka --help'"]),
        (["--msg_rat=1"], ["--msg_rat"]),
        (["--msg_rate"], ["--msg_rate", "see 'hydra kafka --help'"]),
        (["stray"], ["stray", "see 'hydra kafka --help'"]),
    ],
)
def test_what_cannot_be_is_one_line_with_flag_value_and_way_out(call, stand_in, arguments, words):
    code, out, err = call("kafka", *arguments)
    assert code == 2
    assert stand_in.options is None
    assert out == ""
    assert err.startswith("hydra: ")
    assert err.count("\n") == 1
    assert err.rstrip("\n").isprintable()
    assert all(word in err for word in words), err


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"[kafka]\nacks = 2\n", "hydra.ini:2: [kafka] acks = '2' must be 0, 1 or all"),
        (b"[kafka]\nsocks = 2\n", "hydra.ini:2: [kafka] socks is not known"),
        (b"[kafka]\n\xff\xfe\n", "hydra.ini:2: not UTF-8 text"),
        (b"\x7fELF\x02\x01\x01\0\0\n", "hydra.ini:1: "),
        (b"#" * (1024 * 1024 + 1), "'hydra.ini' cannot be read (larger than 1,048,576 bytes)"),
        (b"[kafka]\nacks = \x1b]0;owned\x07\n", "hydra.ini:2: [kafka] acks"),
    ],
)
def test_a_bad_hydra_ini_is_one_line_with_file_line_and_key(call, stand_in, tmp_path, data, words):
    (tmp_path / "hydra.ini").write_bytes(data)
    code, _out, err = call("kafka")
    assert (code, stand_in.options) == (2, None)
    assert err.startswith(f"hydra: {words}")
    assert err.count("\n") == 1
    assert err.rstrip("\n").isprintable()


def test_a_password_in_a_flag_is_not_shown_again(call, stand_in):
    code, _out, err = call("kafka", "--marathon_url=http://me:hunter2@m:8080")
    assert (code, stand_in.options) == (2, None)
    assert "hunter2" not in err


def test_the_help_names_every_option_with_its_default(call):
    code, out, _err = call("kafka", "--help-all")
    assert code == 0
    shown = " ".join(out.split())
    for item in dataclasses.fields(Options):
        assert f"--{item.name} " in out or f"--{item.name}, --{KAFKA_NAMES[item.name]} " in out
    for group, heading in GROUPS.items():
        assert (f"\n{heading}:\n" in out) == (group != "first")
    assert "--config_file" in out
    assert "--msg_rate RECORDS/S rate of the publisher [default: 1000]" in shown
    assert "--acks [0|1|all] acks that the publisher waits for [default: 1]" in shown


def test_the_short_help_names_the_flags_of_a_first_run_and_the_long_help(call):
    _code, out, _err = call("kafka", "--help")
    flags = [line.split()[0].rstrip(",") for line in out.splitlines() if line.startswith("  --")]
    assert flags == [f"--{name}" for name in FIRST_RUN] + ["--config_file", "--help-all"]
    assert "hydra kafka --help-all" in out
    assert out.index("Examples:") < out.index("--bootstrap_servers, --bootstrap_server ") < out.index("Exit codes:")
    assert call("kafka", "--help_all")[1] == call("kafka", "--help-all")[1]


def test_every_option_has_a_place_in_the_help():
    assert set(OPTION_KINDS) <= set(METAVARS)
    assert set(FIRST_RUN) <= set(METAVARS)


@pytest.mark.parametrize("name", [name for name, text in METAVARS.items() if text.startswith("[")])
def test_the_choices_in_the_help_are_those_that_are_taken(name):
    for word in METAVARS[name].strip("[]").split("|"):
        text = "package.module:Class" if word == "MODULE:CLASS" else word
        assert parse_option(name, text, origin=name) in {text, text == "yes"}


@pytest.mark.parametrize("name", KAFKA_NAMES)
def test_kafkas_own_name_is_taken_too(options_of, name):
    text, value = EXAMPLES[name]
    for spelling in (KAFKA_NAMES[name], KAFKA_NAMES[name].replace("_", "-")):
        assert differing(options_of(f"--{spelling}={text}")) == {name: value}


def test_the_brokers_are_named_as_for_kafkas_own_tools(options_of):
    assert options_of("--bootstrap-server", "k1:9092").bootstrap_servers == "k1:9092"


def test_every_other_spelling_in_the_docs_is_taken():
    told = re.findall(r"^\| `--(\w+)` .*Also `--(\w+)`", (ROOT / "docs" / "options.md").read_text(), re.MULTILINE)
    assert dict(told) == KAFKA_NAMES


@pytest.mark.parametrize(
    ("arguments", "apps", "per_app"),
    [(["--clients=20"], 2, 10), (["--clients=6", "--clients_per_app=3"], 2, 3), (["--clients=20000"], 2000, 10)],
)
def test_clients_are_divided_into_apps(options_of, arguments, apps, per_app):
    options = options_of(*arguments)
    assert (options.total_sub_apps, options.clients_per_app) == (apps, per_app)


def test_clients_are_divided_by_what_hydra_ini_says(options_of, tmp_path):
    (tmp_path / "hydra.ini").write_text("[hydra]\nclients_per_app = 7\ntotal_sub_apps = 5\n")
    assert differing(options_of("--clients=14")) == {"total_sub_apps": 2, "clients_per_app": 7}


def test_metrics_of_thresholds_are_listed(call, stand_in):
    code, out, err = call("kafka", "--threshold=help")
    assert (code, err, stand_in.options) == (0, "", None)
    for name, metric in METRICS.items():
        assert f"  {name} [{metric.unit}] " in out
