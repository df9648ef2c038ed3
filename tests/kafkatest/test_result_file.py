"""The result file: written whole or not at all, read only where its version is known, and as its schema says."""

import dataclasses
import json
import os
from pathlib import Path

import jsonschema
import pytest

from hydra.accounting.bottleneck import Bottleneck
from hydra.accounting.evidence import Audit, AuditedPartition, Evidence, OffsetRange
from hydra.accounting.latency import LatencyHistogram
from hydra.accounting.result import ClientResult
from hydra.accounting.stats import (
    ClientStats,
    HostTraffic,
    MachineSample,
    PartitionOutcomes,
    PartitionStats,
    ProcessUsage,
    PublisherSample,
    PublisherStats,
    SubscriberSample,
    SubscriberStats,
)
from hydra.accounting.timeline import points
from hydra.accounting.totals import ThresholdOutcome
from hydra.endpoints import Endpoint
from hydra.errors import OutputError, UsageError
from hydra.files.atomic_write import check_output, write_json
from hydra.options.options import Options
from hydra.options.order import ClientAssignment, PartitionLeader, PartitionStart, RunOrder
from hydra.report.json_schemas import result_schema
from hydra.run.record import FORMAT_VERSION, RunRecord
from hydra.sweep.folder import load_results
from tests.facts import made_result

SCHEMA = Path(__file__).parents[2] / "docs" / "result.schema.json"
USAGE = ProcessUsage(12.5, 1 << 20, 2.0)


ORDER = RunOrder(
    "r",
    Options(threshold=("loss==0",)),
    "h:9092",
    (ClientAssignment("c-ü", "g", (PartitionStart(0, 0),), "t"),),
    (PartitionLeader(0, 1, Endpoint("h", 9092)),),
    pace_ms=0.5,
)


def make_record(**changes):
    """A record with something in every place."""
    histogram = LatencyHistogram()
    histogram.add(1234, 9)
    histogram.add(-1)
    counts = histogram.fact()
    client = ClientStats(
        name="c-ü", partitions=(PartitionStats(0, 0, 10, ((0, 0, 10),), ((3, 5),)),), positioned=True, fetches=3,
        received_bytes=140, receive_window_s=1.5, first_arrival_records=1, foreign=0, corrupt=0, error="",
        e2e=histogram.summary(),
    )  # fmt: skip
    publisher = PublisherStats(
        run_id="r", task_id="p", planned=10, attempted=10, acked=8, failed=1, unknown=1, queue_full=2,
        send_window_s=1.0, ack_window_s=1.1, lag_max_s=0.01, lag=counts,
        partitions=(PartitionOutcomes(0, 10, ((0, 8),), ((9, 10),)),), usage=USAGE, traffic=HostTraffic(1.5, 2.5),
        samples=(PublisherSample(0.0, 0, 0, 0.1, 5, 0.0), PublisherSample(1.0, 10, 8, 0.2, 5, 0.01)),
    )  # fmt: skip
    samples = (SubscriberSample(0.0, 0, 0, 0, 0, 0.1, 7, counts), SubscriberSample(1.0, 10, 10, 3, 140, 0.3, 7, counts))
    coarse = dataclasses.replace(counts, bits=6, buckets=(3,), counts=(10,), negative=0)
    timed = tuple(dataclasses.replace(sample, e2e=coarse) for sample in samples)
    subscriber = SubscriberStats("r", "t", (client,), USAGE, counts, counts, timed)
    machine = (MachineSample(0.0, 1.0, 2), MachineSample(1.0, 1.5, 2, 0.5, 9))
    evidence = Evidence(
        publisher=publisher,
        subscribers=(subscriber,),
        missing={"t-2": "its process ended"},
        begin_offsets={0: 0},
        log={0: OffsetRange(0, 10)},
        audit=Audit({0: AuditedPartition(0, 10, ((0, 0, 10),), ((1, 2),))}, foreign=1),
        machine=machine,
        cores=2,
    )
    result = made_result(
        reasons=("a", "b"),
        notes=("c",),
        bottleneck=Bottleneck("harness", True, ("x",), ("y",), "z"),
        thresholds=(ThresholdOutcome("loss==0", "loss", 0.0, 0.0, "deliveries", kept=True),),
        points=points(ORDER, evidence),
        clients=(
            ClientResult("c-ü", "t", "failing", expected=8, distinct=7, lost=1, skipped=1, e2e=histogram.summary()),
        ),
    )
    whole = RunRecord(
        order=ORDER,
        status="complete",
        started_at="2026-01-02T03:04:05+00:00",
        versions={"hydra": "0"},
        machine={"cores": 2, "names": ["a"]},
        cluster={"brokers": 1, "version": None},
        phases_s={"send": 1.0},
        exit_code=1,
        seed_keys=result.seed_keys(),
        result=result,
        evidence=evidence,
    )
    return dataclasses.replace(whole, **changes)


def failed_record():
    return RunRecord(ORDER, "failed", "2026-01-02T03:04:05+00:00", 4, error="no broker")


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "result.json")


@pytest.mark.parametrize("record", [make_record(), failed_record()], ids=["complete", "failed"])
def test_a_record_comes_back_as_it_was(path, record):
    write_json(Path(path), record)
    assert load_results(path) == record


@pytest.fixture(scope="module")
def validator():
    return jsonschema.Draft202012Validator(result_schema())


