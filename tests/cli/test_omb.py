"""``--omb_workload`` and ``--omb_result`` on the command line."""

import json
from pathlib import Path

import pytest

from tests.samples import result

WORKLOAD = """name: small
topics: 1
partitionsPerTopic: 4
messageSize: 100
subscriptionsPerTopic: 3
consumerPerSubscription: 1
producersPerTopic: 2
producerRate: %s
testDurationMinutes: 1
payloadFile: payload/one.data
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("w.yaml").write_text(WORKLOAD % 700)


def test_a_workload_is_measured_and_written_in_their_keys(call, stand_in):
    stand_in.result = result("pass")
    code, _out, err = call("kafka", "--omb_workload=w.yaml", "--omb_result=r.json", "--test_duration=5")
    assert code == 0, err
    options = stand_in.options
    assert (options.client_count, options.partitions, options.msg_rate, options.test_duration) == (3, 4, 700.0, 5.0)
    assert "not as OMB does it: producersPerTopic: one publisher sends what 2 producers would" in err
    assert "not as OMB does it: payloadFile: payload/one.data is not there: the payload is random" in err
    written = json.loads(Path("r.json").read_text())
    assert (written["workload"], written["partitions"], written["messageSize"]) == ("small", 4, 100)


def test_the_payload_is_found_beside_the_workloads(call, stand_in):
    stand_in.result = result("pass")
    for name in ("workloads", "payload"):
        Path(name).mkdir()
    Path("payload/one.data").write_bytes(b"x" * 100)
    Path("workloads/w.yaml").write_text(WORKLOAD % 700)
    assert call("kafka", f"--omb_workload={Path('workloads/w.yaml').absolute()}")[0] == 0
    assert Path(stand_in.options.payload).read_bytes() == b"x" * 100


def test_without_a_rate_a_search_is_named(call, stand_in):
    Path("w.yaml").write_text(WORKLOAD % 0)
    code, _out, err = call("kafka", "--omb_workload=w.yaml")
    assert code == 2
    assert "producerRate is 0" in err
    assert "hydra kafka maxrate --omb_workload=w.yaml" in err
    assert stand_in.options is None
    stand_in.result = result("pass")
    assert call("kafka", "--omb_workload=w.yaml", "--msg_rate=50")[0] == 0
    assert stand_in.options.msg_rate == 50


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [", "w.yaml is not YAML"),
        ("a: !!python/object/apply:os.system [id]", "w.yaml is not YAML"),
        ("[]", "w.yaml is not a workload of OMB"),
        ("topics: many", "w.yaml: topics must be a whole number"),
        ("[" * 5000, "w.yaml is not YAML"),
        ('producerRate: !!int ""', "w.yaml is not YAML: a value in it is not what its tag says"),
        ("topics: !!bool maybe", "w.yaml is not YAML: a value in it is not what its tag says"),
    ],
)
def test_a_file_that_is_no_workload_is_one_line_and_starts_nothing(call, stand_in, text, told):
    Path("w.yaml").write_text(text)
    code, out, err = call("kafka", "--omb_workload=w.yaml")
    assert (code, out) == (2, "")
    assert told in err
    assert len(err.strip().splitlines()) <= 2
    assert stand_in.options is None


def test_a_file_that_is_not_there(call, stand_in):
    code, _out, err = call("kafka", "--omb_workload=nowhere.yaml")
    assert code == 2
    assert "--omb_workload=nowhere.yaml does not exist" in err


def test_where_the_result_cannot_go_is_told_before_anything_starts(call, stand_in):
    code, _out, err = call("kafka", "--omb_result=no/such/folder.json")
    assert code != 0
    assert "--omb_result" in err
    assert stand_in.options is None


@pytest.mark.parametrize("command", [["kafka"], ["kafka", "maxrate", "--results=/dev/null/s"]])
def test_a_key_of_a_workload_is_no_control_character(call, stand_in, command):
    stand_in.result = result("pass")
    Path("w.yaml").write_text('messageSize: 100\nproducerRate: 5\n"\\b\\bkey": 1\n')
    _code, _out, err = call(*command, "--omb_workload=w.yaml", "--clients=10")
    assert "not as OMB does it: \\x08\\x08key: not known" in err
