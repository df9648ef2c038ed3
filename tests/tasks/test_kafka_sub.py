"""A subscriber's clients: how far they are."""

import pytest

from hydra.accounting import sample_latencies
from hydra.accounting.stats import HostTraffic, ProcessUsage
from hydra.errors import CapacityError
from hydra.options.options import Options
from hydra.options.order import ClientAssignment, PartitionStart, RunOrder
from hydra.signals.messages import DrainTo, StartAt, TaskOrder, request
from hydra.tasks import kafka_sub
from hydra.tasks.kafka_sub import KEPT_CLIENT_ARRIVALS, KEPT_TASK_ARRIVALS, MAX_NAMES, KafkaSub, SubscriberRun
from hydra.tasks.task import TaskPlace

FROM_THE_START = (PartitionStart(0, 0),)

TRAFFIC = HostTraffic(tx_bytes_per_s=1.0, rx_bytes_per_s=1.0)
USAGE = ProcessUsage(cpu_percent=1.0, rss_bytes=1, window_s=1.0)


@pytest.fixture
def make(clock, twins):
    def make(clients=2, starts=FROM_THE_START, unpaced=()):
        assigned = tuple(
            ClientAssignment(f"c{number}", f"g{number}", tuple(starts), paced=number not in unpaced)
            for number in range(clients)
        )
        order = RunOrder("run-1", Options(msg_rate=100.0, msg_batch=10), "127.0.0.1:9092", assigned)
        broker = twins.Broker(clock)
        broker.create_topic("run-1", partitions=1, configs={})
        driver = twins.SubscriberDriver(order, broker)
        return SubscriberRun(order, driver, clock, lambda: twins.READING), driver, broker

    return make


def test_clients_connect_are_positioned_and_receive(make):
    run, driver, broker = make()
    driver.may_position = False
    run.open()
    run.poll(0)
    status = run.status()
    assert (status.phase, status.clients, status.positioned, status.waiting) == ("connecting", 2, 0, ("c0", "c1"))
    driver.may_position = True
    broker.append("run-1", 0, range(5))
    run.poll(0)
    status = run.status()
    assert (status.phase, status.positioned, status.received, status.waiting) == ("receiving", 2, 10, ())
    assert driver.opened == 1


def test_drained_means_read_up_to_the_end_offsets(make):
    run, driver, broker = make()
    broker.append("run-1", 0, range(5))
    driver.limit = 3
    run.poll(0)
    run.drain(DrainTo({0: 5}))
    status = run.status()
    assert (status.phase, status.drained, status.waiting) == ("receiving", 0, ("c0", "c1"))
    driver.limit = 5
    run.poll(0)
    status = run.status()
    assert (status.phase, status.drained, status.waiting) == ("drained", 2, ())
    assert [client.received for client in run.stats("t", USAGE, TRAFFIC).clients] == [5, 5]


@pytest.mark.parametrize("unpaced", [(), (1,), (0, 2)])
def test_the_latencies_of_unpaced_clients_are_among_all_and_by_themselves(make, clock, unpaced):
    run, driver, broker = make(clients=3, unpaced=unpaced)
    run.start(StartAt(clock.now_s(), 0.0))
    for last in (5, 9):  # in two samples
        broker.append("run-1", 0, range(last - 4, last))
        clock.sleep(1.5)
        driver.now_s = clock.now_s()
        run.poll(0)
    stats = run.stats("t", USAGE, TRAFFIC)
    assert sum(stats.e2e.counts) == sum(sum(sample.e2e.counts) for sample in stats.samples) == 3 * 8
    assert sum(stats.unpaced.counts) == len(unpaced) * 8
    if unpaced:
        assert (stats.unpaced.max_us, stats.unpaced.buckets) == (stats.e2e.max_us, stats.e2e.buckets)


def test_clients_with_nothing_to_read_are_positioned_and_drained(make):
    run, _, _ = make(starts=())
    assert run.status().phase == "receiving"
    run.drain(DrainTo({0: 5}))
    assert run.status().phase == "drained"


def test_a_status_names_twenty_clients_at_most(make):
    run, driver, _ = make(clients=50)
    driver.may_position = False
    run.poll(0)
    status = run.status()
    assert len(status.waiting) == MAX_NAMES == 20
    assert (status.clients, status.positioned) == (50, 0)


def test_a_clients_trouble_is_told(make):
    run, driver, _ = make()
    driver.tallies[1].error = "connection refused"
    assert run.status().error == "connection refused"
    assert run.stats("t", USAGE, TRAFFIC).clients[1].error == "connection refused"


def test_after_the_drain_the_stats_are_made_once_and_sent_again_as_they_were(make, clock):
    run, driver, broker = make()
    run.start(start_at(clock))
    read(clock, run, driver, broker, range(5))
    run.poll(0)
    before = run.answer("t", USAGE, TRAFFIC)
    clock.sleep(2)
    assert run.answer("t", USAGE, TRAFFIC) != before
    run.drain(DrainTo({0: 9}))
    first = run.answer("t", USAGE, TRAFFIC)
    clock.sleep(2)
    read(clock, run, driver, broker, range(5, 9))
    assert run.answer("t", USAGE, TRAFFIC) is first
    run.drain(DrainTo({0: 9}))
    assert run.answer("t", USAGE, TRAFFIC) != first


