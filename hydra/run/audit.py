"""Whether, and for how long, a run's whole log is read once more."""

from __future__ import annotations

from collections.abc import Mapping

from hydra.accounting.evidence import Audit, OffsetRange
from hydra.errors import BrokerError
from hydra.options.order import RunOrder
from hydra.records.identity import RECORD_OVERHEAD_BYTES
from hydra.run.protocols import Auditor

AUTO_READING_S = 20.0
AUTO_BYTES = 1024**3
"""``--audit=auto`` reads logs that take no longer than this at the auditor's pace, and have no more bytes of values."""

BASE_TIMEOUT_S = 15.0
SLOW_BYTES_PER_S = 20_000_000
"""No broker that anybody tests is slower than this."""


def audit_log(auditor: Auditor, order: RunOrder, log: Mapping[int, OffsetRange]) -> tuple[Audit | None, str]:
    """(what the auditor found, why there is nothing)."""
    records = sum(offsets.end - offsets.start for offsets in log.values())
    log_bytes = records * (order.options.msg_size + RECORD_OVERHEAD_BYTES)
    if order.options.audit == "never":
        return None, "--audit=never"
    reading_s = records / auditor.records_per_s
    takes_long = reading_s > AUTO_READING_S or log_bytes > AUTO_BYTES
    if order.options.audit == "auto" and not order.needs_audit and takes_long:
        return None, f"{records} records are more than --audit=auto reads; --audit=always would"
    try:
        return auditor.audit(order, log, BASE_TIMEOUT_S + max(reading_s, log_bytes / SLOW_BYTES_PER_S)), ""
    except BrokerError as error:
        return None, str(error)