@pytest.mark.parametrize("record", [make_record(), failed_record()], ids=["complete", "failed"])
def test_a_file_is_what_the_schema_says(path, record, validator):
    write_json(Path(path), record)
    validator.check_schema(validator.schema)
    validator.validate(json.loads(Path(path).read_text()))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data.pop("order"),
        lambda data: data.pop("format"),
        lambda data: data.update(format_version=FORMAT_VERSION + 1),
        lambda data: data["result"].update(verdict="maybe"),
        lambda data: data["result"]["totals"].update(records_lost="none"),
        lambda data: data["evidence"]["publisher"].pop("lag"),
    ],
)
def test_the_schema_refuses_what_is_no_result(path, spoil, validator):
    write_json(Path(path), make_record())
    data = json.loads(Path(path).read_text())
    spoil(data)
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(data)


def test_the_schema_in_the_docs_is_the_one_of_the_facts():
    assert json.loads(SCHEMA.read_text()) == json.loads(json.dumps(result_schema()))


def test_a_file_is_replaced_whole(path, tmp_path):
    write_json(Path(path), failed_record())
    write_json(Path(path), make_record())
    assert load_results(path).status == "complete"
    assert os.listdir(tmp_path) == ["result.json"]


@pytest.mark.parametrize("before", [None, "precious"])
@pytest.mark.parametrize(
    "unwritable",
    [{"machine": {"load": float("nan")}}, {"phases_s": {"send": float("inf")}}, {"machine": {"x": object()}}],
)
def test_what_cannot_be_written_leaves_the_folder_as_it_was(path, tmp_path, before, unwritable):
    """A figure that JSON has no form for comes up when half of the file is written."""
    if before:
        Path(path).write_text(before)
    with pytest.raises((ValueError, TypeError)):
        write_json(Path(path), make_record(**unwritable))
    assert os.listdir(tmp_path) == (["result.json"] if before else [])
    assert before is None or Path(path).read_text() == before


def test_a_disk_that_is_full_is_one_line_and_leaves_what_was_there(path, tmp_path, monkeypatch):
    Path(path).write_text("precious")

    def fsync(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OutputError, match=r"result\.json cannot be written \(No space left on device\)"):
        write_json(Path(path), make_record())
    assert os.listdir(tmp_path) == ["result.json"]
    assert Path(path).read_text() == "precious"


def test_a_folder_that_is_gone_is_told(tmp_path):
    with pytest.raises(OutputError, match="cannot be written"):
        write_json(tmp_path / "gone" / "result.json", make_record())


@pytest.mark.parametrize(
    ("name", "words"),
    [("", "is a folder"), ("gone/result.json", "does not exist"), ("file/result.json", "does not exist")],
)
def test_where_no_file_can_be_is_seen_before(tmp_path, name, words):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=words):
        check_output(str(tmp_path / name), "output")


def test_where_a_file_can_be(path):
    check_output(path, "output")
    Path(path).touch()
    check_output(path, "output")


def broken(change):
    data = json.loads(json.dumps({"format": "hydra-result", "format_version": FORMAT_VERSION}))
    return json.dumps(data | change).encode()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is not a result file"),
        (b"{", "is not a result file"),
        (b"[]", "is not a result file"),
        (b"null", "is not a result file"),
        (b"{}", "is not a result file"),
        (b"\xff\xfe\x00", "is not a result file"),
        (b'{"format": "hydra-sweep", "format_version": 3}', "is not a result file"),
        (
            broken({"format_version": FORMAT_VERSION + 1}),
            f"has hydra-result version {FORMAT_VERSION + 1}, this Hydra reads",
        ),
        (
            broken({"format_version": FORMAT_VERSION - 1}),
            f"has hydra-result version {FORMAT_VERSION - 1}, this Hydra reads",
        ),
        (broken({"format_version": "new"}), "is not a result file"),
        (broken({}), "is not a result file"),
        (b"[" * 100_000, "is not a result file"),
    ],
)
def test_other_files_are_refused(path, content, words):
    Path(path).write_bytes(content)
    with pytest.raises(UsageError, match=words) as caught:
        load_results(path)
    assert caught.value.exit_code == 2
    assert path in str(caught.value)


def test_a_truncated_file_is_refused(path):
    write_json(Path(path), make_record())
    whole = Path(path).read_bytes().rstrip()
    for size in (*range(0, len(whole), 97), len(whole) - 1):
        Path(path).write_bytes(whole[:size])
        with pytest.raises(UsageError, match="is not a result file"):
            load_results(path)


@pytest.mark.parametrize("options", [{"msg_rate": "fast"}, {"total_sub_apps": None}, {"threshold": 7}])
def test_options_that_are_none_are_refused(path, options):
    write_json(Path(path), make_record())
    data = json.loads(Path(path).read_text())
    data["order"]["options"] |= options
    Path(path).write_text(json.dumps(data))
    with pytest.raises(UsageError, match="is not a result file"):
        load_results(path)


def test_options_that_this_version_does_not_know_are_passed_over(path):
    write_json(Path(path), make_record())
    data = json.loads(Path(path).read_text())
    data["order"]["options"] |= {"acks": "all", "colour": "red"}
    Path(path).write_text(json.dumps(data))
    assert load_results(path).order.options == dataclasses.replace(ORDER.options, acks="all")


@pytest.mark.parametrize("name", ["", "gone.json"])
def test_what_cannot_be_read_is_refused(tmp_path, name):
    with pytest.raises(UsageError, match=r"cannot be read|is not the folder of a sweep"):
        load_results(str(tmp_path / name))
