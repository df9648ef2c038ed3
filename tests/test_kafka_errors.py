"""The table of Kafka's error codes, against the lists of two client libraries."""

import kafka.errors
import pytest
from confluent_kafka import KafkaError

from hydra.kafka_errors import error_hint, error_name, final_error_in, is_final

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


@pytest.mark.parametrize("code", [17, 26, 29, 30, 31, 35, 38, 40, 44, 58, 81])
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
