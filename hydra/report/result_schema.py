"""The JSON Schema of result files, made from the facts that they hold; docs/result.schema.json is a copy of it."""

from __future__ import annotations

import msgspec

from hydra.core.result import FORMAT, FORMAT_VERSION, RunRecord


def result_schema() -> dict[str, object]:
    """JSON Schema (draft 2020-12) of ``hydra.core.result.RunRecord``, for this format version and no other."""
    schema = msgspec.json.schema(RunRecord)
    definitions = schema["$defs"]
    fields = definitions["RunRecord"]["properties"]
    fields["format"] = {"const": FORMAT}
    fields["format_version"] = {"const": FORMAT_VERSION}
    definitions["RunRecord"]["required"] = [*definitions["RunRecord"]["required"], "format", "format_version"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Hydra result, version {FORMAT_VERSION}",
        **schema,
    }


def main() -> None:
    """Print the schema."""
    print(msgspec.json.format(msgspec.json.encode(result_schema()), indent=2).decode())  # noqa: T201


if __name__ == "__main__":
    main()
