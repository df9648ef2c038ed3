"""What is kept of a sweep is read again as it was, or refused."""

import dataclasses
import json

import msgspec
import pytest

from hydra.accounting.evidence import Evidence
from hydra.accounting.latency import LatencyHistogram
from hydra.cli.terminal import END_SIGNALS
from hydra.codec import encode
from hydra.errors import UsageError
from hydra.sweep.record import PointRecord, SearchResult, SweepRecord, compact_run, read_saved, worst_exit_code
from hydra.sweep.search import SearchAnswer
from tests.samples import result, run, samples, sweep


@pytest.mark.parametrize(
    "made", [run(), run(error="gone"), sweep([{"clients": 10}]), sweep([{"clients": 10}]).points[0]]
)
def test_what_was_written_is_read_again(made):
    again = read_saved(encode(made), name="x.json")
    assert type(again) is type(made)
    assert json.loads(encode(again)) == json.loads(encode(made))


@pytest.mark.parametrize("kind", [run(), sweep([{"clients": 10}]), sweep([{"clients": 10}]).points[0]])
def test_an_unknown_version_is_refused_with_both_versions(kind):
    body = json.loads(encode(kind)) | {"format_version": 99}
    with pytest.raises(UsageError, match=r"x.json has hydra-\w+ version 99, this Hydra reads version \d"):
        read_saved(json.dumps(body).encode(), name="x.json")


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"[]", b"\xff\xfe", b"{" * 100_000, b'{"format": "other", "format_version": 1}', b'{"format": 5}',
     encode(run())[:-20], b'{"format": "hydra-point", "format_version": 2}'],
)  # fmt: skip
def test_whatever_else_a_file_holds_is_one_line(data):
    with pytest.raises(UsageError, match=r"x\.json"):
        read_saved(data, name="x.json")


def test_the_gravest_exit_code():
    assert worst_exit_code([]) == 0
    assert worst_exit_code([0, 3, 0]) == 3
    assert worst_exit_code([0, 3, 1]) == 1
    assert worst_exit_code([1, 4]) == 4
    assert worst_exit_code([4, 130]) == 130
    assert all(worst_exit_code([0, 128 + number]) == 128 + number for number in END_SIGNALS)


@pytest.mark.parametrize("code", [-1, 5, 71, 255, 2**62])
def test_an_exit_code_that_no_run_can_have_is_no_result(code):
    """Whoever prints the file ends with it: 256 would be a pass to a shell."""
    spoilt = run(error="x", exit_code=code)
    point = PointRecord(1, {}, (run(), spoilt), 1.0)
    whole = dataclasses.replace(sweep([{}]), points=(point,))
    for saved in (spoilt, point, whole):
        with pytest.raises(UsageError, match=rf"r\.json is not a result file of Hydra \(exit_code {code}\)"):
            read_saved(encode(saved), name="r.json")


def test_exit_codes_of_a_sweep_are_those_of_its_points():
    def of(point, _repeat):
        return run(point.options, result("fail", lost=1) if point.number == 2 else None)

    record = sweep([{"clients": 10}, {"clients": 20}], of=of)
    assert [point.exit_code for point in record.points] == [0, 1]
    assert record.exit_code == 1


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (SearchAnswer(100, 110, "broker", True, 9), 0),
        (SearchAnswer(100, None, "range", True, 9), 0),
        (SearchAnswer(100, 110, "broker", False, 12), 3),
        (SearchAnswer(100, 110, "harness", True, 9), 3),
        (SearchAnswer(100, None, "trials", True, 12), 3),
        (SearchAnswer(None, 10, "broker", False, 3), 1),
        (SearchAnswer(None, 10, "harness", False, 3), 3),
    ],
)
def test_exit_codes_of_a_search_say_whether_there_is_an_answer(answer, code):
    found = SearchResult("highest rate", "records/s", answer)
    record = SweepRecord("maxrate", "now", "hydra", sweep([{"clients": 10}]).options, answers=(found,))
    assert record.exit_code == code


def test_a_point_that_could_not_be_measured():
    assert PointRecord(1, {}, (run(), run(error="gone", exit_code=4)), 1.0).unmeasured
    assert not PointRecord(1, {}, (run(), run(error="not ready", exit_code=3)), 1.0).unmeasured


def test_a_record_is_json_that_other_programs_can_read():
    body = json.loads(msgspec.json.encode(sweep([{"clients": 10}])))
    assert body["points"][0]["runs"][0]["result"]["verdict"] == "pass"
    assert body["points"][0]["changes"] == {"clients": 10}


def histogram(stats):
    found = LatencyHistogram(stats[0].samples[0].e2e.bits)
    for each in stats:
        for sample in each.samples:
            found.merge(sample.e2e)
    return found.fact()


def test_a_compact_run_has_one_subscriber_and_loses_no_latency():
    stats = tuple(each for seed in range(5) for each in samples(10, 4.0, seed=seed))
    before = dataclasses.replace(run(), evidence=Evidence(subscribers=stats))
    after = compact_run(before)
    assert after.result == before.result
    (one,) = after.evidence.subscribers
    assert len(one.samples) == 10
    assert histogram(after.evidence.subscribers) == histogram(stats)
    assert [sample.received for sample in one.samples] == [5 * 500 * second for second in range(1, 11)]
    assert compact_run(after) == after


def test_the_sample_at_the_very_end_is_not_counted_beside_that_of_its_second():
    (first,), (second,) = samples(3, 4.0, seed=1), samples(3, 4.0, seed=2)
    last = dataclasses.replace(first.samples[-1], at_s=first.samples[-1].at_s + 0.3, received=1507)
    stats = (dataclasses.replace(first, samples=(*first.samples, last)), second)
    (one,) = compact_run(dataclasses.replace(run(), evidence=Evidence(subscribers=stats))).evidence.subscribers
    assert [sample.received for sample in one.samples] == [1000, 2000, 3007]
    assert one.samples[-1].at_s == last.at_s
    assert histogram((one,)) == histogram(stats)


def test_a_subscriber_without_a_sample_in_a_second_stands_as_it_did():
    (whole,), (shorter,) = samples(3, 4.0, seed=1), samples(3, 4.0, seed=2)
    stats = (whole, dataclasses.replace(shorter, samples=(shorter.samples[0], *shorter.samples[2:-1])))
    (one,) = compact_run(dataclasses.replace(run(), evidence=Evidence(subscribers=stats))).evidence.subscribers
    assert [sample.received for sample in one.samples] == [1000, 1500, 2000]
    assert histogram((one,)) == histogram(stats)


def test_a_run_without_a_result_is_compact_as_it_is():
    before = run(error="gone")
    assert compact_run(before) == before
