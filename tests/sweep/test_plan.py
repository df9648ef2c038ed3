"""Which points a sweep has."""

import dataclasses
import math

import pytest

from hydra.errors import UsageError
from hydra.options.options import OPTION_KINDS, Options
from hydra.run.clock import duration
from hydra.sweep.plan import (
    NOT_SWEPT,
    Axis,
    SweepPlan,
    apps_for,
    changes_text,
    grid,
    make_axis,
    make_points,
    parse_axis,
    parse_points,
    parse_settings,
    seconds_left,
    zipped,
)


def test_the_originals_grid():
    axes = [
        make_axis("clients", ["10", "50", "300", "500"], origin="--client_set"),
        make_axis("msg_rate", ["1000", "1500", "2000", "3000"], origin="--msg_rate_set"),
    ]
    points = make_points(Options(output="r.json"), grid(axes))
    assert len(points) == 16
    assert [point.number for point in points] == list(range(1, 17))
    assert [(p.options.client_count, p.options.msg_rate) for p in points[:5]] == [
        (10, 1000), (10, 1500), (10, 2000), (10, 3000), (50, 1000),
    ]  # fmt: skip
    assert {point.options.total_sub_apps for point in points} == {1, 5, 30, 50}
    assert all(point.options.output is None for point in points)
    assert changes_text(points[4].changes) == "clients=50 msg_rate=1000"


def test_zipped_values_vary_together():
    axes = [Axis("linger_ms", (0, 5)), Axis("msg_rate", (100.0, 200.0))]
    assert zipped(axes) == [{"linger_ms": 0, "msg_rate": 100.0}, {"linger_ms": 5, "msg_rate": 200.0}]


def test_zipped_lists_of_unequal_length_are_refused_with_their_lengths():
    with pytest.raises(UsageError, match="linger_ms has 2, msg_rate has 1"):
        zipped([Axis("linger_ms", (0, 5)), Axis("msg_rate", (100.0,))])


@pytest.mark.parametrize("together", [grid, zipped])
def test_two_lists_of_one_option_are_refused(together):
    """Only one of them would count."""
    axes = [Axis("linger_ms", (0, 5)), Axis("msg_rate", (1.0, 2.0)), Axis("linger_ms", (10, 20))]
    with pytest.raises(UsageError, match="linger_ms is swept 2 times: give all its values in one list"):
        together(axes)


def test_one_option_twice_on_one_side_is_refused():
    with pytest.raises(UsageError, match="--a names linger_ms twice: keep one"):
        parse_settings(["linger_ms=5", "linger-ms=6"], origin="--a")


def test_a_grid_is_counted_before_it_is_made():
    """This one would take all memory there is."""
    axes = [Axis(name, tuple(range(1000))) for name in ("linger_ms", "msg_batch", "partitions", "fetch_min_bytes")]
    with pytest.raises(UsageError, match="the sweep has 1000000000000 points: 10000 at most"):
        grid(axes)


@pytest.mark.parametrize("name", sorted(set(OPTION_KINDS) - NOT_SWEPT))
def test_every_other_option_can_be_swept(name):
    values = {"group": "own,shared", "group_mode": "assign,group",
              "acks": "0,1,all", "pub_driver": "confluent,kafka-python", "audit": "never,always",
              "sub_driver": "wire,confluent", "msg_size": "14,100", "retention_ms": "2000,5000",
              "compression": "none,lz4", "idempotence": "auto,no", "payload": "zeros,random",
              "client_rack": "r1,r2", "group_protocol": "classic,consumer"}  # fmt: skip
    axis = parse_axis(f"{name}={values.get(name, '3,4')}", origin="--sweep")
    servers = "127.0.0.1:9092" if name == "topic" else None
    options = Options(bootstrap_servers=servers) if servers else Options(brokers=4, replication_factor=4)
    if name == "group_protocol":
        options = dataclasses.replace(options, group_mode="group")
    points = make_points(options, grid([axis]))
    assert [getattr(point.options, name) for point in points] == list(axis.values)


