"""The record of a run."""

import pytest

from hydra.codec import decode, encode
from hydra.errors import BrokerError, InterruptedRunError, NotReadyError
from hydra.options.options import Options
from hydra.options.order import ClientAssignment, PartitionStart, RunOrder
from hydra.run.record import RunRecord, failed_record

STARTED_AT = "2026-01-01T00:00:00.000+00:00"
ORDER = RunOrder(
    "run-1", Options(msg_rate=250.0), "h:9092", (ClientAssignment("c", "g", (PartitionStart(0, 0),), "t"),)
)


def test_a_record_says_its_format_and_version():
    record = RunRecord(ORDER, "failed", STARTED_AT, 4)
    assert (record.format, record.format_version) == ("hydra-result", 3)
    assert record.result is None


@pytest.mark.parametrize(
    ("error", "status", "exit_code", "text"),
    [
        (BrokerError("gone", hint="start it"), "failed", 4, "gone: start it"),
        (NotReadyError("1 of 2"), "failed", 3, "1 of 2"),
        (InterruptedRunError(2), "interrupted", 130, "interrupted"),
        (InterruptedRunError(15), "interrupted", 143, "terminated"),
        (KeyboardInterrupt(), "interrupted", 130, "KeyboardInterrupt"),
        (ZeroDivisionError("division by zero"), "failed", 70, "division by zero"),
    ],
)
def test_an_error_becomes_status_exit_code_and_text(error, status, exit_code, text):
    record = failed_record(ORDER, STARTED_AT, error)
    assert (record.status, record.exit_code, record.error) == (status, exit_code, text)


def test_a_record_is_the_same_after_it_was_saved():
    record = failed_record(ORDER, STARTED_AT, BrokerError("gone"))
    assert decode(encode(record), RunRecord) == record


def test_options_that_this_version_does_not_know_are_ignored():
    data = encode(ORDER).replace(b'"msg_rate":', b'"of_tomorrow": 1, "msg_rate":')
    assert decode(data, RunOrder) == ORDER
