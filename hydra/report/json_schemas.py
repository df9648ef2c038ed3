"""JSON Schemas of the files that results are kept in, made from the facts that they hold.

docs/result.schema.json and docs/sweep.schema.json are copies of them: ``python -m hydra.report.json_schemas result``.
"""

from __future__ import annotations

import sys
from typing import Any

import msgspec

from hydra.run import record as run_record
from hydra.run.record import RunRecord
from hydra.sweep import record as sweep_record
from hydra.sweep.record import PointRecord, SweepRecord

FORMATS: dict[type, tuple[str, int]] = {
    RunRecord: (run_record.FORMAT, run_record.FORMAT_VERSION),
    PointRecord: (sweep_record.POINT_FORMAT, sweep_record.FORMAT_VERSION),
    SweepRecord: (sweep_record.SWEEP_FORMAT, sweep_record.FORMAT_VERSION),
}


def result_schema() -> dict[str, object]:
    """JSON Schema (draft 2020-12) of ``hydra.run.record.RunRecord``, for this format version and no other."""
    return _schema(RunRecord, f"Hydra result, version {run_record.FORMAT_VERSION}")


def sweep_schema() -> dict[str, object]:
    """The same of ``hydra.sweep.record.SweepRecord``: a whole sweep or search with all of its runs."""
    return _schema(SweepRecord, f"Hydra sweep, version {sweep_record.FORMAT_VERSION}")


def _schema(record: type, title: str) -> dict[str, object]:
    schema: dict[str, Any] = msgspec.json.schema(record, schema_hook=_any_value)
    for kept, (name, version) in FORMATS.items():
        definition = schema["$defs"].get(kept.__name__)
        if definition is not None:
            definition["properties"] |= {"format": {"const": name}, "format_version": {"const": version}}
            definition["required"] = [*definition["required"], "format", "format_version"]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title, **schema}


def _any_value(kind: type) -> dict[str, object]:
    """What a change of a point is: a value of whatever option."""
    if kind is not object:
        raise NotImplementedError
    return {"description": "A value of that option."}


def main() -> None:
    """Print the schema of the kind of file that the first argument names."""
    schema = {"result": result_schema, "sweep": sweep_schema}[sys.argv[1]]()
    print(msgspec.json.format(msgspec.json.encode(schema), indent=2).decode())  # noqa: T201


if __name__ == "__main__":
    main()
