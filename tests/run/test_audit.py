"""Whether a log is read once more, and what becomes of the run when that fails."""

import dataclasses

import pytest

from hydra.accounting.evidence import Audit, OffsetRange
from hydra.options.options import Options
from hydra.options.order import RunOrder
from hydra.records.identity import RECORD_OVERHEAD_BYTES
from hydra.run.audit import AUTO_BYTES, AUTO_READING_S, BASE_TIMEOUT_S, audit_log

RECORDS_PER_S = 1_000_000
AUTO_RECORDS = round(AUTO_READING_S * RECORDS_PER_S)


class Auditor:
    def __init__(self, records_per_s=RECORDS_PER_S):
        self.records_per_s = records_per_s
        self.asked = []

    def audit(self, order, log, timeout_s):
        self.asked.append((order, log, timeout_s))
        return Audit({})


def look(records, size=14, **options):
    auditor = Auditor()
    log = {0: OffsetRange(100, 100 + records // 2), 1: OffsetRange(0, records - records // 2)}
    order = RunOrder("r", dataclasses.replace(Options(msg_size=size), **options), "127.0.0.1:9092")
    found = audit_log(auditor, order, log)
    return found, auditor


@pytest.mark.parametrize(
    ("records", "size"),
    [(0, 14), (1000, 14), (AUTO_RECORDS, 14), (AUTO_BYTES // (1000 + RECORD_OVERHEAD_BYTES), 1000)],
)
def test_a_log_of_moderate_size_is_read(records, size):
    (audit, error), auditor = look(records, size)
    assert (audit, error) == (Audit({}), "")
    ((order, _, timeout_s),) = auditor.asked
    assert order.run_id == "r"
    assert BASE_TIMEOUT_S <= timeout_s <= BASE_TIMEOUT_S + 60


@pytest.mark.parametrize(
    ("records", "size"), [(AUTO_RECORDS + 1, 14), (AUTO_BYTES // (1000 + RECORD_OVERHEAD_BYTES) + 1, 1000)]
)
def test_a_larger_one_is_read_only_when_that_was_asked_for(records, size):
    (audit, error), auditor = look(records, size)
    assert (audit, auditor.asked) == (None, [])
    assert error == f"{records} records are more than --audit=auto reads; --audit=always would"
    (audit, error), auditor = look(records, size, audit="always")
    assert (audit, error, len(auditor.asked)) == (Audit({}), "", 1)


def test_what_an_auditor_can_read_in_time_depends_on_its_pace():
    order = RunOrder("r", Options(), "127.0.0.1:9092")
    slow = Auditor(records_per_s=1000)
    most = round(AUTO_READING_S * slow.records_per_s)
    audit, _ = audit_log(slow, order, {0: OffsetRange(0, most)})
    assert (audit, slow.asked[0][2]) == (Audit({}), BASE_TIMEOUT_S + AUTO_READING_S)
    audit, error = audit_log(slow, order, {0: OffsetRange(0, most + 1)})
    assert (audit, error) == (None, f"{most + 1} records are more than --audit=auto reads; --audit=always would")


def test_never_is_never():
    (audit, error), auditor = look(1, audit="never")
    assert (audit, error, auditor.asked) == (None, "--audit=never", [])


def test_a_larger_log_has_more_time():
    limits = [look(records, audit="always")[1].asked[0][2] for records in (0, 10**6, 10**8)]
    assert limits == sorted(set(limits))
    assert limits[0] == BASE_TIMEOUT_S


def test_an_error_of_the_auditor_is_told_beside_the_result(rehearsal):
    stage = rehearsal()
    stage.auditor.error = "the auditor was not through after 15 s"
    result = stage.measure()
    assert (result.verdict, result.exit_code) == ("pass", 0)
    assert result.notes == ("the log was not audited: the auditor was not through after 15 s",)
    assert stage.record.evidence.audit is None


def test_a_run_that_is_not_to_be_audited_says_so(rehearsal):
    stage = rehearsal(audit="never")
    assert stage.measure().notes == ("the log was not audited: --audit=never",)
    assert stage.auditor.orders == []


def test_an_audit_finds_what_the_broker_lost_for_everyone(rehearsal):
    stage = rehearsal()
    stage.publisher.drop = {3}
    result = stage.measure()
    assert result.totals.records_broker_lost == 4
    assert len(stage.auditor.orders) == 1
    assert stage.record.evidence.audit is not None
