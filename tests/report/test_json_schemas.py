"""The schema of a sweep's file: it takes what is written, and nothing else."""

import json
from pathlib import Path

import jsonschema
import pytest

from hydra.codec import encode
from hydra.report.json_schemas import sweep_schema
from hydra.sweep.record import SearchResult, SearchSettings, SweepRecord
from hydra.sweep.search import SearchAnswer
from tests.samples import sweep

SCHEMA = Path(__file__).parents[2] / "docs" / "sweep.schema.json"
SWEEP = sweep([{"clients": 10, "msg_rate": 500.0}, {"clients": 20, "msg_rate": 500.0}])
FOUND = SearchAnswer(500.0, 1000.0, "broker", confirmed=True, trials=7)
SEARCH = SweepRecord(
    "maxrate",
    "2026-01-01T00:00:00.000+00:00",
    "hydra kafka maxrate",
    SWEEP.options,
    search=SearchSettings(start=1000.0, lowest=1.0, highest=1e6),
    points=SWEEP.points,
    answers=(SearchResult("highest good rate for 10 clients", "records/s", FOUND),),
)


@pytest.fixture(scope="module")
def validator():
    return jsonschema.Draft202012Validator(sweep_schema())


@pytest.mark.parametrize("record", [SWEEP, SEARCH], ids=["sweep", "search"])
def test_a_file_is_what_the_schema_says(record, validator):
    validator.check_schema(validator.schema)
    assert record.points[0].runs[0].result is not None
    validator.validate(json.loads(encode(record)))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data.pop("kind"),
        lambda data: data.update(kind="walk"),
        lambda data: data.update(format="hydra-result"),
        lambda data: data["points"][0].pop("format"),
        lambda data: data["points"][0]["runs"][0].pop("order"),
        lambda data: data["points"][0]["runs"][0]["result"].update(verdict="maybe"),
        lambda data: data["answers"][0]["answer"].update(best="high"),
    ],
)
def test_the_schema_refuses_what_is_no_sweep(spoil, validator):
    data = json.loads(encode(SEARCH))
    spoil(data)
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(data)


def test_the_schema_in_the_docs_is_the_one_of_the_facts():
    assert json.loads(SCHEMA.read_text()) == json.loads(json.dumps(sweep_schema()))
