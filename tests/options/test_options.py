"""The table of options."""

import dataclasses

import pytest

from hydra.errors import UsageError
from hydra.options.option_checks import check_broker_count, check_group_protocol, check_members, checked
from hydra.options.options import OPTION_KINDS, Options, merged, parse_option

SECTIONS = {"marathon", "mesos", "kubernetes", "kafka", "hydra"}


def resolved(*layers):
    return checked(merged(*layers))


def test_defaults_are_the_originals():
    options = Options()
    assert (options.total_sub_apps, options.clients_per_app, options.client_count) == (100, 10, 1000)
    assert (options.test_duration, options.msg_batch, options.msg_rate, options.msg_size) == (10.0, 100, 1000.0, 14)
    assert (options.acks, options.linger_ms, options.batch_size_bytes) == ("1", 5, 1400)
    assert (options.consumer_max_buffer_size, options.partitions, options.group) == (0, 1, "own")
    assert (options.pub_driver, options.sub_driver) == ("wire", "wire")
    assert options.app_prefix == "g1"
    assert options.keep_running is False


@pytest.mark.parametrize("name", list(OPTION_KINDS))
def test_every_option_is_in_the_table_and_takes_its_own_default(name):
    kind = OPTION_KINDS[name]
    default = getattr(Options(), name)
    assert kind.section in SECTIONS
    assert kind.text
    assert "\n" not in kind.text
    if default is not None:
        text = ",".join(default) if isinstance(default, tuple) else str(default)
        assert parse_option(name, text, origin=name) == default


def test_options_are_what_the_table_says():
    assert list(OPTION_KINDS) == [item.name for item in dataclasses.fields(Options)]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("total_sub_apps", "0"), ("total_sub_apps", "-1"), ("total_sub_apps", "1.5"), ("total_sub_apps", "10001"),
        ("clients_per_app", ""), ("test_duration", "0"), ("test_duration", "nan"), ("msg_rate", "inf"),
        ("msg_rate", "-1"), ("msg_batch", "0"), ("msg_size", "13"), ("msg_size", "32000001"), ("group", "both"),
        ("partitions", "0"), ("acks", "2"), ("acks", "-1"), ("linger_ms", "-1"), ("batch_size", "2147483648"),
        ("fetch_min_bytes", "0"), ("fetch_wait_max_ms", "60001"), ("fetch_pace_ms", "-0.1"), ("retention_ms", "999"),
        ("pub_driver", "wires"), ("sub_driver", "librdkafka"), ("bootstrap_servers", "localhost"), ("java", ""),
        ("marathon_url", "localhost:8080"), ("app_prefix", "G1"), ("marathon_url", "http://a,b"),
        ("marathon_timeout", "0"), ("marathon_timeout", "21"), ("mesos_url", "http://a,http://b"), ("cluster0", "x."),
        ("cluster1", ".x"), ("appserver", "perhaps"), ("appserver_address", "10.0.0.5:0"), ("appserver_bind", "a b"),
        ("local_agents", "here rack:a"), ("compression", "brotli"), ("idempotence", "maybe"), ("payload", ""),
        ("marathon_secrets", ""), ("start_timeout", "0"), ("drain_timeout", "-1"),
        ("keep_running", "perhaps"), ("output", ""),
    ],
)  # fmt: skip
def test_an_error_names_the_flag_and_the_value(name, text):
    with pytest.raises(UsageError) as caught:
        parse_option(name, text, origin=f"--{name}")
    assert str(caught.value).startswith(f"--{name} = {text!r} must be ")
    assert caught.value.exit_code == 2


def test_spaces_around_a_value_do_not_count():
    assert parse_option("msg_rate", " 2000 ", origin="x") == 2000.0


def test_a_huge_value_is_shown_in_part():
    with pytest.raises(UsageError) as caught:
        parse_option("msg_rate", "9" * 5000, origin="--msg_rate")
    assert len(str(caught.value)) < 200
    assert "..." in str(caught.value)


def test_a_hostile_value_is_shown_written_out():
    with pytest.raises(UsageError) as caught:
        parse_option("acks", "\x1b[31mred\n", origin="--acks")
    assert str(caught.value).isprintable()