def test_dashes_are_taken_for_underscores():
    assert parse_axis("linger-ms=5,20", origin="--sweep") == Axis("linger_ms", (5, 20))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("linger_ms", "must be OPTION=VALUE"),
        ("lingerms=5", "is not an option"),
        ("total_sub_apps=5", "cannot be swept: sweep clients"),
        ("bootstrap_servers=a:1", "cannot be swept"),
        ("linger_ms=5,", "linger_ms = '' must be a whole number"),
        ("linger_ms=", "linger_ms = ''"),
        ("linger_ms=5,x", "linger_ms = 'x' must be a whole number"),
        ("linger_ms=5,5", "duplicate value linger_ms = 5"),
        ("msg_rate=1e3,1000", "duplicate value msg_rate = 1000"),
        ("clients=0", "clients = '0' must be"),
        ("clients=-10", "clients = '-10' must be"),
        ("clients=1.5", "clients = '1.5' must be"),
        ("clients=" + "9" * 5000, "must be a whole number"),
    ],
)
def test_what_cannot_be_swept_is_said(text, words):
    with pytest.raises(UsageError) as caught:
        parse_axis(text, origin="--sweep")
    assert words in str(caught.value)
    assert "--sweep" in str(caught.value)
    assert len(str(caught.value)) < 5200


def test_clients_are_a_whole_number_of_apps_or_an_error_that_names_what_would_do():
    assert apps_for(300, 10) == 30
    with pytest.raises(UsageError, match=r"15 clients are not a multiple of --clients_per_app=10: use 10, or"):
        apps_for(15, 10)
    with pytest.raises(UsageError, match="use 10"):
        apps_for(5, 10)


def test_clients_are_divided_by_the_points_own_apps():
    points = make_points(Options(), [{"clients": 30, "clients_per_app": 15}, {"clients": 30, "clients_per_app": 5}])
    assert [(point.options.total_sub_apps, point.options.client_count) for point in points] == [(2, 30), (6, 30)]


def test_a_duplicate_point_is_refused():
    with pytest.raises(UsageError, match="duplicate point msg_rate=10: use --repeats"):
        make_points(Options(), [{"msg_rate": 10.0}, {"msg_rate": 10.0}])


def test_no_point_and_too_many_points_are_refused():
    with pytest.raises(UsageError, match="has no points"):
        make_points(Options(), [])
    with pytest.raises(UsageError, match="10000 at most"):
        make_points(Options(), [{"msg_rate": float(rate)} for rate in range(1, 10_002)])


def test_fixed_points():
    assert parse_points("10x1000, 50x2000.5", origin="--points") == [
        {"clients": 10, "msg_rate": 1000.0}, {"clients": 50, "msg_rate": 2000.5},
    ]  # fmt: skip
    for text in ("10", "10x", "x5", "10x5x5", ""):
        with pytest.raises(UsageError, match="--points"):
            parse_points(text, origin="--points")


def test_time_left_follows_what_points_took_beside_their_sending():
    plan = SweepPlan(make_points(Options(), [{"msg_rate": float(rate)} for rate in range(1, 5)]), repeats=2)
    assert seconds_left(plan, {}) is None
    assert seconds_left(plan, {1: (2, 26.0)}) == 6 * (10 + 3)
    assert seconds_left(plan, {1: (2, 26.0), 2: (2, 24.0), 3: (1, 12.5)}) == 3 * 12.5
    assert seconds_left(plan, dict.fromkeys(range(1, 5), (2, 25.0))) == 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (-1, "0 s"), (59.4, "59 s"), (60, "1 min"), (200, "3 min 20 s"), (3600, "1 h"), (7500, "2 h 5 min"),
     (3599.6, "1 h"), (86400, "24 h")],
)  # fmt: skip
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_a_plan_survives_its_file():
    import msgspec

    plan = SweepPlan(make_points(Options(threshold=("loss==0",)), [{"clients": 10, "msg_rate": 5.0, "acks": "all"}]), 3)
    again = msgspec.json.decode(msgspec.json.encode(plan), type=SweepPlan)
    assert again == plan
    assert math.isclose(again.points[0].options.test_duration, 10)


def test_each_round_has_all_points_in_an_order_of_its_own_that_the_seed_decides():
    points = make_points(Options(), [{"msg_rate": float(rate)} for rate in range(1, 9)])
    plan = SweepPlan(points, repeats=3, seed=7)
    turns = list(plan.turns())
    rounds = [[point.number for number, point in turns if number == wanted] for wanted in (1, 2, 3)]
    assert [number for number, _point in turns] == [1] * 8 + [2] * 8 + [3] * 8
    assert all(sorted(order) == list(range(1, 9)) for order in rounds)
    assert len({tuple(order) for order in rounds}) == 3
    assert list(SweepPlan(points, repeats=3, seed=7).turns()) == turns
    assert list(SweepPlan(points, repeats=3, seed=8).turns()) != turns
