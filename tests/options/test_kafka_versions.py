"""``--kafka_version``: which there are, and what cannot be had with the old one is named before anything starts."""

import pytest

from hydra.broker.jar_lockfile import kafka_version, lock_file, read_lock
from hydra.broker.server_properties import BrokerSettings
from hydra.errors import UsageError
from hydra.options.kafka_versions import BUNDLED_VERSION, OLD_VERSION, VERSIONS, ZOOKEEPERS
from hydra.options.option_checks import checked
from hydra.options.options import Options, parse_option
from hydra.options.order import RunOrder

OLD = {"kafka_version": OLD_VERSION, "pub_driver": "kafka-python", "sub_driver": "kafka-python"}


@pytest.mark.parametrize("version", VERSIONS)
def test_each_version_is_that_of_its_lock_file_with_its_zookeeper(version):
    jars = read_lock(lock_file(version))
    assert kafka_version(jars) == version
    with_zookeeper = f"org.apache.zookeeper:zookeeper:{ZOOKEEPERS.get(version)}"
    assert (with_zookeeper in {jar.coordinate for jar in jars}) is (version in ZOOKEEPERS)


def test_without_a_version_it_is_the_bundled_one():
    assert kafka_version(read_lock(lock_file(None))) == kafka_version(read_lock()) == BUNDLED_VERSION


def test_another_version_is_refused_with_those_that_there_are():
    assert parse_option("kafka_version", OLD_VERSION, origin="x") == OLD_VERSION
    with pytest.raises(UsageError, match=r"--kafka_version = '0\.10' must be 4\.4\.0, 3\.9\.2, 2\.8\.2 or 0\.9\.0\.1"):
        parse_option("kafka_version", "0.10", origin="--kafka_version")


@pytest.mark.parametrize(
    ("changes", "text", "way_out"),
    [
        ({"pub_driver": "confluent"}, "--pub_driver=confluent", "--pub_driver=kafka-python --sub_driver=kafka-python"),
        ({"sub_driver": "wire"}, "--sub_driver=wire", "--pub_driver=kafka-python --sub_driver=kafka-python"),
        ({"kafka_security": "ssl"}, "--kafka_security=ssl", "leave --kafka_security out"),
        ({"brokers": 3}, "--brokers=3", "leave --brokers out"),
        ({"acks": "all", "idempotence": "yes"}, "--idempotence=yes", "leave --idempotence out"),
        ({"group_mode": "group", "sub_driver": "my.module:Class"}, "--group_mode=group", "leave --group_mode out"),
        ({"compression": "zstd"}, "--compression=zstd", "use gzip or snappy"),
        ({"compression": "lz4"}, "--compression=lz4", "use gzip or snappy"),
        ({"consumer_max_buffer_size": 40}, "messages may be 48 bytes", "raise --consumer_max_buffer_size"),
        (
            {"consumer_max_buffer_size": 1000, "compression": "gzip"},
            "messages may be 1400 bytes",
            "raise --consumer_max_buffer_size",
        ),
        ({"bootstrap_servers": "h:1"}, "is a setting of the embedded Kafka", "leave one of the two out"),
    ],
)
def test_what_the_old_kafka_does_not_have_is_refused_in_one_line_with_the_way_out(changes, text, way_out):
    with pytest.raises(UsageError) as caught:
        checked(Options(**{**OLD, **changes}))
    assert caught.value.message.startswith(f"--kafka_version={OLD_VERSION} ")
    assert text in caught.value.message
    assert way_out in caught.value.hint


@pytest.mark.parametrize(
    ("changes", "way_out"),
    [
        ({"kafka_security": "ssl"}, "leave --kafka_security out"),
        ({"brokers": 3}, "leave --brokers out"),
    ],
)
def test_what_a_kafka_with_zookeeper_does_not_have_is_refused(changes, way_out):
    with pytest.raises(UsageError, match=r"--kafka_version=2\.8\.2 does not go with") as caught:
        checked(Options(kafka_version="2.8.2", **changes))
    assert way_out in caught.value.hint
    checked(Options(kafka_version="3.9.2", **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"acks": "all"},
        {"acks": "0"},
        {"compression": "gzip"},
        {"kafka_security": "plaintext"},
        {"consumer_max_buffer_size": 1000},
        {"group": "shared", "partitions": 4},
        {"pub_driver": "my.module:Class", "sub_driver": "my.module:Class"},
    ],
)
def test_what_it_has_can_be_had(changes):
    options = checked(Options(**{**OLD, **changes}))
    assert options.is_old_kafka


def test_the_bundled_version_may_be_named_and_has_everything():
    options = checked(Options(kafka_version=BUNDLED_VERSION, brokers=3, acks="all", idempotence="yes"))
    assert not options.is_old_kafka
    assert RunOrder("r", options).is_idempotent


def test_acks_of_all_make_no_publisher_of_the_old_kafka_idempotent():
    assert not RunOrder("r", Options(**OLD, acks="all")).is_idempotent


@pytest.mark.parametrize(
    ("asked", "there", "told"),
    [
        (None, None, ""),
        (BUNDLED_VERSION, None, ""),
        (None, BUNDLED_VERSION, ""),
        (OLD_VERSION, OLD_VERSION, ""),
        (OLD_VERSION, None, f"--kafka_version={OLD_VERSION}, and it has {BUNDLED_VERSION}"),
        (None, OLD_VERSION, f"--kafka_version={BUNDLED_VERSION}, and it has {OLD_VERSION}"),
    ],
)
def test_a_stack_of_another_version_is_never_used_by_mistake(asked, there, told):
    assert BrokerSettings(version=asked).difference(BrokerSettings(version=there)) == told