def test_a_later_layer_wins():
    options = resolved({"msg_rate": 1.0, "acks": "0"}, {"msg_rate": 2.0}, {})
    assert (options.msg_rate, options.acks, options.msg_size) == (2.0, "0", 14)
    assert resolved() == Options()


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"marathon_url": "http://m:8080"}, ["--marathon_url=http://m:8080", "--bootstrap_servers"]),
        ({"msg_size": 1_000_000, "msg_batch": 1_000_000}, ["--msg_size=1000000", "--msg_batch=1000000"]),
        ({"total_sub_apps": 10_000, "clients_per_app": 11}, ["--total_sub_apps=10000", "--clients_per_app=11"]),
    ],
)
def test_combinations_that_cannot_be(asked, named):
    with pytest.raises(UsageError) as caught:
        resolved(asked)
    assert all(name in str(caught.value) for name in named)
    assert caught.value.hint


@pytest.mark.parametrize(
    "asked",
    [
        {"marathon_url": "http://m:8080", "bootstrap_servers": "k:9092"},
        {"msg_size": 1_000_000, "msg_batch": 1_000_000, "batch_size": 1000},
        {"total_sub_apps": 10_000, "clients_per_app": 10},
    ],
)
def test_combinations_that_can_be(asked):
    options = dataclasses.replace(Options(), **asked)
    assert checked(options) is options


def test_the_batch_size_is_given_or_follows_from_the_records():
    assert Options(msg_size=100, msg_batch=50).batch_size_bytes == 5000
    assert Options(msg_size=100, msg_batch=50, batch_size=7).batch_size_bytes == 7


@pytest.mark.parametrize(("apps", "deadline_s"), [(1, 60), (100, 60), (104, 61), (500, 160)])
def test_more_than_a_hundred_apps_have_more_time_to_start(apps, deadline_s):
    assert Options(total_sub_apps=apps).start_deadline_s == deadline_s


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"broker_property": ("a=1", "b=2")}, r"--broker_property=a=1,b=2 is a setting of the embedded Kafka"),
        ({"broker_heap_mb": 512}, r"--broker_heap_mb=512 is a setting of the embedded Kafka"),
    ],
)
def test_a_broker_of_ones_own_has_its_own_settings(settings, words):
    assert resolved(settings).bootstrap_servers is None
    with pytest.raises(UsageError, match=words):
        resolved({"bootstrap_servers": "127.0.0.1:9092"}, settings)


def test_a_group_needs_a_driver_that_can_be_told_where_to_begin():
    assert resolved({"group_mode": "group"}).sub_driver == "wire"
    with pytest.raises(UsageError, match="--group_mode=group does not go with --sub_driver=kafka-python"):
        resolved({"group_mode": "group", "sub_driver": "kafka-python"})


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({}, "--group_protocol=consumer needs --group_mode=group: with assign no group is joined"),
        ({"group_mode": "group", "sub_driver": "kafka-python"}, "--group_mode=group does not go with"),
        (
            {"group_mode": "group", "sub_driver": "confluent", "group": "shared", "clients_per_app": 1},
            "needs a partition for each of 100 clients, and there are 1",
        ),
    ],
)
def test_the_consumer_protocol_is_for_members_that_speak_it(asked, named):
    with pytest.raises(UsageError, match=named):
        resolved({"group_protocol": "consumer", **asked})


def test_the_consumer_protocol_needs_brokers_that_know_it():
    asked = {"group_protocol": "consumer", "group_mode": "group", "bootstrap_servers": "k:1"}
    options = resolved(asked)
    check_group_protocol(options, takes_consumer=True)
    check_group_protocol(resolved({}), takes_consumer=False)
    with pytest.raises(UsageError, match=r"the brokers at k:1 do not take ConsumerGroupHeartbeat") as caught:
        check_group_protocol(options, takes_consumer=False)
    assert "group.version=1" in caught.value.hint
    with pytest.raises(UsageError, match=r"the embedded Kafka does not take ConsumerGroupHeartbeat"):
        check_group_protocol(resolved({**asked, "bootstrap_servers": None}), takes_consumer=False)
    check_members(resolved({**asked, "sub_driver": "confluent", "group": "shared", "topic": "orders"}), 1000)


