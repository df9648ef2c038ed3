"""What a sweep keeps of a run is the result and one histogram for each second."""

import dataclasses

from hydra.accounting.latency import LatencyHistogram
from hydra.sweep.compact import condensed
from tests.samples import run, samples


def histogram(stats):
    found = LatencyHistogram(stats[0].samples[0].e2e.bits)
    for each in stats:
        for sample in each.samples:
            found.merge(sample.e2e)
    return found.fact()


def test_all_subscribers_become_one_and_no_latency_is_lost():
    stats = tuple(each for seed in range(5) for each in samples(10, 4.0, seed=seed))
    before = run()
    before = dataclasses.replace(before, evidence=dataclasses.replace(before.evidence, subscribers=stats))
    after = condensed(before)
    assert after.result == before.result
    (one,) = after.evidence.subscribers
    assert len(one.samples) == 10
    assert histogram(after.evidence.subscribers) == histogram(stats)
    assert [sample.received for sample in one.samples] == [5 * 500 * second for second in range(1, 11)]
    assert condensed(after) == after


def test_a_run_without_a_result():
    before = run(error="gone")
    assert condensed(before) == before
