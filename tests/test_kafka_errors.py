"""The table of Kafka's error codes, against the lists of two client libraries."""

import kafka.errors
import pytest
from confluent_kafka import KafkaError

from hydra.kafka_errors import error_hint, error_name, final_error_in, is_final, is_own_error

LISTED = {
    kind.errno: kind
    for kind in vars(kafka.errors).values()
    if isinstance(kind, type) and issubclass(kind, kafka.errors.BrokerResponseError) and kind.errno
}
OF_THE_BROKER = {
    code: name
    for name in dir(KafkaError)
    if name.isupper() and isinstance(code := getattr(KafkaError, name), int) and code > 0
}


def test_every_code_has_a_name():
    assert len(LISTED) > 100
    assert {code for code in (*LISTED, *OF_THE_BROKER) if error_name(code).startswith("error ")} == set()
    assert error_name(9999) == "error 9999"


def test_no_code_that_a_library_retries_is_final():
    # kafka-python calls this one retriable; the protocol guide does not.
    assert {code for code, kind in LISTED.items() if kind.retriable and is_final(code)} <= {84}


@pytest.mark.parametrize("code", [17, 26, 29, 30, 31, 35, 38, 40, 44, 58, 81, 111, 112])
def test_refusals_for_good_are_final_and_have_a_hint_of_their_own(code):
    assert is_final(code)
    assert error_hint(code, "READ") != error_hint(21, "READ")


@pytest.mark.parametrize("code", [0, 1, 3, 5, 6, 7, 14, 15, 16, 22, 25, 27, 41, 79, 89])
def test_what_passes_is_not_final(code):
    assert not is_final(code)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("b:9092: TOPIC_AUTHORIZATION_FAILED for topic t", 29),
        ("[Error 26] InvalidSessionTimeoutError: x", 26),
        ('KafkaError{code=GROUP_MAX_SIZE_REACHED,val=81,str="Broker: x"}', 81),
        ("LEADER_NOT_AVAILABLE, then CLUSTER_AUTHORIZATION_FAILED", 31),
        ("b:9092: LEADER_NOT_AVAILABLE for topic t", None),
        ("[Error 5] LeaderNotAvailableError", None),
        ("connection refused", None),
        ("", None),
        ("NOT_ANY_CODE", None),
    ],
)
def test_a_final_error_is_found_in_the_words_of_each_library(text, code):
    assert final_error_in(text) == code


@pytest.mark.parametrize("code", [17, 23, 24, 26, 29, 30, 31, 33, 35, 44, 58, 81])
def test_a_final_error_is_found_in_librdkafkas_sentence(code):
    assert final_error_in(f"b:9092: {KafkaError(code).str()}") == code


def test_the_right_that_is_missing_is_named_with_its_resource():
    assert "READ on topics whose names begin with hydra-" in error_hint(29, "READ")


@pytest.mark.parametrize(
    ("text", "own"),
    [
        ("127.0.0.1:9092/1: Receive failed: Invalid response size 18000175 (0..1148576): increase receive...", True),
        ("Fetch to node 1 failed: InvalidReceiveError: Invalid frame length: 18000182", True),
        ("IO loop crashed (client_id=c0)", True),
        ("h:1: malformed reply: unpack_from requires a buffer of at least 8 bytes", True),
        ("h:1: unexpected correlation id", True),
        ("no file descriptor is left for a connection to h:1: Too many open files", True),
        ("h:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused (after 0ms in state CONNECT)", False),
        ("h:1/1: Disconnected (after 3005ms in state UP)", False),
        ("h:1/1: 1 request(s) timed out: disconnect (after 61ms in state UP)", False),
        ("h:1/1: Receive failed: Connection reset by peer (after 2ms in state UP)", False),
        ("h:1/1: Failed to resolve 'h:1': Name or service not known", False),
        ("1/1 brokers are down", False),
        ("Failed to acquire idempotence PID from broker h:1/1: Broker: Coordinator load in progress: retrying", False),
        ("h:1: the broker closed the connection", False),
        ("h:1: no reply for 30 s", False),
        ("h:1: not let in: no reply for 30 s", False),
        ("h:1: Software caused connection abort", False),
        ("h:1/1: Receive failed: Software caused connection abort (after 6201ms in state UP)", False),
        ("h:1: Network is down", False),
        ("h:1: Connection refused", False),
        ("partition 0 of t has no leader", False),
        ("h:1: Host is down", False),
        ("h:1: Temporary failure in name resolution", False),
        ("h:1/1: No address associated with hostname", False),
        ("DNS lookup failed for h:1, exception was [Errno -3] Temporary failure in name resolution", False),
        ("h:1: the broker's certificate is not trusted (unable to get issuer): give its CA", False),
        ("NOT_LEADER_OR_FOLLOWER for topic t", False),
        ("h:1: error 9999 for partition 0 of topic t", False),
        ("[Error 6] NotLeaderForPartitionError", False),
        ("<KafkaConnection node_id=1>: Connection lost: KafkaConnectionError: socket disconnected", False),
        ("<KafkaTCPTransport [none]>: Error receiving network data closing socket", False),
        ("<KafkaTCPTransport [h:1]>: Error sending request data: [Errno 32] Broken pipe", False),
        ("KafkaTimeoutError: Batch containing 9 record(s) expired due to timeout while waiting for broker", False),
        ("offset 5 of partition 0 is out of range: the log now starts at 9", False),
    ],
)
def test_what_is_a_clients_own_error(text, own):
    assert is_own_error(text) is own