@pytest.mark.parametrize("polls", [1, 25])
def test_what_a_long_run_keeps_of_arrivals_is_bounded_and_tells_all_of_them(make, clock, monkeypatch, polls):
    monkeypatch.setattr(sample_latencies, "MAX_UNFOLDED_ARRIVALS", 2000)
    run, driver, _ = make()
    run.start(start_at(clock))
    kept, arrived = [], 0
    for second in range(100):
        for number in range(150):  # no two of one second are alike
            clock.sleep(1 / 150)
            for tally in driver.tallies:
                tally.latencies.add(number / 1000 + second / 1e5, 1 + number % 50)
            run._timing._sample.add(number / 1000 + second / 1e5, 1 + number % 50)
            run._timing._even.add(number / 1000 + second / 1e5, 1 + number % 50)
            arrived += 1 + number % 50
            if number % (150 // polls) == 0:
                run.poll(0)
        timing, unfolded = run._timing, run._unfolded._samples.values()
        clients = max(len(tally.latencies) for tally in driver.tallies)
        kept.append((clients, len(timing._whole), len(timing._even), sum(map(len, unfolded))))
    assert run._unfolded.arrivals == kept[-1][-1]
    late = 2 if polls == 1 else 1.5  # with fewer polls than turns it is made up for once a second, at twice as many
    task_bound = late * KEPT_TASK_ARRIVALS * 2
    bounds = (late * KEPT_CLIENT_ARRIVALS + 150, task_bound + 150, task_bound + 150, 2000 + 150)
    assert all(most <= bound for most, bound in zip(map(max, zip(*kept, strict=True)), bounds, strict=True))
    stats = run.stats("t", USAGE, TRAFFIC)
    assert [client.e2e.deliveries for client in stats.clients] == [arrived] * 2
    assert sum(stats.e2e.counts) == sum(stats.service.counts) == arrived
    assert sum(sum(sample.e2e.counts) for sample in stats.samples) == arrived


def test_close_lets_go_of_the_clients(make):
    run, driver, _ = make()
    run.close()
    assert driver.closed == 1


def start_at(clock, in_s=0.0):
    from hydra.signals.messages import StartAt

    return StartAt(clock.now_s() + in_s, 0.0)


def read(clock, run, driver, broker, sequences):
    broker.append("run-1", 0, sequences)
    driver.now_s = clock.now_s()
    run.poll(0)


def test_samples_are_of_each_full_second_and_of_the_end(make, clock):
    run, driver, broker = make()
    run.start(start_at(clock))
    read(clock, run, driver, broker, range(5))
    for seconds in (0.6, 0.6, 0.6, 2.6, 0.1):
        clock.sleep(seconds)
        run.poll(0)
    stats = run.stats("t", USAGE, TRAFFIC)
    # Nothing at 0.6 and 4.5; 1.2 is that of 1, and 4.4 that of 2, 3 and 4.
    assert [round(sample.at_s, 1) for sample in stats.samples] == [0.0, 1.2, 4.4, 4.5]
    assert [sample.received for sample in stats.samples] == [10] * 4
    assert [sum(sample.e2e.counts) for sample in stats.samples] == [10, 0, 0, 0]
    assert sum(stats.e2e.counts) == 10


def test_the_slowest_client_is_told(make, clock):
    run, driver, broker = make(clients=3)
    run.start(start_at(clock))
    read(clock, run, driver, broker, range(5))
    driver.tallies[1].partitions[0].add(5, 5, 2)
    (sample,) = run.stats("t", USAGE, TRAFFIC).samples[-1:]
    assert (sample.received, sample.slowest_received) == (17, 5)


def test_a_start_that_is_told_again_counts_from_nothing(make, clock):
    run, driver, broker = make()
    run.start(start_at(clock))
    run.poll(0)
    clock.sleep(2)
    run.poll(0)
    run.start(start_at(clock, in_s=1.0))
    clock.sleep(1.0 + 0.04)
    read(clock, run, driver, broker, range(5))
    stats = run.stats("t", USAGE, TRAFFIC)
    assert stats.samples[0].at_s == pytest.approx(0.04, abs=0.01)
    assert (sum(stats.e2e.counts), stats.e2e.negative) == (10, 0)
    assert stats.e2e.max_us == pytest.approx(40_000, rel=0.1)


def test_without_a_start_there_is_nothing_to_time(make, clock):
    run, driver, broker = make()
    read(clock, run, driver, broker, range(5))
    stats = run.stats("t", USAGE, TRAFFIC)
    assert (stats.samples, stats.e2e.counts, stats.service.counts) == ((), (), ())
    assert stats.clients[0].received == 5


def test_what_was_used_before_the_plan_started_is_not_counted(make, clock, monkeypatch):
    run, _, _ = make()
    run.open()
    read_at, real = [], kafka_sub.read_usage
    monkeypatch.setattr(kafka_sub, "read_usage", lambda: read_at.append(clock.now_s()) or real())
    task = KafkaSub(TaskPlace("sub-1", "127.0.0.1", 1))
    task._current = run
    begin_s = clock.now_s()
    task._test_start(request("teststart", start_at(clock, in_s=5.0)))
    for _ in range(80):
        task._move_on(run)
        clock.sleep(0.1)
    assert read_at[-1] == pytest.approx(begin_s + 5, abs=0.2)
    assert len(read_at) == 3, "when the task began, when it was told to start, and when the plan did"


def test_what_was_opened_is_closed_where_the_rest_cannot_be(make, monkeypatch):
    run, driver, _ = make()

    def fail():
        raise CapacityError("the process may open 64 files")

    driver.open = fail
    monkeypatch.setattr(kafka_sub, "subscriber_driver", lambda *_arguments: driver)
    task = KafkaSub(TaskPlace("sub-1", "127.0.0.1", 1))
    with pytest.raises(CapacityError):
        task._update_config(request("updateconfig", TaskOrder(run.order)))
    assert (driver.closed, task._current) == (1, None)
