"""JSON Schemas of result files and sweep files, made from their dataclasses.

docs/result.schema.json and docs/sweep.schema.json are printed by ``python -m hydra.report.json_schemas result`` and
``sweep``.
"""

from __future__ import annotations

import inspect
import sys
from typing import Any

import msgspec

from hydra.run.record import FORMAT_VERSION, RunRecord
from hydra.sweep.record import FORMATS, SweepRecord


def result_schema() -> dict[str, object]:
    """JSON Schema (draft 2020-12) of a ``RunRecord`` in this format version."""
    return _schema(RunRecord, f"Hydra result, version {FORMAT_VERSION}")


def sweep_schema() -> dict[str, object]:
    """JSON Schema (draft 2020-12) of a ``SweepRecord`` with its points and their runs."""
    return _schema(SweepRecord, f"Hydra sweep, version {FORMAT_VERSION}")


def _schema(record: type, title: str) -> dict[str, object]:
    schema: dict[str, Any] = msgspec.json.schema(record, schema_hook=_any_value)
    for definition in schema["$defs"].values():
        # Docstrings, whose indentation Python keeps before 3.13.
        definition["description"] = inspect.cleandoc(definition.get("description", ""))
    for name, saved in FORMATS.items():
        definition = schema["$defs"].get(saved.__name__)
        if definition is not None:
            definition["properties"] |= {"format": {"const": name}, "format_version": {"const": FORMAT_VERSION}}
            definition["required"] = [*definition["required"], "format", "format_version"]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title, **schema}


def _any_value(kind: type) -> dict[str, object]:
    """The value of a point's change, which has the type of its option."""
    if kind is not object:
        raise NotImplementedError
    return {"description": "A value of that option."}


def main() -> None:
    """Print the schema that the first argument names: ``result`` or ``sweep``."""
    schema = {"result": result_schema, "sweep": sweep_schema}[sys.argv[1]]()
    print(msgspec.json.format(msgspec.json.encode(schema), indent=2).decode())  # noqa: T201


if __name__ == "__main__":
    main()