def test_members_of_the_wire_driver_may_be_more_than_there_are_partitions():
    asked = {"group_protocol": "consumer", "group_mode": "group", "group": "shared", "clients_per_app": 5}
    assert resolved(asked).sub_driver == "wire"


def test_records_that_the_embedded_kafka_was_told_not_to_take_are_refused():
    words = r"--msg_size=60000 makes record batches of 60072 bytes at least, and the brokers take 50000"
    with pytest.raises(UsageError, match=words):
        resolved({"msg_size": 60_000, "broker_property": ("message.max.bytes=50000",)})
    resolved({"msg_size": 60_000, "broker_property": ("message.max.bytes=60072",)})
    resolved({"msg_size": 60_000, "broker_property": ("message.max.bytes=soon",)})  # the broker has words for it


def test_idempotence_needs_all_acks():
    with pytest.raises(UsageError, match="--idempotence=yes does not go with --acks=1"):
        resolved({"idempotence": "yes"})
    assert resolved({"idempotence": "yes", "acks": "all"}).idempotence == "yes"


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"replication_factor": 3}, r"--replication_factor=3 .*there is 1 broker.*--brokers=3"),
        ({"replication_factor": 3, "brokers": 2}, r"--replication_factor=3 .*there are 2 brokers"),
        ({"min_insync_replicas": 2}, r"--min_insync_replicas=2 is more than the 1"),
        ({"min_insync_replicas": 3, "replication_factor": 2, "brokers": 3}, r"--min_insync_replicas=3 .*the 2"),
        ({"min_insync_replicas": 3, "replication_factor": 2, "bootstrap_servers": "a:1"}, r"=3 .*the 2"),
        ({"client_rack": "r2"}, r"--client_rack=r2 needs followers.*--brokers=3 --replication_factor=3"),
        ({"client_rack": "r2", "brokers": 3}, r"--client_rack=r2 needs followers"),
        ({"client_rack": "r4", "brokers": 3, "replication_factor": 3}, r"none of .*racks.*use one of r1, r2, r3"),
        ({"client_rack": "a", "bootstrap_servers": "a:1", "sub_driver": "kafka-python"}, r"a does not go with"),
        ({"brokers": 3, "bootstrap_servers": "a:1"}, r"--brokers=3 is a setting of the embedded Kafka"),
    ],
)
def test_replicas_that_cannot_be_are_refused(asked, named):
    with pytest.raises(UsageError, match=named):
        resolved(asked)


def test_replicas_on_brokers_that_are_not_known_yet_are_taken():
    asked = {"replication_factor": 3, "min_insync_replicas": 2, "client_rack": "a", "bootstrap_servers": "a:1"}
    options = resolved(asked)
    check_broker_count(options, 3)
    with pytest.raises(UsageError, match=r"there are 2 brokers.*start the other"):
        check_broker_count(options, 2)
    assert resolved({"min_insync_replicas": 2, "bootstrap_servers": "a:1"}).min_insync_replicas == 2


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://admin:secret@m1:8080", "http://***@m1:8080"),
        ("http://admin:sec/ret@m1:8080", "http://***@m1:8080"),
        ("http://admin:sec,ret@m1:8080", "http://***@m1:8080"),
        ("http://admin:sec@ret@m1:8080", "http://***@m1:8080"),
        ("http://m1:8080,http://admin:sec//ret@m2:8080", "http://***@m2:8080"),
        ("admin:sec//ret@m1:8080", "***@m1:8080"),
        (f"http://admin:{'secret' * 20}@m1:8080", "http://***@m1:8080"),
        ("http://me@m1", "http://***@m1"),
        ("me@m1", "me@m1"),
    ],
)
@pytest.mark.parametrize("name", ["marathon_url", "mesos_url", "broker_metrics", "bootstrap_servers"])
def test_no_error_quotes_the_password_of_a_url(name, text, shown):
    with pytest.raises(UsageError) as caught:
        parse_option(name, text, origin=f"--{name}")
    assert str(caught.value).startswith(f"--{name} = {shown!r} must ")
